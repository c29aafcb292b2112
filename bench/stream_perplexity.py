#!/usr/bin/env python3
"""StreamingLLM on a real model: perplexity along a long text, with sinks and without, and the time of a token.

    python3 bench/stream_perplexity.py [--tokens 40000] [--sinks 4,0] [--read 1024] [--decode 2000]

Real processes are started. The text (licenses and Perl's manual, as far as they are on this machine) is scored in one
request of policy `streaming` with echo and log-probabilities, so every token sees only the sinks and its window; one
line for each 2 000 tokens. Then a request decodes far past the model's context, and the first and last thousand
tokens' times are compared.
"""
import argparse
import glob
import json
import math
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "e2e"))
from service import Cluster  # noqa: E402

TEXTS = ["/usr/share/common-licenses/*", "/usr/share/perl/*/pod/*.pod", "/usr/lib/python3*/argparse.py"]
PIECE = 2000


def long_text(characters):
    """No file twice."""
    parts, seen = [], set()
    for path in sorted(p for pattern in TEXTS for p in glob.glob(pattern)):
        real = pathlib.Path(path).resolve()
        if real in seen or not real.is_file():
            continue
        seen.add(real)
        parts.append(real.read_text(errors="replace"))
        if sum(map(len, parts)) > characters:
            break
    return "\n".join(parts)


def token_ids(cluster, count):
    text, ids = long_text(count * 6), []
    for at in range(0, len(text), 200_000):
        _, answer = cluster.request("POST", "/tokenize", {"prompt": text[at:at + 200_000]})
        ids += answer["tokens"]
    return ids[:count]


def score(cluster, ids, sinks, read):
    scored = cluster.complete(timeout=7200, prompt=ids, max_tokens=0, echo=True, logprobs=0,
                              ebb={"policy": "streaming", "sinks": sinks, "window": read - sinks})
    logs = scored["choices"][0]["logprobs"]["token_logprobs"]
    print(f"sinks {sinks}, {read} tokens read:", flush=True)
    for begin in range(0, len(logs), PIECE):
        piece = [x for x in logs[begin:begin + PIECE] if x is not None]
        print(f"  tokens {begin:6} to {begin + len(piece):6}: perplexity {math.exp(-sum(piece) / len(piece)):10.2f}",
              flush=True)


def time_of_a_token(cluster, count, read):
    _, response = cluster.stream(prompt="The", max_tokens=count, ignore_eos=True,
                                 ebb={"policy": "streaming", "window": read - 4})
    times = []
    for line in response:
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"]:
            times.append(time.monotonic())
    thousand = min(1000, len(times) // 4)
    skip = min(read + thousand, len(times) // 2)  # the first tokens read less than a full window
    first = times[skip + thousand - 1] - times[skip]
    last = times[-1] - times[-thousand]
    # A character of several tokens comes as one piece.
    print(f"{count} tokens decoded in {len(times)} pieces of text: {1000 * first / thousand:.2f} ms a piece at {skip}, "
          f"{1000 * last / thousand:.2f} ms at the end, ratio {last / first:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=40000)
    parser.add_argument("--sinks", default="4,0")
    parser.add_argument("--read", type=int, default=1024, help="sinks and window")
    parser.add_argument("--decode", type=int, default=12000, help="tokens of the timed request; 0: none")
    options = parser.parse_args()
    with Cluster(ranks=1) as cluster:
        ids = token_ids(cluster, options.tokens)
        for sinks in map(int, options.sinks.split(",")):
            score(cluster, ids, sinks, options.read)
        if options.decode:
            time_of_a_token(cluster, options.decode, options.read)


if __name__ == "__main__":
    main()
