#!/usr/bin/env python3
"""The dense model's attention, for each collected text: WORK/labels/NNN.npz. Goes on where it stopped.

A_n[i] is the attention probability of the token at position n on the token at i, mean over all layers and query heads.
Kept are some rows n of each text (`positions`, `attention`), and for texts not trained on also the sums of all rows
before n (`accumulated`): what a policy that watches attention would know.

    venv/bin/python research/adore/labels.py MODEL.gguf WORK
"""
import argparse
import json
import math
import pathlib
import random
import time

import gguf
import numpy
import torch

from controller import make_reference

FIRST_ROW, ROWS = 128, 128
BLOCK = 256


class WatchedLlama(make_reference.Llama):
    """Adds up the attention of all layers and heads: total [tokens, tokens]."""
    total = None

    def attention(self, x, block):
        tokens, group = x.shape[0], self.heads_q // self.heads_kv

        def heads(name, count):
            y = x @ self.weights[block + name].T
            return y.reshape(tokens, count, self.head_size).transpose(0, 1)

        q = self.rotate(heads("attn_q.weight", self.heads_q)) / math.sqrt(self.head_size)
        k = self.rotate(heads("attn_k.weight", self.heads_kv)).repeat_interleave(group, dim=0)
        v = heads("attn_v.weight", self.heads_kv).repeat_interleave(group, dim=0)
        mixed = torch.empty_like(q)
        for begin in range(0, tokens, BLOCK):  # by blocks of rows: half of the square is masked
            end = min(begin + BLOCK, tokens)
            scores = q[:, begin:end] @ k[:, :end].transpose(1, 2)
            future = torch.ones(end - begin, end - begin, dtype=torch.bool).triu(1)
            scores[:, :, begin:].masked_fill_(future, -math.inf)
            weights = scores.softmax(-1)
            self.total[begin:end, :end] += weights.sum(0)
            mixed[:, begin:end] = weights @ v[:, :end]
        return mixed.transpose(0, 1).reshape(tokens, -1) @ self.weights[block + "attn_output.weight"].T

    @torch.inference_mode()
    def mean_attention(self, ids):
        self.total = torch.zeros(len(ids), len(ids))
        self.residual(ids)
        return self.total / (self.layers * self.heads_q)


def record(model, text, seed):
    ids = text["ids"]
    first = FIRST_ROW if text["split"] == "training" else len(ids) // 4
    positions = sorted(random.Random(seed).sample(range(first, len(ids)), ROWS))
    attention = model.mean_attention(ids)
    arrays = {"ids": numpy.array(ids, dtype=numpy.int32), "positions": numpy.array(positions, dtype=numpy.int32),
              "attention": attention[positions].numpy()}
    if text["split"] != "training":
        before = attention.cumsum(0)
        arrays["accumulated"] = before[[n - 1 for n in positions]].numpy()
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--part", type=int, nargs=2, default=[0, 1], help="I N: every N-th text, from I on")
    options = parser.parse_args()
    torch.set_num_threads(1)  # to use more cores, run several parts
    model = WatchedLlama(gguf.GGUFReader(options.model), torch.float32)
    folder = options.work / "labels"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(json.loads((options.work / "texts.json").read_text())):
        out = folder / f"{number:03}.npz"
        if out.exists() or number % options.part[1] != options.part[0]:
            continue
        begin = time.monotonic()
        part = out.with_suffix(".part")
        with open(part, "wb") as file:
            numpy.savez(file, split=text["split"], kind=text["kind"], path=text["path"], chat=text["chat"],
                        **record(model, text, number))
        part.rename(out)
        print(f"{number:3} {text['split']:10} {len(text['ids'])} tokens, {time.monotonic() - begin:.1f} s, "
              f"{text['path']}", flush=True)


if __name__ == "__main__":
    main()
