#!/usr/bin/env python3
"""Writes quants.txt: blocks of each weight format and the floats that the `gguf` package makes of them.

    python3 -m venv venv && venv/bin/pip install numpy gguf
    venv/bin/python tests/golden/make_quants.py

A line is: format, the block's bytes in hex, the elements in hex (float32, little endian, as they lie in memory).
Codes and packed scales are random, all zero and all one; the binary16 fields run through ordinary values, the
largest, the smallest (denormal), zero of both signs.
"""
import importlib.metadata
import pathlib

import gguf
import numpy as np

SEED = 20240611
# Name, bytes of a block, offsets of its binary16 fields.
FORMATS = [
    ("F16", 2, [0]), ("BF16", 2, []), ("Q8_0", 34, [0]), ("Q4_0", 18, [0]), ("Q4_1", 20, [0, 2]),
    ("Q5_0", 22, [0]), ("Q5_1", 24, [0, 2]), ("Q2_K", 84, [80, 82]), ("Q3_K", 110, [108]),
    ("Q4_K", 144, [0, 2]), ("Q5_K", 176, [0, 2]), ("Q6_K", 210, [208]), ("IQ4_NL", 18, [0]),
]
# The two fields of a block (formats with one take the first).
SCALES = [
    (0.0123, 0.0456), (-0.0789, 0.0321), (1.5, -0.75), (65504.0, 65504.0), (-65504.0, 2.0**-24), (2.0**-24, 2.0**-24),
    (1023 * 2.0**-24, -65504.0), (0.0, -0.0), (-0.0, 0.5),
]


def make_blocks(random, size, fields):
    """One block for each pair of scales, then two with extreme codes."""
    blocks = random.integers(0, 256, (len(SCALES) + 2, size), dtype=np.uint8)
    blocks[-2] = 0
    blocks[-1] = 255
    for block, scales in zip(blocks, SCALES + SCALES[:2]):
        for offset, scale in zip(fields, scales):
            block[offset:offset + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks


def main():
    random = np.random.default_rng(SEED)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("gguf", "numpy"))
    lines = [f"# tests/golden/make_quants.py with {versions}"]
    for name, size, fields in FORMATS:
        for block in make_blocks(random, size, fields):
            if name == "BF16":
                block[1] &= 0xBF  # neither infinite nor NaN
            values = gguf.quants.dequantize(block.reshape(1, -1), gguf.GGMLQuantizationType[name])
            assert np.isfinite(values).all()
            lines.append(f"{name} {block.tobytes().hex()} {values.astype('<f4').tobytes().hex()}")
    path = pathlib.Path(__file__).parent / "quants.txt"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{path}: {path.stat().st_size} bytes, {len(lines) - 1} blocks")


main()
