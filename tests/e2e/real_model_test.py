#!/usr/bin/env python3
"""The real model through real processes: any number of ranks says the same, a rank's memory is its shard, and
perplexity is the reference's."""
import json
import math
import pathlib
import sys

from service import Cluster, document, run_tests

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "smollm2_perplexity.json"
CLEAR_MARGIN = 0.2  # nats between the best and the second token: below it the order means little
TOKENS = 24


def greedy(cluster, **ebb):
    """(tokens, margins of the best over the second)."""
    answer = cluster.complete(prompt=document(4000), max_tokens=TOKENS, temperature=0, logprobs=2, ebb=ebb)
    logprobs = answer["choices"][0]["logprobs"]
    margins = []
    for top in logprobs["top_logprobs"]:
        best, second = sorted(top.values(), reverse=True)[:2]
        margins.append(best - second)
    return logprobs["tokens"], margins


def same_while_clear(one, many, what):
    """After an unclear token the two may go different ways."""
    compared = 0
    for (token, margin), other in zip(zip(*one), many[0]):
        if token == other:
            compared += 1
            continue
        assert margin <= CLEAR_MARGIN, f"{what}: token {compared} is {other!r}, on one rank {token!r}, by {margin:.2f}"
        break
    print(f"  {what}: {compared} of {TOKENS} tokens alike")
    assert compared >= 4, what


def test_any_number_of_ranks_says_the_same():
    """3 KV heads: over 3 ranks one each, over 4 one is copied."""
    expected = {}
    for ranks in (1, 2, 3, 4):
        with Cluster(ranks=ranks) as cluster:
            for policy in ("dense", "tidal"):
                said = greedy(cluster, policy=policy)
                if ranks == 1:
                    expected[policy] = said
                else:
                    same_while_clear(expected[policy], said, f"{policy}, {ranks} ranks")


def shard_bytes(ranks):
    """Weights of the fullest rank, the first, of SmolLM2-135M in Q4_1 with its head in Q8_0."""
    layers, width, head_size, ffn, vocabulary = 30, 576, 64, 1536, 49152
    heads_kv = -(-3 // ranks)
    columns = 2 * 3 * heads_kv * head_size + 2 * heads_kv * head_size + 3 * ffn / ranks
    return layers * width * columns * 20 / 32 + vocabulary / ranks * width * 34 / 32


def peak_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def test_a_rank_keeps_little_more_than_its_shard():
    for ranks in (1, 2, 3):
        limit = 1.1 * shard_bytes(ranks) + 64 * 2**20
        with Cluster(ranks=ranks) as cluster:
            cluster.complete(prompt="The capital of France is", max_tokens=8, temperature=0)
            peaks = [peak_bytes(cluster.pid(f"worker {rank}")) for rank in range(ranks)]
        print(f"  {ranks} ranks: peaks of {[peak >> 20 for peak in peaks]} MiB, limit {limit / 2**20:.0f}")
        assert max(peaks) <= limit, (ranks, peaks, limit)


def test_perplexity_is_that_of_the_float32_reference():
    golden = json.loads(GOLDEN.read_text())
    with Cluster() as cluster:
        status, answer = cluster.request("POST", "/tokenize", {"prompt": document(10**6)})
        assert status == 200, answer
        ids = answer["tokens"][:golden["tokens"]]
        assert len(ids) == golden["tokens"]
        scored = cluster.complete(prompt=ids, max_tokens=0, echo=True, logprobs=1, timeout=600)
    logs = scored["choices"][0]["logprobs"]["token_logprobs"]
    assert len(logs) == len(ids) and logs[0] is None
    perplexity = math.exp(-sum(logs[1:]) / (len(logs) - 1))
    print(f"  perplexity {perplexity:.4f}, reference {golden['perplexity']}")
    assert abs(perplexity / golden["perplexity"] - 1) < 0.005


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
