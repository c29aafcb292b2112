#!/usr/bin/env python3
"""Writes template_expressions.json: small templates, one for each thing that templates can say, and what jinja2
makes of them, set up as transformers sets it up. null stands where it raises. By hand, when the cases change:

    python3 -m venv venv && venv/bin/pip install transformers jinja2
    venv/bin/python tests/golden/make_template_expressions.py
"""
import datetime
import json
import pathlib
import random
import sys

import jinja2
import transformers
import transformers.utils.chat_template_utils as templating

NOW = (2026, 3, 7, 9, 5, 3)
VARIABLES = {
    "bos_token": "<s>", "eos_token": "</s>", "documents": None, "add_generation_prompt": True,
    "messages": [
        {"role": "system", "content": "  Be brief.\n"},
        {"role": "user", "content": "Hi there"},
        {"role": "assistant", "content": "Hällo <b>you</b>", "tool_calls": [{"id": "c1", "name": "f"}]},
        {"role": "user", "content": [{"type": "text", "text": "Und"}, {"type": "text", "text": "für 日本語 🙂?"}]},
    ],
    "tools": [{"name": "Zoo", "n": 2, "tags": ["x", "y"]}, {"name": "apple", "n": 10, "tags": []},
              {"name": "Berry", "n": 1, "tags": ["x"], "inner": {"deep": [True, None]}}],
    "d": {"b": 1, "A": "two", "c": None, "items": 5}, "e": {}, "empty": [], "zero": 0, "pi": 3.14159,
    "text": "The quick, brown\n fox\n\njumps", "numbers": [3, 1, 2, 1], "words": ["b", "A", "a", "C"],
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

# printf-style formatting, as a filter and as an operator.
EXPRESSIONS += [
    "'%s, %s!' | format('Hi', 3)", "'%s' | format(none) ~ '%s' | format(1.0)", "'%r' | format('it\\'s')",
    "'%%' | format",
    "'%d %i %u' | format(1, 2.9, true)", "'%5d|%-5d|%05d|%+d|% d' | format(42, 42, 42, 42, 42)", "'%d' | format(-7)",
    "'%05d|%+.3d|%x|%X|%o' | format(-42, 7, 255, 255, 8)", "'%x' | format(-255)", "'%.2f|%8.3f|%-8.1f|%08.2f' | "
    "format(3.14159, 2, 1.25, -1.5)", "'%e|%E|%g|%G' | format(12345.678, 0.00012, 1e20, 0.5)", "'%f' | format(1e300)",
    "'%5s|%-5s|%.2s|%05s' | format('äö', 'äö', 'äöü', 'x')", "'%(a)s-%(b)03d' | format(a='x', b=5)",
    "'%s' | format([1])",
    "'%g %f %5.1f' | format(-0.0, true, 0.05)", "'%ld %hd' | format(1, 2)", "'é%s日' | format('🙂')", "'' | format",
    "'%s' % 'x'", "'%s-%s' % (1, 2)", "'%(k)s' % {'k': 5}", "'a' % []", "'a' % {}", "'%s' % [1, 2]", "'%s' % none",
    "5 | format", "'%.0f %.0f' % (0.5, 1.5)", "'%+5.1f%%' % 12.34", "7 % 4 ~ '%d' % 7", "'%s' % missing | default('x')",
    "'%.3s|%10.4r' % ('abcdef', 'abcdef')", "'%s' % '%s'",
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


# One expression a line.
EXPRESSIONS += r"""
missing ~ '|'
missing | upper ~ missing | trim ~ missing | replace('a', 'b') ~ '.'
missing | length
missing | list
missing | join(',') ~ missing | first ~ missing | last ~ '.'
missing == other_missing
'a' in missing
missing in [missing]
missing is sequence, missing is iterable, missing is string, missing is mapping
('x' if 0) ~ '.'
messages[0].nothing ~ '.'
(d.nothing.x is defined) if (d.nothing is defined) else 'guarded'
d['items'], d['A'], d['get'] is callable, d.items is callable, d['nope'] is defined
d.update is defined, d.pop is defined, d.copy() == d
d.items() | list, d.keys() | list, d.values() | list
d.items()[0] is defined, d.keys()[0] is defined, d.keys() | first, d.values() | last
d.items() | length, e.items() | length, 'yes' if e.items() else 'no'
d | length, d | list, d | first, d | last
'b' in d, 'z' in d, 1 in d
dict(a=1, b=[2]), dict({'x': 1}, y=2), dict([('p', 1), ('q', 2)]), dict()
{'a': {'b': [1, {'c': none}]}}['a'].b[1].c is none
{} == e, {'a': 1, 'b': 2} == {'b': 2, 'a': 1}, {'a': 1} == {'a': 2}
[1, [2, 3]] == [1, [2, 3]], [1] == (1,), (1, 2) == (1, 2)
messages[0] == messages[0], messages[0] == messages[1], messages[1] in messages
1 == 1.0, 1 == true, 0.1 + 0.2 == 0.3, 'a' == 1, none == 0, 9007199254740993 == 9007199254740992.0
[1, 2] < [1, 3], (1, 'b') > (1, 'a'), 'Z' < 'a', 1.5 < 2, true < 2, [] < [0]
1, 2
(1, 2), (1,), ()
[1, 'a', "it's", 'q"q', none, true, 1.5, [], {}, (), {'k': 'v'}]
['tab\t', 'nl\n', 'back\\slash', "both'\"", 'é', '日本', '🙂', '\x07', '\u200b', '\xa0', '\u2028', '\x7f', '\U000e0001']
['a'] ~ {'b': 'c'}
messages[3].content
messages[3].content | string
tools[0]
numbers[::-1], numbers[1:3], numbers[-1], numbers[:-1], numbers[5:], numbers[::2], numbers[-2::-1], numbers[3:0:-1]
(1, 2, 3)[1:], 'abc'[::-1], 'häß'[1:], ''[0:5], 'abc'[true], [4, 5][true]
range(3)[1], range(5)[1:3] | list, range(0) | list, range(3) | length, range(3) is sequence, 2 in range(3)
range(2, 8, 3) | list, range(3, 0, -1) | list, range(true) | list
numbers | reverse | list, 'abc' | reverse, (numbers | reverse)[0] is defined, d | reverse | list
numbers | map('string') | reverse | list
(numbers | map('string'))[0] is defined, numbers | map('string') is iterable, numbers | map('string') is sequence
'yes' if numbers | select('gt', 99) else 'no', 'yes' if numbers | select('gt', 99) | list else 'no'
7 // 2, -7 // 2, 7 // -2, 7 % 3, -7 % 3, 7 % -3, 0 % 5, -6 % 3
7.5 // 2, -7.5 // 2, 7.5 % 2, -7.5 % 2, 6.0 % -3, -6.0 % 3, 0.0 // -3, -0.0 % 5, 1e300 * 10, 5 % 2.5
1e3, 1.5e-7, 2E2, 1_000, 1_0.2_5, 0, 00, 1e16, 123456789012345680.0, 1e22, 0.0001, 0.00001, -0.0
7 / 2, 6 / 3, 1 / 3, -1 / 2, 2 * 3.0, 2 - 0.5, 1 + true, true + true
[1] + [2], (1,) + (2,), [0] * 3, 2 * [1, 'a'], 'ab' * 2, 'ab' * 0, 'ab' * -1
-(1), +true, -true, - -3, -2 | abs, -3.5 | abs, true | abs
'a' ~ 1 ~ 2.0 ~ none ~ [1] ~ {}
1 < 2 < 3, 3 > 2 > 2, 1 < 3 > 2, 1 == 1 != 2, 'a' in 'abc' in ['abc']
not 1, not '', not [], not none, not missing, not {}, not 0.0
1 and 2, 0 and 2, none or 'x', '' or [] or 'last', 1 or missing.x
1 if true, 'a' if false else 'b' if false else 'c'
text | upper, text | lower, text | capitalize, text | title
'éÀß ǆ ŉ ﬁ' | upper, 'ÉÀẞ İ' | lower, 'ǆabC' | capitalize, 'straße-bahn (neu) [alt] <x> {y}' | title
'hELLO wORLD'.title(), "they're".title(), 'ab12cd'.title(), 'éa'.upper(), 'ÀB'.lower(), 'àB'.capitalize()
'x'.upper().lower().strip().split() | first
'  a b  '.strip(), '  a b  '.lstrip() ~ '.', '  a b  '.rstrip() ~ '.', 'xxaxx'.strip('x'), 'abcba'.strip('ab')
'a,b,,c'.split(','), 'a,b,,c'.split(',', 1), 'a,b,,c'.rsplit(',', 1), ' a  b '.split(), ' a  b '.rsplit(none, 1)
'a,b,c'.split(sep=',', maxsplit=1), ''.split(), ''.split(','), ''.rsplit(), 'a\x1cb\u2003c'.split()
'a\nb\r\nc\rd\x0be\u2028f\n'.splitlines(), ''.splitlines(), '\n'.splitlines()
'key=value=x'.partition('='), 'key=value=x'.rpartition('='), 'none'.partition('='), 'none'.rpartition('=')
'abcabc'.find('c'), 'abcabc'.rfind('c'), 'abc'.find('z'), 'äbc'.find('c'), 'abc'.index('b'), 'abcb'.rindex('b')
'banana'.count('an'), 'banana'.count(''), 'a'.count('b'), [1, 2, 1].count(1), [1, 2].index(2), (1, 1).count(1)
'abc'.startswith('a'), 'abc'.startswith(('x', 'a')), 'abc'.endswith(('c',)), 'abc'.endswith(('x', 'y'))
'abc'.startswith(())
'abc'.removeprefix('a'), 'abc'.removesuffix('c'), 'abc'.removeprefix('x')
'aXbXc'.replace('X', '--'), 'aXbXc'.replace('X', '-', 1), 'ab'.replace('', '.'), ''.replace('', 'x')
'ab'.replace('', '.', 2)
'a' | replace('a', 1), 12321 | replace(2, 'x'), 'aaa' | replace('a', 'b', 2), 'ab' | replace('', '-')
'-'.join(['a', 'b']), ''.join('abc'), ', '.join(d), 'x'.join([])
'7'.zfill(3), '-7'.zfill(4), 'abc'.zfill(2), 'a'.ljust(3) ~ '.', 'a'.rjust(3, '*'), 'ab'.center(5, '-'), 'ab'.center(6)
'12'.isdigit(), 'a1'.isdigit(), ''.isdigit(), 'ab'.isalpha(), 'a1'.isalnum(), ' \n'.isspace(), 'AB1'.isupper()
'ab1'.islower(), '1'.isupper()
'abc' | center(9) ~ '.', 'abcd' | center(9) ~ '.', 'ab' | center(1), 'x' | center | length
'a\nb\n\nc' | indent, 'a\nb\n\nc' | indent(2, true), 'a\nb\n\nc\n' | indent(width=3, blank=true)
'a\nb' | indent('> '), '' | indent(first=true)
'the quick brown fox' | truncate(10), 'the quick brown fox' | truncate(10, true), 'short' | truncate(3)
'the quick brown fox' | truncate(9, false, '..', 0), 'nospacesatall' | truncate(5, leeway=0)
'xxaxx' | trim('x'), ' \t a \n' | trim, 42 | trim, none | trim
'a' | string, 1 | string, 1.0 | string, none | string, [1] | string, true | string
'<b>' | safe, '<b>' | escape, '<b>' | e ~ '<i>', '<b>' | safe | escape, 'plain' | safe + 'text', ('<b>' | safe) | length
'<b>' | escape is escaped, '<b>' is escaped, "'\"&" | e
'42' | int, '42.9' | int, 'x' | int, 'x' | int(7), ' 1_000 ' | int, '-5' | int, '+5' | int, 3.99 | int, -3.99 | int
true | int, none | int, [] | int(default=9), '' | int
'1.5' | float, 'x' | float, 'x' | float(2.5), 1 | float, 'inf' | float, '-nan' | float, ' 1e3 ' | float
'1_0.5' | float, none | float, true | float
2.5 | round, 3.5 | round, 2.675 | round(2), 1.005 | round(2), 7 | round, 7 | round(1), 2.4 | round(method='ceil')
2.6 | round(0, 'floor'), 1.234 | round(2, 'ceil'), -2.5 | round, 1234.5 | round(-2)
[1, 2, 3] | sum, [1.5, 2] | sum, [] | sum, tools | sum(attribute='n'), [[1], [2]] | sum(start=[]), [1] | sum(start=10)
numbers | min, numbers | max, words | min, words | max, words | max(case_sensitive=true), [] | min ~ '.'
tools | max(attribute='n'), [1.5, 1] | min
numbers | sort, numbers | sort(reverse=true), words | sort, words | sort(case_sensitive=true), words | sort(true)
tools | sort(attribute='name') | map(attribute='name') | list
tools | sort(attribute='n', reverse=true) | map(attribute='n') | list
tools | sort(attribute='inner.deep.0,n') | map(attribute='n') | list if false else 'skip'
[[2, 'a'], [1, 'b']] | sort, [(1, 'b'), (1, 'a')] | sort, d.keys() | sort, 'hello' | sort, {'b': 1, 'a': 2} | sort
d | dictsort, d | dictsort(true), d | dictsort(reverse=true), {'x': 2, 'y': 1} | dictsort(by='value')
{'x': 2, 'y': 1} | dictsort(false, 'value')
numbers | unique | list, words | unique | list, words | unique(true) | list
tools | unique(attribute='tags.0') | map(attribute='name') | list, [1, 1.0, true, '1'] | unique | list
tools | map(attribute='name') | list, tools[2:] | map(attribute='inner.deep.0') | list
tools | map(attribute='inner.deep', default='-') | list, tools | map(attribute='tags.1') | join('|')
words | map('upper') | join, numbers | map('string') | map('replace', '1', 'one') | list
[' a '] | map('trim') | list, [[1, 2]] | map('first') | list, words | map('default', 'x') | list
[none, 1] | map('tojson') | list
numbers | select('odd') | list, numbers | reject('odd') | list, numbers | select('gt', 1) | list
numbers | select('in', [1, 3]) | list, [0, 1, '', 'a', none] | select | list, [0, 1, ''] | reject | list
messages | selectattr('role', 'equalto', 'user') | list | length, messages | selectattr('tool_calls') | list | length
messages | rejectattr('tool_calls', 'defined') | map(attribute='role') | join(',')
messages | selectattr('role', 'in', ['user', 'system']) | map(attribute='role') | list
messages | selectattr('role', '==', 'user') | first | length
messages | selectattr('content', 'string') | list | length
messages | rejectattr('role', 'ne', 'system') | list | length
tools | selectattr('n', '>=', 2) | map(attribute='n') | list, tools | selectattr('tags.0', 'eq', 'x') | list | length
numbers | batch(3) | list, numbers | batch(3, 'x') | list, [] | batch(2) | list, numbers | slice(3) | list
numbers | slice(3, '-') | list
numbers | first, numbers | last, [] | first ~ '.', [] | last ~ '.', 'abc' | first, 'abc' | last, range(3) | last
d.values() | first
numbers | join, numbers | join(', '), tools | join('-', attribute='name'), tools | join(attribute='n', d='+')
[none, true, 1.0, 'x'] | join(' ')
'abc' | list, d | list, (1, 2) | list, d | items | list, missing | items | list
'' | default('x'), '' | default('x', true), 0 | default(5, boolean=true), missing | default, missing | d('y')
d.nope | default({}) | length, missing | default(none) is none
d | tojson, tools | tojson, {'a': (1, 2), 'b': 1.0, 'c': 1e100, 'é': '\x01"\\/\u2028🙂'} | tojson
tools | tojson(indent=2)
{'b': [], 'a': {}, 'c': [[]]} | tojson(indent=1, sort_keys=true)
{'é': '日🙂\x7f', 'b': [1, 2]} | tojson(ensure_ascii=true)
[1, {'a': 2}] | tojson(separators=(',', ':')), [1, {'a': 2}] | tojson(true, none, (';', '='))
[1] | tojson(indent='\t'), [1, [2]] | tojson(indent=0), [1, 2] | tojson(indent=2, separators=(', ', ': '))
1 | tojson, 'a' | tojson, none | tojson, true | tojson, 1.5 | tojson, ('<' | safe) | tojson
1 is odd, 2 is even, 4 is divisibleby 2, 5 is divisibleby(3), 2.0 is even, true is odd
1 is number, 1.0 is number, true is number, '1' is number, 1 is integer, true is integer, 1.0 is float
true is boolean, 1 is boolean
none is none, missing is none, 0 is none, 'a' is string, 1 is string, ('a' | safe) is string
{} is mapping, [] is mapping, [] is sequence, 'a' is sequence, {} is sequence, 1 is sequence, d.items() is sequence
(numbers | map('abs')) is sequence
[] is iterable, 1 is iterable, d.items() is iterable, none is iterable, 'a' is iterable
range is callable, 1 is callable, 'a'.upper is callable, missing is callable, namespace is callable
1 is eq 1, 1 is ne(2), 1 is lt 2, 2 is le 2, 3 is gt 2, 3 is ge 4, 1 is lessthan 2, 3 is greaterthan 2
'a' is in 'abc', 1 is in [1], 1 is not in [1]
none is sameas none, true is sameas true, false is sameas true, 1 is sameas true
'AB' is upper, 'ab' is lower, 'Ab' is upper, 'upper' is filter, 'nope' is filter, 'odd' is test
true is true, 1 is true, false is false, none is false, x is undefined
not 1 is eq 2, 1 is not eq 2, 1 is eq 1 and 2 is eq 2, (1 is eq 1) is true, 'a' is string and 'b'
1 is defined | string, 1 + 2 is eq 3 if true
strftime_now('%d %b %Y'), strftime_now('%A, %B %-d, %H:%M:%S'), strftime_now('%Y-%m-%dT%H:%M:%S.%f%z')
strftime_now('%j %U %w %y %I %p %%'), strftime_now(''), strftime_now('é'), strftime_now('%e|%a|%c|%x|%X|%F|%T')
raise_exception is defined, strftime_now is defined, nobody_here is defined, namespace is defined, range is defined
'%' ~ '}}' ~ '{{' ~ '#}' ~ "%}"
'a' 'b' "c", 'it\'s', "q\"q", 'a\\b', '\x41\u00e9\U0001f642\101', 'un\known\d', 'line \
continued'
(1 if true else 2) + 1, [1 if true else 2][0], {'a': 1 if false else 2}.a
text.split('\n') | map('trim') | select | list, text | trim | replace('\n', ' ') | upper
(text | lower).split()[0].title()
messages[0]['content'][2:4] ~ messages[1].role[0] | upper, messages | map(attribute='role') | unique | sort | join
messages[-1].content[1]['text'], messages[3].content | map(attribute='text') | join(' ')
messages[2].tool_calls[0].id[0]
""".strip("\n").replace("line \\\ncontinued", "line continued").split("\n")

# One template each.
STATEMENTS += [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}"
    "{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem.role if not loop.first }}"
    "{{ loop.nextitem is defined }}|{% endfor %}",
    "{% for a in [1, 2] %}{% for b in [3] %}{{ loop.depth }}{{ loop.depth0 }}{{ a }}{{ b }}{% endfor %}{{ loop.index }}"
    "{% endfor %}",
    "{% for i in range(5) %}{{ loop.cycle('a', 'b') }}{% endfor %}{% for i in missing %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in d | dictsort %}{{ k }}{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for (a,) in [(1,)] %}{{ a }}{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}{% for x in numbers | sort if x > 1 %}{{ loop.index }}{{ x }}"
    "{% endfor %}",
    "{% for x in numbers if x > 99 %}x{% else %}none{% endfor %}{% for x in d %}{{ x }}{% endfor %}",
    "{% set it = numbers | map('string') %}{{ it | first }}{% for x in it %}{{ x }}{% break %}{% endfor %}"
    "{{ it | list }}"
    "{{ it | list }}",
    "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in [1, 2, 3] %}{% for y in [1, 2] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}"
    "{% endfor %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set a, b = b, a %}{{ a }}{{ b }}{% set (p, q) = [3, 4] %}{{ p }}{{ q }}"
    "{% set t = 1, 2 %}{{ t }}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 9 %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% if false %}{% set y = 3 %}{% endif %}{{ y }}",
    "{% set x %} a{{ 1 }}{% for i in [1, 2] %}{{ i }}{% endfor %} {% endset %}[{{ x }}]{{ x is string }}"
    "{{ x | length }}",
    "{% set x | upper | trim %} abc {% endset %}[{{ x }}]{% set ns = namespace() %}{% set ns.y %}b{% endset %}"
    "{{ ns.y }}",
    "{% set x %}{% set inner = 5 %}{{ inner }}{% endset %}{{ x }}{{ inner }}",
    "{% filter upper %}a{{ 'b' }}{% set z = 1 %}{% endfilter %}{{ z }}{% filter replace('a', 'b') | trim %}"
    " aa {% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a }}{{ c }}",
    "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}{% with %}{{ a }}{% endwith %}",
    "{% set ns = namespace(a=1, b='x') %}{{ ns.a }}{{ ns['b'] }}{{ ns.nope is defined }}"
    "{% set ns.a = ns.a + 1 %}{{ ns.a }}",
    "{% set ns = namespace({'p': 1}, q=2) %}{{ ns.p }}{{ ns.q }}{% if ns %}y{% endif %}{{ ns is mapping }}",
    "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% for j in range(2) %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{% endfor %}{{ ns.n }}",
    "{% macro f(a, b=2, c=b) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, 3) }} {{ f(b=4, a=0) }}"
    " {{ f() }}",
    "{% macro f(x) -%} [{{ x }}] {%- endmacro %}{{ f('a') ~ f('b') }}{{ f('c') | upper }}{{ f is callable }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 'a', k=2) }}{% macro g(a) %}"
    "{{ varargs | join(',') }}"
    "{% endmacro %}{{ g(1, 2, 3) }}",
    "{% macro f(x) %}{% set y = x %}{{ y }}{{ outer }}{% endmacro %}{% set outer = 'o' %}{{ f(1) }}{{ y }}",
    "{% set y = 1 %}{% macro f() %}{{ y }}{% set y = 5 %}{{ y }}{% endmacro %}{{ f() }}{{ y }}",
    "{% for i in [1, 2] %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}{{ f is defined }}",
    "{% macro f(title) %}<{{ title }}>{{ caller() }}</{{ title }}>{% endmacro %}{% call f('a') %}in{{ 1 }}"
    "{% endcall %}",
    "{% macro f() %}{{ caller(1, b=2) }}{% endmacro %}{% call(a, b=9) f() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro f() %}{{ 'with' if caller is defined and caller else 'without' }}{% endmacro %}{{ f() }}"
    "{% call f() %}x{% endcall %}",
    "{% macro f(x, y) %}{{ x is defined }}{{ y is defined }}{% endmacro %}{{ f(1) }}",
    "{% macro f(raise_exception) %}{{ raise_exception }}{% endmacro %}{{ f('mine') }}{% set range = 5 %}{{ range }}",
    "a{% generation %}b{% set g = 1 %}{{ messages | length }}{% endgeneration %}c{{ g is defined }}",
    "{% for m in messages %}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}{% endfor %}",
    "{% raw %}{{ x }}{% if %}{# #}{% endraw %}", "a {%- raw -%} {{ b }} {%- endraw -%} c",
    "x\n  {% raw %}\n y\n  {% endraw %}\nz",
    "{%- raw %}\n{% endraw -%}\n x", "{% raw %}{% endraw %}", "{% raw %} a {%+ endraw +%}\nb",
    "{% if 1 %}a{% elif 1/0 %}b{% endif %}", "{% if 0 %}a{% elif 0 %}b{% elif 1 %}c{% else %}d{% endif %}",
    "{% if messages[0].role == 'system' and messages | length > 1 or missing.x %}y{% endif %}",
    "{% if (1, 2) %}y{% endif %}{% if 1, %}z{% endif %}",
    "\u00a0{%- if true %}\u2003x{% endif -%}\u3000y", " \u00a0 {% if true %}x{% endif %}",
    "{{ 'a' }}\u2028 {%- if 1 %}b{% endif %}",
    "{{ [1,2] | map('string') | join('-') }}{%- set x = [] -%}{{ x | length }}",
    "{% set content = messages[2].content.split('<b>')[-1].split('</b>')[0] %}{{ content }}",
    "{% set loop = 5 %}{{ loop }}{% for i in [1] %}{{ loop.index }}{% endfor %}{{ loop }}",
]

FAILURES += [
    "{{ 'a' if x is defined if y else 'b' }}", "{{ missing is defined if missing else 1 }}",
    "{% for a, in [(1,)] %}{% endfor %}",
    "{% raw +%}{% endraw %}", "{{ [{}] | map(attribute='a.b') | list }}",
    "{{ 1 is odd is true }}", "{{ x is defined is true }}", "{% if x is none is not none %}{% endif %}",
    "{{ 1 is eq -1 }}",
    "{{ 1 is eq }}", "{{ 1 is divisibleby }}", "{% if a if b else c %}x{% endif %}", "{{ missing.x.y }}",
    "{{ missing['x'] }}", "{{ missing() }}", "{{ 5() }}", "{{ messages() }}", "{{ missing + 'a' }}",
    "{{ missing[1:] }}",
    "{{ missing < 1 }}", "{{ missing | tojson }}", "{{ missing | int }}", "{{ missing | abs }}",
    "{{ missing in 'abc' }}",
    "{{ [1] < ['a'] }}", "{{ [1] < 2 }}", "{{ none < 1 }}", "{{ [1, 'a'] | sort }}", "{{ [1] + (2,) }}",
    "{{ [1] + 'a' }}",
    "{{ messages.append(1) }}", "{{ d.update({}) }}", "{{ d.pop('b') }}", "{{ [].sort() }}",
    "{{ d.setdefault('x', 1) }}",
    "{{ 'a'.foo() }}", "{{ d.foo() }}", "{{ 5.5.foo() }}", "{{ [1, 2][1:2:0] }}", "{{ text['x':] }}", "{{ d[1:] }}",
    "{{ numbers | map('string') | length }}", "{{ numbers | map('string') | last }}",
    "{{ (numbers | map('abs')) | tojson }}",
    "{{ d.items() | tojson }}", "{{ range(3) | tojson }}", "{{ range(1.5) }}", "{{ range('a') }}", "{{ range() }}",
    "{{ range(1000000) | list }}", "{{ 'abc' | int | foo }}", "{{ numbers | map | list }}",
    "{{ numbers | map('nope') | list }}",
    "{{ numbers | select('nope') | list }}", "{{ messages | selectattr() | list }}",
    "{{ numbers | map(attribute='a', x=1) | list }}",
    "{{ 'a' | replace('a') }}", "{{ 'a' | upper(1) }}", "{{ 'a'.upper(1) }}", "{{ 'a' | default(1, 2, 3) }}",
    "{{ 'a'.split(1) }}",
    "{{ '' .join([1]) }}", "{{ 'abc'.index('z') }}", "{{ [1].index(2) }}", "{{ 'a'.center(5, 'xx') }}",
    "{{ 'x'.startswith(['x']) }}",
    "{{ 5 | length }}", "{{ 5 | list }}", "{{ none | length }}", "{{ 5 | first }}", "{{ 'x' | round }}",
    "{{ 5 | sort }}",
    "{{ 5 | join }}", "{{ [5] | sum(attribute='a') }}", "{{ ['a', 'b'] | sum }}", "{{ 'a' | abs }}", "{{ 'a' is odd }}",
    "{{ 5 | indent }}", "{{ 'a' | truncate(1) }}", "{{ 5 | items | list }}", "{{ 5 | dictsort }}",
    "{{ [{}] | unique | list }}",
    "{{ d | dictsort(by='x') }}", "{{ 5 in 5 }}", "{{ {} in {} }}", "{{ [] in d }}", "{{ 'a' in 5 }}",
    "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% for loop in [1] %}{% endfor %}", "{% for true in [1] %}{% endfor %}", "{% for x.y in [1] %}{% endfor %}",
    "{% set a, b = 1 %}", "{% set a, b = [1] %}", "{% set d.x = 1 %}", "{% set none = 1 %}", "{% set x %}",
    "{% set a, b %}{% endset %}",
    "{% set ns = namespace(_x=1) %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{{ namespace(1) }}",
    "{{ namespace({}, {}) }}",
    "{{ dict(1) }}", "{{ dict([1]) }}", "{{ dict({}, {}) }}",
    "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(b=1) }}",
    "{% macro f(a=1, b) %}{% endmacro %}",
    "{% macro f(a) %}{{ a.x }}{% endmacro %}{{ f() }}", "{% macro f(a) %}{% endmacro %}{{ f(1, a=1) }}",
    "{% macro f() %}{% endmacro %}{% call f() %}x{% endcall %}", "{% call 5 %}{% endcall %}",
    "{% call f %}{% endcall %}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for x in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", "{% macro 5() %}{% endmacro %}",
    "{% macro f %}{% endmacro %}",
    "{% for x in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% endgeneration %}",
    "{% filter nope %}{% endfilter %}", "{% with a %}{% endwith %}", "{% with a = 1 b = 2 %}{% endwith %}",
    "{% raw %}x",
    "{% do x %}", "{% nope %}", "{% else %}", "{% if 1 %}{% else %}{% else %}{% endif %}", "{% if 1 %}{% endfor %}",
    "{{ 'a\\x4' }}", "{{ 'a\\u12' }}", "{{ 1__0 }}", "{{ 0x }}", "{{ 1 2 }}", "{{ a b }}", "{{ (1 }}", "{{ [1 }}",
    "{{ {1: } }}",
    "{{ f(a=1, 2) }}", "{{ f(a=1, a=2) }}", "{{ x. }}", "{{ x[ }}", "{{ x[] }}", "{{ | upper }}", "{{ 'a' | }}",
    "{{ 1 if }}",
    "{{ 1 ? 2 : 3 }}", "{{ a && b }}", "{{ !a }}", "{% if %}{% endif %}", "{% for in x %}{% endfor %}",
    "{% for x in %}{% endfor %}",
    "{{ strftime_now() }}", "{{ strftime_now(1) }}", "{{ raise_exception() }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}",
    "{{ 1.0 // 0 }}",
    "{{ [] | batch }}", "{{ numbers | slice(0) | list }}", "{{ '1' + 1 }}", "{{ 'a' - 'b' }}", "{{ 'a' * 'b' }}",
    "{{ -'a' }}", "{{ -none }}",
    "{{ 'a' % 1 }}", "{{ {} + {} }}", "{{ [1] * [1] }}", "{{ [1] * 1.5 }}", "{{ tools | sum }}", "{{ tools | sort }}",
    "{{ tools | max }}",
]

FAILURES += [
    "{{ '%s' | format }}", "{{ '%s' | format(1, 2) }}", "{{ 'x' | format(1) }}", "{{ '%d' | format('1') }}",
    "{{ '%x' | format(1.5) }}", "{{ '%f' | format('1') }}", "{{ '%' | format(1) }}", "{{ '%y' | format(1) }}",
    "{{ '%(a' | format(a=1) }}", "{{ '%(a)s' | format(b=1) }}", "{{ '%(a)s' | format(1) }}", "{{ '%s %s' % 1 }}",
    "{{ '%s' % (1, 2) }}", "{{ '%d' % none }}", "{{ '%s' | format(1, a=2) }}", "{{ '%5' % 1 }}", "{{ '%.' % 1 }}",
]


def render(template, variables):
    try:
        return templating._compile_jinja_template(template).render(**json.loads(json.dumps(variables)))
    except Exception:  # whatever it is, our renderer must refuse as well
        return None


class FrozenTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*NOW)


def main():
    templating.datetime = FrozenTime
    templates = ["{{ " + e + " }}" for e in EXPRESSIONS] + STATEMENTS + white_space_cases(150)
    cases = [[template, render(template, VARIABLES)] for template in templates]
    refused = [template for template, text in cases if text is None]
    assert not refused, refused
    wrong = [(template, text) for template in FAILURES if (text := render(template, VARIABLES)) is not None]
    assert not wrong, wrong
    cases += [[template, None] for template in FAILURES]
    golden = {"made_by": {"script": "tests/golden/make_template_expressions.py", "jinja2": jinja2.__version__,
                          "transformers": transformers.__version__}, "now": NOW, "variables": VARIABLES}
    out = pathlib.Path(__file__).with_name("template_expressions.json")
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    out.write_text(json.dumps(golden, ensure_ascii=False)[:-1] + ',\n"cases": [\n' + lines + "\n]}\n")
    print(f"{out}: {len(cases)} cases, {out.stat().st_size} bytes")


main()
