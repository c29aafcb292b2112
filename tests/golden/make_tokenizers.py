#!/usr/bin/env python3
"""Writes tokenizers/*.json: one small tokenizer of the shape of each model family, and what Hugging Face's
`tokenizers` makes of 20 000 lines with it.

A shape is what stands around the vocabulary: normalizer, pre-tokenizer, post-processor, decoder and the flags
of added tokens. The vocabularies are trained here, on the generated lines. Run by hand when a family or the
lines change:

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tests/golden/make_tokenizers.py [FAMILY...]

tokenizers/FAMILY.json is the tokenizer. tokenizers/golden.json has for each family, in `ids`, the ids of the
first lines; in `crc`, for each 200 lines one CRC-32 (that of zlib) over

    parsed   for each line: its ids as little-endian u32, then ffffffff; special tokens' texts are the tokens
    as_text  the same with special tokens' texts taken as text
    decoded  the UTF-8 text that the ids of `parsed` decode to, then a zero byte; special tokens left out
    random   for 20 sequences of ids that no text gives: the text, then a zero byte; nothing left out

and in `before` and `after` the ids that the post-processor puts around a text.
"""
import json
import pathlib
import struct
import sys
import zlib

import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from make_tokenizer_lines import Lines, random_ids

OUT = pathlib.Path(__file__).with_name("tokenizers")
GROUP = 200
RANDOM_GROUP = 20
FULL = 48

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER
          + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL)
DEEPSEEK3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
             "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
# Cased letters. By code point, because some of these are not what an editor makes of them.
DEEPSEEK_LETTERS = "\\s?[" + "".join("-".join(chr(int(c, 16)) for c in r.split("-")) for r in (
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C "
    "38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B "
    "1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 "
    "1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 "
    "2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B "
    "2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 "
    "FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF "
    "1E900-1E943 ").split()) + "]+"
DEEPSEEK_IDEOGRAPHS = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_PUNCTUATION = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
DEEPSEEK3_IDEOGRAPHS = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=False, prefix=False, trim=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex}


def sequence(name, *parts):
    return {"type": "Sequence", name: list(parts)}


def added(content, special=True, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special,
            "special": special, **flags}


def template(begin, end=None):
    """Puts added tokens around a text; their ids are filled in once they are known."""
    pieces = ([{"SpecialToken": {"id": begin, "type_id": 0}}] if begin else []) \
        + [{"Sequence": {"id": "A", "type_id": 0}}] \
        + ([{"SpecialToken": {"id": end, "type_id": 0}}] if end else [])
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": pieces, "pair": pair,
            "special_tokens": {t: {"id": t, "ids": [], "tokens": [t]} for t in (begin, end) if t}}


SP_DECODER = sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                      {"type": "ByteFallback"}, {"type": "Fuse"},
                      {"type": "Strip", "content": " ", "start": 1, "stop": 0})
SP_NORMALIZER = sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                         {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})


def metaspace(scheme="first", split_words=False):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split_words}


CHATML = [added("<|endoftext|>"), added("<|im_start|>"), added("<|im_end|>")]
LLAMA3_ADDED = [added(t) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                                   "<|end_header_id|>", "<|eot_id|>")]
DEEPSEEK_ADDED = [added("<｜begin▁of▁sentence｜>"), added("<｜end▁of▁sentence｜>"), added("<｜User｜>", False),
                  added("õ", False, normalized=True), added("÷", False, normalized=True),
                  added("Á", False, normalized=True), added("<|fim_prefix|>", False)]
THINK = [added(t, False, normalized=False) for t in ("<tool_call>", "</tool_call>", "<think>", "</think>")]
SP_SPECIALS = [added(t, normalized=False) for t in ("<unk>", "<s>", "</s>")]

# kind: how the vocabulary is made. byte: byte-level, added tokens behind it; sp: characters and byte tokens,
# "<unk>", "<s>", "</s>" before it.
FAMILIES = {
    "gpt2": dict(kind="byte", pre=byte_level(True), post=byte_level(True, True, False), added=CHATML[:1]),
    "gpt2_prefix": dict(kind="byte", pre=byte_level(True, True), post=byte_level(True, True), size=420,
                        added=[added("<|endoftext|>"), added("<mask>", lstrip=True),
                               added("word", False, single_word=True), added("<|user|>", False, rstrip=True)]),
    "llama3": dict(kind="byte", whole_words=True,
                   pre=sequence("pretokenizers", split(LLAMA3), byte_level()),
                   post=sequence("processors", byte_level(trim=False), template("<|begin_of_text|>")),
                   added=LLAMA3_ADDED),
    "qwen2": dict(kind="byte", normalizer={"type": "NFC"},
                  pre=sequence("pretokenizers", split(QWEN2), byte_level()), post=byte_level(trim=False),
                  added=CHATML + THINK + [added("Café", False, normalized=True)]),
    "smollm": dict(kind="byte", without_bytes=[0x04, 0x06, 0x13, 0xF1, 0xF2],
                   pre=sequence("pretokenizers", {"type": "Digits", "individual_digits": True},
                                byte_level(True)),
                   post=None, added=CHATML + [added("<repo_name>"), added("<file_sep>")]),
    "smollm3": dict(kind="byte", whole_words=True,
                    pre=sequence("pretokenizers", split(LLAMA3), byte_level()),
                    post=byte_level(trim=False), added=LLAMA3_ADDED + CHATML[1:] + THINK),
    "deepseek_llm": dict(kind="byte",
                         pre=sequence("pretokenizers", split("[\r\n]"), split(DEEPSEEK_LETTERS),
                                      split(DEEPSEEK_PUNCTUATION), split("\\s+$"),
                                      split(DEEPSEEK_IDEOGRAPHS),
                                      {"type": "Digits", "individual_digits": True}, byte_level()),
                         post=byte_level(trim=False), added=DEEPSEEK_ADDED),
    "deepseek_coder": dict(kind="byte",
                           pre=sequence("pretokenizers", split("[\r\n]"), split("\\s?\\p{L}+"),
                                        split("\\s?\\p{P}+"), split(DEEPSEEK_IDEOGRAPHS),
                                        {"type": "Digits", "individual_digits": True}, byte_level()),
                           post=byte_level(trim=False), added=DEEPSEEK_ADDED),
    "deepseek_v3": dict(kind="byte", normalizer=sequence("normalizers"),
                        pre=sequence("pretokenizers", split("\\p{N}{1,3}"), split(DEEPSEEK3_IDEOGRAPHS),
                                     split(DEEPSEEK3), byte_level()),
                        post=byte_level(trim=False), added=DEEPSEEK_ADDED + THINK),
    "tekken": dict(kind="byte", whole_words=True, front=True,
                   pre=sequence("pretokenizers", split(TEKKEN), byte_level()), post=template("<s>"),
                   added=[added(t) for t in ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>")]),
    "behaviors": dict(kind="byte", size=400,
                      pre=sequence("pretokenizers", split("[aeiou]+", "MergedWithPrevious"),
                                   split("(?:st|[rt])", "MergedWithNext"), split("[.,;]", "Removed"),
                                   split("\\d", "Contiguous"), split("\\w+|\\h+x", "Isolated", True),
                                   {"type": "Split", "pattern": {"String": "//"}, "behavior": "Isolated",
                                    "invert": False},
                                   {"type": "Digits", "individual_digits": False}, byte_level()),
                      post=None, added=CHATML[:1]),
    "llama2": dict(kind="sp", normalizer=SP_NORMALIZER, decoder=SP_DECODER, post=template("<s>"),
                   added=SP_SPECIALS),
    "llama2_added": dict(kind="sp", size=500, normalizer=SP_NORMALIZER, decoder=SP_DECODER,
                         post=template("<s>", "</s>"),
                         added=SP_SPECIALS + [added("<|user|>", normalized=False, rstrip=True),
                                              added("<|assistant|>", rstrip=True, lstrip=True, normalized=False),
                                              added("<mask>", False, lstrip=True, normalized=True),
                                              added("word", False, single_word=True, normalized=False)]),
    "mistral": dict(kind="sp", pre=metaspace(), decoder=SP_DECODER, post=template("<s>"),
                    added=SP_SPECIALS + [added("[INST]"), added("[/INST]")]),
    "metaspace": dict(kind="sp", size=500, pre=metaspace("always", True), decoder=metaspace("always", True),
                      post=None, added=SP_SPECIALS, byte_fallback=False),
}


def corpus(lines):
    return (line for number, line in enumerate(lines) if number not in lines.long)


def train(family, lines):
    """The vocabulary, tokens in the order they were learnt, and the merges in theirs."""
    trained = Tokenizer(models.BPE())
    size = family.get("size", 700)
    alphabet = []
    if family["kind"] == "byte":
        shape = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                 "normalizer": family.get("normalizer"), "pre_tokenizer": family["pre"], "post_processor": None,
                 "decoder": None, "model": {"type": "BPE", "vocab": {}, "merges": []}}
        trained = Tokenizer.from_str(json.dumps(shape))
        absent = {spelled(byte) for byte in family.get("without_bytes", [])}
        alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - absent)
    else:
        trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, limit_alphabet=256,
                                  show_progress=False, max_token_length=16)
    trained.train_from_iterator(corpus(lines), trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [tuple(merge) for merge in model["merges"]]


def spelled(byte):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False) \
        .pre_tokenize_str(bytes([byte]).decode("latin-1"))[0][0] if byte < 0x80 else chr(
            byte if 0xA1 <= byte <= 0xAC or byte >= 0xAE else 0x100 + 33 + byte - 0x7F)


def every_split(tokens):
    """The merges that a converter from SentencePiece writes: each way to cut a token into two tokens, the
    tokens in the order of their scores, which is that of their ids."""
    rank = {token: i for i, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        cuts = [cut for cut in cuts if cut[0] in rank and cut[1] in rank]
        merges += sorted(cuts, key=lambda cut: (rank[cut[0]], rank[cut[1]]))
    return merges


def build(name, lines):
    family = FAMILIES[name]
    tokens, merges = train(family, lines)
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": family.get("whole_words", False)}
    contents = [token["content"] for token in family["added"]]
    if family["kind"] == "sp":
        fallback = [f"<0x{byte:02X}>" for byte in range(256)] if family.get("byte_fallback", True) else []
        tokens = contents[:3] + fallback + tokens
        merges = every_split(tokens[3 + len(fallback):])
        model.update(unk_token="<unk>", fuse_unk=True, byte_fallback=bool(fallback))
    if family.get("front"):
        tokens = contents + tokens
    ids = {token: i for i, token in enumerate(tokens)}
    model["vocab"] = dict(ids)
    for content in contents:
        ids.setdefault(content, len(ids))
    # Both forms that files have: pairs, and words with a space between (which no token here has).
    model["merges"] = [list(m) for m in merges] if name in ("llama3", "llama2") else [" ".join(m) for m in merges]
    post = fill_in(family["post"], ids)
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": sorted(({"id": ids[token["content"]], **token} for token in family["added"]),
                                   key=lambda token: token["id"]),
            "normalizer": family.get("normalizer"), "pre_tokenizer": family.get("pre"),
            "post_processor": post, "decoder": family.get("decoder", byte_level(True, True)), "model": model}


def fill_in(post, ids):
    if post is None:
        return None
    post = json.loads(json.dumps(post))
    for part in [post] + post.get("processors", []):
        for token in part.get("special_tokens", {}).values():
            token["ids"] = [ids[token["id"]]]
    return post


def crc_of(groups):
    return [zlib.crc32(b"".join(group)) for group in groups]


def grouped(items, size):
    items = list(items)
    return [items[i:i + size] for i in range(0, len(items), size)]


def packed(ids):
    return struct.pack(f"<{len(ids) + 1}I", *ids, 0xFFFFFFFF)


def compare(tokenizer, lines):
    """What the library makes of all lines."""
    encode = lambda line: tokenizer.encode(line, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    parsed = [encode(line) for line in lines]
    whole = tokenizer.encode("a").ids
    inner = encode("a")
    at = next(i for i in range(len(whole)) if whole[i:i + len(inner)] == inner)
    decoded = [tokenizer.decode(ids, skip_special_tokens=True).encode() + b"\0" for ids in parsed]
    vocabulary = tokenizer.get_vocab_size()
    random = [tokenizer.decode(random_ids(n, vocabulary), skip_special_tokens=False).encode() + b"\0"
              for n in range(2000)]
    tokenizer.encode_special_tokens = True
    as_text = [encode(line) for line in lines]
    return {"before": whole[:at], "after": whole[at + len(inner):],
            "ids": parsed[:FULL],
            "crc": {"parsed": crc_of(grouped(map(packed, parsed), GROUP)),
                    "as_text": crc_of(grouped(map(packed, as_text), GROUP)),
                    "decoded": crc_of(grouped(decoded, GROUP)),
                    "random": crc_of(grouped(random, RANDOM_GROUP))}}


def one_line_each(tokenizer):
    """JSON with a line for each part: what git can show."""
    return "{\n" + ",\n".join(json.dumps(k) + ":" + json.dumps(v, ensure_ascii=False, separators=(",", ":"))
                              for k, v in tokenizer.items()) + "}\n"


def main():
    lines = Lines()
    wanted = sys.argv[1:] or list(FAMILIES)
    path = OUT / "golden.json"
    golden = json.loads(path.read_text()) if path.exists() else {"families": {}}
    golden["made_by"] = {"script": "tests/golden/make_tokenizers.py", "tokenizers": tokenizers.__version__}
    for name in wanted:
        shape = build(name, lines)
        text = one_line_each(shape)
        (OUT / f"{name}.json").write_text(text)
        golden["families"][name] = compare(Tokenizer.from_str(text), lines)
        print(f"{name}: {len(shape['model']['vocab'])} tokens, {len(text.encode())} bytes", flush=True)
    families = {name: golden["families"][name] for name in FAMILIES if name in golden["families"]}
    body = ",\n".join(json.dumps(n) + ":" + json.dumps(v, separators=(",", ":")) for n, v in families.items())
    path.write_text('{"made_by":' + json.dumps(golden["made_by"]) + ',\n"families":{\n' + body + "}}\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
