#!/usr/bin/env python3
"""Writes families_hf.json, families_gguf.json and weight_types.json: what small random models of every family and
every weight type say, by Hugging Face `transformers` in float32 on the dequantised weights.

No weights are committed: a model is its metadata, the list of its tensors and a seed (seeded_weights.py); the tests
build the same files. The schema is in tests/golden/README.md. The reference rounds K and V to bf16 as they enter its
cache, because that is the type in which KV is usually kept; `rounding` in each case says how far that alone moves the
logits, and `forced_f32` is of a reference that does not round. Run by hand when cases are added:

    python3 -m venv venv && venv/bin/pip install torch transformers gguf
    venv/bin/python tests/golden/make_families.py
"""
import importlib.metadata
import json
import pathlib

import gguf
import numpy
import torch
import transformers

import seeded_weights

TOKENS = 64          # of the prompt: every position is compared
WHOLE = (31, 63)     # positions whose whole distribution is committed
VOCABULARY = 160


class Rounded(transformers.DynamicCache):
    """Keeps K and V as bf16."""

    def update(self, keys, values, layer, *rest, **named):
        return super().update(keys.bfloat16().float(), values.bfloat16().float(), layer, *rest, **named)


# --- Families -------------------------------------------------------------------------------------------------

LLAMA = {"vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3,
         "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}


def rope(kind, theta=10000.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


def families():
    """(name, model_type, what differs from LLAMA, dtype of the Hugging Face files, type of the GGUF file)."""
    return [
        ("llama2", "llama", {"num_attention_heads": 4, "num_key_value_heads": 4, **rope("default")}, "F32", "Q8_0"),
        ("llama-linear", "llama", rope("linear", factor=4.0), "BF16", "F16"),
        ("llama3", "llama", {"tie_word_embeddings": True, "num_attention_heads": 6, "hidden_size": 192,
                             **rope("llama3", 50000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                    original_max_position_embeddings=32)}, "BF16", "BF16"),
        ("llama-yarn", "llama", rope("yarn", factor=4.0, original_max_position_embeddings=128), "F16", "F32"),
        ("llama-dynamic", "llama", rope("dynamic", factor=2.0), "F32", None),
        ("llama-bias", "llama", {"attention_bias": True, "head_dim": 32, **rope("default")}, "F32", None),
        ("smollm2", "llama", {"tie_word_embeddings": True, "num_attention_heads": 9, "num_key_value_heads": 3,
                              "hidden_size": 288, **rope("default", 100000.0)}, "BF16", "Q4_0"),
        ("mqa", "llama", {"num_attention_heads": 4, "num_key_value_heads": 1, **rope("default")}, "F16", "Q5_1"),
        ("mistral", "mistral", {"head_dim": 32, "sliding_window": 24, **rope("default")}, "BF16", None),
        ("qwen2", "qwen2", {"tie_word_embeddings": True, "num_attention_heads": 4, "num_key_value_heads": 2,
                            **rope("default", 1000000.0)}, "BF16", "Q5_0"),
        ("qwen2-windows", "qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1,
                                    **rope("default")}, "F32", None),
        ("qwen3", "qwen3", {"head_dim": 32, "tie_word_embeddings": True, **rope("default", 1000000.0)}, "BF16", "Q4_1"),
        ("qwen3-untied", "qwen3", {"head_dim": 16, "num_key_value_heads": 4, **rope("default")}, "F32", "IQ4_NL"),
        ("smollm3", "smollm3", {"num_hidden_layers": 5, "pad_token_id": 0, "tie_word_embeddings": True,
                                **rope("default", 2000000.0)}, "BF16", "BF16"),
    ]


def make_config(kind, more):
    """`pad_token_id` and the like lie in the small vocabulary."""
    names = {"bos_token_id": 1, "eos_token_id": 2, "attn_implementation": "eager"}
    return transformers.AutoConfig.for_model(kind, **{**LLAMA, **names, **more})


# --- Tensors --------------------------------------------------------------------------------------------------

def spread_of(name, columns):
    """So large that attention is uneven and each part matters, so small that activations stay in range."""
    if "bias" in name:
        return 0.25
    if "embed" in name or "token_embd" in name:
        return 0.15
    return 1.2 / columns ** 0.5


def record_of(name, kind, shape):
    """A tensor's record, see seeded_weights.py."""
    if len(shape) == 1 and "bias" not in name:
        return [name, kind, list(shape), "g"]
    return [name, kind, list(shape), seeded_weights.fill_for(kind, spread_of(name, shape[-1]))]


def values_of(seed, record):
    """float32, dequantised."""
    if record[1] in seeded_weights.FLOATS:
        return seeded_weights.float_values(seed, record)
    kind = getattr(gguf.GGMLQuantizationType, record[1])
    return gguf.quants.dequantize(seeded_weights.blocks(seed, record), kind).reshape(record[2])


def hf_records(model, dtype):
    """What save_pretrained would write: a tied head is written once."""
    names = {k: list(v.shape) for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del names["lm_head.weight"]
    return [record_of(name, dtype, shape) for name, shape in names.items()]


PARTS = {"self_attn.q_proj": "ATTN_Q", "self_attn.k_proj": "ATTN_K", "self_attn.v_proj": "ATTN_V",
         "self_attn.o_proj": "ATTN_OUT", "self_attn.q_norm": "ATTN_Q_NORM", "self_attn.k_norm": "ATTN_K_NORM",
         "input_layernorm": "ATTN_NORM", "post_attention_layernorm": "FFN_NORM", "mlp.gate_proj": "FFN_GATE",
         "mlp.up_proj": "FFN_UP", "mlp.down_proj": "FFN_DOWN", "model.embed_tokens": "TOKEN_EMBD",
         "model.norm": "OUTPUT_NORM", "lm_head": "OUTPUT"}


def gguf_name(name):
    """From Hugging Face's name of a tensor to GGUF's."""
    part, suffix = name.rsplit(".", 1)
    layer = None
    if part.startswith("model.layers."):
        layer, part = part[len("model.layers."):].split(".", 1)
    known = gguf.TENSOR_NAMES[getattr(gguf.MODEL_TENSOR, PARTS[part])]
    return known.format(bid=layer) + "." + suffix


def gguf_records(model, kind):
    """Matrices in `kind`, vectors in F32, as converters write them; and which Hugging Face tensor each one is."""
    records, source = [], {}
    for name, _, shape, _ in hf_records(model, "F32"):
        known = gguf_name(name)
        records.append(record_of(known, kind if len(shape) == 2 else "F32", shape))
        source[known] = name
    return records, source


def unpermuted(values, heads):
    """GGUF's llama files deal the rows of Q and K so that RoPE's pairs are neighbours; this puts them back."""
    size = values.shape[0] // heads
    return values.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)


# --- GGUF metadata --------------------------------------------------------------------------------------------

ARCHITECTURE = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "smollm3": "smollm3"}


def gguf_metadata(config, name):
    """[key, type, value], as converters write them."""
    arch = ARCHITECTURE[config.model_type]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys = gguf.Keys

    def key(pattern):
        return pattern.format(arch=arch)

    rows = [
        [keys.General.ARCHITECTURE, "str", arch], [keys.General.NAME, "str", name],
        [key(keys.LLM.BLOCK_COUNT), "u32", config.num_hidden_layers],
        [key(keys.LLM.CONTEXT_LENGTH), "u32", config.max_position_embeddings],
        [key(keys.LLM.EMBEDDING_LENGTH), "u32", config.hidden_size],
        [key(keys.LLM.FEED_FORWARD_LENGTH), "u32", config.intermediate_size],
        [key(keys.Attention.HEAD_COUNT), "u32", config.num_attention_heads],
        [key(keys.Attention.HEAD_COUNT_KV), "u32", config.num_key_value_heads],
        [key(keys.Attention.LAYERNORM_RMS_EPS), "f32", config.rms_norm_eps],
        [key(keys.Rope.FREQ_BASE), "f32", config.rope_parameters["rope_theta"]],
    ]
    if head * config.num_attention_heads != config.hidden_size or arch == "qwen3":
        rows += [[key(keys.Attention.KEY_LENGTH), "u32", head], [key(keys.Attention.VALUE_LENGTH), "u32", head]]
    if arch in ("llama", "smollm3"):
        rows += [[key(keys.LLM.VOCAB_SIZE), "u32", VOCABULARY], [key(keys.Rope.DIMENSION_COUNT), "u32", head]]
    scaling = config.rope_parameters
    if scaling["rope_type"] in ("linear", "yarn"):
        rows += [[key(keys.Rope.SCALING_TYPE), "str", scaling["rope_type"]],
                 [key(keys.Rope.SCALING_FACTOR), "f32", scaling["factor"]]]
    if scaling["rope_type"] == "yarn":
        rows.append([key(keys.Rope.SCALING_ORIG_CTX_LEN), "u32", scaling["original_max_position_embeddings"]])
    return rows


def llama3_factors(config):
    """The tensor rope_freqs of Llama 3.1 files: what each frequency is divided by."""
    scaling = config.rope_parameters
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    frequency = scaling["rope_theta"] ** (-numpy.arange(0, head, 2) / head)
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    return [float(numpy.float32(f)) for f in frequency / scaled.double().numpy()]


# --- Reference ------------------------------------------------------------------------------------------------

def load(model, values):
    """`values` by Hugging Face's names; norms and frequencies that are no parameters stay."""
    state = {name: torch.from_numpy(numpy.array(v, numpy.float32)) for name, v in values.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()


@torch.inference_mode()
def reference(model, seed):
    """Log-probabilities at every position of the seed's prompt."""
    ids = [int(b) % VOCABULARY for b in seeded_weights.random_bytes(f"{seed}/prompt", TOKENS)]
    config = model.config
    rounded = model(torch.tensor([ids]), past_key_values=Rounded(config=config)).logits[0]
    plain = model(torch.tensor([ids]), use_cache=False).logits[0]
    largest = float(rounded.abs().max())
    logs = rounded.double().log_softmax(-1)
    plain_logs = plain.double().log_softmax(-1)
    two = logs.topk(2)
    return {
        "largest": round(largest, 3), "rounding": float(f"{float((plain - rounded).abs().max()) / largest:.1e}"),
        "best": two.indices[:, 0].tolist(), "margin": [round(float(a - b), 3) for a, b in two.values],
        "forced": [round(float(logs[i, ids[i + 1]]), 4) for i in range(TOKENS - 1)],
        "forced_f32": [round(float(plain_logs[i, ids[i + 1]]), 4) for i in range(TOKENS - 1)],
        "whole": {str(i): [round(float(x), 4) for x in logs[i]] for i in WHOLE},
    }


def build(config):
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def old_spelling(config):
    """The same config.json as older versions of transformers wrote it."""
    out = dict(config)
    parameters = dict(out.pop("rope_parameters"))
    out["rope_theta"] = parameters.pop("rope_theta")
    kind = parameters.pop("rope_type")
    out["rope_scaling"] = None if kind == "default" else {"type" if kind == "linear" else "rope_type": kind,
                                                          **parameters}
    out["torch_dtype"] = out.pop("dtype")
    out.pop("layer_types", None)
    return out


def hf_case(index, name, kind, more, dtype):
    config = make_config(kind, more)
    model = build(config)
    records = hf_records(model, dtype)
    load(model, {r[0]: values_of(index, r) for r in records})
    written = json.loads(config.to_json_string(use_diff=False))
    for noise in ("_name_or_path", "transformers_version", "id2label", "label2id"):
        written.pop(noise, None)
    written["architectures"] = [type(model).__name__]
    written["dtype"] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
    if index % 2 == 0:
        written = old_spelling(written)
    return {"name": name, "seed": index, "files": 1 + index % 3, "config": written, "tensors": records,
            **reference(model, index)}


def gguf_case(index, name, kind, more, weights):
    config = make_config(kind, more)
    model = build(config)
    records, source = gguf_records(model, weights)
    values = {}
    for record in records:
        value = values_of(index, record)
        if ARCHITECTURE[kind] in ("llama", "smollm3") and record[0].endswith(("attn_q.weight", "attn_k.weight")):
            heads = config.num_attention_heads if "attn_q" in record[0] else config.num_key_value_heads
            value = unpermuted(value, heads)
        values[source[record[0]]] = value
    load(model, values)
    if config.rope_parameters["rope_type"] == "llama3":
        factors = llama3_factors(config)
        records.append(["rope_freqs.weight", "F32", [len(factors)], factors])
    return {"name": name, "seed": index, "metadata": gguf_metadata(config, name), "tensors": records,
            **reference(model, index)}


def type_cases():
    """Every weight type, on one model whose columns are whole blocks of 256 and one whose heads are not."""
    shapes = [("llama", {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
                         "num_hidden_layers": 2, "tie_word_embeddings": True, **rope("default")}),
              ("qwen3", {"hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 6, "head_dim": 128,
                         "num_key_value_heads": 3, "num_hidden_layers": 2, **rope("default")})]
    for index, kind in enumerate(list(seeded_weights.FLOATS) + list(seeded_weights.SCALES)):
        for family, more in shapes:
            yield gguf_case(200 + 2 * index + (family != "llama"), f"{family}-{kind}", family, more, kind)


def write(path, cases):
    """One line a case."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "gguf", "numpy")}
    head = json.dumps({"script": "tests/golden/make_families.py", "dtype": "float32", **versions})
    lines = [json.dumps(case, separators=(",", ":")) for case in cases]
    path.write_text('{"format":1,"made_by":' + head + ',\n"cases":[\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes")
    for case in cases:
        clear = sum(margin > 0.05 for margin in case["margin"])
        print(f"  {case['name']}: largest logit {case['largest']}, clear {clear} of {TOKENS}, bf16 of K and V moves "
              f"the logits by {case['rounding']:.1e} of it")


def main():
    torch.set_num_threads(1)
    here = pathlib.Path(__file__).parent
    listed = families()
    write(here / "families_hf.json", [hf_case(i, *f[:4]) for i, f in enumerate(listed)])
    write(here / "families_gguf.json", [gguf_case(100 + i, *f[:3], f[4]) for i, f in enumerate(listed) if f[4]])
    write(here / "weight_types.json", list(type_cases()))


main()
