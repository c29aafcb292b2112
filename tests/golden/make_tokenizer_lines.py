"""The 20 000 lines that tokenizers are compared on: each a function of its number.

tests/models/tokenizer/generated_lines.h makes the same lines from the same tables (tokenizers/lines.json), so
that neither the lines nor their tokens need be in the repository. Imported by make_tokenizers.py and by
bench/against_tokenizers.py; needs nothing but Python.

Random numbers are splitmix64 (Steele, Lea, Flood, OOPSLA 2014), seeded by the line's number. A line is a
number of parts one after another; a part is of a kind, and kinds are drawn by weight:

    atoms  one of a list of texts
    chars  1 to 6 characters of one range of code points
    run    one character, 1 to 40 times

The lines listed in `long` are one text many times.
"""
import json
import pathlib

TABLES = pathlib.Path(__file__).with_name("tokenizers") / "lines.json"
MASK = (1 << 64) - 1


class Random:
    def __init__(self, seed):
        self.state = (seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n


class Lines:
    def __init__(self, path=TABLES):
        tables = json.loads(path.read_text())
        self.count = tables["count"]
        self.kinds = tables["kinds"]
        self.ranges = tables["ranges"]
        self.long = {entry["line"]: (entry["text"], entry["times"]) for entry in tables["long"]}
        self.weight = sum(kind["weight"] for kind in self.kinds)

    def line(self, number):
        if number in self.long:
            text, times = self.long[number]
            return text * times
        random = Random(number)
        return "".join(self.part(random) for _ in range(1 + random.below(24)))

    def part(self, random):
        at = random.below(self.weight)
        for kind in self.kinds:
            if at < kind["weight"]:
                break
            at -= kind["weight"]
        if kind["kind"] == "atoms":
            return kind["texts"][random.below(len(kind["texts"]))]
        if kind["kind"] == "run":
            text = kind["texts"][random.below(len(kind["texts"]))]
            return text * (1 + random.below(40))
        first, last = self.ranges[random.below(len(self.ranges))]
        count = 1 + random.below(6)
        return "".join(chr(first + random.below(last - first + 1)) for _ in range(count))

    def __iter__(self):
        return (self.line(number) for number in range(self.count))


def random_ids(number, vocabulary):
    """A sequence of ids that no text gives: for decoders."""
    random = Random(1_000_000 + number)
    return [random.below(vocabulary) for _ in range(1 + random.below(30))]
