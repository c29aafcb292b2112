#!/usr/bin/env python3
"""Recall of the tokens with the most attention, and share of attention mass, on texts not trained on.

For a row n and a budget m each selector picks m of the n earlier tokens. Recall: how many of the m with the most
attention are among them. Mass: what share of the attention on earlier tokens falls on them.

    venv/bin/python research/adore/evaluate.py MODEL.gguf WORK CONTROLLER.safetensors
"""
import argparse
import pathlib

import gguf
import numpy
import torch

import controller

SINKS, WINDOW_SHARE = 4, 4
FRACTIONS, COUNTS = [16, 8, 4], [64, 128, 256, 512]


def budgets(n):
    """name -> tokens. A budget of more than half of the text says little and is left out."""
    out = {f"n/{f}": n // f for f in FRACTIONS}
    out.update({str(m): m for m in COUNTS if m <= n // 2})
    return out


def best_first(scores):
    """Positions, highest score first; of equal scores the larger position."""
    return len(scores) - 1 - numpy.argsort(-scores[::-1], kind="stable")


def preferring(scores, n, sinks, window):
    """The scores with the first tokens and the most recent ones above all others."""
    raised = scores - scores.max()
    raised[:sinks] += 1e6
    raised[n - window:] += 1e6
    return raised


def selectors(scores, accumulated, attention, n):
    """name -> a function of m that gives scores of the tokens before n."""
    age = numpy.arange(n, dtype=numpy.float64)
    return {
        "controller": lambda m: scores,
        "controller + sinks + window m/4": lambda m: preferring(scores, n, SINKS, m // WINDOW_SHARE),
        "recency": lambda m: age,
        "sinks + recency": lambda m: preferring(age, n, SINKS, 0),
        "accumulated attention": lambda m: accumulated,
        "accumulated + window m/2": lambda m: preferring(accumulated, n, 0, m // 2),
        "oracle": lambda m: attention,
    }


def row_figures(scores, accumulated, attention, n):
    """{(selector, budget): (recall, mass)}."""
    total, truth = attention.sum(), best_first(attention)
    out = {}
    for name, scores_for in selectors(scores, accumulated, attention, n).items():
        for budget, m in budgets(n).items():
            picked = best_first(scores_for(m))[:m]
            recall = len(numpy.intersect1d(picked, truth[:m])) / m
            out[name, budget] = (recall, attention[picked].sum() / total)
    return out


@torch.inference_mode()
def text_figures(model, table, arrays, rows=None):
    """The mean of row_figures() over the text's rows, or over about `rows` of them."""
    states = model.states(table[torch.from_numpy(arrays["ids"]).long()][None])[0]
    of_states, of_buckets = model.prepared(states)
    sums = {}
    count = len(arrays["positions"])
    for row in range(0, count, max(1, count // (rows or count))):
        n = int(arrays["positions"][row])
        scores = model.scores(of_states, of_buckets, n).numpy().astype(numpy.float64)
        accumulated = arrays["accumulated"][row, :n].astype(numpy.float64)
        attention = arrays["attention"][row, :n].astype(numpy.float64)
        for key, figures in row_figures(scores, accumulated, attention, n).items():
            sums.setdefault(key, []).append(figures)
    return {key: numpy.mean(figures, axis=0) for key, figures in sums.items()}


def labelled(work, split):
    """(file, arrays) of the texts of a split."""
    for path in sorted((work / "labels").glob("*.npz")):
        arrays = numpy.load(path)
        if str(arrays["split"]) == split:
            yield path, {name: arrays[name] for name in arrays.files}


def name_of(arrays):
    return pathlib.Path(str(arrays["path"])).name + (", in a chat" if arrays["chat"] else "")


def print_tables(texts, names):
    """texts: [(arrays, figures)]."""
    columns = [f"n/{f}" for f in FRACTIONS] + [str(m) for m in COUNTS]
    for which, title in ((0, "recall"), (1, "mass")):
        print(f"\n| {title} | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
        for name in names:
            cells = [numpy.mean([figures[name, c][which] for _, figures in texts if (name, c) in figures])
                     for c in columns]
            print(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    print(f"\n| controller - recency, recall | {' | '.join(columns[:3])} |\n|---|---|---|---|")
    margins = []
    for arrays, figures in texts:
        row = [figures["controller", c][0] - figures["recency", c][0] for c in columns[:3]]
        margins.append(row)
        what = f"{name_of(arrays)} ({arrays['kind']}, {len(arrays['ids'])})"
        print(f"| {what} | " + " | ".join(f"{x:+.3f}" for x in row) + " |")
    for title, f in (("mean", numpy.mean), ("standard deviation over texts", numpy.std), ("least", numpy.min)):
        options = {"ddof": 1} if f is numpy.std and len(texts) > 1 else {}
        print(f"| {title} | " + " | ".join(f"{x:+.3f}" for x in f(margins, axis=0, **options)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("controller", type=pathlib.Path)
    parser.add_argument("--split", default="heldout", choices=["heldout", "validation"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, table = controller.load(options.controller), controller.TokenEmbedding(gguf.GGUFReader(options.model)).rows
    texts = [(arrays, text_figures(model, table, arrays)) for _, arrays in labelled(options.work, options.split)]
    rows = sum(len(arrays["positions"]) for arrays, _ in texts)
    print(f"{options.split}: {len(texts)} texts, {sum(len(a['ids']) for a, _ in texts)} tokens, {rows} rows")
    print_tables(texts, list(selectors(None, None, None, 1)))


if __name__ == "__main__":
    main()
