#!/usr/bin/env python3
"""Re-quantises a model into every weight type and asks each file: does it load, does it answer, is it exact?

    python3 -m venv venv && venv/bin/pip install torch gguf tokenizers
    venv/bin/python bench/every_weight_type.py --quantize PATH/llama-quantize [--model FILE.gguf] [--types Q4_K_M,F16]

`llama-quantize` is llama.cpp's tool, built beside; nothing of it is needed to run Ebb. For each type the file is
written to a temporary folder and served by real processes, which score 500 tokens of text and answer a prompt; the
reference of tests/golden/make_reference.py scores the same tokens from the same file, dequantised. A type fails when
the service refuses it, an answer is empty, or the two perplexities differ by more than 1 %. The tool's mixtures
(Q4_K_M) use the type of their name and neighbours of it, and other types where a row is no multiple of 256; NAME/pure
uses no neighbours.
"""
import argparse
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf
import torch

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "golden")]
import make_reference  # noqa: E402
from service import Cluster, document  # noqa: E402

MODEL = pathlib.Path(os.environ.get("EBB_CACHE", pathlib.Path.home() / ".cache" / "ebb"),
                     "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
TEXT_TOKENS = 500
LARGEST_DIFFERENCE = 0.01
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_1", "Q5_0", "Q5_K_M", "Q5_K_S", "Q4_1", "Q4_0", "IQ4_NL", "Q4_K_M",
         "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K/pure"]


def reference_perplexity(path):
    """And the types of the file's matrices."""
    reader = gguf.GGUFReader(path)
    ids = make_reference.build_tokenizer(reader).encode(make_reference.GPL.read_text()).ids[:TEXT_TOKENS]
    kinds = sorted({t.tensor_type.name for t in reader.tensors if len(t.shape) == 2})
    return make_reference.Llama(reader, torch.float32).perplexity(ids), kinds


def perplexity_and_answer(model, ranks):
    """Of one file, from real processes."""
    with Cluster(ranks=ranks, more=[f"model.path={model}"]) as cluster:
        _, tokenized = cluster.request("POST", "/tokenize", {"prompt": document(TEXT_TOKENS * 8)})
        ids = tokenized["tokens"][:TEXT_TOKENS]
        scored = cluster.complete(prompt=ids, max_tokens=0, echo=True, logprobs=0)
        logs = scored["choices"][0]["logprobs"]["token_logprobs"][1:]
        answered = cluster.complete(prompt="The capital of France is", max_tokens=8, temperature=0)
        return math.exp(-sum(logs) / len(logs)), answered["choices"][0]["text"]


def try_type(kind, options, folder):
    path = folder / "model.gguf"
    name, _, pure = kind.partition("/")
    made = subprocess.run([options.quantize, "--allow-requantize", *(["--pure"] if pure else []), options.model, path,
                           name, "2"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"{kind}: llama-quantize ended with {made.returncode}: {made.stderr[-300:]}"
    size = path.stat().st_size / 2**20
    try:
        perplexity, answer = perplexity_and_answer(path, options.ranks)
        expected, kinds = reference_perplexity(path)
    except (AssertionError, RuntimeError) as error:
        return f"{kind}: {error}"
    finally:
        path.unlink()
    print(f"{kind:9} {size:4.0f} MiB of {', '.join(kinds)}: perplexity {perplexity:.3f}, reference {expected:.3f}  "
          f"{answer!r}", flush=True)
    if not answer.strip() or abs(perplexity / expected - 1) > LARGEST_DIFFERENCE:
        return f"{kind}: perplexity {perplexity:.3f}, reference {expected:.3f}; answer {answer!r}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantize", required=True, help="llama.cpp's llama-quantize")
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    parser.add_argument("--types", type=lambda text: text.split(","), default=TYPES)
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ebb-types-") as folder:
        failures = [try_type(kind, options, pathlib.Path(folder)) for kind in options.types]
    failures = [failure for failure in failures if failure]
    print(*failures, f"{len(options.types) - len(failures)} types answered, {len(failures)} failed", sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
