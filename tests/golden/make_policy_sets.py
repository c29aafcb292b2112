#!/usr/bin/env python3
"""Writes smollm2_policy_sets.json: the sets that TidalDecode and Recycled Attention choose on the default model, and
what the model then says.

Whole sequences go through the model at once, layer by layer, as masked dense attention: rows of the prompt see
everything, each row behind it what its policy lets it see. A row's set at a layer is made of that layer's own scores,
so no cache is needed and none can be wrong. Keys and values are rounded to bf16 as Ebb stores them, keys after
rotation; all else is float32. The papers: arXiv:2410.05076 (section 3: per query head, scores before softmax, nothing
forced) and arXiv:2411.05787v2 (probabilities, maximum over a KV head's query heads, max pool of 7, first out what had
the lowest score). Run by hand, as make_reference.py, whose model this uses:

    venv/bin/python tests/golden/make_policy_sets.py MODEL.gguf

The schema is in tests/golden/README.md.
"""
import argparse
import json
import math
import pathlib

import gguf
import torch

import make_reference

STEPS = 32
TIDAL_BUDGET, TIDAL_LAYERS = 24, [2, 12]
RECYCLED_BUDGET, RECYCLED_STRIDE, RECYCLED_POOL = 32, 8, 7
NEAR = 0.01  # positions whose score is this close to the K-th one are left open
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def texts():
    """(name, text, tokens of the prompt); the text goes on for STEPS tokens behind it."""
    gpl = make_reference.GPL.read_text()
    at = gpl.index("  2. Basic Permissions.")
    code = pathlib.Path(make_reference.__file__).read_text()
    return [("gpl", gpl[at:at + 2000], 150), ("preamble", gpl[gpl.index("Preamble"):][:3000], 250),
            ("code", code[:3000], 200)]


def packed(positions):
    """Ascending positions as distances, one character each; '/' stands for 63 and goes on."""
    out, last = "", 0
    for position in positions:
        far, near = divmod(position - last, 63)
        out += "/" * far + ALPHABET[near]
        last = position
    return out


def chosen(scores, k):
    """(the k best, ties to the lower position, best first; packed set; packed positions too close to call)."""
    order = sorted(range(len(scores)), key=lambda p: (-scores[p], p))[:k]
    least = scores[order[-1]]
    near = [p for p, s in enumerate(scores) if abs(s - least) <= NEAR * abs(least)]
    return order, [packed(sorted(order)), packed(near)]


def probabilities(row):
    """exp(x - max): what softmax divides by one number a head."""
    return (row - row.max()).exp()


class Tidal:
    """Which tokens a row behind the prompt sees."""
    def __init__(self, prompt):
        self.prompt, self.sets, self.mask = prompt, [], None

    def see(self, layer, scores, visible):
        if layer in TIDAL_LAYERS:
            self.mask = visible.clone()
            for row in range(self.prompt, scores.shape[1]):
                for head in range(scores.shape[0]):
                    order, record = chosen(probabilities(scores[head, row, :row + 1]).tolist(), TIDAL_BUDGET)
                    self.mask[head, row] = False
                    self.mask[head, row, order] = True
                    self.sets.append([row - self.prompt, layer, head, *record])
            return visible
        return visible if self.mask is None else self.mask


class Recycled:
    def __init__(self, prompt, heads_kv):
        self.prompt, self.heads_kv, self.sets = prompt, heads_kv, []

    def choose(self, scores, row, kv_head, group):
        heads = [scores[h, row, :row + 1].softmax(-1) for h in range(kv_head * group, (kv_head + 1) * group)]
        most = torch.stack(heads).max(0).values
        reach = RECYCLED_POOL // 2
        pooled = [float(most[max(0, p - reach):p + reach + 1].max()) for p in range(row + 1)]
        order, record = chosen(pooled, RECYCLED_BUDGET)
        return order[::-1], record  # the lowest score first

    def see(self, layer, scores, visible):
        mask, group = visible.clone(), scores.shape[0] // self.heads_kv
        for kv_head in range(self.heads_kv):
            kept, _ = self.choose(scores, self.prompt - 1, kv_head, group)
            for row in range(self.prompt, scores.shape[1]):
                step = row - self.prompt + 1
                if step % RECYCLED_STRIDE == 0:
                    kept, record = self.choose(scores, row, kv_head, group)
                    self.sets.append([step - 1, layer, kv_head, *record])
                    continue
                for head in range(kv_head * group, (kv_head + 1) * group):
                    mask[head, row] = False
                    mask[head, row, kept + [row]] = True
                kept = (kept + [row])[-RECYCLED_BUDGET:]
        return mask


class MaskedLlama(make_reference.Llama):
    policy = None

    def attention(self, x, block):
        tokens, layer = x.shape[0], int(block.split(".")[1])
        stored = lambda y: y.to(torch.bfloat16).to(self.dtype)  # noqa: E731

        def heads(name, count):
            y = x @ self.weights[block + name].T
            return y.reshape(tokens, count, self.head_size).transpose(0, 1)

        group = self.heads_q // self.heads_kv
        q = self.rotate(heads("attn_q.weight", self.heads_q))
        k = stored(self.rotate(heads("attn_k.weight", self.heads_kv))).repeat_interleave(group, dim=0)
        v = stored(heads("attn_v.weight", self.heads_kv)).repeat_interleave(group, dim=0)
        scores = q @ k.transpose(1, 2) / math.sqrt(self.head_size)
        causal = torch.ones(tokens, tokens, dtype=torch.bool).tril(0).expand(self.heads_q, -1, -1)
        seen = self.policy.see(layer, scores, causal)
        weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
        return (weights @ v).transpose(0, 1).reshape(tokens, -1) @ self.weights[block + "attn_output.weight"].T


def record(model, ids, prompt, policy):
    """What the steps behind the prompt choose, and log p of each text's next token."""
    model.policy = policy
    logs, _ = model.forward(ids[:-1])
    said = [make_reference.rounded(logs[i][ids[i + 1]]) for i in range(prompt, len(ids) - 1)]
    policy.sets.sort(key=lambda s: s[:3])
    return {"sets": policy.sets, "logprobs": said}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="SmolLM2-135M-Instruct.Q4_1.gguf")
    options = parser.parse_args()
    reader = gguf.GGUFReader(options.model)
    tokenizer = make_reference.build_tokenizer(reader)
    model = MaskedLlama(reader, torch.float32)
    out = {"tidal": {"budget": TIDAL_BUDGET, "layers": TIDAL_LAYERS},
           "recycled": {"budget": RECYCLED_BUDGET, "stride": RECYCLED_STRIDE, "pool": RECYCLED_POOL}, "prompts": []}
    for name, text, prompt in texts():
        ids = tokenizer.encode(text).ids[:prompt + STEPS + 1]
        assert len(ids) == prompt + STEPS + 1, name
        out["prompts"].append({"name": name, "ids": ids, "prompt": prompt,
                               "tidal": record(model, ids, prompt, Tidal(prompt)),
                               "recycled": record(model, ids, prompt, Recycled(prompt, model.heads_kv))})
    path = pathlib.Path(__file__).parent / "smollm2_policy_sets.json"
    path.write_text(json.dumps(out, separators=(",", ":")).replace("],[", "],\n[") + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
