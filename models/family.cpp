#include "models/family.h"

#include <algorithm>
#include <array>

namespace ebb::models {
namespace {

/// The defaults are those of the configuration classes in `transformers`. GGUF files convert
/// Mistral, SmolLM and SmolLM2 as "llama", and permute Q and K of the llama-like ones for
/// interleaved pairs (convert_hf_to_gguf.py, LlamaModel.permute).
constexpr std::array<Family, 5> kFamilies = {{
    {.name = "llama",
     .models = "Llama 1, 2, 3, 3.1, 3.2, SmolLM, SmolLM2, and Mistral as GGUF",
     .gguf_architecture = "llama",
     .model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .gguf_pairs = RopePairs::kInterleaved,
     .qkv_bias = Bias::kOptional,
     .attention_out_bias = Bias::kOptional},
    {.name = "mistral",
     .models = "Mistral 7B and its like",
     .gguf_architecture = "llama",
     .model_type = "mistral",
     .architecture = "MistralForCausalLM",
     .gguf_pairs = RopePairs::kInterleaved,
     .window = WindowRule::kEveryLayer,
     .default_window = 4096,
     .default_heads_kv = 8},
    {.name = "qwen2",
     .models = "Qwen2, Qwen2.5",
     .gguf_architecture = "qwen2",
     .model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .qkv_bias = Bias::kAlways,
     .window = WindowRule::kUpperLayers,
     .default_heads_kv = 32},
    {.name = "qwen3",
     .models = "Qwen3 (dense)",
     .gguf_architecture = "qwen3",
     .model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .qkv_bias = Bias::kOptional,
     .attention_out_bias = Bias::kOptional,
     .qk_norm = true,
     .window = WindowRule::kUpperLayers,
     .default_heads_kv = 32,
     .default_head_size = 128},
    {.name = "smollm3",
     .models = "SmolLM3",
     .gguf_architecture = "smollm3",
     .model_type = "smollm3",
     .architecture = "SmolLM3ForCausalLM",
     .gguf_pairs = RopePairs::kInterleaved,
     .qkv_bias = Bias::kOptional,
     .attention_out_bias = Bias::kOptional,
     .window = WindowRule::kUnrotatedLayers,
     .unrotated_every = 4,
     .rope_base = 2000000.0,
     .default_heads_kv = 4,
     .default_tied_head = true},
}};

using enum TensorRole;
constexpr std::array<TensorRule, 18> kTensors = {{
    {kEmbedding, "token_embd.weight", "model.embed_tokens.weight", Extent::kVocabulary,
     Extent::kWidth},
    {kAttentionNorm, "blk.%.attn_norm.weight", "model.layers.%.input_layernorm.weight",
     Extent::kOne, Extent::kWidth},
    {kQ, "blk.%.attn_q.weight", "model.layers.%.self_attn.q_proj.weight", Extent::kQueries,
     Extent::kWidth},
    {kK, "blk.%.attn_k.weight", "model.layers.%.self_attn.k_proj.weight", Extent::kKeys,
     Extent::kWidth},
    {kV, "blk.%.attn_v.weight", "model.layers.%.self_attn.v_proj.weight", Extent::kKeys,
     Extent::kWidth},
    {kQBias, "blk.%.attn_q.bias", "model.layers.%.self_attn.q_proj.bias", Extent::kOne,
     Extent::kQueries},
    {kKBias, "blk.%.attn_k.bias", "model.layers.%.self_attn.k_proj.bias", Extent::kOne,
     Extent::kKeys},
    {kVBias, "blk.%.attn_v.bias", "model.layers.%.self_attn.v_proj.bias", Extent::kOne,
     Extent::kKeys},
    {kQNorm, "blk.%.attn_q_norm.weight", "model.layers.%.self_attn.q_norm.weight", Extent::kOne,
     Extent::kHead},
    {kKNorm, "blk.%.attn_k_norm.weight", "model.layers.%.self_attn.k_norm.weight", Extent::kOne,
     Extent::kHead},
    {kAttentionOut, "blk.%.attn_output.weight", "model.layers.%.self_attn.o_proj.weight",
     Extent::kWidth, Extent::kQueries},
    {kAttentionOutBias, "blk.%.attn_output.bias", "model.layers.%.self_attn.o_proj.bias",
     Extent::kOne, Extent::kWidth},
    {kFfnNorm, "blk.%.ffn_norm.weight", "model.layers.%.post_attention_layernorm.weight",
     Extent::kOne, Extent::kWidth},
    {kGate, "blk.%.ffn_gate.weight", "model.layers.%.mlp.gate_proj.weight", Extent::kFfn,
     Extent::kWidth},
    {kUp, "blk.%.ffn_up.weight", "model.layers.%.mlp.up_proj.weight", Extent::kFfn, Extent::kWidth},
    {kDown, "blk.%.ffn_down.weight", "model.layers.%.mlp.down_proj.weight", Extent::kWidth,
     Extent::kFfn},
    {kOutputNorm, "output_norm.weight", "model.norm.weight", Extent::kOne, Extent::kWidth},
    {kHead, "output.weight", "lm_head.weight", Extent::kVocabulary, Extent::kWidth},
}};

template <class Name>
const Family* find_family(std::string_view wanted, Name name) {
  auto at = std::find_if(kFamilies.begin(), kFamilies.end(),
                         [&](const Family& family) { return name(family) == wanted; });
  return at == kFamilies.end() ? nullptr : &*at;
}

template <class Name>
std::string list_of(Name name) {
  std::string list;
  std::string_view last;
  for (const Family& family : kFamilies) {
    if (name(family) == last) continue;
    last = name(family);
    list += (list.empty() ? "" : ", ") + std::string(last);
  }
  return list;
}

std::string_view gguf_name(const Family& family) { return family.gguf_architecture; }
std::string_view type_name(const Family& family) { return family.model_type; }

}  // namespace

std::span<const Family> families() { return kFamilies; }
const Family* family_of_gguf(std::string_view architecture) {
  return find_family(architecture, gguf_name);
}
const Family* family_of_model_type(std::string_view model_type) {
  return find_family(model_type, type_name);
}
std::string known_gguf_architectures() { return list_of(gguf_name); }
std::string known_model_types() { return list_of(type_name); }

uint64_t extent_of(const ModelShape& shape, Extent extent) {
  switch (extent) {
    case Extent::kOne:
      return 1;
    case Extent::kVocabulary:
      return shape.vocabulary;
    case Extent::kWidth:
      return shape.width;
    case Extent::kQueries:
      return uint64_t{shape.heads_q} * shape.head_size;
    case Extent::kKeys:
      return uint64_t{shape.heads_kv} * shape.head_size;
    case Extent::kHead:
      return shape.head_size;
    case Extent::kFfn:
      return shape.ffn_width;
  }
  return 0;
}

std::string TensorRule::name(FileFormat format, uint32_t layer) const {
  const std::string_view pattern = format == FileFormat::kGguf ? gguf : hugging_face;
  const size_t at = pattern.find('%');
  if (at == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, at)) + std::to_string(layer) +
         std::string(pattern.substr(at + 1));
}

std::span<const TensorRule> tensor_rules() { return kTensors; }

const TensorRule& tensor_rule(TensorRole role) {
  return *std::find_if(kTensors.begin(), kTensors.end(),
                       [&](const TensorRule& rule) { return rule.role == role; });
}

bool has_tensor(const ModelShape& shape, TensorRole role) {
  switch (role) {
    case kHead:
      return !shape.tied_head;
    case kQBias:
    case kKBias:
    case kVBias:
      return shape.qkv_bias;
    case kAttentionOutBias:
      return shape.attention_out_bias;
    case kQNorm:
    case kKNorm:
      return shape.qk_norm;
    default:
      return true;
  }
}

}  // namespace ebb::models
