#!/usr/bin/env python3
"""Trains the controller on WORK/labels, prints what becomes of it on the validation texts, writes OUT (.safetensors).

    venv/bin/python research/adore/train.py MODEL.gguf WORK OUT --minutes 10

--loss bce is the loss of the paper as far as it is known: the K tokens with the most attention are to score high, the
others low; K is one of n/16, n/8, n/4 for each row, or always n / --share. kl pulls softmax(scores) to the attention
itself; log is the squared distance of the scores to the attention's logarithm. Losses may be added: bce+log.
"""
import argparse
import math
import pathlib
import random
import time

import gguf
import numpy
import torch

import controller
import evaluate

SHARES = [16, 8, 4]
BATCH_TOKENS = 32768
RATE, RATE_LAST, WARM_UP = 6e-3, 1e-4, 0.05
AVERAGE = 0.98  # of the weights, step by step; what is written and measured


def bce(scores, attention, share):
    n = len(scores)
    k = max(1, n // share)
    wanted = torch.zeros(n)
    wanted[attention.topk(k).indices] = 1.0
    weight = torch.tensor((n - k) / k)
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted, pos_weight=weight)


def kl(scores, attention, _):
    """Cross-entropy: the attention's own entropy, which training cannot change, is left in."""
    return -(attention / attention.sum() * scores.log_softmax(0)).sum()


def log(scores, attention, _):
    target = (attention + 1e-7).log()
    return (scores - scores.mean() - target + target.mean()).pow(2).mean()


LOSSES = {"bce": bce, "kl": kl, "log": log}


class Batches:
    """Texts of one length at a time."""
    def __init__(self, work, seed):
        self.random, self.by_length = random.Random(seed), {}
        for _, arrays in evaluate.labelled(work, "training"):
            self.by_length.setdefault(len(arrays["ids"]), []).append(arrays)
        self.tokens = sum(length * len(texts) for length, texts in self.by_length.items())
        self.longest = max(self.by_length)

    def next(self):
        lengths = list(self.by_length)
        weights = [length * len(self.by_length[length]) for length in lengths]
        length = self.random.choices(lengths, weights)[0]
        texts = self.by_length[length]
        return self.random.sample(texts, min(len(texts), max(1, BATCH_TOKENS // length)))


def batch_loss(model, table, texts, options, generator):
    ids = torch.from_numpy(numpy.stack([arrays["ids"] for arrays in texts])).long()
    states = model.states(table[ids])
    total, count = 0.0, 0
    for of_text, arrays in zip(states, texts):
        of_states, of_buckets = model.prepared(of_text)
        for row in generator.sample(range(len(arrays["positions"])), options.rows * ids.shape[1] // BATCH_TOKENS):
            n = int(arrays["positions"][row])
            attention = torch.from_numpy(arrays["attention"][row, :n])
            scores, share = model.scores(of_states, of_buckets, n), options.share or generator.choice(SHARES)
            total = total + sum(LOSSES[name](scores, attention, share) for name in options.loss.split("+"))
            count += 1
    return total / count


def rate_at(done):
    """done: 0 to 1. Up quickly, down along a cosine."""
    if done < WARM_UP:
        return RATE * (done + 0.01) / (WARM_UP + 0.01)
    return RATE_LAST + (RATE - RATE_LAST) * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def validation(model, table, texts):
    """(recall, mass) at n/16, n/8 and n/4 of the controller."""
    figures = [evaluate.text_figures(model, table, arrays, rows=16) for arrays in texts]
    return numpy.mean([[f["controller", f"n/{share}"] for share in SHARES] for f in figures], axis=0).T


def hold_far_buckets(model, longest):
    """Distances that no training text has score as the farthest ones that were seen (mean of its last octave)."""
    last = int(controller.bucket_of([longest])[0])
    with torch.no_grad():
        model.distance.weight[last - 1:] = model.distance.weight[last - 8:last - 1].mean(0)


def new_model(embedding, options):
    torch.manual_seed(options.seed)
    model = controller.Controller(embedding.hidden, recurrent=not options.no_gru)
    with torch.no_grad():
        model.input.weight /= embedding.rms * math.sqrt(3)  # embeddings are small numbers
        model.distance.weight *= 0.1
    return model


def train(model, embedding, batches, texts, options):
    """Prints a line now and then; the averaged model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98))
    averaged = {name: values.clone() for name, values in model.state_dict().items()}
    mean, shown = new_model(embedding, options), controller.Controller(embedding.hidden, recurrent=not options.no_gru)
    generator, begin, last, loss_mean, step = random.Random(options.seed), time.process_time(), 0, None, 0
    print("step  CPU s    loss   validation recall n/16  n/8   n/4     mass n/16  n/8   n/4")
    while (spent := time.process_time() - begin - last) < 60 * options.minutes:
        for group in optimizer.param_groups:
            group["lr"] = rate_at(spent / (60 * options.minutes))
        loss = batch_loss(model, embedding.rows, batches.next(), options, generator)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        keep = min(AVERAGE, step / (step + 10))
        for name, values in model.state_dict().items():
            averaged[name].lerp_(values, 1 - keep)
        loss_mean = loss.item() if loss_mean is None else 0.95 * loss_mean + 0.05 * loss.item()
        step += 1
        if step % options.every == 0:
            at = time.process_time()
            shown.load_state_dict(averaged)
            print_line(step, spent, loss_mean, validation(shown, embedding.rows, texts))
            last += time.process_time() - at
    mean.load_state_dict(averaged)
    hold_far_buckets(mean, batches.longest)
    print_line(step, spent, loss_mean, validation(mean, embedding.rows, texts))
    return mean


def print_line(step, spent, loss, figures):
    recall, mass = ("  ".join(f"{x:.3f}" for x in row) for row in figures)
    print(f"{step:4} {spent:6.0f} {loss:8.4f}                    {recall}       {mass}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--loss", default="bce")
    parser.add_argument("--share", type=int, help="K is always n / SHARE")
    parser.add_argument("--no-gru", action="store_true", help="ablation: the state is made of the token alone")
    parser.add_argument("--minutes", type=float, default=10, help="of CPU time")
    parser.add_argument("--rows", type=int, default=96, help="in a batch")
    parser.add_argument("--every", type=int, default=25, help="steps from one printed line to the next")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    embedding, batches = controller.TokenEmbedding(gguf.GGUFReader(options.model)), Batches(options.work, options.seed)
    texts = [arrays for _, arrays in evaluate.labelled(options.work, "validation")]
    count = sum(map(len, batches.by_length.values()))
    print(f"loss {options.loss}, K {'n/%d' % options.share if options.share else 'n/16, n/8, n/4'}, "
          f"{'no GRU' if options.no_gru else 'GRU'}, seed {options.seed}; {count} texts, {batches.tokens} tokens")
    model = train(new_model(embedding, options), embedding, batches, texts, options)
    controller.write_safetensors(options.out, controller.tensors_of(model.state_dict()), {
        "ebb_format": controller.FORMAT, "model_name": embedding.model_name, "hidden": str(embedding.hidden),
        "width": str(controller.WIDTH), "buckets": str(controller.BUCKETS)})


if __name__ == "__main__":
    main()
