#!/usr/bin/env python3
"""PyTorch on the shapes of kernels_gpu_bench.cpp, for the same table: dense decode by scaled_dot_product_attention,
top-k by torch.topk, and gather decode by index_select and SDPA. One JSON object a line; needs a GPU that torch sees.
"""
import json
import time

import torch
import torch.nn.functional as F

HEADS_Q, HEADS_KV, SIZE = 32, 8, 128
SECONDS = 0.25


def seconds_of(call):
    """Best time of one call: rounds of calls between two waits."""
    call()
    torch.cuda.synchronize()
    best, spent, calls = float("inf"), 0.0, 1
    for round_ in range(100):
        if round_ >= 3 and spent >= SECONDS:
            break
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        taken = time.perf_counter() - begin
        spent += taken
        best = min(best, taken / calls)
        if taken < 0.02:
            calls *= 2
    return best


class Report:
    def __init__(self):
        self.copy = 0.0
        print(json.dumps({"name": "machine", "device": torch.cuda.get_device_name(0),
                          "runtime": torch.version.cuda, "driver": "", "architectures": ""}), flush=True)

    def add(self, name, shape, call, moved=0.0, flops=0.0):
        best = seconds_of(call)
        row = {"name": name, "shape": shape, "us": round(best * 1e6, 2), "by": f"PyTorch {torch.__version__}"}
        if moved:
            row["gb_per_s"] = round(moved / best / 1e9, 1)
            self.copy = self.copy or row["gb_per_s"]
            row["share_of_copy"] = round(row["gb_per_s"] / self.copy, 3)
        if flops:
            row["tflop_per_s"] = round(flops / best / 1e12, 2)
        print(json.dumps(row), flush=True)


def tensor(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def dense(report, batch, tokens):
    q = tensor(batch, HEADS_Q, 1, SIZE)
    k, v = tensor(batch, HEADS_KV, tokens, SIZE), tensor(batch, HEADS_KV, tokens, SIZE)
    report.add("dense decode", f"B={batch}, {tokens} tokens, contiguous",
               lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), 2.0 * k.numel() * k.element_size())


def gather(report, batch, chosen, tokens):
    rows = [tensor(tokens, 2, HEADS_KV, SIZE) for _ in range(batch)]
    index = [torch.randperm(tokens, device="cuda")[:chosen].sort().values for _ in range(batch)]
    q = tensor(batch, HEADS_Q, 1, SIZE)

    def call():
        some = torch.stack([r.index_select(0, i) for r, i in zip(rows, index)])  # [B, chosen, 2, heads, size]
        k, v = some[:, :, 0].transpose(1, 2), some[:, :, 1].transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    report.add("gather decode", f"B={batch}, {chosen} of {tokens}, index_select + SDPA", call,
               4.0 * batch * chosen * HEADS_KV * SIZE)


def main():
    report = Report()
    source, target = tensor(1 << 28, dtype=torch.float32), torch.empty(1 << 28, device="cuda")
    report.add("copy", "1024 MiB, device to device", lambda: target.copy_(source), 2.0 * (1 << 30))
    del source, target
    dense(report, 16, 32 << 10)
    for tokens in (8 << 10, 32 << 10, 128 << 10):
        dense(report, 1, tokens)
    for batch in (16, 64):
        gather(report, batch, 2048, 128 << 10)
    scores = tensor(8, 128 << 10, dtype=torch.float32)
    report.add("top-k", f"8 rows of {128 << 10}, best 2048", lambda: torch.topk(scores, 2048), 4.0 * scores.numel())
    tokens = 8 << 10
    q, k, v = tensor(1, HEADS_Q, tokens, SIZE), tensor(1, HEADS_KV, tokens, SIZE), tensor(1, HEADS_KV, tokens, SIZE)
    pairs = 0.5 * tokens * (tokens + 1.0)
    report.add("prefill attention", f"{tokens} rows, causal",
               lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
               flops=4.0 * pairs * HEADS_Q * SIZE)


if __name__ == "__main__":
    main()
