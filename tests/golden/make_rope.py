#!/usr/bin/env python3
"""Writes rope.json: RoPE frequencies of every scaling, as transformers computes them.

Needs: pip install transformers torch. Each case is a config.json's part on rotation, and the metadata of
the GGUF file that says the same (none where GGUF has no word for it). llama3 has no metadata: converters
write divisors, formed here from the frequencies themselves, as the tensor rope_freqs.weight.
"""
import json
import pathlib

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

HEAD, CONTEXT = 16, 4096

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=512)

CASES = [
    # name, theta, rope_scaling, GGUF metadata, sequence length for dynamic
    ("plain", 10000.0, None, {}, None),
    ("plain, another base", 500000.0, None, {}, None),
    ("linear", 10000.0, dict(rope_type="linear", factor=4.0),
     {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, None),
    ("linear, older names", 10000.0, dict(type="linear", factor=2.5),
     {"rope.scale_linear": 2.5}, None),
    ("llama3", 500000.0, LLAMA3, "divisors", None),
    ("llama3, another ramp", 10000.0,
     dict(LLAMA3, factor=32.0, low_freq_factor=2.0, high_freq_factor=16.0), "divisors", None),
    ("yarn", 10000.0, dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024),
     {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
      "rope.scaling.original_context_length": 1024}, None),
    ("yarn, a ramp of its own", 1000000.0,
     dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=512, beta_fast=16.0,
          beta_slow=2.0),
     {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
      "rope.scaling.original_context_length": 512, "rope.scaling.yarn_beta_fast": 16.0,
      "rope.scaling.yarn_beta_slow": 2.0}, None),
    ("yarn, the context by default", 10000.0, dict(rope_type="yarn", factor=2.0),
     {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0}, None),
    ("yarn, attention factor", 10000.0,
     dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024,
          attention_factor=1.25), None, None),
    ("yarn, mscale", 10000.0,
     dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024, mscale=1.0,
          mscale_all_dim=0.5), None, None),
    ("yarn, not truncated", 10000.0,
     dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024, truncate=False),
     None, None),
    ("dynamic, within its context", 10000.0, dict(rope_type="dynamic", factor=4.0), None, CONTEXT),
    ("dynamic, beyond", 10000.0, dict(rope_type="dynamic", factor=4.0), None, 3 * CONTEXT),
]


def frequencies(theta, scaling, length):
    config = LlamaConfig(hidden_size=4 * HEAD, num_attention_heads=4, head_dim=HEAD,
                         max_position_embeddings=CONTEXT, rope_theta=theta,
                         rope_scaling=dict(scaling) if scaling else None)
    if scaling is None:
        return (1.0 / theta ** (torch.arange(0, HEAD, 2, dtype=torch.float64) / HEAD)), 1.0
    kind = scaling.get("rope_type", scaling.get("type"))
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)


def main():
    torch.set_default_dtype(torch.float64)
    out = []
    for name, theta, scaling, gguf, length in CASES:
        freq, magnitude = frequencies(theta, scaling, length)
        case = dict(name=name, rope_theta=theta, rope_scaling=scaling, gguf=gguf,
                    max_model_len=length or 0, frequencies=[float(f) for f in freq],
                    magnitude=float(magnitude))
        if gguf == "divisors":
            plain, _ = frequencies(theta, None, None)
            case["gguf"] = {}
            case["divisors"] = [float(p / f) for p, f in zip(plain, freq)]
        out.append(case)
    text = json.dumps(dict(head_size=HEAD, context=CONTEXT, cases=out), indent=1)
    pathlib.Path(__file__).with_name("rope.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
