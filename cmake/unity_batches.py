#!/usr/bin/env python3
"""Deals the sources of a target into batches that compile as one file each (the option EBB_FIRST_BUILD).

    unity_batches.py LINES SOURCE...        prints "SOURCE BATCH" lines

A batch has about LINES lines. Two files meet in a batch only if what each keeps to itself (in unnamed namespaces,
`static`, macros) has a name that the other does not use, or is the same alias. Names are read as clang-format leaves
them: what belongs to a namespace begins in the first column.
"""
import re
import sys

ALIAS = re.compile(r'(?:using|namespace) (\w+) = [^;{]*;|using [\w:]*?(\w+);')
TYPE = re.compile(r'(?:template.*?> )?(?:class|struct|enum class|enum|union|using|concept) (\w+)')
FUNCTION = re.compile(r'(?!static_assert|[A-Z_]+\()[^=#/}"]*?(?:^|[ &*>])(\w+)\(')
VALUE = re.compile(r'[\w:<>,&* ]+[ &*](\w+)(?:\[[^=]*\])?(?: = | =$|\{|;)')
MACRO = re.compile(r'# *define (\w+)')
# A macro that changes what a header says: such a file stays alone.
BEFORE_HEADERS = re.compile(r'^# *define\b(?:.*\n)*?# *include', re.MULTILINE)


def own_names(text):
    """What only this file may call so in its batch: name -> the alias that others may repeat, or None."""
    names = {}
    unnamed = False
    for line in text.split('\n'):
        if line.startswith('namespace {'):
            unnamed = True
        elif line == '}  // namespace':
            unnamed = False
        elif found := MACRO.match(line):
            names[found[1]] = None
        elif found := ALIAS.match(line):
            names[found[1] or found[2]] = line
        elif line[:1].isalpha() and (unnamed or line.startswith('static ')):
            found = TYPE.match(line) or FUNCTION.match(line) or VALUE.match(line)
            if found:
                names[found[1]] = None
    return names


def used_names(text):
    """Words of the code that may mean something outside of it."""
    code = re.sub(r'//.*|#include.*|"(?:\\\\.|[^"\\\\\n])*"', ' ', text)
    return set(re.findall(r'(?<![\w.>:])[A-Za-z_]\w*', code))


def collide(own, other, used):
    """Whether one file's own names mean something else in another, which has the names `other` and uses `used`."""
    return any(name in used and (alias is None or other.get(name, '') != alias) for name, alias in own.items())


def main():
    lines_max = int(sys.argv[1])
    batches = []
    for path in sys.argv[2:]:
        with open(path, encoding='utf-8') as file:
            text = file.read()
        alone = BEFORE_HEADERS.search(text) is not None
        names = own_names(text)
        used = used_names(text)
        lines = text.count('\n')
        fitting = [b for b in batches if not alone and not b['alone'] and b['lines'] + lines <= lines_max
                   and not collide(names, b['names'], b['used']) and not collide(b['names'], names, used)]
        if fitting:
            batch = fitting[0]
        else:
            batch = {'number': len(batches), 'alone': alone, 'lines': 0, 'names': {}, 'used': set()}
            batches.append(batch)
        batch['lines'] += lines
        batch['names'].update(names)
        batch['used'] |= used
        print(path, batch['number'])


if __name__ == '__main__':
    main()
