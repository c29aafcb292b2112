// Reads the numbers of an architecture and holds them against every tensor that its graph uses. A
// file that asks for something which the graph does not do (a bias, a scaled rotation, experts) is
// refused by name: ignoring it would give fluent but wrong answers.
#include "models/architecture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace ebb::models {
namespace {

constexpr std::string_view kKnownArchitectures = "llama";

// Sane limits; layers and heads must also fit the 16-bit ranges of base/ids.h.
constexpr uint64_t kLayersMax = 1024;
constexpr uint64_t kHeadsMax = 1024;
constexpr uint64_t kHeadSizeMax = 256;  // of the attention kernels, which also want pairs
constexpr uint64_t kWidthMax = 1u << 20;
constexpr uint64_t kVocabularyMax = 1u << 24;
constexpr uint64_t kContextMax = 1u << 28;

/// Keys (below "llama.") that change the graph in ways it does not know, unless they hold 0.
constexpr std::array<const char*, 9> kForeignKeys = {"attention.sliding_window",
                                                     "attention.clamp_kqv",
                                                     "attention.scale",
                                                     "attn_logit_softcapping",
                                                     "final_logit_softcapping",
                                                     "embedding_scale",
                                                     "residual_scale",
                                                     "logit_scale",
                                                     "expert_count"};

/// Keys that scale the rotation without naming a type, or in an older spelling.
constexpr std::array<const char*, 5> kRopeScalingKeys = {
    "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
    "rope.scaling.yarn_log_multiplier", "rope.scale_linear"};

std::string number(uint64_t value) { return std::to_string(value); }

/// Reads keys of one architecture with their limits.
class Keys {
 public:
  Keys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string full(std::string_view key) const { return prefix_ + "." + std::string(key); }
  bool has(std::string_view key) const { return file_.has(full(key)); }

  /// A count in [1, most].
  Result<uint32_t> count(std::string_view key, uint64_t most) const {
    uint64_t value = EBB_TRY(file_.get_u64(full(key)));
    if (value < 1 || value > most)
      return invalid("metadata " + full(key) + ": " + number(value) + " is out of range (1 to " +
                     number(most) + ")");
    return static_cast<uint32_t>(value);
  }

  /// As count(), or `fallback` where the file does not say.
  Result<uint32_t> count_or(std::string_view key, uint64_t most, uint32_t fallback) const {
    if (!has(key)) return fallback;
    return count(key, most);
  }

  /// A finite number above 0.
  Result<double> positive(std::string_view key) const {
    double value = EBB_TRY(file_.get_f64(full(key)));
    if (!std::isfinite(value) || value <= 0)
      return invalid("metadata " + full(key) + ": " + std::to_string(value) +
                     " is not a finite number above 0");
    return value;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

Result<void> refuse_foreign_keys(const GgufFile& file, const Keys& keys) {
  for (const char* key : kForeignKeys) {
    if (!keys.has(key)) continue;
    Result<uint64_t> whole = file.get_u64(keys.full(key));
    Result<double> real = file.get_f64(keys.full(key));
    bool zero = (whole && *whole == 0) || (real && *real == 0);
    if (!zero) return unsupported("metadata " + keys.full(key) + ": this graph has no such thing");
  }
  return {};
}

Result<void> refuse_rope_scaling(const GgufFile& file, const Keys& keys) {
  std::string type_key = keys.full("rope.scaling.type");
  if (file.has(type_key)) {
    std::string type = EBB_TRY(file.get_string(type_key));
    if (type == "none") return {};
    return unsupported("metadata " + type_key + ": \"" + type +
                       "\" is not supported (supported: \"none\")");
  }
  for (const char* key : kRopeScalingKeys)
    if (keys.has(key))
      return unsupported("metadata " + keys.full(key) + ": scaled rotation is not supported");
  return {};
}

/// The key, or else an even share of the width; in any case what attention can be computed with.
Result<void> read_head_size(const Keys& keys, ModelShape& shape) {
  std::string source = "metadata " + keys.full("attention.key_length") + ": ";
  shape.head_size = shape.width / shape.heads_q;
  if (keys.has("attention.key_length")) {
    shape.head_size = EBB_TRY(keys.count("attention.key_length", kWidthMax));
  } else {
    source = "metadata " + keys.full("embedding_length") + ": " + number(shape.width) + " over " +
             number(shape.heads_q) + " heads gives a head size of ";
  }
  if (shape.head_size < 2 || shape.head_size > kHeadSizeMax || shape.head_size % 2 != 0)
    return unsupported(source + number(shape.head_size) +
                       " (supported: even head sizes from 2 to " + number(kHeadSizeMax) + ")");
  return {};
}

Result<void> read_attention(const Keys& keys, ModelShape& shape) {
  shape.heads_q = EBB_TRY(keys.count("attention.head_count", kHeadsMax));
  shape.heads_kv = EBB_TRY(keys.count_or("attention.head_count_kv", kHeadsMax, shape.heads_q));
  if (shape.heads_q % shape.heads_kv != 0)
    return invalid("metadata " + keys.full("attention.head_count") + ": " + number(shape.heads_q) +
                   " is not a multiple of attention.head_count_kv = " + number(shape.heads_kv));
  if (!keys.has("attention.key_length") && shape.width % shape.heads_q != 0)
    return invalid("metadata " + keys.full("embedding_length") + ": " + number(shape.width) +
                   " is not a multiple of attention.head_count = " + number(shape.heads_q));
  EBB_TRY_VOID(read_head_size(keys, shape));
  uint32_t values = EBB_TRY(keys.count_or("attention.value_length", kHeadSizeMax, shape.head_size));
  if (values != shape.head_size)
    return unsupported("metadata " + keys.full("attention.value_length") + ": " + number(values) +
                       " differs from the key length " + number(shape.head_size));
  return {};
}

Result<void> read_rope(const GgufFile& file, const Keys& keys, ModelShape& shape) {
  EBB_TRY_VOID(refuse_rope_scaling(file, keys));
  if (keys.has("rope.freq_base")) shape.rope_base = EBB_TRY(keys.positive("rope.freq_base"));
  shape.rope_dims = EBB_TRY(keys.count_or("rope.dimension_count", kHeadSizeMax, shape.head_size));
  if (shape.rope_dims % 2 != 0 || shape.rope_dims > shape.head_size)
    return invalid("metadata " + keys.full("rope.dimension_count") + ": " +
                   number(shape.rope_dims) + " is not an even number up to the head size " +
                   number(shape.head_size));
  shape.rope_pairs = RopePairs::kInterleaved;
  for (uint32_t pair = 0; pair < shape.rope_dims / 2; ++pair)
    shape.rope_frequencies.push_back(std::pow(shape.rope_base, -2.0 * pair / shape.rope_dims));
  shape.rope_layers.assign(shape.layers, true);
  shape.windows.assign(shape.layers, 0);
  return {};
}

/// What a tensor must be like.
struct Expected {
  std::string name;
  uint64_t rows;
  uint64_t columns;
};

Result<void> check_tensor(const GgufFile& file, const Expected& expected) {
  TensorView view = EBB_TRY(file.tensor(expected.name));
  if (view.rows != expected.rows || view.columns != expected.columns)
    return invalid("tensor " + expected.name + ": is " + number(view.rows) + " x " +
                   number(view.columns) + " (rows x columns), but the metadata say " +
                   number(expected.rows) + " x " + number(expected.columns));
  if (view.rows == 1 && block_elements(view.type) != 1)
    return unsupported("tensor " + expected.name + ": a vector stored as " +
                       weight_type_name(view.type) + " (supported: F32, F16, BF16)");
  return {};
}

/// Every tensor of the llama graph, in the file's usual order.
std::vector<Expected> llama_tensors(const ModelShape& shape) {
  uint64_t q_width = uint64_t{shape.heads_q} * shape.head_size;
  uint64_t kv_width = uint64_t{shape.heads_kv} * shape.head_size;
  std::vector<Expected> all = {{"token_embd.weight", shape.vocabulary, shape.width},
                               {"output_norm.weight", 1, shape.width}};
  if (!shape.tied_head) all.push_back({"output.weight", shape.vocabulary, shape.width});
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    std::string block = "blk." + number(layer) + ".";
    all.push_back({block + "attn_norm.weight", 1, shape.width});
    all.push_back({block + "attn_q.weight", q_width, shape.width});
    all.push_back({block + "attn_k.weight", kv_width, shape.width});
    all.push_back({block + "attn_v.weight", kv_width, shape.width});
    all.push_back({block + "attn_output.weight", shape.width, q_width});
    all.push_back({block + "ffn_norm.weight", 1, shape.width});
    all.push_back({block + "ffn_gate.weight", shape.ffn_width, shape.width});
    all.push_back({block + "ffn_up.weight", shape.ffn_width, shape.width});
    all.push_back({block + "ffn_down.weight", shape.width, shape.ffn_width});
  }
  return all;
}

/// All tensors there, of the right shape, and no other: a tensor that the graph would ignore is a
/// graph that we do not know.
Result<void> check_tensors(const GgufFile& file, const ModelShape& shape) {
  std::vector<Expected> expected = llama_tensors(shape);
  for (const Expected& tensor : expected) EBB_TRY_VOID(check_tensor(file, tensor));
  if (file.tensors().size() == expected.size()) return {};
  std::vector<std::string> names;
  for (const Expected& tensor : expected) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  for (const TensorView& view : file.tensors())
    if (!std::binary_search(names.begin(), names.end(), std::string(view.name)))
      return unsupported("tensor " + std::string(view.name) +
                         ": the llama graph has no place for it");
  return {};
}

/// The embedding's rows decide; whatever else states a vocabulary must agree.
Result<void> read_vocabulary(const GgufFile& file, const Keys& keys, ModelShape& shape) {
  TensorView embedding = EBB_TRY(file.tensor("token_embd.weight"));
  if (embedding.rows > kVocabularyMax)
    return invalid("tensor token_embd.weight: " + number(embedding.rows) +
                   " rows exceed the limit of " + number(kVocabularyMax) + " tokens");
  shape.vocabulary = static_cast<uint32_t>(embedding.rows);
  uint64_t stated = EBB_TRY(keys.count_or("vocab_size", kVocabularyMax, shape.vocabulary));
  std::string source = keys.full("vocab_size");
  if (stated == shape.vocabulary && file.has("tokenizer.ggml.tokens")) {
    source = "tokenizer.ggml.tokens";
    stated = EBB_TRY(file.get_strings(source)).size();
  }
  if (stated != shape.vocabulary)
    return invalid("metadata " + source + ": " + number(stated) +
                   " tokens, but token_embd.weight has " + number(embedding.rows) + " rows");
  return {};
}

Result<ModelShape> read_llama(const GgufFile& file) {
  Keys keys(file, "llama");
  ModelShape shape;
  shape.architecture = "llama";
  if (file.has("general.name")) shape.name = EBB_TRY(file.get_string("general.name"));
  EBB_TRY_VOID(refuse_foreign_keys(file, keys));
  shape.layers = EBB_TRY(keys.count("block_count", kLayersMax));
  shape.width = EBB_TRY(keys.count("embedding_length", kWidthMax));
  shape.ffn_width = EBB_TRY(keys.count("feed_forward_length", kWidthMax));
  shape.context_length = EBB_TRY(keys.count("context_length", kContextMax));
  EBB_TRY_VOID(read_attention(keys, shape));
  EBB_TRY_VOID(read_rope(file, keys, shape));
  shape.rms_epsilon =
      static_cast<float>(EBB_TRY(keys.positive("attention.layer_norm_rms_epsilon")));
  shape.tied_head = !file.has_tensor("output.weight");
  EBB_TRY_VOID(read_vocabulary(file, keys, shape));
  EBB_TRY_VOID(check_tensors(file, shape));
  shape.digest = file.digest();
  return shape;
}

}  // namespace

Result<ModelShape> read_shape(const GgufFile& file) {
  Result<std::string> architecture = file.get_string("general.architecture");
  if (!architecture) return architecture.error();
  if (*architecture != "llama")
    return unsupported("metadata general.architecture: \"" + *architecture +
                       "\" is not supported (supported: " + std::string(kKnownArchitectures) + ")");
  Result<ModelShape> shape = read_llama(file);
  if (!shape) {
    Error error = shape.error();
    // To the caller a file without a key or tensor is a bad file, not a missing one.
    if (error.code == Code::kNotFound) error.code = Code::kInvalid;
    return with_context("model file " + file.path(), error);
  }
  return shape;
}

}  // namespace ebb::models
