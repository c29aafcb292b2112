#!/usr/bin/env python3
"""Writes chat_templates.json: templates, conversations, and what jinja2 makes of them.

jinja2 is set up as Hugging Face's apply_chat_template() does: trim_blocks, lstrip_blocks, loop controls, the
immutable sandbox, raise_exception and a tojson that leaves text readable. Run by hand when the cases change:

    python3 -m venv venv && venv/bin/pip install jinja2 gguf
    venv/bin/python tests/golden/make_chat_template_golden.py MODEL.gguf

"real" are outputs of the template inside the model file, which the test reads from there.
"""
import json
import pathlib
import random
import sys

import gguf
import jinja2
import jinja2.sandbox

BOS, EOS = "<|im_start|>", "<|im_end|>"

USER = {"role": "user", "content": "Hi there"}
SYSTEM = {"role": "system", "content": "  Be brief.\n"}
ASSISTANT = {"role": "assistant", "content": "<think>\nhmm\n</think>\n\nHello! "}
CONVERSATIONS = [
    [USER],
    [SYSTEM, USER],
    [USER, ASSISTANT, {"role": "user", "content": "Und für 日本語 🙂?\n"}],
    [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "'quotes' \"and\" {{ braces }} {% tags %}"},
     {"role": "assistant", "content": ""}],
    [{"role": "user", "content": "\u00a0\tspaces all round \u3000\n"}],
]

# In the manners of the families: a system message taken out first and plain markers (Llama 2), headers and
# trimming (Llama 3), reasoning cut out and a search from the end (Qwen 3), alternation enforced (Mistral, Gemma).
TEMPLATES = {
    "system_first": """{% if messages[0]['role'] == 'system' %}
    {% set system = messages[0]['content'] %}
    {% set rest = messages[1:] %}
{% else %}
    {% set system = false %}
    {% set rest = messages %}
{% endif %}
{% for m in rest %}
    {% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must alternate: ' ~ m['role']) }}
    {% endif %}
    {% if loop.index0 == 0 and system != false %}
        {% set text = '[[' + system | trim + ']]\\n' + m['content'] %}
    {% else %}
        {% set text = m['content'] %}
    {% endif %}
    {% if m['role'] == 'user' %}
        {{ bos_token + 'Q: ' + text.strip() + ' :A' }}
    {% elif m['role'] == 'assistant' %}
        {{ ' ' + text | trim + ' ' + eos_token }}
    {% endif %}
{% endfor %}
""",
    "headers": """{{- bos_token }}
{%- if not date is defined %}{%- set date = "26 Jul 2024" %}{%- endif %}
{%- if tools is not none %}{{- "tools: " ~ tools | length }}{%- endif %}
{#- the system message, or a default #}
{%- if messages[0].role == "system" %}
    {%- set system = messages[0]["content"]|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<<system>>\\n" }}
{{- "Today: " + date + "\\n" }}
{{- system }}
{{- "<<end>>" }}
{%- for message in messages %}
    {{- '<<' + message['role'] + '>>\\n' + message['content'] | trim + '<<end>>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<<assistant>>\\n' }}
{%- endif %}
""",
    "reasoning": """{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string
        and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}
    {%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '@' + message.role + '\\n' + content + '$' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.thought is string %}
            {%- set thought = message.thought %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and thought)) %}
            {{- '@' + message.role
                + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '@' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}{{- 'never' }}{%- endif %}
        {{- '$\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '@assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "json": "{% for m in messages %}{{ m | tojson }}\n"
            "{{ m | tojson(indent=2) }}{% if not loop.last %},{% endif %}\n{% endfor %}",
    "loop_controls": """{% for m in messages %}
{% if m.role == 'system' %}{% continue %}{% endif %}
{{ loop.index }}/{{ loop.length }} {{ m.role | upper }} {{ loop.revindex
}}{{ ' (' ~ loop.previtem.role ~ ')' if not loop.first else '' }}
{% if loop.index >= 3 %}{% break %}{% endif %}
{% else %}none{% endfor %}""",
    "filtered_loop": """{% for m in messages if m.role != 'system' %}{{ loop.index }}:{{
 m.content | length }}{{ ';' if not loop.last }}{% endfor %}
{% for k, v in messages[0].items() %}[{{ k }}={{ v | trim }}]{% endfor %}""",
}

EXPRESSIONS = [
    "1 + 2 * 3 - 4", "(1 + 2) * 3", "7 // 2", "-7 // 2", "7 % 3", "-7 % 3", "7 % -3", "7 / 2", "6 / 3",
    "1.5 * 2", "0.1 + 0.2",
    "100000.0 * 1000000000000.0", "1.0 / 3", "0.00001 * 1.0", "2 - -3", "+5", "- 5 | string + 'x'",
    "1 < 2 < 3", "1 < 3 < 2", "1 == 1.0", "true == 1", "'a' < 'b'", "'é' > 'z'", "[1, 2] == [1, 2]",
    "{'a': 1} == {'a': 1.0}",
    "none == false", "1 != 2 and not 3 == 4", "1 or 2", "0 or 'x'", "'' and 5", "0 and x", "not not 1",
    "not 1 == 2",
    "'a' ~ 1 ~ true ~ none ~ 1.50", "'a' 'b' \"c\"", "'ab' * 3", "2 * 'x'", "'a' + 'b' ~ 'c'", "1 ~ (2 + 3)",
    "'x' in 'xyz'",
    "'q' not in 'xyz'", "2 in [1, 2]", "'k' in {'k': 1}", "2 not in (1, 2)", "'' in 'a'", "true", "True",
    "none", "None", "false",
    "'héllo'[1]", "'héllo'[-1]", "'日本語テキスト'[2:4]", "'abcdef'[::2]", "'abcdef'[::-1]", "'abcdef'[-3:]",
    "'abcdef'[:-2]",
    "'abcdef'[10:]", "'abcdef'[4:2]", "'abcdef'[-100:2]", "'abcdef'[5:1:-2]", "'abc'[3] is defined",
    "[1, 2, 3][1:] | tojson",
    "[1, 2, 3][-1]", "[1, 2, 3][::-1] | tojson", "[1,2,3][5] is undefined", "[[1, 2], [3]][0][1]",
    "{'a': {'b': 5}}.a.b", "{'a': 1}['a']",
    "{'a': 1}['b'] is defined", "{'a': 1}.get('b', 7)", "{'a': 1}.get('b')",
    "{'a': 1, 'b': 2}.keys() | join(',')",
    "{'a': 1, 'b': 2}.values() | list | tojson", "{'a': 1}.items() | list | tojson",
    "{'b': 1, 'a': 2} | items | list | tojson", "[10, 20].0",
    "'  x '.strip() ~ '|'", "'xxaxx'.strip('x')", "'xyaxy'.lstrip('yx')", "'a\\n\\n'.rstrip('\\n') ~ '|'",
    "'\u00a0x\u3000' | trim",
    "'\u200bx' | trim | length", "'\x1cx\x1f' | trim | length", "'éxé'.strip('é')",
    "'a,b,,c'.split(',') | tojson", "'a b\tc \n d'.split() | tojson",
    "' a b c '.split(none, 1) | tojson", "'a--b--c'.split('--', 1) | tojson", "''.split() | tojson",
    "''.split(',') | tojson",
    "'abc'.startswith('ab')", "'abc'.endswith('bc')", "'abc'.startswith('')", "'aXbX'.replace('X', 'yy')",
    "'aaa'.replace('a', 'b', 2)",
    "'aaa' | replace('aa', 'b')", "'Hello World'.upper()", "'Hello World'.lower()",
    "'hELLO wORLD' | capitalize", "'abc' | upper | lower",
    "', '.join(['a', 'b'])", "[1, 'b', 2.5] | join('-')", "'abc' | join('.')", "[] | join(',')",
    "'abc'.removeprefix('a')",
    "'abc'.removesuffix('x')", "'a' | length", "'日本' | length", "[1, 2] | length", "{'a': 1} | count",
    "'abc' | first", "'abc' | last",
    "[1, 2] | last", "'abc' | reverse", "[1, 2] | reverse | list | tojson", "'abc' | list | tojson",
    "range(3) | list | tojson",
    "range(5, 1, -2) | list | tojson", "range(2, 4) | join", "missing | default('d')", "missing | default",
    "none | default('d')",
    "'' | default('d', true)", "'' | default('d', boolean=true)", "missing is defined",
    "missing is not defined", "missing is none",
    "none is none", "'a' is string", "1 is string", "1 is number", "true is number", "1.0 is float",
    "1 is integer", "true is integer",
    "true is boolean", "true is true", "1 is true", "false is false", "{} is mapping", "[] is mapping",
    "[] is sequence", "'a' is sequence",
    "{} is iterable", "'a' is iterable", "1 is iterable", "3 is odd", "3 is even", "1 is eq 1", "1 is eq(2)",
    "1 is ne 2", "1 is in [1, 2]",
    "not 1 is eq 2", "1 is not eq 2", "'yes' if 1 else 'no'", "'yes' if 0 else 'no'",
    "'a' if 0 else 'b' if 0 else 'c'", "('x' if 0) is defined",
    "'tab\\tnl\\nq\\'bs\\\\ u\\u00e9 x\\x41'", "'<a href=\"x\">&</a>' | tojson", "'\\u2028é\\x07' | tojson",
    "[1, 2.5, true, none, 'x'] | tojson",
    "{'a': [], 'b': {}, 'c': [1, {'d': 2}]} | tojson(indent=4)", "{'a': [1, 2]} | tojson(false, 2)",
    "[] | tojson(indent=2)", "messages[0].content",
    "messages[-1]['role']", "messages[99] is defined", "messages[0].nothing is defined", "messages | length",
    "messages[1:] | length",
    "(messages | last).role", "messages[0].content[0]", "bos_token ~ eos_token", "tools is none",
    "documents is none", "add_generation_prompt",
    "-1 | string", "(1, 2) | tojson", "() | tojson", "(1,) | tojson", "(5)", "9007199254740993",
    "1 if true else missing.x",
    "'a' == 'a' == 'a'", "true and false or true", "not true or true", "1 + 1 == 2", "'%' ~ '}}'",
    "{'a': {'b': 1}}['a']['b']",
]

STATEMENTS = [
    "{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% for i in [] %}x{% else %}empty{% endfor %}", "{% for i in range(4) if i is odd %}{{ i }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}-{{ b }} {% endfor %}",
    "{% for c in 'héy' %}({{ c }}){% endfor %}",
    "{% for k in {'x': 1, 'y': 2} %}{{ k }}{% endfor %}",
    "{% for i in range(3) %}{% for j in range(i) %}{{ loop.index }}{{ i }} {% endfor %}{% endfor %}",
    "{% for i in range(3) %}{% if loop.first %}F{% elif loop.last %}L{% else %}M{% endif %}{% endfor %}",
    "{% if missing %}a{% elif none %}b{% elif [] %}c{% elif 0.0 %}d{% else %}e{% endif %}",
    "{% if messages %}yes{% endif %}",
    "a{# comment #}b", "a {#- comment -#} b", "{# one #}\n{# two #}\nthree",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc", "  {%+ if true %}\nx{% endif %}\n",
    "{% if true +%}\nx{% endif %}", "{% if true -%}\n\n  x  \n{%- endif %}\ny", "x  {{- 'y' -}}  z",
    "{{ 'a' }}\n{{ 'b' }}\n", "a\n\n", "a\r\nb\rc\n",
    "{% for i in range(2) %}\n    {{ i }}\n{% endfor %}\n", "  {% set a = 1 %}  {{ a }}",
    "{{ 1 }}  {% if true %}x{% endif %}", "\t{# c #}\nx",
    "{% for i in range(9) %}"
    "{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{%- set x = 'é' -%} {{ x }}", "{% set loop_messages = messages[1:] %}{{ loop_messages | length }}",
    "{{ '{{' }}", "{%if true%}x{%endif%}",
    "{% for m in messages %}{{ m['role'] }}{% if not loop.last %}{{ loop.nextitem.role }}{% endif %}{% endfor %}",
    "{ { % } # }",
    "{% set m = messages[0] %}{% set r = m.role if m.role is defined else 'x' %}{{ r }}",
    "x{% if false %}{{ missing.deeper }}{% endif %}y", "",
]

# jinja2 fails on these too, at parse or when run.
FAILURES = [
    "{{ 1 +", "{% if %}x{% endif %}", "{% if true %}", "{% endif %}", "{% for x %}{% endfor %}", "{{ 'a }}",
    "{{ (1 }}", "{{ 1 ) }}", "{# open",
    "{{ x | nosuchfilter }}", "{{ 1 is nosuchtest }}", "{{ 'a' + 1 }}", "{{ missing.x }}", "{{ missing + 1 }}",
    "{{ 1 // 0 }}", "{{ [1] + 'a' }}",
    "{{ raise_exception('no') }}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{{ nosuchfunction() }}",
    "{{ 'a'.nosuchmethod() }}", "{{ 'x' < 1 }}",
    "{% set x.y = 1 %}", "{% for i in 5 %}{% endfor %}", "{{ 1 in 'a' }}", "{{ 'a'.split('') }}", "{% break %}",
    "{{ {'a' 1} }}", "{{ a b }}", "{{ }}",
    "{% set 5 = 1 %}", "{{ -'a' }}", "{{ ','.join([1]) }}", "{{ range(1, 2, 0) | list }}",
    "{{ 'a'.startswith(1) }}", "{% nosuchtag %}", "{{ 1 ? 2 }}", "{{ 1 ~ 2 + 3 }}",
]


def white_space_cases(count):
    """Random templates of text, line breaks and tags with all signs: trimming has many small cases."""
    rng = random.Random(20261121)

    def tag():
        kind = rng.choice(["set", "if", "output", "comment"])
        begin, end = rng.choice(["", "", "-", "+"]), rng.choice(["", "", "-", "+"])
        if kind == "output":
            return "{{" + begin.replace("+", "") + " 'v' " + end.replace("+", "") + "}}"
        if kind == "comment":
            return "{#" + begin + " c " + end + "#}"
        if kind == "set":
            return "{%" + begin + " set q = 1 " + end + "%}"
        return "{%" + begin + " if true " + end + "%}" + text() + "{%" + end + " endif " + begin + "%}"

    def text():
        atoms = [" ", "  ", "\n", "\n", "\t", "x", "\n\n", " y ", "\r\n"]
        return "".join(rng.choice(atoms) for _ in range(rng.randint(0, 4)))

    return ["".join(text() + tag() for _ in range(rng.randint(1, 5))) + text() for _ in range(count)]


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def render(env, template, messages, prompt):
    return env.from_string(template).render(messages=messages, add_generation_prompt=prompt, bos_token=BOS,
                                            eos_token=EOS, tools=None, documents=None)


def render_or_none(env, template, messages, prompt):
    try:
        return render(env, template, messages, prompt)
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, ZeroDivisionError, AttributeError,
            SyntaxError):
        return None  # our renderer must refuse as well


def main():
    env = environment()
    real = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    cases = []
    for name, template in TEMPLATES.items():
        for c, messages in enumerate(CONVERSATIONS):
            for prompt in (False, True):
                cases.append({"template": template, "conversation": c, "prompt": prompt})
    for template in ["{{ " + e + " }}" for e in EXPRESSIONS] + STATEMENTS + white_space_cases(150):
        cases.append({"template": template, "conversation": 2, "prompt": True})
    for case in cases:
        case["text"] = render_or_none(env, case["template"], CONVERSATIONS[case["conversation"]],
        case["prompt"])
    refused = [c["template"] for c in cases if c["text"] is None and c["template"] not in TEMPLATES.values()]
    assert not refused, refused
    for template in FAILURES:
        assert render_or_none(env, template, CONVERSATIONS[2], True) is None, template
        cases.append({"template": template, "conversation": 2, "prompt": True, "text": None})
    golden = {
        "made_by": {"jinja2": jinja2.__version__, "script": "tests/golden/make_chat_template_golden.py"},
        "bos": BOS, "eos": EOS, "conversations": CONVERSATIONS,
        "real": [{"conversation": c, "prompt": p, "text": render(env, real, CONVERSATIONS[c], p)}
                 for c in range(len(CONVERSATIONS)) for p in (False, True)],
    }
    # Long templates stand once; cases name them by number.
    templates = list(dict.fromkeys(c["template"] for c in cases))
    for case in cases:
        case["template"] = templates.index(case["template"])
    out = pathlib.Path(__file__).with_name("chat_templates.json")
    lines = [f'"templates": [\n' + ",\n".join(map(json.dumps, templates)) + "\n]",
             f'"cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]"]
    out.write_text(json.dumps(golden)[:-1] + ",\n" + ",\n".join(lines) + "\n}\n")
    print(f"{out}: {len(cases)} cases, {out.stat().st_size} bytes")


main()
