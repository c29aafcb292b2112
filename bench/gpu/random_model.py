#!/usr/bin/env python3
"""A small random model of Llama shape as a Hugging Face directory, with a tokenizer of bytes and a selection profile:
enough for a whole service, small enough to be made anywhere. The same arguments give the same bytes; needs only
Python's standard library.

    random_model.py FOLDER [--layers N] [--width N] [--heads N] [--kv-heads N] [--head-size N] [--ffn N]
"""
import argparse
import array
import json
import math
import pathlib
import random
import struct
import sys

VOCABULARY = 288  # 256 bytes, and a few that nothing stands for


def byte_names():
    """The characters that byte-level tokenizers write bytes as: printable ones as they are, the rest from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            names[byte] = chr(byte)
        else:
            names[byte] = chr(256 + extra)
            extra += 1
    return names


def tokenizer():
    vocabulary = {name: byte for byte, name in byte_names().items()}
    special = {"id": 256, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False,
               "normalized": False, "special": True}
    vocabulary["<|end|>"] = 256
    for token in range(257, VOCABULARY):
        vocabulary[f"<|unused{token}|>"] = token
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [special], "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocabulary, "merges": []}}


def config(o):
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": o.layers,
            "hidden_size": o.width, "num_attention_heads": o.heads, "num_key_value_heads": o.kv_heads,
            "head_dim": o.head_size, "intermediate_size": o.ffn, "vocab_size": VOCABULARY,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "torch_dtype": "float32",
            "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 256, "eos_token_id": 256}


def shapes(o):
    """Names and extents; a norm's gain has one extent."""
    yield "model.embed_tokens.weight", (VOCABULARY, o.width)
    for layer in range(o.layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (o.width,)
        yield at + "self_attn.q_proj.weight", (o.heads * o.head_size, o.width)
        yield at + "self_attn.k_proj.weight", (o.kv_heads * o.head_size, o.width)
        yield at + "self_attn.v_proj.weight", (o.kv_heads * o.head_size, o.width)
        yield at + "self_attn.o_proj.weight", (o.width, o.heads * o.head_size)
        yield at + "post_attention_layernorm.weight", (o.width,)
        yield at + "mlp.gate_proj.weight", (o.ffn, o.width)
        yield at + "mlp.up_proj.weight", (o.ffn, o.width)
        yield at + "mlp.down_proj.weight", (o.width, o.ffn)
    yield "model.norm.weight", (o.width,)
    yield "lm_head.weight", (VOCABULARY, o.width)


def values(numbers, name, extents):
    """Logits spread far enough apart that the best token stands out."""
    count = math.prod(extents)
    if len(extents) == 1:
        return array.array("f", (1 + 0.1 * numbers.gauss(0, 1) for _ in range(count)))
    scale = (3.0 if name == "lm_head.weight" else 1.0) / math.sqrt(extents[1])
    return array.array("f", (scale * numbers.gauss(0, 1) for _ in range(count)))


def write_weights(path, o):
    numbers = random.Random(20240607)
    header, data = {}, []
    offset = 0
    for name, extents in shapes(o):
        one = values(numbers, name, extents)
        if sys.byteorder != "little":
            one.byteswap()
        data.append(one.tobytes())
        header[name] = {"dtype": "F32", "shape": list(extents), "data_offsets": [offset, offset + len(data[-1])]}
        offset += len(data[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


PROFILE = """\
version: 1
name: random
model_name: "{name}"
layers: {layers}
full: []
anchors: [0, {second}]
budget_fraction: 0.125
budget_min: 32
sinks: 4
window: 16
scope: layer
aggregation: max
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    for flag, value in (("layers", 4), ("width", 64), ("heads", 4), ("kv-heads", 2), ("head-size", 32), ("ffn", 96)):
        parser.add_argument("--" + flag, type=int, default=value)
    o = parser.parse_args()
    o.folder.mkdir(parents=True, exist_ok=True)
    (o.folder / "config.json").write_text(json.dumps(config(o)), encoding="utf-8")
    (o.folder / "tokenizer.json").write_text(json.dumps(tokenizer()), encoding="utf-8")
    (o.folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}), encoding="utf-8")
    profile = PROFILE.format(name=o.folder.name, layers=o.layers, second=min(1, o.layers - 1))
    (o.folder / "profile.yaml").write_text(profile, encoding="utf-8")
    write_weights(o.folder / "model.safetensors", o)
    print(o.folder)


if __name__ == "__main__":
    main()
