#!/usr/bin/env python3
"""Writes models/tokenizer/unicode_additions.cpp: the characters that Unicode 15, 15.1 and 16 added.

PCRE2 10.42 has the tables of Unicode 14; the Oniguruma inside Hugging Face's `tokenizers` has those of 16. Run
by hand when either moves on:

    python3.11 -m venv venv && venv/bin/pip install unicodedata2==16.0.0 fonttools
    venv/bin/python tests/golden/make_unicode_additions.py

Python 3.11 itself has the tables of Unicode 14.
"""
import pathlib
import unicodedata as old

import unicodedata2 as new
from fontTools import unicodedata as scripts

OUT = pathlib.Path(__file__).resolve().parents[2] / "models" / "tokenizer" / "unicode_additions.cpp"
SCRIPTS = {"Hani": "Han", "Hira": "Hiragana", "Kana": "Katakana"}

HEAD = """\
// Made by tests/golden/make_unicode_additions.py from the Unicode Character Database 16.0; not to be
// edited.
#include "models/tokenizer/unicode_additions.h"

namespace ebb::models {
namespace {

constexpr UnicodeAddition kAdditions[] = {
"""
TAIL = """\
};

}  // namespace

std::span<const UnicodeAddition> unicode_additions() { return kAdditions; }

}  // namespace ebb::models
"""


def main():
    assert (old.unidata_version, new.unidata_version) == ("14.0.0", "16.0.0")
    added = [c for c in range(0x110000)
             if old.category(chr(c)) == "Cn" and new.category(chr(c)) != "Cn"]
    ranges = []
    for c in added:
        entry = (new.category(chr(c)), SCRIPTS.get(scripts.script(chr(c)), ""))
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == entry:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, entry])
    rows = [f'{{0x{first:X}, 0x{last:X}, "{category}", "{script}"}},' for first, last, (category, script) in ranges]
    lines, line = [], "   "
    for row in rows:
        if len(line) + 1 + len(row) > 100:
            lines.append(line)
            line = "   "
        line += " " + row
    OUT.write_text(HEAD + "\n".join(lines + [line]) + "\n" + TAIL)
    print(f"{OUT}: {len(added)} characters in {len(ranges)} ranges")


main()
