#!/usr/bin/env python3
"""Writes smollm2_reference.json, or with --perplexity smollm2_perplexity.json: what the default model says, by a
plain float32 forward pass in PyTorch.

The llama graph is written out below from its equations and shares no code with Ebb: weights dequantised by the
`gguf` package, token ids by Hugging Face's `tokenizers`, one pass over the whole sequence with a causal mask
and no cache. The schema is in tests/golden/README.md. Run by hand when the prompts or the schema change:

    python3 -m venv venv && venv/bin/pip install torch gguf tokenizers
    venv/bin/python tests/golden/make_reference.py MODEL.gguf

With --check the same is computed in float64 and the largest difference is printed: the reference's own noise.
"""
import argparse
import hashlib
import importlib.metadata
import json
import math
import pathlib

import gguf
import numpy
import tokenizers
import torch

GPL = pathlib.Path("/usr/share/common-licenses/GPL-3")
STEPS = 32
TEXT_TOKENS = 300
PERPLEXITY_TOKENS = 4000
TOP = 5
TAP_VALUES = 8


class Llama:
    """Weights and numbers of a `llama` GGUF file, all in one dtype."""

    def __init__(self, reader, dtype):
        def number(key):
            return reader.fields["llama." + key].contents()

        self.dtype = dtype
        self.layers = number("block_count")
        self.heads_q = number("attention.head_count")
        self.heads_kv = number("attention.head_count_kv")
        self.head_size = number("embedding_length") // self.heads_q
        self.rms_epsilon = number("attention.layer_norm_rms_epsilon")
        self.rope_base = number("rope.freq_base")
        assert number("rope.dimension_count") == self.head_size
        self.weights = {}
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            values = numpy.array(values, dtype=numpy.float32, copy=True)
            # GGUF's first dimension is the contiguous one: [rows, columns] here.
            shape = [int(n) for n in reversed(tensor.shape)]
            self.weights[tensor.name] = torch.from_numpy(values).reshape(shape).to(dtype)
        assert "output.weight" not in self.weights, "the head is tied to the embedding"

    def norm(self, x, name):
        """x * w / sqrt(mean(x^2) + epsilon) (arXiv:1910.07467)."""
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.rms_epsilon)
        return x * scale * self.weights[name]

    def rotate(self, x):
        """RoPE (arXiv:2104.09864) on x [heads, tokens, head_size]: elements 2i and 2i + 1 turn together by
        position * base^(-2i / head_size). Angles, sines and cosines in double."""
        tokens, size = x.shape[1], x.shape[2]
        frequency = self.rope_base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angle = torch.arange(tokens, dtype=torch.float64)[:, None] * frequency[None, :]
        cos, sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
        return turned.reshape(x.shape)

    def attention(self, x, block):
        """x [tokens, width]; query head h reads KV head h // (heads_q / heads_kv)."""
        tokens = x.shape[0]

        def heads(name, count):
            y = x @ self.weights[block + name].T
            return y.reshape(tokens, count, self.head_size).transpose(0, 1)

        group = self.heads_q // self.heads_kv
        q = self.rotate(heads("attn_q.weight", self.heads_q))
        k = self.rotate(heads("attn_k.weight", self.heads_kv)).repeat_interleave(group, dim=0)
        v = heads("attn_v.weight", self.heads_kv).repeat_interleave(group, dim=0)
        scores = q @ k.transpose(1, 2) / math.sqrt(self.head_size)
        future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed = (weights @ v).transpose(0, 1).reshape(tokens, -1)
        return mixed @ self.weights[block + "attn_output.weight"].T

    def feed_forward(self, x, block):
        """down(silu(gate(x)) * up(x)) (arXiv:2002.05202)."""
        gate = x @ self.weights[block + "ffn_gate.weight"].T
        up = x @ self.weights[block + "ffn_up.weight"].T
        return (torch.nn.functional.silu(gate) * up) @ self.weights[block + "ffn_down.weight"].T

    def residual(self, ids):
        """The residual stream after the embedding and each layer."""
        x = self.weights["token_embd.weight"][torch.tensor(ids)]
        stream = [x]
        for layer in range(self.layers):
            block = f"blk.{layer}."
            x = x + self.attention(self.norm(x, block + "attn_norm.weight"), block)
            x = x + self.feed_forward(self.norm(x, block + "ffn_norm.weight"), block)
            stream.append(x)
        return stream

    def log_probabilities(self, x):
        logits = self.norm(x, "output_norm.weight") @ self.weights["token_embd.weight"].T
        return logits.log_softmax(-1)

    @torch.inference_mode()
    def forward(self, ids):
        """Log-probabilities [tokens, vocabulary], and the residual stream."""
        stream = self.residual(ids)
        return self.log_probabilities(stream[-1]), stream

    @torch.inference_mode()
    def perplexity(self, ids, rows=500):
        """exp of the mean of -log p(ids[i] | ids[0..i)) over i >= 1; logits of `rows` positions at once."""
        last, total = self.residual(ids)[-1], 0.0
        for begin in range(0, len(ids) - 1, rows):
            following = torch.tensor(ids[begin + 1:begin + 1 + rows])
            logs = self.log_probabilities(last[begin:begin + len(following)])
            total -= float(logs.gather(1, following[:, None]).double().sum())
        return math.exp(total / (len(ids) - 1))


def build_tokenizer(reader):
    """Special tokens' texts become the one token."""
    def field(key):
        return reader.fields["tokenizer." + key].contents()

    assert field("ggml.pre") == "smollm"
    tokens = field("ggml.tokens")
    merges = [tuple(line.split(" ")) for line in field("ggml.merges")]
    model = tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    tokenizer = tokenizers.Tokenizer(model)
    pre = tokenizers.pre_tokenizers
    tokenizer.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True),
                                            pre.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    kinds = field("ggml.token_type")
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, kinds) if kind == 3])
    return tokenizer


def prompts():
    """(name, text). Different kinds of text, short and long; the chat is rendered by hand as ChatML."""
    gpl = GPL.read_text()
    begin = gpl.index("  2. Basic Permissions.")
    return [
        ("english", "The three states of matter that everybody knows from daily life are"),
        ("code", "def fibonacci(n):\n    \"\"\"Return the first n Fibonacci numbers as a list.\"\"\"\n"
                 "    numbers = [0, 1]\n    while len(numbers) < n:\n"),
        ("gpl", gpl[begin:begin + 970]),
        ("chat", "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
                 "<|im_end|>\n<|im_start|>user\nName three colours of the rainbow, and say which of them is the "
                 "warmest.<|im_end|>\n<|im_start|>assistant\n"),
        ("unicode", "π ≈ 3.14159265, e ≈ 2.71828183; prices: 1 234,50 € / $1,377.00 / ¥151200 – naïve café, "
                    "Zürich 8001, 东京 2020, 🙂🙂. The number after 1998, 1999 and 2000 is"),
    ]


def rounded(value):
    return round(float(value), 5)


def step_record(log_probabilities):
    """One step: the best token with its lead over the second, and the five best."""
    values, ids = log_probabilities.topk(TOP)
    return {
        "best": int(ids[0]), "logprob": rounded(values[0]),
        "second": int(ids[1]), "margin": rounded(values[0] - values[1]),
        "top": [[int(i), rounded(v)] for i, v in zip(ids, values)],
    }


def continue_greedily(model, ids, steps):
    """The continuation that always takes the best token, by whole passes: slow, and no cache to be wrong."""
    ids = list(ids)
    for _ in range(steps):
        log_probabilities, _ = model.forward(ids)
        ids.append(int(log_probabilities[-1].argmax()))
    return ids


def prompt_record(model, tokenizer, name, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text, name
    whole = continue_greedily(model, ids, STEPS)
    log_probabilities, _ = model.forward(whole[:-1])
    steps = [step_record(log_probabilities[len(ids) - 1 + i]) for i in range(STEPS)]
    continuation = whole[len(ids):]
    assert [s["best"] for s in steps] == continuation
    return {"name": name, "text": text, "ids": ids, "continuation": continuation,
            "continuation_text": tokenizer.decode(continuation, skip_special_tokens=False),
            "steps": steps}


def tap_record(model, prompt):
    """Where a wrong implementation goes wrong first: the stream of the last prompt token."""
    _, stream = model.forward(prompt["ids"])
    taps = []
    for after, x in enumerate(stream):
        last = x[-1]
        taps.append({"after": "embedding" if after == 0 else f"layer {after - 1}",
                     "rms": rounded(last.pow(2).mean().sqrt()),
                     "first": [rounded(v) for v in last[:TAP_VALUES]]})
    return {"prompt": prompt["name"], "position": len(prompt["ids"]) - 1, "taps": taps}


def text_record(model, tokenizer):
    ids = tokenizer.encode(GPL.read_text()).ids[:TEXT_TOKENS]
    log_probabilities, _ = model.forward(ids)
    following = [rounded(log_probabilities[i, ids[i + 1]]) for i in range(len(ids) - 1)]
    return {"name": "first tokens of the GNU GPL, version 3",
            "text": tokenizer.decode(ids, skip_special_tokens=False),
            "ids": ids, "logprobs": [None] + following}


def write_perplexity(model, tokenizer, made_by):
    ids = tokenizer.encode(GPL.read_text()).ids[:PERPLEXITY_TOKENS]
    golden = {"format": 1, "made_by": made_by, "text": "the GNU GPL, version 3", "tokens": len(ids),
              "perplexity": rounded(model.perplexity(ids))}
    out = pathlib.Path(__file__).with_name("smollm2_perplexity.json")
    out.write_text(json.dumps(golden) + "\n")
    print(f"{out}: perplexity of {len(ids)} tokens {golden['perplexity']}")


def noise(single, double, records, text):
    """Largest |float32 - float64| over the log-probabilities of the five best, and of the text's tokens."""
    largest = 0.0
    for record in records:
        ids = record["ids"] + record["continuation"]
        wide, _ = double.forward(ids[:-1])
        for i, step in enumerate(record["steps"]):
            row = wide[len(record["ids"]) - 1 + i]
            largest = max([largest] + [abs(float(row[t]) - value) for t, value in step["top"]])
    wide, _ = double.forward(text["ids"])
    for i, value in enumerate(text["logprobs"][1:]):
        largest = max(largest, abs(float(wide[i, text["ids"][i + 1]]) - value))
    return largest


def write(path, golden):
    """One line for each record: small, and readable in a diff."""
    compact = {"separators": (",", ":"), "ensure_ascii": True}
    lines = ["{"]
    for key in ("format", "made_by", "model", "text", "residual_stream"):
        lines.append(json.dumps(key) + ":" + json.dumps(golden[key], **compact) + ",")
    lines.append('"prompts":[')
    lines.append(",\n".join(json.dumps(p, **compact) for p in golden["prompts"]))
    lines.append("]}\n")
    path.write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="compare with float64")
    parser.add_argument("--perplexity", action="store_true", help="write smollm2_perplexity.json only")
    arguments = parser.parse_args()
    reader = gguf.GGUFReader(arguments.model)
    tokenizer = build_tokenizer(reader)
    model = Llama(reader, torch.float32)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "gguf", "tokenizers")}
    made_by = {"script": "tests/golden/make_reference.py", "dtype": "float32", **versions}
    if arguments.perplexity:
        return write_perplexity(model, tokenizer, made_by)
    records = [prompt_record(model, tokenizer, name, text) for name, text in prompts()]
    text = text_record(model, tokenizer)
    golden = {
        "format": 1,
        "made_by": made_by,
        "model": {"name": reader.fields["general.name"].contents(),
                  "sha256": hashlib.sha256(arguments.model.read_bytes()).hexdigest()},
        "text": text, "residual_stream": tap_record(model, records[0]), "prompts": records,
    }
    out = pathlib.Path(__file__).with_name("smollm2_reference.json")
    write(out, golden)
    print(f"{out}: {out.stat().st_size} bytes")
    for record in records:
        sure = sum(step["margin"] > 0.2 for step in record["steps"])
        print(f"{record['name']}: {len(record['ids'])} tokens, margin over 0.2 in {sure} of {STEPS}: "
              f"{record['continuation_text']!r}")
    mean = -sum(text["logprobs"][1:]) / (len(text["ids"]) - 1)
    print(f"text: {len(text['ids'])} tokens, perplexity {math.exp(mean):.3f}")
    if arguments.check:
        print(f"largest difference from float64: {noise(model, Llama(reader, torch.float64), records, text):.2e}")


if __name__ == "__main__":
    main()
