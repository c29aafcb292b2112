#!/usr/bin/env python3
"""Writes templates.json: conversations, and the prompts that transformers' apply_chat_template() makes of them.

The templates are those of templates/, written in the shapes of the families (none is a vendor's own), and the one
inside the default model's file. null stands where transformers raises. `requests` are bodies for the HTTP API, and
`request_prompts` what transformers makes of them under the API's rules, which as_api_reads() says once more in Python.
By hand, when templates, conversations or requests change:

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

# Bodies of requests as text: spelling of numbers, escapes and the order of keys are the client's.
REQUESTS = [
    r"""{"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": null, "tool_calls": [
        {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments":
        "{ \"z\":1.0,\"a\" : [1e2,-0.0,true,null,\"\\u00fc\\ud83d\\ude42\"],\"\u00e9\":{} }"}}]},
        {"role": "tool", "tool_call_id": "abcdef123", "content": "21.5 \u00b0C"}]}""",
    r"""{"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "tool_calls": [
        {"type": "function", "id": "abcdef123", "function": {"arguments": {"z": 1, "a": {"y": [], "b": 2.50}},
        "name": "get_weather"}}]}, {"role": "tool", "tool_call_id": "abcdef123", "content": "ok"}], "tools": []}""",
    r"""{"messages": [{"content": [{"type": "text", "text": "Be brief."}], "role": "system"},
        {"role": "user", "content": [{"type": "text", "text": "One, "}, {"text": "two\n", "type": "text"}]},
        {"role": "assistant", "content": [{"type": "text", "text": " Three "}]},
        {"role": "user", "content": "Four"}]}""",
    r"""{"messages": [{"role": "developer", "content": "  <b> & 'it\u2019s' \"\u2028\" \/ \\ \u007f\t "},
        {"role": "user", "content": "\ud83d\ude42 \u4f60\u597d\r\n", "name": "Ann\u00e4", "refusal": null,
         "weight": 1.0, "flags":
         [true, false, null, 0.1, 1e-7, 1e16, 12345678901234567890.0, -5, 3.0e0]}]}""",
    r"""{"messages": [{"role": "user", "content": ""}], "tools": [{"type": "function", "function": {"name": "search",
        "strict": false, "parameters": {"type": "object", "required": ["q"], "additionalProperties": false,
        "properties": {"q": {"type": "string", "description": "what's <sought> & \"where\"", "default": null},
         "mode": {"anyOf": [{"enum": ["a", 1, 2.5, true, null]}, {"$ref": "#/$defs/Mode"}]},
         "limit": {"type": "integer", "maximum": 1e3, "multipleOf": 0.5, "default": -0}}, "$defs": {"Mode": {"const":
         "Stra\u00dfe \ud83d\ude97 \u0007"}}}, "description": "T\u00fcren\n- \u65e5\u672c"}},
        {"function": {"name": "stop"}, "type": "function"}]}""",
    r"""{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "tool_calls": [],
        "reasoning": "Because."}, {"role": "user", "content": "z"}], "tool_choice": "none", "tools":
        [{"type": "function", "function": {"name": "f"}}], "add_generation_prompt": false}""",
    r"""{"messages": [{"role": "user", "content": "Tell."}, {"role": "assistant", "content": "Once upon "}],
        "continue_final_message": true}""",
    r"""{"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": {"enable_thinking": false, "extra":
        [1.0, false, {"k": null}]}, "documents": [{"title": "A", "text": "B \u00e9", "page": 1.5}]}""",
    r"""{"messages": [{"role": "user", "content": "Both"}, {"role": "assistant", "content": "", "tool_calls": [
        {"id": "aaaaaaaaa", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"id": "bbbbbbbbb", "type": "function", "function": {"name": "g", "arguments": "{\"b\": [{\"a\": \"\"}]}"}}]},
        {"role": "tool", "tool_call_id": "aaaaaaaaa", "content": [{"type": "text", "text": "1"}]},
        {"role": "tool", "tool_call_id": "bbbbbbbbb", "content": "2"}, {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks"}], "tools": [{"type": "function", "function": {"name": "f", "description":
        "d", "parameters": {"type": "object", "properties": {}}}}]}""",
]


def joined(messages):
    return [{**m, "content": "\n".join(p["text"] for p in m["content"])} if isinstance(m.get("content"), list) else m
            for m in messages]


def as_api_reads(message, as_given):
    """Roles, nulls and arguments as docs/http_api.md says; `as_given`: for templates that fail with the other form."""
    read = {key: value for key, value in message.items() if value is not None or as_given and key == "content"}
    if read["role"] == "developer":
        read["role"] = "system"
    if not read.get("tool_calls", True):
        del read["tool_calls"]
    if not as_given and "tool_calls" in read:
        read["tool_calls"] = json.loads(json.dumps(read["tool_calls"]))
        for tool_call in read["tool_calls"]:
            arguments = tool_call["function"].get("arguments", {})
            if isinstance(arguments, str):
                tool_call["function"]["arguments"] = json.loads(arguments or "{}")
    return read


def answer(tokenizer, source, body):
    """The prompt of a request: the first of the forms of its messages that the template takes."""
    given = json.loads(body)
    probe = [render(tokenizer, source, {"messages": [said("user", text)]})
             for text in ("probe", [{"type": "text", "text": "probe"}])]
    knows_parts = probe[0] is not None and "probe" in probe[0] and probe[0] == probe[1]
    wanted, as_given = ([as_api_reads(message, form) for message in given["messages"]] for form in (False, True))
    forms = [wanted, as_given, joined(wanted)] if knows_parts else [joined(wanted), joined(as_given)]
    chat = {"tools": None if given.get("tool_choice") == "none" else given.get("tools"),
            "documents": given.get("documents"), "kwargs": given.get("chat_template_kwargs", {}),
            "continue": given.get("continue_final_message", False)}
    chat["prompt"] = given.get("add_generation_prompt", not chat["continue"])
    texts = (render(tokenizer, source, {**chat, "messages": form, "keep_none": True}) for form in forms)
    return next((text for text in texts if text is not None), None)


def render(tokenizer, source, conversation):
    # A fresh copy through JSON: what a client could send.
    given = json.loads(json.dumps(conversation))
    carry_on = given.get("continue", False)
    options = {"tools": given.get("tools") or None, "documents": given.get("documents"), "chat_template": source,
               "continue_final_message": carry_on, "add_generation_prompt": given.get("prompt", not carry_on)}
    names = given.get("kwargs", {})
    try:
        if given.get("keep_none"):  # apply_chat_template() leaves out what is None
            names = {**tokenizer.special_tokens_map, **names}
            text = templating.render_jinja_template([given["messages"]], **options, **names)[0][0]
        else:
            text = tokenizer.apply_chat_template(given["messages"], tokenize=False, **options, **names)
    except Exception:  # whatever it is, our renderer must refuse as well
        return None
    # Where a template writes the message twice, transformers leaves its mark in the first.
    return text.replace("CONTINUE_FINAL_MESSAGE_TAG ", "")


def main():
    templating.datetime = FrozenTime
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()), **SPECIAL)
    here = pathlib.Path(__file__).parent
    sources = {path.stem: path.read_text() for path in sorted((here / "templates").glob("*.jinja"))}
    sources["(model)"] = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    prompts, answers = {}, {}
    for name, source in sources.items():
        answers[name] = [answer(tokenizer, source, body) for body in REQUESTS]
        prompts[name] = [render(tokenizer, source, conversation) for conversation in CONVERSATIONS]
        good = sum(prompt is not None for prompt in prompts[name])
        print(f"{name}: {good} prompts, {len(CONVERSATIONS) - good} refusals;"
              f" {sum(prompt is not None for prompt in answers[name])} of {len(REQUESTS)} requests")
        assert good >= 8, name
    golden = {"made_by": {"script": "tests/golden/make_templates.py", "transformers": transformers.__version__,
                          "jinja2": jinja2.__version__}, "special": SPECIAL, "now": NOW}
    # One line each, so that a change shows where it is.
    lines = [json.dumps(golden)[:-1] + ',\n"conversations": [']
    lines.append(",\n".join(json.dumps(conversation, ensure_ascii=False) for conversation in CONVERSATIONS))
    lines.append('],\n"prompts": {')
    lines.append(",\n".join(json.dumps(name) + ": [\n" + ",\n".join(json.dumps(p, ensure_ascii=False) for p in of) + "]"
                            for name, of in prompts.items()))
    lines.append('},\n"requests": [')
    lines.append(",\n".join(json.dumps(body, ensure_ascii=False) for body in REQUESTS))
    lines.append('],\n"request_prompts": {')
    lines.append(",\n".join(json.dumps(name) + ": [\n" + ",\n".join(json.dumps(p, ensure_ascii=False) for p in of) + "]"
                            for name, of in answers.items()))
    lines.append("}}")
    out = here / "templates.json"
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {out.stat().st_size} bytes")


main()
