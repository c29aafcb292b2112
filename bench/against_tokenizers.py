#!/usr/bin/env python3
"""Ebb's tokenizers beside Hugging Face's `tokenizers`: the same ids and texts, and how much faster.

    python3 -m venv venv && venv/bin/pip install tokenizers gguf
    venv/bin/python bench/against_tokenizers.py [TOKENIZER...]

TOKENIZER is a tokenizer.json or a .gguf file with a byte-level vocabulary (the library's tokenizer is then
built from the vocabulary and merges inside); default: all of tests/golden/tokenizers and the default model.
Compares the 20 000 generated lines, encoded both ways and decoded, and 2 000 sequences of ids that no text
gives, one by one; shows the first that differ. Then measures one long text (the licences of this machine, over
and over) on one thread each, in seconds of CPU, and prints the ratio.
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
from make_tokenizer_lines import Lines, random_ids  # noqa: E402

SHOWN = 3


class Ebb:
    def __init__(self, binary, path):
        self.process = subprocess.Popen([binary, "--serve", "--tokenizer", path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def ask(self, operation, payload):
        self.process.stdin.write(operation + struct.pack("<I", len(payload)) + payload)
        self.process.stdin.flush()
        size, = struct.unpack("<I", self.process.stdout.read(4))
        return self.process.stdout.read(size)

    def encode(self, text, parse):
        reply = self.ask(b"e" if parse else b"t", text.encode())
        return list(struct.unpack(f"<{len(reply) // 4}I", reply))

    def decode(self, ids, skip):
        return self.ask(b"d" if skip else b"D", struct.pack(f"<{len(ids)}I", *ids)).decode()


def from_gguf(path):
    """The library's tokenizer with the vocabulary and merges of a GGUF file."""
    import gguf
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields["tokenizer.ggml." + key].contents()
    if field("model") != "gpt2" or field("pre") != "smollm":
        sys.exit(f"{path}: only tokenizer.ggml.pre = smollm is known here; give its tokenizer.json")
    tokens, types = field("tokens"), field("token_type")
    merges = [tuple(merge.split(" ")) for merge in field("merges")]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    pre = tokenizers.pre_tokenizers
    made.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True),
                                       pre.ByteLevel(add_prefix_space=False, use_regex=True)])
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens([t for t, kind in zip(tokens, types) if kind == 3])
    return made


def compare(peer, ebb, lines):
    """The number of differences; the first few are shown."""
    differing = 0

    def check(what, text, expected, got):
        nonlocal differing
        if expected == got:
            return
        differing += 1
        if differing <= SHOWN:
            print(f"  {what} of {text[:200]!r}:\n    expected {str(expected)[:400]}\n    got      {str(got)[:400]}")

    for number, line in enumerate(lines):
        for parse in (True, False):
            peer.encode_special_tokens = not parse
            expected = peer.encode(line, add_special_tokens=False).ids
            check(f"line {number}, ids", line, expected, ebb.encode(line, parse))
        for skip in (True, False):
            check(f"line {number}, text", line, peer.decode(expected, skip_special_tokens=skip),
                  ebb.decode(expected, skip))
    peer.encode_special_tokens = False
    for number in range(2000):
        ids = random_ids(number, peer.get_vocab_size())
        for skip in (True, False):
            check(f"ids {ids}", "", peer.decode(ids, skip_special_tokens=skip), ebb.decode(ids, skip))
    return differing


def long_text(megabytes):
    files = sorted(pathlib.Path("/usr/share/common-licenses").iterdir())
    once = "".join(file.read_text(errors="replace") for file in files if file.is_file())
    return (once * (1 + megabytes * 1_000_000 // len(once)))[:megabytes * 1_000_000]


def speed(peer, binary, path, text):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        out = subprocess.run([binary, "--tokenizer", path, "--text", file.name], check=True, capture_output=True,
                             text=True).stdout
    ours = json.loads(out)
    best = {"encode": 1e9, "decode": 1e9}
    for _ in range(2):
        begin = time.process_time()
        ids = peer.encode(text, add_special_tokens=False).ids
        middle = time.process_time()
        peer.decode(ids, skip_special_tokens=False)
        end = time.process_time()
        best = {"encode": min(best["encode"], middle - begin), "decode": min(best["decode"], end - middle)}
    if len(ids) != ours["tokens"]:
        print(f"  long text: {len(ids)} tokens expected, {ours['tokens']} got")
    parts = [f"{what} {len(text) / 1e6 / ours[what + '_seconds']:.1f} MB/s, "
             f"{best[what] / ours[what + '_seconds']:.1f} times the library's" for what in best]
    print(f"  {'; '.join(parts)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", nargs="*")
    parser.add_argument("--ebb", default=str(ROOT / "build" / "bin" / "ebb-tokenizer-bench"))
    parser.add_argument("--lines", type=int, default=20_000, help="how many of the lines to compare")
    parser.add_argument("--megabytes", type=int, default=4, help="length of the long text; 0: do not measure")
    args = parser.parse_args()
    paths = args.tokenizer
    if not paths:
        cache = pathlib.Path(os.environ.get("EBB_CACHE") or pathlib.Path.home() / ".cache" / "ebb")
        made = sorted((ROOT / "tests" / "golden" / "tokenizers").glob("*.json"))
        paths = [str(p) for p in made if p.stem not in ("golden", "lines")]
        paths += [str(cache / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")]
    lines = Lines()
    lines.count = min(lines.count, args.lines)
    text = long_text(args.megabytes)
    total = 0
    for path in paths:
        print(path, flush=True)
        peer = from_gguf(path) if path.endswith(".gguf") else tokenizers.Tokenizer.from_file(path)
        differing = compare(peer, Ebb(args.ebb, path), lines)
        print(f"  {lines.count} lines and 2000 sequences of ids: {differing or 'no'} differences", flush=True)
        total += differing
        if text:
            speed(peer, args.ebb, path, text)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
