#!/usr/bin/env python3
"""Writes templates.json: conversations, and the prompts that transformers' apply_chat_template() makes of them.

The templates are those of templates/, written in the shapes of the families (none is a vendor's own), and the one
inside the default model's file. null stands where transformers raises. By hand, when templates or conversations
change:

    python3 -m venv venv && venv/bin/pip install transformers jinja2 gguf
    venv/bin/python tests/golden/make_templates.py MODEL.gguf
"""
import datetime
import json
import pathlib
import sys

import gguf
import jinja2
import tokenizers
import transformers
import transformers.utils.chat_template_utils as templating

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
NOW = (2026, 3, 7, 9, 5, 3)


class FrozenTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*NOW)


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, id="abcdef123"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = said("system", "  Be brief, but kind.\n")
HELLO = said("user", "Hi there")
ANSWER = said("assistant", "Hello! How can I help? ")
UNICODE = said("user", "Und für 日本語 🙂, \u00a0\u3000?\n\n")
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather", "description": "tells the weather <of> a \"place\"",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Straße & Ort"},
                "days": {"type": ["integer", "null"], "minimum": 1},
                "units": {"type": "array", "items": {"type": "string"}, "enum": ["°C", "°F"]},
                "where": {"type": "object", "properties": {"lon": {"type": "number"}, "lat": {"type": "number"}}},
            },
            "required": ["place"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object",
                                                                                          "properties": {}}}}
ASK = said("user", "Weather in Köln, please.")
CALLS = {"role": "assistant", "tool_calls": [call("get_weather", {"place": "Köln", "days": 2, "units": ["°C"]})]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": '{"t": 21.5, "sky": "klar"}'}
PARTS = said("user", [{"type": "text", "text": "First part, "}, {"type": "text", "text": "second part."}])
THOUGHT = said("assistant", "<think>\nSums are easy.\n</think>\n\nIt is 4.")

CONVERSATIONS = [
    {"name": "one question", "messages": [HELLO]},
    {"name": "a system text", "messages": [SYSTEM, HELLO]},
    {"name": "several turns", "messages": [HELLO, ANSWER, UNICODE]},
    {"name": "an answer at the end", "messages": [SYSTEM, HELLO, ANSWER], "prompt": False},
    {"name": "five turns", "messages": [SYSTEM, HELLO, ANSWER, said("user", "More?"), ANSWER, UNICODE]},
    {"name": "empty contents", "messages": [said("system", ""), said("user", ""), said("assistant", ""),
                                            said("user", "")]},
    {"name": "blanks and line breaks", "messages": [said("user", "\n\t a\r\nb \u2028c\x1f \n")]},
    {"name": "text like a template", "messages": [said("user", "{{ 7 * 7 }}{% raw %}<|im_end|>{# x #} 'a' \"b\" \\n")]},
    {"name": "no generation prompt", "messages": [HELLO], "prompt": False},
    {"name": "tools", "messages": [ASK], "tools": [WEATHER, TIME]},
    {"name": "tools beside a system text", "messages": [SYSTEM, ASK], "tools": [WEATHER]},
    {"name": "no tools at all", "messages": [ASK], "tools": []},
    {"name": "a call", "messages": [ASK, CALLS], "tools": [WEATHER], "prompt": False},
    {"name": "a call and its result", "messages": [ASK, CALLS, RESULT], "tools": [WEATHER, TIME]},
    {"name": "an answer from a result",
     "messages": [SYSTEM, ASK, CALLS, RESULT, said("assistant", "Clear, 21.5 °C."), HELLO], "tools": [WEATHER]},
    {"name": "two calls at once, with text",
     "messages": [ASK, {"role": "assistant", "content": "I look it up.",
                        "tool_calls": [call("get_weather", {"place": "Bonn"}, "aaaaaaaaa"),
                                       call("now", {}, "bbbbbbbbb")]},
                  {**RESULT, "tool_call_id": "aaaaaaaaa"}, {**RESULT, "tool_call_id": "bbbbbbbbb", "content": "12:00"}],
     "tools": [WEATHER, TIME]},
    {"name": "arguments as text",
     "messages": [ASK, {"role": "assistant", "content": None,
                        "tool_calls": [call("get_weather", '{"place": "Köln"}')]}, RESULT], "tools": [WEATHER]},
    {"name": "an id that is too long",
     "messages": [ASK, {"role": "assistant", "tool_calls": [call("now", {}, "call_0")]}]},
    {"name": "questions in a row", "messages": [HELLO, ASK]},
    {"name": "an answer first", "messages": [ANSWER, HELLO]},
    {"name": "a system text later", "messages": [HELLO, ANSWER, SYSTEM, ASK]},
    {"name": "an unknown role", "messages": [said("critic", "Hm.")]},
    {"name": "a result without a call", "messages": [HELLO, RESULT]},
    {"name": "parts", "messages": [PARTS]},
    {"name": "parts of a system text",
     "messages": [said("system", [{"type": "text", "text": "Be brief."}]), PARTS, ANSWER, HELLO]},
    {"name": "thoughts", "messages": [said("user", "2+2?"), THOUGHT, said("user", "And 3+3?")]},
    {"name": "thoughts at the end", "messages": [said("user", "2+2?"), THOUGHT], "prompt": False},
    {"name": "thoughts of their own", "messages": [said("user", "2+2?"), {"role": "assistant", "reasoning": "Easy.\n",
                                                                          "content": "4"}], "prompt": False},
    {"name": "no thinking", "messages": [HELLO], "kwargs": {"enable_thinking": False}},
    {"name": "thinking by a system text", "messages": [said("system", "Be brief. /no_think"), HELLO]},
    {"name": "names for the template", "messages": [SYSTEM, HELLO],
     "kwargs": {"date_string": "1 May 1999", "builtin_tools": ["brave_search", "code_interpreter"],
                "tools_in_user_message": False, "bos_token": "<other>"}, "tools": [TIME]},
    {"name": "documents", "messages": [HELLO], "documents": [{"title": "A", "text": "First words of a long text."},
                                                             {"title": "B", "text": "Short."}]},
    {"name": "an answer begun", "messages": [HELLO, said("assistant", "Once upon a time")], "continue": True},
    {"name": "an answer begun that ends in a blank", "messages": [HELLO, said("assistant", " Once upon ")],
     "continue": True},
    {"name": "a thought begun", "messages": [HELLO, said("assistant", "<think>\nWell")], "continue": True},
    {"name": "a thought that ended", "messages": [HELLO, said("assistant", "<think>\nWell\n</think>\n\nSo")],
     "continue": True},
]


def render(tokenizer, source, conversation):
    # A fresh copy through JSON: what a client could send.
    given = json.loads(json.dumps(conversation))
    carry_on = given.get("continue", False)
    try:
        return tokenizer.apply_chat_template(
            given["messages"], tools=given.get("tools") or None, documents=given.get("documents"),
            chat_template=source, tokenize=False, continue_final_message=carry_on,
            add_generation_prompt=given.get("prompt", not carry_on), **given.get("kwargs", {}))
    except Exception:  # whatever it is, our renderer must refuse as well
        return None


def main():
    templating.datetime = FrozenTime
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), **SPECIAL)
    here = pathlib.Path(__file__).parent
    sources = {path.stem: path.read_text() for path in sorted((here / "templates").glob("*.jinja"))}
    sources["(model)"] = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    prompts = {}
    for name, source in sources.items():
        prompts[name] = [render(tokenizer, source, conversation) for conversation in CONVERSATIONS]
        good = sum(prompt is not None for prompt in prompts[name])
        print(f"{name}: {good} prompts, {len(CONVERSATIONS) - good} refusals")
        assert good >= 8, name
    golden = {"made_by": {"script": "tests/golden/make_templates.py", "transformers": transformers.__version__,
                          "jinja2": jinja2.__version__}, "special": SPECIAL, "now": NOW}
    # One line each, so that a change shows where it is.
    lines = [json.dumps(golden)[:-1] + ',\n"conversations": [']
    lines.append(",\n".join(json.dumps(conversation, ensure_ascii=False) for conversation in CONVERSATIONS))
    lines.append('],\n"prompts": {')
    lines.append(",\n".join(json.dumps(name) + ": [\n" + ",\n".join(json.dumps(p, ensure_ascii=False) for p in of) + "]"
                            for name, of in prompts.items()))
    lines.append("}}")
    out = here / "templates.json"
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {out.stat().st_size} bytes")


main()
