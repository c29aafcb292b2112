"""ADORE's controller in PyTorch: a GRU over token embeddings, and a score for each earlier token by its state and its
distance. What the parts are for is in docs/adore.md; worker-side code reads the same file.

Also what the other scripts share: the model's loader (tests/golden/make_reference.py), and the file format.
"""
import json
import pathlib
import struct
import sys

import gguf
import numpy
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/golden"))
import make_reference  # noqa: E402

WIDTH, BUCKETS, EXACT = 64, 176, 64
FORMAT = "adore-controller-1"
# PyTorch's name -> the file's.
RENAMED = {f"gru.{name}_l0": f"gru.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}


def bucket_of(distance):
    """Exact below 64, then 8 for each doubling, the last one for 2^20 and beyond. Takes and gives integer arrays."""
    distance = numpy.asarray(distance)
    far = EXACT + numpy.floor(8 * numpy.log2(numpy.maximum(distance, EXACT) / EXACT)).astype(numpy.int64)
    return numpy.minimum(numpy.where(distance < EXACT, distance, far), BUCKETS - 1)


class Controller(torch.nn.Module):
    def __init__(self, hidden, width=WIDTH, recurrent=True):
        super().__init__()
        self.input = torch.nn.Linear(hidden, width)
        self.gru = torch.nn.GRU(width, width, batch_first=True)
        self.distance = torch.nn.Embedding(BUCKETS, width)
        self.head = torch.nn.ModuleList([torch.nn.Linear(width, width), torch.nn.Linear(width, 1)])
        self.recurrent = recurrent  # False: an ablation, the state is made of the token alone

    def states(self, embeddings):
        """[batch, tokens, hidden] -> z [batch, tokens, width]."""
        x = self.input(embeddings)
        return self.gru(x)[0] if self.recurrent else torch.tanh(x)

    def prepared(self, states):
        """The head's first layer is linear, so a pair needs only a sum: (of the states, of the buckets)."""
        return self.head[0](states), self.distance.weight @ self.head[0].weight.T

    def scores(self, of_states, of_buckets, n):
        """Logits of tokens 0..n-1 for the token at position n; of_states [tokens, width] of one sequence."""
        buckets = torch.from_numpy(bucket_of(numpy.arange(n, 0, -1)))
        hidden = torch.nn.functional.gelu(of_states[:n] + of_buckets[buckets])
        return self.head[1](hidden).squeeze(-1)


class TokenEmbedding:
    """The model's name, size and embedding rows, without the rest of its weights."""
    def __init__(self, reader):
        self.model_name = reader.fields["general.name"].contents()
        tensor = next(t for t in reader.tensors if t.name == "token_embd.weight")
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        self.hidden = int(tensor.shape[0])
        self.rows = torch.from_numpy(numpy.array(values, dtype=numpy.float32)).reshape(-1, self.hidden)
        self.rms = float(self.rows.pow(2).mean().sqrt())


def tensors_of(state):
    """A state_dict under the file's names."""
    return {RENAMED.get(name, name): values.float().contiguous() for name, values in state.items()}


def write_safetensors(path, tensors, metadata):
    """8 bytes of header length, a JSON header, the data (github.com/huggingface/safetensors, "Format")."""
    header, at = {"__metadata__": metadata}, 0
    for name, values in sorted(tensors.items()):
        end = at + 4 * values.numel()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in sorted(tensors.items()):
            file.write(values.numpy().astype("<f4").tobytes())


def read_safetensors(path):
    """(tensors, metadata) of a file of float32 tensors."""
    data = pathlib.Path(path).read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header, data = json.loads(data[8:8 + length]), data[8 + length:]
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
    return tensors, metadata


def load(path, recurrent=True):
    """A controller of a .safetensors file."""
    tensors, metadata = read_safetensors(path)
    assert metadata["ebb_format"] == FORMAT, path
    back = {new: old for old, new in RENAMED.items()}
    controller = Controller(int(metadata["hidden"]), int(metadata["width"]), recurrent)
    controller.load_state_dict({back.get(n, n): torch.from_numpy(v.copy()) for n, v in tensors.items()})
    return controller.eval()
