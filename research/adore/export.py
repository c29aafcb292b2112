#!/usr/bin/env python3
"""Ships a trained controller: copies it to configs/controllers/ and writes tests/golden/adore_controller.json, what a
float64 computation says of it. That computation is written out below from the equations, in numpy, and shares no code
with training or with Ebb.

    venv/bin/python research/adore/export.py MODEL.gguf CONTROLLER.safetensors
"""
import argparse
import hashlib
import json
import math
import pathlib

import gguf
import numpy
import torch

import controller
from controller import make_reference

TOKENS = 200
STATES = [0, 1, 2, 63, 127, 199]
SCORED = [1, 2, 64, 150, 199]
FAR = [65, 70, 71, 127, 128, 1000, 4095, 4096, 65536, 1048575, 1048576, 3000000]
BYTES_MAX = 2 << 20


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def states(tensors, embeddings):
    """z_i = GRU(W x_i + b, z_{i-1}), z_{-1} = 0; rows of the GRU's matrices: reset, update, new."""
    width, out, z = len(tensors["input.bias"]), [], numpy.zeros(len(tensors["input.bias"]))
    for row in embeddings:
        x = tensors["input.weight"] @ row + tensors["input.bias"]
        of_input = tensors["gru.weight_ih"] @ x + tensors["gru.bias_ih"]
        of_state = tensors["gru.weight_hh"] @ z + tensors["gru.bias_hh"]
        reset, update = sigmoid((of_input + of_state)[:2 * width]).reshape(2, width)
        new = numpy.tanh(of_input[2 * width:] + reset * of_state[2 * width:])
        z = (1 - update) * new + update * z
        out.append(z)
    return out


def bucket(distance):
    far = 64 + math.floor(8 * math.log2(distance / 64)) if distance >= 64 else distance
    return min(far, controller.BUCKETS - 1)


def score(tensors, z, distance):
    hidden = tensors["head.0.weight"] @ (z + tensors["distance.weight"][bucket(distance)]) + tensors["head.0.bias"]
    hidden = [0.5 * h * (1 + math.erf(h / math.sqrt(2))) for h in hidden]
    return float((tensors["head.1.weight"] @ hidden + tensors["head.1.bias"])[0])


def golden_of(ids, embedding, data):
    tensors, metadata = controller.read_safetensors(data)
    tensors = {name: values.astype(numpy.float64) for name, values in tensors.items()}
    z = states(tensors, embedding.rows[ids].numpy().astype(numpy.float64))
    rounded = lambda values: [round(float(v), 7) for v in values]  # noqa: E731
    return {
        "format": 1,
        "made_by": {"script": "research/adore/export.py", "dtype": "float64", "numpy": numpy.__version__},
        "controller_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "model_name": metadata["model_name"],
        "ids": ids,
        "states": [{"position": i, "z": rounded(z[i])} for i in STATES],
        "scores": [{"position": n, "scores": rounded(score(tensors, z[i], n - i) for i in range(n))} for n in SCORED],
        "far": [{"token": 3 * i, "distance": d, "bucket": bucket(d), "score": round(score(tensors, z[3 * i], d), 7)}
                for i, d in enumerate(FAR)],
    }


@torch.inference_mode()
def difference(golden, embedding, path):
    """The largest one between the golden scores and PyTorch's in float32."""
    model = controller.load(path)
    of_states, of_buckets = model.prepared(model.states(embedding.rows[golden["ids"]][None])[0])
    return max(float((model.scores(of_states, of_buckets, row["position"]) -
                      torch.tensor(row["scores"])).abs().max()) for row in golden["scores"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("controller", type=pathlib.Path)
    options = parser.parse_args()
    out = controller.ROOT / "configs/controllers/smollm2-135m-instruct.adore.safetensors"
    data = options.controller.read_bytes()
    assert len(data) < BYTES_MAX
    out.parent.mkdir(exist_ok=True)
    out.write_bytes(data)
    reader = gguf.GGUFReader(options.model)
    embedding = controller.TokenEmbedding(reader)
    ids = make_reference.build_tokenizer(reader).encode(make_reference.GPL.read_text()).ids[:TOKENS]
    golden = golden_of(ids, embedding, out)
    worst = difference(golden, embedding, out)
    assert worst < 1e-4, worst
    path = controller.ROOT / "tests/golden/adore_controller.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace(',"', ',\n"') + "\n")
    print(f"{out.name}: {len(data)} bytes; {path.name}: {path.stat().st_size} bytes; "
          f"PyTorch in float32 differs by {worst:.1e} at most")


if __name__ == "__main__":
    main()
