"""Weights from a seed, the same here and in tests/support/seeded_model.h, so that no weights are committed.

A tensor is a record [name, type, shape, fill]: type as ggml spells it, shape with the rows first. Its bytes come
from SplitMix64, whose state begins as the FNV-1a hash of "SEED/NAME"; each number gives eight bytes, low first.

Fills of float types; b is the element's byte, read as signed:
    w9      b / 2^9
    g       (64 + floor(b / 8)) / 64: a norm's gain, around 1
    [...]   the values themselves
All of them are exact in F32, F16 and BF16. Fill of the quantised types, wN: a block is random bytes, but for its
scale d = (8 + r) / 2^N with r the low three bits of the byte that stood there, and its minimum, which is the scale
times the factor of SCALES: every such block is valid, and the mean of its values is about zero.
"""
import numpy

# Type: (bytes of a block, elements, offset of d, offset of m, m / d).
SCALES = {
    "Q8_0": (34, 32, 0, None, 0), "Q4_0": (18, 32, 0, None, 0), "Q4_1": (20, 32, 0, 2, -7.5),
    "Q5_0": (22, 32, 0, None, 0), "Q5_1": (24, 32, 0, 2, -15.5), "IQ4_NL": (18, 32, 0, None, 0),
    "Q2_K": (84, 256, 80, 82, 1.5), "Q3_K": (110, 256, 108, None, 0), "Q4_K": (144, 256, 0, 2, 7.5),
    "Q5_K": (176, 256, 0, 2, 15.5), "Q6_K": (210, 256, 208, None, 0),
}
FLOATS = ("F32", "F16", "BF16")
# Root mean square of a block's values for d = 11.5, the mean of 8 + r; of random bytes for floats.
SPREAD = {"F32": 74, "F16": 74, "BF16": 74, "Q8_0": 870, "Q4_0": 54, "Q4_1": 55, "Q5_0": 109, "Q5_1": 108,
          "IQ4_NL": 790, "Q2_K": 160, "Q3_K": 490, "Q4_K": 3000, "Q5_K": 6200, "Q6_K": 16300}


def fnv1a(text):
    state = 0xcbf29ce484222325
    for byte in text.encode():
        state = ((state ^ byte) * 0x100000001b3) & (2**64 - 1)
    return state


def random_bytes(text, count):
    """The first `count` bytes of the generator whose state begins as the hash of `text`."""
    numbers = numpy.arange(1, (count + 7) // 8 + 1, dtype=numpy.uint64)
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(fnv1a(text)) + numbers * numpy.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94d049bb133111eb)
        z = z ^ (z >> numpy.uint64(31))
    return z.astype("<u8").view(numpy.uint8)[:count].copy()


def float_values(seed, record):
    """A float tensor as float32, every value exact in its type."""
    name, _, shape, fill = record
    if isinstance(fill, list):
        return numpy.array(fill, numpy.float32).reshape(shape)
    signed = random_bytes(f"{seed}/{name}", int(numpy.prod(shape))).view(numpy.int8).astype(numpy.float32)
    if fill == "g":
        return ((64 + numpy.floor(signed / 8)) / 64).reshape(shape)
    return numpy.ldexp(signed, -int(fill[1:])).reshape(shape)


def blocks(seed, record):
    """A quantised tensor's bytes: [rows, bytes of a row]."""
    name, kind, shape, fill = record
    size, elements, at_scale, at_minimum, factor = SCALES[kind]
    count = int(numpy.prod(shape)) // elements
    out = random_bytes(f"{seed}/{name}", count * size).reshape(count, size)
    scale = numpy.ldexp(8.0 + (out[:, at_scale] & 7), -int(fill[1:]))
    out[:, at_scale:at_scale + 2] = scale.astype("<f2").view(numpy.uint8).reshape(count, 2)
    if at_minimum is not None:
        minimum = (scale * factor).astype("<f2")
        assert (minimum.astype(numpy.float64) == scale * factor).all()
        out[:, at_minimum:at_minimum + 2] = minimum.view(numpy.uint8).reshape(count, 2)
    return out.reshape(shape[0], -1)


def fill_for(kind, spread):
    """The fill whose values have about this root mean square."""
    return f"w{round(numpy.log2(SPREAD[kind] / spread))}"
