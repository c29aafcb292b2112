#!/usr/bin/env python3
"""Re-quantises a model into every weight type and asks each file: does it load, does it answer, how well?

    bench/every_weight_type.py --quantize PATH/llama-quantize [--model FILE.gguf] [--types Q4_K_M,F16]

`llama-quantize` is llama.cpp's tool, built beside; nothing of it is needed to run Ebb. For each type the file is
written to a temporary folder, served by real processes, and scores the same 500 tokens of text; printed are its size,
its perplexity and that of the original. A type fails when the service refuses it, an answer is empty, or perplexity is
off by more than the type explains (a model that was quantised once is quantised again: the bounds are wide).
"""
import argparse
import math
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from service import Cluster, document  # noqa: E402

MODEL = pathlib.Path(os.environ.get("EBB_CACHE", pathlib.Path.home() / ".cache" / "ebb"),
                     "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
TEXT_TOKENS = 500
# Largest perplexity, in parts of the original's. Mixtures are named as the tool does: each uses the type of its name
# and neighbours of it.
TYPES = {"F32": 1.005, "F16": 1.005, "BF16": 1.01, "Q8_0": 1.01, "Q6_K": 1.03, "Q5_1": 1.1, "Q5_0": 1.1, "Q5_K_M": 1.1,
         "Q5_K_S": 1.1, "Q4_1": 1.05, "Q4_0": 1.4, "IQ4_NL": 1.3, "Q4_K_M": 1.2, "Q4_K_S": 1.3, "Q3_K_L": 1.6,
         "Q3_K_M": 2.0, "Q3_K_S": 3.0, "Q2_K": 5.0}


def perplexity_and_answer(model, ranks):
    """Of one file, from real processes."""
    with Cluster(ranks=ranks, more=[f"model.path={model}"]) as cluster:
        _, tokenized = cluster.request("POST", "/tokenize", {"prompt": document(TEXT_TOKENS * 8)})
        ids = tokenized["tokens"][:TEXT_TOKENS]
        scored = cluster.complete(prompt=ids, max_tokens=0, echo=True, logprobs=0)
        logs = scored["choices"][0]["logprobs"]["token_logprobs"][1:]
        answered = cluster.complete(prompt="The capital of France is", max_tokens=8, temperature=0)
        return math.exp(-sum(logs) / len(logs)), answered["choices"][0]["text"]


def try_type(kind, options, folder, original):
    path = folder / f"{kind}.gguf"
    made = subprocess.run([options.quantize, "--allow-requantize", options.model, path, kind, "2"],
                          capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"{kind}: llama-quantize ended with {made.returncode}: {made.stderr[-300:]}"
    size = path.stat().st_size / 2**20
    try:
        perplexity, answer = perplexity_and_answer(path, options.ranks)
    except (AssertionError, RuntimeError) as error:
        return f"{kind}: {error}"
    finally:
        path.unlink()
    print(f"{kind:7} {size:6.0f} MiB  perplexity {perplexity:8.3f} ({perplexity / original:.3f} of the original)  "
          f"{answer!r}", flush=True)
    if not answer.strip() or not perplexity <= original * TYPES[kind]:
        return f"{kind}: perplexity {perplexity:.3f}, at most {original * TYPES[kind]:.3f}; answer {answer!r}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantize", required=True, help="llama.cpp's llama-quantize")
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    parser.add_argument("--types", type=lambda text: text.split(","), default=list(TYPES))
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    original, answer = perplexity_and_answer(options.model, options.ranks)
    print(f"original perplexity {original:.3f}  {answer!r}", flush=True)
    with tempfile.TemporaryDirectory(prefix="ebb-types-") as folder:
        failures = [try_type(kind, options, pathlib.Path(folder), original) for kind in options.types]
    failures = [failure for failure in failures if failure]
    print(*failures, f"{len(options.types) - len(failures)} types answered, {len(failures)} failed", sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
