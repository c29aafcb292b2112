#!/usr/bin/env python3
"""Renders random templates with jinja2, set up as transformers sets it up, and with ours, and shows what differs.

    python3 -m venv venv && venv/bin/pip install transformers jinja2
    ninja -C build ebb-render-templates
    venv/bin/python tests/fuzz/compare_templates.py [--count 20000] [--seed 1] [--renderer PROGRAM]

Where jinja2 gives text, ours must give the same or say "unsupported"; where it raises, ours must refuse.
Text that names Python's objects is not compared. Exits 1 when something differs; each difference is printed. Some
twenty in 100 000 differ by design: what jinja2 never comes to look at (a test without its argument in a branch that is
not taken, an argument of a wrong type for no elements) is refused here; ranges have no methods; and parts of text that
was marked safe are not marked themselves. Nor does ours hide a name of the request in loops that stand before a `set`
of it.
"""
import argparse
import datetime
import json
import random
import re
import signal
import subprocess
import sys

import transformers.utils.chat_template_utils as templating

SECONDS_MAX = 1  # for one template: macros that call themselves twice take long to fail
NOW = (2026, 3, 7, 9, 5, 3)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = [
    {"role": "system", "content": "  Be brief.\n"},
    {"role": "user", "content": "Hi, \"there\"? <b>it's</b> äöÜß\u00a0\u2028日本語🙂\t"},
    {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"x": [1, 2.5, None]}}}]},
    {"role": "tool", "content": "{\"a\": 1}", "name": "f"},
    {"role": "user", "content": [{"type": "text", "text": "a-b"}, {"type": "text", "text": ""}]},
]
TOOLS = [{"function": {"name": "f", "parameters": {"properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}}},
         {"function": {"name": "G", "n": 3, "flag": True}}]
KWARGS = {"s": "Hello World", "n": 7, "x": -2.5, "t": True, "u": None, "l": [3, 1, 2, 1], "w": ["b", "A", "a", "ä"],
          "d": {"k": "v", "B": 2, "a": [1]}, "e": [], "z": ""}

VARIABLES = list(KWARGS) + ["v", "v2", "messages", "tools", "missing", "bos_token", "add_generation_prompt"]
STRINGS = [
    "'a'", "'b c'", '"x,y,,z"', "''", "' pad '", "'é日🙂'", "'A-b_C'", "'\\n'", "'<&>'", "'12'", "'3.5'", "'user'",
    "'%'",
]
NUMBERS = [
    "0", "1", "2", "3", "-1", "7", "1.5", "0.0", "2.0", "1e3", "10", "100",
]
KEYS = [
    "role", "content", "k", "B", "nope", "items", "name", "function", "tool_calls", "type", "text", "get", "id",
    "values",
]
FILTERS = [
    "trim", "upper", "lower", "capitalize", "title", "length", "count", "first", "last", "list", "string", "int",
    "float", "abs", "round", "reverse | list", "sort", "unique | list", "join", "tojson", "items | list", "dictsort",
    "sum", "min", "max", "safe", "escape", "default", "indent", "select | list", "reject | list", "center",
]
# {}: any expression; {n}: a number; {a}: the name of an attribute; {f}: of a filter or test.
FILTERS_1 = [
    "join({})", "default({})", "default({}, true)", "replace({}, {})", "round({n})", "int({})", "batch({n}) | list",
    "slice({n}) | list", "map({f}) | list", "select({f}, {}) | list", "reject({f}) | list", "trim({})",
    "indent({n}, true)", "sort(reverse={n})", "tojson(indent={n})", "tojson(ensure_ascii={})",
    "map(attribute={a}) | list", "selectattr({a}) | list", "rejectattr({a}, 'defined') | list", "sort(attribute={a})",
    "sort(case_sensitive={})", "selectattr({a}, 'equalto', {}) | list", "truncate({n})", "center({n})",
    "unique(attribute={a}) | list", "sum({a})", "sum(start={n})", "dictsort(by='value')",
    "dictsort(true, reverse={n})", "max(attribute={a})", "min(true)", "tojson(separators=({s}, {s}))",
    "tojson(sort_keys={})", "map('default', {}) | list", "map(attribute={a}, default={}) | list",
]
METHODS = [
    "strip()", "lstrip()", "rstrip()", "upper()", "lower()", "title()", "capitalize()", "split()", "split({s})",
    "rsplit({s}, 1)", "split({s}, {n})", "splitlines()", "startswith({})", "endswith({s})", "replace({s}, {})",
    "find({s})", "count({})", "join({})", "strip({s})", "partition({s})", "items()", "keys()", "values()", "get({})",
    "get({}, {})", "index({})", "isdigit()", "zfill({n})", "ljust({n})", "center({n}, {s})", "removeprefix({})",
    "copy()", "isupper()", "append({})", "pop({})", "format({})", "rfind({s})", "isspace()",
]
TESTS = [
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence",
    "iterable", "true", "false", "odd", "even", "callable", "upper", "lower", "eq {}", "ne {}", "lt {}", "gt({})",
    "le({})", "ge {}", "in {}", "divisibleby {}", "sameas none", "equalto({})", "escaped",
]
ATTRIBUTES = [
    "'role'", "'content'", "'function.name'", "'type'", "0", "'0'", "'function.parameters.properties'", "'nope'",
]
INNER = [
    "'upper'", "'length'", "'string'", "'odd'", "'defined'", "'eq'", "'in'", "'trim'", "'tojson'", "'int'", "'lt'",
    "'first'",
]
BINARY = [
    "+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or", "~",
]
SPACES = [
    "", " ", "\n", "  ", "\n\n", "\t", " x ", "y", "\u00a0", "\r\n", "text",
]


class Maker:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, options):
        return self.rng.choice(options)

    def fill(self, pattern, depth):
        makers = {
            "{}": lambda: self.expression(depth - 2), "{n}": lambda: self.pick(["1", "2", "3", "10", "true"]),
            "{s}": lambda: self.pick(STRINGS), "{a}": lambda: self.pick(ATTRIBUTES), "{f}": lambda: self.pick(INNER),
        }
        return re.sub(r"\{[nsaf]?\}", lambda match: makers[match[0]](), pattern)

    def leaf(self):
        kind = self.rng.random()
        if kind < 0.45:
            return self.pick(VARIABLES)
        if kind < 0.75:
            return self.pick(STRINGS)
        return self.pick(NUMBERS if kind < 0.93 else ["true", "none", "[]", "{}"])

    def expression(self, depth):
        if depth <= 0:
            return self.leaf()
        deeper = lambda: self.expression(depth - 1)
        makers = [
            lambda: f"{deeper()} {self.pick(BINARY)} {deeper()}",
            lambda: f"({deeper()} {self.pick(BINARY)} {deeper()})",
            lambda: f"{deeper()} | {self.pick(FILTERS)}",
            lambda: f"{deeper()} | {self.fill(self.pick(FILTERS_1), depth)}",
            lambda: f"({deeper()}).{self.fill(self.pick(METHODS), depth)}",
            lambda: f"{self.leaf()}.{self.fill(self.pick(METHODS), depth)}",
            lambda: f"(({deeper()}) is {self.pick(['', '', 'not '])}{self.fill(self.pick(TESTS), depth)})",
            lambda: f"({self.leaf()} is {self.fill(self.pick(TESTS), depth)})",
            lambda: f"{self.pick(VARIABLES)}.{self.pick(KEYS)}",
            lambda: f"{self.pick(VARIABLES)}['{self.pick(KEYS)}']",
            lambda: "messages[" + self.pick(["0", "1", "2", "-1", "9"]) + "]"
            + self.pick([".content", ".role", "", ".tool_calls[0]"]),
            lambda: f"({deeper()})[{self.expression(depth - 2)}]",
            lambda: self.pick(["s", "l", "w", "messages", "z", "tools"]) + "[" + self.pick(["", "1", "-2", "9"]) + ":"
            + self.pick(["", "2", "-1"]) + self.pick(["", ":2", ":-1"]) + "]",
            lambda: f"[{deeper()}, {deeper()}]",
            lambda: f"({deeper()}, {deeper()})",
            lambda: "{'p': " + deeper() + ", 'q': " + deeper() + "}",
            lambda: f"({deeper()} if {deeper()} else {deeper()})",
            lambda: f"({deeper()} if {deeper()})",
            lambda: f"not {deeper()}",
            lambda: f"-({deeper()})",
            lambda: f"range({self.pick(['3', '1, 4', '5, 0, -2', '0'])})",
            lambda: f"{self.pick(['ns', 'ns2'])}.{self.pick(['a', 'b'])}",
            lambda: f"loop.{self.pick(['index', 'first', 'last', 'length', 'previtem', 'nextitem', 'revindex0'])}",
            lambda: f"m({deeper()})",
            lambda: f"m(y={deeper()}, x={deeper()})",
            lambda: f"dict(a={deeper()})",
            lambda: f"{deeper()} ~ {deeper()} ~ {deeper()}",
        ]
        return self.pick(makers)()

    def tag(self, inside):
        begin, end = self.pick(["", "", "-", "+"]), self.pick(["", "", "-", "+"])
        return "{%" + begin + " " + inside + " " + end + "%}"

    def output(self, depth):
        begin, end = self.pick(["", "-"]), self.pick(["", "-"])
        return "{{" + begin + " " + self.expression(depth) + " " + end + "}}"

    def body(self, depth):
        parts = [self.pick(SPACES) + self.statement(depth) for _ in range(self.rng.randint(1, 3))]
        return "".join(parts) + self.pick(SPACES)

    def statement(self, depth):
        if depth <= 0:
            return self.output(self.rng.randint(0, 3))
        t, inner, e = self.tag, lambda: self.body(depth - 1), lambda: self.expression(self.rng.randint(0, 2))
        makers = [
            lambda: self.output(3), lambda: self.output(2), lambda: self.output(3),
            lambda: t("set " + self.pick(["v", "v2"]) + " = " + e()),
            lambda: t("set ns." + self.pick(["a", "b"]) + " = " + e()),
            lambda: t("set v") + inner() + t("endset"),
            lambda: t("set v | " + self.pick(FILTERS)) + inner() + t("endset"),
            lambda: t("if " + e()) + inner() + t("endif"),
            lambda: t("if " + e()) + inner() + t("elif " + e()) + inner() + t("else") + inner() + t("endif"),
            lambda: t("for i in " + e()) + inner() + t("endfor"),
            lambda: t("for message in messages") + inner() + t("if " + e()) + t(self.pick(["break", "continue"]))
            + t("endif") + inner() + t("endfor"),
            lambda: t("for i in " + e() + " if " + e()) + inner() + t("else") + inner() + t("endfor"),
            lambda: t("for k, v in " + self.pick(["d.items()", "d | dictsort", "d | items"])) + inner() + t("endfor"),
            lambda: t("macro m(x, y=" + e() + ")") + inner() + t("endmacro"),
            lambda: t("call m(" + e() + ")") + inner() + t("endcall"),
            lambda: t("with v = " + e()) + inner() + t("endwith"),
            lambda: t("filter " + self.pick(FILTERS)) + inner() + t("endfilter"),
            lambda: t("generation") + inner() + t("endgeneration"),
            lambda: "{#" + self.pick(["", "-", "+"]) + " note " + self.pick(["", "-", "+"]) + "#}",
            lambda: "{% raw" + self.pick([" ", " -", "-"]) + "%}" + self.pick(SPACES) + "{{ x }}" + self.pick(SPACES)
            + t("endraw"),
        ]
        return self.pick(makers)()

    def template(self):
        kind = self.rng.random()
        if kind < 0.45:
            return "{{ " + self.expression(self.rng.randint(1, 3)) + " }}"
        names = "{% set ns = namespace(a=1) %}{% macro m(x='', y=2) %}[{{ x }}{{ y }}]{% endmacro %}"
        head = names if kind < 0.9 else ""
        return head + self.body(self.rng.randint(0, 3))


class FrozenTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*NOW)


class TookTooLong(BaseException):
    pass


def give_up(signum, frame):
    raise TookTooLong()


def rendered(template):
    """The text; None where jinja2 raises, and ... where it does not end."""
    variables = {**SPECIAL, **KWARGS, "messages": MESSAGES, "tools": TOOLS, "documents": None,
                 "add_generation_prompt": True}
    signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX)
    try:
        return templating._compile_jinja_template(template).render(**json.loads(json.dumps(variables)))
    except TookTooLong:
        return ...
    except Exception:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# Objects that Python prints by address or by its own names.
OBJECTS = re.compile(r"0x[0-9a-f]{6,}|<(built-in|bound|generator|Macro|function|class|Namespace|TemplateDict)"
                     r"|<LoopContext|dict_(items|keys|values)\(|range\(|LoopContext|method|Undefined")


def differs(template, wanted, answer):
    """What is wrong with the answer; None: nothing."""
    if wanted is ... or wanted is not None and OBJECTS.search(wanted):
        return None
    if "error" in answer:
        if wanted is None or answer["error"].startswith("unsupported"):
            return None
        return f"ours: {answer['error']}\nwanted: {wanted!r}"
    if wanted is None:
        return f"ours: {answer['text']!r}\nwanted: an error"
    if wanted == answer["text"]:
        return None
    return f"ours: {answer['text']!r}\nwanted: {wanted!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--renderer", default="build/bin/ebb-render-templates")
    options = parser.parse_args()
    sys.setrecursionlimit(400)
    signal.signal(signal.SIGALRM, give_up)
    templating.datetime = FrozenTime
    maker = Maker(random.Random(options.seed))
    templates = [maker.template() for _ in range(options.count)]
    given = {"messages": MESSAGES, "tools": TOOLS, "kwargs": KWARGS}
    lines = "\n".join(json.dumps({"template": t, "input": given, "special": SPECIAL, "now": NOW}) for t in templates)
    run = subprocess.run([options.renderer], input=lines + "\n", capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in run.stdout.split("\n")[:-1]]
    assert len(answers) == len(templates)
    found = texts = unsupported = 0
    for template, answer in zip(templates, answers):
        wanted = rendered(template)
        texts += isinstance(wanted, str)
        unsupported += isinstance(wanted, str) and answer.get("error", "").startswith("unsupported")
        if wrong := differs(template, wanted, answer):
            found += 1
            print(f"{template!r}\n{wrong}\n")
    print(f"{len(templates)} templates, {texts} with text of which {unsupported} are unsupported here; {found} differ")
    return 1 if found else 0


sys.exit(main())
