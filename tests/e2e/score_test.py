#!/usr/bin/env python3
"""ebb-score against a small cluster with the real model: dense beside itself is exactly 1, a sparse policy is near it,
a second run finds everything there, and a needle is found through the decode path."""
import json
import pathlib
import subprocess
import sys
import tempfile

from service import GPL, Cluster, run_tests


def score(cluster, out, *arguments):
    """The finished command, and its summary."""
    done = subprocess.run([cluster.bin_dir / "ebb-score", *arguments, "--url", cluster.url, "--out", out,
                           "--progress", "plain"], capture_output=True, text=True, timeout=300, check=False)
    summary = out / "summary.json"
    return done, json.loads(summary.read_text()) if summary.exists() else None


def test_quality_of_policies():
    with Cluster(ranks=1) as cluster, tempfile.TemporaryDirectory() as folder:
        perplexity_is_paired(cluster, pathlib.Path(folder) / "perplexity")
        bad_policies_are_partial(cluster, pathlib.Path(folder) / "bad")
        a_needle_is_found(cluster, pathlib.Path(folder) / "needle")


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


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
