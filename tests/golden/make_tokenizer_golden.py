#!/usr/bin/env python3
"""Writes smollm2_tokenizer.json: texts and the token ids that Hugging Face's `tokenizers` gives them.

The reference is built from the vocabulary and merges inside the GGUF file, with the pre-tokenizer of the
model's family (each digit alone, then GPT-2's pattern). Run by hand when the texts change:

    python3 -m venv venv && venv/bin/pip install tokenizers gguf
    venv/bin/python tests/golden/make_tokenizer_golden.py MODEL.gguf

Each case has the ids twice: special tokens' texts taken as plain text, and parsed to the one token (left
out where both are the same).
"""
import importlib.metadata
import json
import pathlib
import random
import sys

import gguf
import tokenizers

GPL = pathlib.Path("/usr/share/common-licenses/GPL-3")

WORDS_IN_SCRIPTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Portez ce vieux whisky au juge blond qui fume : « déjà vu ».",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "עטלף אבק נס דרך מזגן שהתפוצץ כי חם",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण",
    "আমি বাংলায় গান গাই",
    "யாமறிந்த மொழிகளிலே தமிழ்மொழி",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "我能吞下玻璃而不伤身体。",
    "色は匂へど散りぬるを我が世誰ぞ常ならむ",
    "イロハニホヘト チリヌルヲ ワカヨタレソ",
    "다람쥐 헌 쳇바퀴에 타고파",
    "კონსტანტინე", "Բարեւ աշխարհ", "ᚠᛇᚻ᛫ᛒᛦᚦ", "ሰላም ልዑል", "ᏣᎳᎩ", "ភាសាខ្មែរ", "བོད་སྐད", "𐍈𐌰𐌽",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒻𝒶𝓃𝒸𝓎", "ⅷ ½ ² ③ ٣ ४ ๕ 五", "e\u0301 vs \u00e9", "ﬁ ligature ﬀ", "İstanbul ıI",
]

EMOJI = [
    "🙂", "👍🏽", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷🇯🇵", "❤️‍🔥", "a🙂b🙂c", "🙂 🙂  🙂", "1️⃣2️⃣", "☃☂", "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
]

CODE = [
    "def f(x):\n    return x ** 2  # square\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n",
    "#include <vector>\nstd::vector<std::pair<int, int>> v{{1, 2}, {3, 4}};",
    "SELECT * FROM t WHERE a >= 10 AND b != 'x' ORDER BY c DESC;",
    "<html><body class=\"a b\">&nbsp;</body></html>",
    "{\"key\": [1, 2.5e-10, null, true], \"k\\n\": \"\\u00e9\"}",
    "$ ls -la | grep '^d' && echo \"$HOME\" > /dev/null 2>&1",
    "x = {**a, 'b': [*c]} if d else lambda: ...",
    "https://example.com/a/b?c=d&e=%20f#g", "someone@example.org", "C:\\Program Files\\x.exe",
    "camelCaseAndSnake_case_and-kebab-case", "0x7fff_ffff 0b1010 1e10 3.14159",
    "fn main() -> Result<(), Box<dyn Error>> { Ok(()) }", "λx.x∘f ∀x∈ℝ: x² ≥ 0", "\\frac{a}{b} \\sum_{i=0}^{n}",
    "```python\nprint('hi')\n```\n", "\\n is not \n", "a\\\\b", "----====++++****////", "!!!???...,,,;;;:::",
]

DIGITS = [
    "0", "1234567890", "3.14", "1,000,000", "2026-11-21T10:00:00Z", "a1b2c3", " 1 2  3   4", "x1 1x 1 x",
    "١٢٣", "１２３", "10%", "$5", "No.5", "5th", "1\n2\n\n3", "\t7\t", "  9", "12 34", "½3", "v1.2.3-rc4",
]

SPACES = [
    " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\n  x", "a b", "a  b", "a   b", "a \n b",
    "a\n\n\nb",
    " a", "a ", "a  ", "  a  ", "\t\ta", " \t \t a", "a\t", "x\r\ny\r\n", "\u00a0", "a\u00a0b", "a \u00a0b",
    "\u3000x",
    "\u2003y", "\u200bz", "\u180ew", "a\u180eb", "a \u180e b", "\u2028\u2029", "\u0085x", "\u202f5", "\u205f a",
    "\x0b\x0c", "a\x1c\x1d\x1e\x1fb", "\ufeffbom", " " * 100, " " * 1000 + "x", "\n" * 64, " \n" * 40,
    "\t" * 33 + "y",
    "a" + " " * 7 + "1", "a" + " " * 8 + "\n" + "b", " '", " 's", "x 's",
]

CONTROLS = ["\x00", "a\x00b", "\x01\x02\x03\x04\x05\x06\x07\x08", "\x1b[31mred\x1b[0m", "\x7f", "\x80\x9f",
"\x0e\x0f\x10",
            "".join(map(chr, range(32))), "".join(map(chr, range(0x80, 0x100))), "\ufffd", "\ue000",
            "\U0010ffff",
            "\u0301alone", "x\u0300\u0301\u0302", "\u202eabc\u202c"]

SPECIALS = [
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "<|im_end|", "<|im_end|>>",
    "<<|im_end|>",
    "x<|im_start|>y", " <|im_start|> ", "<|im_start|><|im_end|>", "< |im_start|>", "<|IM_START|>",
    "<repo_name>a<file_sep>b",
    "<file_sep", "<jupyter_code>1+1<jupyter_output>2", "<gh_stars>100<issue_start>", "<empty_output>",
    "<filename>f.py",
    "<reponame>r", "<unknown>", "<|im_start|>1<|im_end|>  ", "<s></s>[INST]",
]

ENGLISH = [
    "It's what we'll say; they've said I'm what you're, he'd don't.", "IT'S WE'LL THEY'VE", "'s't're've'm'll'd",
    "''s",
    "o'clock rock'n'roll", "\u2019s it\u2019s", "A", "a", "I", "the", " the", "The", " The", "THE",
    "antidisestablishmentarianism",
    "supercalifragilisticexpialidocious", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababababababababababababab",
    "xyzxyzxyzxyz", "zzzzzzzzzz", "qqqq", "Hello, world!", "Hello world", " Hello", "hello,world",
    "(a) [b] {c} <d>", "\"quoted\"",
    "e.g. i.e. etc. ... Mr. Smith", "a/b", "a_b", "__init__", "@user #tag", "#1", "re-use", "naïve café",
    "ſs 'ſ", "K\u212a",
    "The secret number for Oslo is 4711.", "The secret number for CITY is",
]


def random_cases(count):
    """Mixtures of everything above: where kinds meet is where pre-tokenizers differ."""
    rng = random.Random(20261121)
    atoms = [" ", "  ", "\n", "\t", "1", "42", "a", "The", "é", "中文", "🙂", ".", "'", "'s", "'ll", "-",
             "<|im_end|>", "<", "\u00a0", "\u3000", "\u0301", "_", "\\", "\r\n", "Ж", "ا", "٣", "²", "\x00", "\x1f"]
    return ["".join(rng.choice(atoms) for _ in range(rng.randint(3, 24))) for _ in range(count)]


def gpl_cuts(count):
    text = GPL.read_text()
    rng = random.Random(7)
    begins = [rng.randrange(len(text) - 300) for _ in range(count)]
    return [text[b:b + rng.randint(20, 300)] for b in begins]


def field(reader, key):
    return reader.fields[key].contents()


def build(reader):
    tokens = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in field(reader, "tokenizer.ggml.merges")]
    assert field(reader, "tokenizer.ggml.pre") == "smollm"
    model = tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    plain = tokenizers.Tokenizer(model)
    pre = tokenizers.pre_tokenizers
    plain.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True),
                                        pre.ByteLevel(add_prefix_space=False, use_regex=True)])
    parsing = tokenizers.Tokenizer.from_str(plain.to_str())
    types = field(reader, "tokenizer.ggml.token_type")
    parsing.add_special_tokens([t for t, kind in zip(tokens, types) if kind == 3])
    return plain, parsing


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    plain, parsing = build(reader)
    texts = (WORDS_IN_SCRIPTS + EMOJI + CODE + DIGITS + SPACES + CONTROLS + SPECIALS + ENGLISH
             + random_cases(80) + gpl_cuts(20) + [""])
    cases = []
    for text in dict.fromkeys(texts):
        case = {"text": text, "ids": plain.encode(text).ids}
        parsed = parsing.encode(text).ids
        if parsed != case["ids"]:
            case["ids_parsed"] = parsed
        cases.append(case)
    gpl = plain.encode(GPL.read_text()).ids
    golden = {
        "made_by": {"tokenizers": tokenizers.__version__, "gguf": importlib.metadata.version("gguf"),
                    "script": "tests/golden/make_tokenizer_golden.py"},
        "model": field(reader, "general.name"),
        "gpl3": {"tokens": len(gpl), "first": gpl[:16], "last": gpl[-16:]},
        "cases": cases,
    }
    out = pathlib.Path(__file__).with_name("smollm2_tokenizer.json")
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    head = json.dumps({k: v for k, v in golden.items() if k != "cases"})[:-1]
    out.write_text(head + ',\n"cases": [\n' + lines + "\n]}\n")
    print(f"{out}: {len(cases)} cases, {out.stat().st_size} bytes; GPL-3 is {len(gpl)} tokens")


main()
