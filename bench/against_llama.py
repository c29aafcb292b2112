#!/usr/bin/env python3
"""Ebb beside llama.cpp: same GGUF file, same threads, alternating runs, ratios.

Needs an already built llama-bench (--peer PATH or LLAMA_BENCH); says so and stops when there is none.
Prints, per case, each side's median tokens per second and the ratio Ebb / peer. Only the ratio means
anything on another day or machine.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time


def seconds_of(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - begin


def compare_loading(args):
    """Whole processes: start, load, one token, exit; the file in the page cache. Ebb opens the model twice,
    as its worker and its coordinator do, and builds the tokenizer."""
    ebb = [args.ebb, "--model", args.model, "--threads", str(args.threads), "--load"]
    peer = [args.peer, "-m", args.model, "-t", str(args.threads), "-r", "1", "-p", "0", "-n", "1",
            "-fa", "1", "--no-warmup"]
    seconds_of(ebb)  # both have the file in the page cache from here on
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(seconds_of(ebb))
        theirs.append(seconds_of(peer))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{'load, 1 token':<16}{a:>11.3f}s{b:>11.3f}s{a / b:>8.2f}   (whole processes; lower is better)",
          flush=True)


def run_ebb(args, prefill=None, depth=None):
    command = [args.ebb, "--model", args.model, "--threads", str(args.threads), "--repeat", "1",
               "--decode", str(args.decode)]
    command += ["--prefill", str(prefill)] if prefill else ["--depth", str(depth)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])["tokens_per_second"]


def run_peer(args, prefill=None, depth=None):
    command = [args.peer, "-m", args.model, "-t", str(args.threads), "-r", "1", "-o", "json",
               "-fa", "1"]
    if prefill:
        command += ["-p", str(prefill), "-n", "0"]
    else:
        command += ["-p", "0", "-n", str(args.decode), "-d", str(depth)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out)[-1]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ebb", default="build/bin/ebb-bench")
    parser.add_argument("--peer",
                        default=os.environ.get("LLAMA_BENCH") or shutil.which("llama-bench"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefill", type=int, nargs="*", default=[7600])
    parser.add_argument("--depth", type=int, nargs="*", default=[0, 4096])
    parser.add_argument("--load", action="store_true", help="compare the time to load and no more")
    args = parser.parse_args()
    if not args.peer or not os.access(args.peer, os.X_OK):
        sys.exit("against_llama.py: no llama-bench: build llama.cpp and give --peer PATH"
                 " (or LLAMA_BENCH)")
    if args.load:
        compare_loading(args)
        return
    cases = [dict(prefill=n) for n in args.prefill] + [dict(depth=d) for d in args.depth]
    print(f"{'case':<16}{'ebb tok/s':>12}{'peer tok/s':>12}{'ratio':>8}   "
          f"(medians of {args.rounds} alternating runs, {args.threads} threads)")
    for case in cases:
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(run_ebb(args, **case))
            theirs.append(run_peer(args, **case))
        name = ("prefill %d" % case["prefill"]) if "prefill" in case else "decode @%d" % case["depth"]
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{name:<16}{a:>12.1f}{b:>12.1f}{a / b:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
