#!/usr/bin/env python3
"""ebb-score against a small cluster with the real model: dense beside itself is exactly 1, a sparse policy is near it,
a second run finds everything there, a needle is found through the decode path, and without the cluster the same comes
out."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from cluster import ROOT
from service import GPL, Cluster, run_tests


def score(cluster, out, *arguments, where=None):
    """The finished command, and its summary. `where`: options that say what is asked, instead of the cluster."""
    done = subprocess.run([cluster.bin_dir / "ebb-score", *arguments, *(where or ["--url", cluster.url]), "--out", out,
                           "--progress", "plain"], capture_output=True, text=True, timeout=300, check=False)
    summary = out / "summary.json"
    return done, json.loads(summary.read_text()) if summary.exists() else None


def in_process():
    cache = os.environ.get("EBB_CACHE") or os.path.expanduser("~/.cache/ebb")
    return ["--model", os.environ.get("EBB_MODEL") or f"{cache}/models/SmolLM2-135M-Instruct.Q4_1.gguf",
            "--profile", ROOT / "configs/profiles/smollm2-135m-instruct.yaml"]


def records(out):
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return {record["key"]: record for record in lines}


def test_quality_of_policies():
    with Cluster(ranks=1) as cluster, tempfile.TemporaryDirectory() as folder:
        perplexity_is_paired(cluster, pathlib.Path(folder) / "perplexity")
        bad_policies_are_partial(cluster, pathlib.Path(folder) / "bad")
        a_needle_is_found(cluster, pathlib.Path(folder) / "needle")
        without_the_cluster_it_is_the_same(cluster, pathlib.Path(folder))


def perplexity_is_paired(cluster, out):
    arguments = ["perplexity", "--text", GPL, "--policies", "dense;dense;tidal:budget=n/4,window=16", "--context",
                 "256", "--decode", "32", "--window", "16"]
    done, summary = score(cluster, out, *arguments)
    assert done.returncode == 0, done.stderr
    dense, again, tidal = summary["results"]
    assert again["policy"] == "dense (2)" and again["ratio"] == 1.0, again
    assert dense["tokens"] == tidal["tokens"] == 32
    assert 1 < dense["perplexity"] < 100, dense
    assert 0.8 < tidal["ratio"] < 1.25 and tidal["ratio"] != 1.0, tidal
    assert tidal["cost"]["selected_tokens"] > 0 and dense["cost"]["selected_tokens"] == 0
    print(f"  dense {dense['perplexity']:.3f}, tidal at n/4 {tidal['ratio']:.4f} of it")
    done, again = score(cluster, out, *arguments)
    assert done.returncode == 0 and "6 of 6 cells are there" in done.stderr, done.stderr
    assert again == summary
    done, _ = score(cluster, out, *arguments, "--skip", "1")
    assert done.returncode == 2 and '--skip is "0" there and "1" now' in done.stderr, done.stderr


def bad_policies_are_partial(cluster, out):
    done, summary = score(cluster, out, "perplexity", "--text", GPL, "--policies", "dense;nosuch", "--context", "64",
                          "--decode", "4")
    assert done.returncode == 3, (done.returncode, done.stderr)
    assert "nosuch" in summary["failures"][0]["error"], summary["failures"]


def a_needle_is_found(cluster, out):
    done, summary = score(cluster, out, "needle", "--text", GPL, "--policies", "dense", "--lengths", "256", "--depths",
                          "0.5", "--seed", "1")
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "results.jsonl").read_text())
    print(f"  asked for {record['expected']}, answered {record['text']!r}")
    assert summary["results"][0]["right"] == 1, record
    assert 200 < record["prompt_tokens"] <= 256, record
    assert (out / "picture.svg").read_text().endswith("</svg>\n")


def without_the_cluster_it_is_the_same(cluster, folder):
    policies = "dense;tidal:budget=n/4,window=16;recycled:budget=n/4,stride=4;streaming:budget=n/4"
    arguments = ["perplexity", "--text", GPL, "--policies", policies, "--context", "128", "--decode", "16"]
    for out, where in [("asked", None), ("inside", in_process())]:
        done, summary = score(cluster, folder / out, *arguments, where=where)
        assert done.returncode == 0, done.stderr
    asked, inside = records(folder / "asked"), records(folder / "inside")
    assert asked.keys() == inside.keys() and len(asked) == 4
    for key, record in asked.items():
        assert len(record["logprobs"]) == 16
        worst = max(abs(a - b) for a, b in zip(record["logprobs"], inside[key]["logprobs"]))
        assert worst < 1e-6, (key, worst)
        for count in ["decoded", "selected_tokens"]:
            assert record["cost"][count] == inside[key]["cost"][count], (key, count)
    dense, tidal, recycled, streaming = summary["results"]
    assert dense["divergence_millinats"] == 0, dense
    for sparse in [tidal, recycled, streaming]:
        assert sparse["divergence_millinats"] > 0 and 0 < sparse["cost"]["kv_read_share"] < 1, sparse
    assert tidal["fetched_per_layer_and_step"]["n/8"] >= tidal["fetched_per_layer_and_step"]["n/2"], tidal
    sparse = ["--text", GPL, "--policies", "tidal:budget=n/4,window=16"]
    arguments = ["needle", *sparse, "--lengths", "256", "--depths", "0.5"]
    for out, where in [("needle_asked", None), ("needle_inside", in_process())]:
        done, _ = score(cluster, folder / out, *arguments, where=where)
        assert done.returncode == 0, done.stderr
    for key, record in records(folder / "needle_asked").items():
        assert record["text"] == records(folder / "needle_inside")[key]["text"], record
    done, summary = score(cluster, folder / "recall", "recall", *sparse, "--context", "128", "--decode", "4",
                          where=in_process())
    assert done.returncode == 0 and 0.5 < summary["results"][0]["recall"] < 1, (done.stderr, summary)
    done, _ = score(cluster, folder / "refused", "recall", "--text", GPL)
    assert done.returncode == 2 and "recall needs --model" in done.stderr, done.stderr
    print(f"  the same without the cluster; tidal diverges by {tidal['divergence_millinats']:.1f} millinats")


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
