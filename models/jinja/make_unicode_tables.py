#!/usr/bin/env python3
"""Writes unicode_tables.cpp: which characters Python prints as they are, and their upper, lower and title case.

The tables are those of the Python that runs this (its Unicode version stands in the file). By hand, when that
version changes:

    python3 models/jinja/make_unicode_tables.py
"""
import pathlib
import unicodedata

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(holds):
    """[first, last] of the code points for which `holds`."""
    found, begin, before = [], None, None
    for c in CODE_POINTS + [None]:
        inside = c is not None and holds(chr(c))
        if inside and begin is None:
            begin = c
        if not inside and begin is not None:
            found.append((begin, before))
            begin = None
        before = c
    return found


def runs(mapping):
    """[first, last, stride, delta] of code points that map to one other each, at the same distance."""
    items = sorted((c, ord(text) - c) for c, text in mapping.items() if len(text) == 1)
    found, i = [], 0
    while i < len(items):
        best = (items[i][0], items[i][0], 1, items[i][1], 1)
        for stride in (1, 2):
            n = 1
            while i + n < len(items) and items[i + n] == (items[i][0] + n * stride, items[i][1]):
                n += 1
            if n > best[4]:
                best = (items[i][0], items[i + n - 1][0], stride, items[i][1], n)
        found.append(best[:4])
        i += best[4]
    return found


def literal(text):
    return '"' + "".join(f"\\x{byte:02X}" for byte in text.encode()) + '"'


def table(kind, name, rows):
    lines, line = [], "   "
    for row in rows:
        cell = " {" + ", ".join(row) + "},"
        if len(line) + len(cell) > 99:
            lines.append(line)
            line = "   "
        line += cell
    lines.append(line)
    rows = "\n".join(lines)
    return f"const {kind} {name}[] = {{\n{rows}\n}};\nconst size_t {name}Size = std::size({name});\n"


def main():
    lower = {c: chr(c).lower() for c in CODE_POINTS if chr(c).lower() != chr(c)}
    upper = {c: chr(c).upper() for c in CODE_POINTS if chr(c).upper() != chr(c)}
    title = {c: chr(c).title() for c in CODE_POINTS if chr(c).title() != chr(c).upper()}
    numbers = lambda rows: [[f"{n:#x}" if i < 2 else str(n) for i, n in enumerate(row)] for row in rows]
    several = lambda mapping: [[f"{c:#x}", literal(t)] for c, t in sorted(mapping.items()) if len(t) > 1]
    parts = [
        "// Made by make_unicode_tables.py from Unicode " + unicodedata.unidata_version + ". Not edited by hand.",
        '#include "models/jinja/unicode_tables.h"',
        "",
        "#include <iterator>",
        "",
        "namespace ebb::models::jinja {",
        "",
        "// clang-format off",
        table("CodeRange", "kUnprintable", numbers(ranges(lambda c: not c.isprintable()))),
        table("CaseRun", "kLower", numbers(runs(lower))),
        table("CaseRun", "kUpper", numbers(runs(upper))),
        table("CaseText", "kLowerTexts", several(lower)),
        table("CaseText", "kUpperTexts", several(upper)),
        table("CaseText", "kTitleTexts", [[f"{c:#x}", literal(t)] for c, t in sorted(title.items())]),
        "// clang-format on",
        "",
        "}  // namespace ebb::models::jinja",
    ]
    pathlib.Path(__file__).with_name("unicode_tables.cpp").write_text("\n".join(parts) + "\n")


main()
