#!/usr/bin/env python3
"""Collects the texts, as token ids: WORK/texts.json. They are files that a Debian machine has; none of them is in the
repository. Another machine has other packages, so it gives other slices; the held-out files are named one by one.

Training and validation: slices of files drawn at random (seeded) from SOURCES, some inside a chat prompt.
Held out: whole beginnings of the files in HELD_OUT, which training never sees, nor files with the same content.

    venv/bin/python research/adore/collect.py MODEL.gguf WORK
"""
import argparse
import collections
import glob
import gzip
import hashlib
import json
import pathlib
import random
import subprocess

import gguf

import controller
from controller import make_reference

SEED = 5
# kind: (share of the slices, where to look)
SOURCES = {
    "licence": (0.06, ["/usr/share/common-licenses/*"]),
    "manual": (0.28, ["/usr/share/man/man[157]/[!g]*.gz", "/usr/share/man/man1/g[!c]*.gz", "/usr/share/man/man8/*.gz"]),
    "german": (0.06, ["/usr/share/man/de/man[158]/*.gz"]),
    "documentation": (0.18, ["/usr/share/perl/5*/**/*.pod", "/usr/share/perl/5*/**/*.pm",
                             "/usr/share/doc/*/README*", "/usr/share/doc/*/*.txt*", "/usr/share/doc/*/*.md*"]),
    "news": (0.10, ["/usr/share/doc/*/NEWS*", "/usr/share/doc/*/changelog*"]),
    "python": (0.18, ["/usr/lib/python3*/**/*.py"]),
    "c": (0.14, ["/usr/include/**/*.h", "/usr/include/c++/*/**/*"]),
}
# kind, file, tokens, whether inside a chat prompt
HELD_OUT = [
    ("licence", "/usr/share/common-licenses/GPL-3", 2048, False),
    ("licence", "/usr/share/common-licenses/Apache-2.0", 2048, False),
    ("manual", "/usr/share/man/man1/bash.1.gz", 2048, False),
    ("manual", "/usr/share/man/man7/signal.7.gz", 2048, False),
    ("german", "/usr/share/man/de/man1/dpkg.1.gz", 2048, False),
    ("documentation", "/usr/share/perl/5.36.0/IO/Compress/FAQ.pod", 2048, True),
    ("documentation", "/usr/share/perl/5.36.0/pod/perldiag.pod", 4096, False),
    ("news", "/usr/share/doc/libc6/NEWS.gz", 2048, False),
    ("python", "/usr/lib/python3.11/statistics.py", 2048, False),
    ("python", "/usr/lib/python3.11/heapq.py", 2048, True),
    ("c", "/usr/include/stdio.h", 2048, False),
    ("c", "/usr/include/c++/12/bits/stl_vector.h", 2048, False),
]
# Parts of names: files of much the same text as a held-out one, and many of much the same text as each other.
NEVER = ["/GPL-3", "/LGPL-3", "/rbash", "/libc-bin/NEWS", "/libc6-dev/NEWS", "/libc-dev-bin/NEWS", "/perldiag",
         "/node/", "/encodings/", "_builtins.py"]
LENGTHS = [1024, 1024, 1024, 1024, 1024, 1024, 2048, 2048]
VALIDATION, CHAT_SHARE, FILE_BYTES_MAX = 6, 0.25, 1 << 20
CHAT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nRead this text. A question follows.\n\n")


def read_text(path):
    """The text of a file; manual pages as a reader sees them; None where there is none."""
    if "/man/" in path:
        command = f"MANWIDTH=90 man --no-hyphenation --no-justification -P cat -l '{path}' 2>/dev/null | col -bx"
        return subprocess.run(command, shell=True, capture_output=True, check=True).stdout.decode(errors="ignore")
    data = pathlib.Path(path).read_bytes()
    try:
        return (gzip.decompress(data) if path.endswith(".gz") else data).decode()
    except (UnicodeDecodeError, gzip.BadGzipFile):
        return None


def files_of(patterns, left_out):
    names = {name for pattern in patterns for name in glob.glob(pattern, recursive=True)}
    files = [pathlib.Path(name) for name in sorted(names) if not any(part in name for part in left_out)]
    return [str(file) for file in files if file.is_file() and not file.is_symlink() and
            1500 < file.stat().st_size < FILE_BYTES_MAX]


def encoded(tokenizer, text, length, chat):
    """`length` ids, or None where the text is too short."""
    ids = tokenizer.encode((CHAT if chat else "") + text[:length * 8]).ids
    return ids[:length] if len(ids) >= length else None


class Collection:
    def __init__(self, tokenizer):
        self.tokenizer, self.seen, self.texts = tokenizer, set(), []

    def is_new(self, text):
        """By content, spaces apart: packages ship the same files under many names."""
        digest = hashlib.sha256(" ".join(text.split())[:4000].encode()).digest()
        fresh = digest not in self.seen
        self.seen.add(digest)
        return fresh

    def add(self, split, kind, path, text, length, chat):
        ids = encoded(self.tokenizer, text, length, chat)
        if ids is not None:
            self.texts.append({"split": split, "kind": kind, "path": path, "chat": chat, "ids": ids})
        return ids is not None

    def add_held_out(self):
        for kind, path, length, chat in HELD_OUT:
            text = read_text(path)
            assert self.is_new(text) and self.add("heldout", kind, path, text, length, chat), path

    def add_slices(self, kind, count, patterns, split, generator):
        """One slice a file, from the begin of a line; licences are few and give several."""
        left_out = NEVER + [path for _, path, _, _ in HELD_OUT]
        files = files_of(patterns, left_out)
        generator.shuffle(files)
        files *= 4 if kind == "licence" else 1
        for path in files:
            if count == 0:
                return
            text, length = read_text(path), generator.choice(LENGTHS)
            if not text or (kind != "licence" and not self.is_new(text)):
                continue
            lines = text.splitlines(keepends=True)
            begin = generator.randrange(max(1, len(lines) // 2))
            count -= self.add(split, kind, path, "".join(lines[begin:]), length, generator.random() < CHAT_SHARE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--slices", type=int, default=56, help="for training")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    collection = Collection(make_reference.build_tokenizer(gguf.GGUFReader(options.model)))
    collection.add_held_out()
    generator = random.Random(SEED)
    for kind, (share, patterns) in SOURCES.items():
        if kind != "licence":  # too few of them for a set of their own
            collection.add_slices(kind, max(1, round(share * VALIDATION)), patterns, "validation", generator)
        collection.add_slices(kind, round(share * options.slices), patterns, "training", generator)
    generator.shuffle(collection.texts)  # so that a part of the labels is a fair part; the longest take long
    collection.texts.sort(key=lambda text: len(text["ids"]) > 2048)
    (options.work / "texts.json").write_text(json.dumps(collection.texts))
    count = collections.Counter((t["split"], t["kind"]) for t in collection.texts)
    tokens = collections.Counter()
    for text in collection.texts:
        tokens[text["split"]] += len(text["ids"])
    for (split, kind), texts in sorted(count.items()):
        print(f"{split:10} {kind:14} {texts:3} texts")
    print(", ".join(f"{split}: {n} tokens" for split, n in tokens.items()))


if __name__ == "__main__":
    main()
