// Reads the numbers of an architecture and holds them against every tensor that its graph uses.
// Files that ask for something which the graph does not do (a soft cap, experts, a bias in the FFN)
// are refused by name: ignoring it would give fluent but wrong answers.
#include "models/architecture.h"

#include <algorithm>
#include <array>
#include <string>

#include "models/neutral_keys.h"
#include "models/rope_facts.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

// Sane limits; layers and heads must also fit the 16-bit ranges of base/ids.h.
constexpr uint64_t kLayersMax = 1024;
constexpr uint64_t kHeadsMax = 1024;
constexpr uint64_t kHeadSizeMax = 256;  // of the attention kernels, which also want pairs
constexpr uint64_t kWidthMax = 1u << 20;
constexpr uint64_t kVocabularyMax = 1u << 24;
constexpr uint64_t kContextMax = 1u << 28;

std::string number(uint64_t value) { return std::to_string(value); }

/// What the two formats call the numbers that both have.
struct NumberKeys {
  std::string_view layers, width, ffn_width, context, heads_q, heads_kv, head_size, rms_epsilon;
};
constexpr NumberKeys kGgufKeys = {.layers = "block_count",
                                  .width = "embedding_length",
                                  .ffn_width = "feed_forward_length",
                                  .context = "context_length",
                                  .heads_q = "attention.head_count",
                                  .heads_kv = "attention.head_count_kv",
                                  .head_size = "attention.key_length",
                                  .rms_epsilon = "attention.layer_norm_rms_epsilon"};
constexpr NumberKeys kConfigKeys = {.layers = "num_hidden_layers",
                                    .width = "hidden_size",
                                    .ffn_width = "intermediate_size",
                                    .context = "max_position_embeddings",
                                    .heads_q = "num_attention_heads",
                                    .heads_kv = "num_key_value_heads",
                                    .head_size = "head_dim",
                                    .rms_epsilon = "rms_norm_eps"};

/// What holds where a key is not there.
struct Defaults {
  uint32_t heads_kv = 0;   ///< 0: as many as query heads
  uint32_t head_size = 0;  ///< 0: an even share of the width
  double rms_epsilon = 0;  ///< 0: the key must be there
};

/// The key, or else an even share of the width; in any case what attention can be computed with.
Result<void> read_head_size(const ModelFacts& facts, const NumberKeys& keys, uint32_t fallback,
                            ModelShape& shape) {
  std::string source = facts.shown(keys.head_size) + ": ";
  if (facts.has(keys.head_size)) {
    shape.head_size = EBB_TRY(facts.count(keys.head_size, kWidthMax));
  } else if (fallback != 0) {
    shape.head_size = fallback;
  } else {
    if (shape.width % shape.heads_q != 0)
      return invalid(facts.shown(keys.width) + ": " + number(shape.width) +
                     " is not a multiple of " + std::string(keys.heads_q) + " = " +
                     number(shape.heads_q));
    shape.head_size = shape.width / shape.heads_q;
    source = facts.shown(keys.width) + ": " + number(shape.width) + " over " +
             number(shape.heads_q) + " heads gives a head size of ";
  }
  if (shape.head_size < 2 || shape.head_size > kHeadSizeMax || shape.head_size % 2 != 0)
    return unsupported(source + number(shape.head_size) +
                       " (supported: even head sizes from 2 to " + number(kHeadSizeMax) + ")");
  return {};
}

/// The numbers that both formats have, by their keys.
Result<ModelShape> read_numbers(const ModelFacts& facts, const NumberKeys& keys,
                                const Defaults& defaults) {
  ModelShape shape;
  shape.layers = EBB_TRY(facts.count(keys.layers, kLayersMax));
  shape.width = EBB_TRY(facts.count(keys.width, kWidthMax));
  shape.ffn_width = EBB_TRY(facts.count(keys.ffn_width, kWidthMax));
  shape.context_length = EBB_TRY(facts.count(keys.context, kContextMax));
  shape.heads_q = EBB_TRY(facts.count(keys.heads_q, kHeadsMax));
  const bool by_default = defaults.heads_kv != 0 && !facts.states(keys.heads_kv);
  const uint32_t fallback = by_default ? defaults.heads_kv : shape.heads_q;
  shape.heads_kv = EBB_TRY(facts.count_or(keys.heads_kv, kHeadsMax, fallback));
  if (shape.heads_q % shape.heads_kv != 0)
    return invalid(facts.shown(keys.heads_q) + ": " + number(shape.heads_q) +
                   " is not a multiple of " + std::string(keys.heads_kv) + " = " +
                   number(shape.heads_kv));
  EBB_TRY_VOID(read_head_size(facts, keys, defaults.head_size, shape));
  const double epsilon = defaults.rms_epsilon > 0 && !facts.has(keys.rms_epsilon)
                             ? defaults.rms_epsilon
                             : EBB_TRY(facts.positive(keys.rms_epsilon));
  shape.rms_epsilon = static_cast<float>(epsilon);
  return shape;
}

/// What nobody asked for and what is not known to be harmless.
Result<void> refuse_foreign_keys(const ModelFacts& facts, FileFormat format) {
  for (const std::string& key : facts.unasked()) {
    if (is_neutral_key(format, key)) continue;
    return unsupported(facts.shown(key) + ": " + foreign_key_reason(key));
  }
  return {};
}

/// Whether the tensors show what config.json would say.
bool has_bias(const TensorTable& tensors, Bias bias, TensorRole role) {
  if (bias != Bias::kOptional) return bias == Bias::kAlways;
  return tensors.find(tensor_rule(role).name(FileFormat::kGguf, 0)) != nullptr;
}

Result<void> read_gguf_window(const ModelFacts& facts, ModelShape& shape) {
  constexpr std::string_view kWindow = "attention.sliding_window";
  uint32_t window = 0;
  if (facts.has(kWindow) && EBB_TRY(facts.integer(kWindow)) != 0)
    window = EBB_TRY(facts.count(kWindow, kContextMax));
  shape.windows.assign(shape.layers, window);
  return {};
}

/// The embedding's rows decide; what the metadata state must agree.
Result<void> read_gguf_vocabulary(const ModelFacts& facts, const TensorTable& tensors,
                                  ModelShape& shape) {
  const std::string name = tensor_rule(TensorRole::kEmbedding).name(FileFormat::kGguf, 0);
  const TensorView* embedding = tensors.find(name);
  if (embedding == nullptr) return invalid("tensor " + name + ": not in the file");
  if (embedding->rows > kVocabularyMax)
    return invalid("tensor " + name + ": " + number(embedding->rows) +
                   " rows exceed the limit of " + number(kVocabularyMax) + " tokens");
  shape.vocabulary = static_cast<uint32_t>(embedding->rows);
  const uint64_t stated = EBB_TRY(facts.count_or("vocab_size", kVocabularyMax, shape.vocabulary));
  if (stated != shape.vocabulary)
    return invalid(facts.shown("vocab_size") + ": " + number(stated) + " tokens, but " + name +
                   " has " + number(embedding->rows) + " rows");
  return {};
}

/// config.json's window for each layer, by the family's rule.
Result<std::vector<uint32_t>> windows_by_rule(const ModelFacts& facts, const Family& family,
                                              const ModelShape& shape) {
  std::vector<uint32_t> windows(shape.layers, 0);
  if (family.window == WindowRule::kNone) return windows;
  const bool used = family.window == WindowRule::kEveryLayer ||
                    EBB_TRY(facts.flag_or("use_sliding_window", false));
  uint64_t first = 28;  // as the configuration classes have it
  if (facts.has("max_window_layers")) first = EBB_TRY(facts.integer("max_window_layers"));
  // A key that holds null says that there is no window; one that is not there, the default.
  uint32_t window = facts.states("sliding_window") ? 0 : family.default_window;
  window = EBB_TRY(facts.count_or("sliding_window", kContextMax, window));
  if (!used) return windows;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    const bool narrow = family.window == WindowRule::kEveryLayer ||
                        (family.window == WindowRule::kUpperLayers && layer >= first) ||
                        (family.window == WindowRule::kUnrotatedLayers && !shape.rotates(layer));
    if (narrow) windows[layer] = window;
  }
  return windows;
}

/// layer_types, where it is there, decides for the families that have use_sliding_window; for the
/// others it must say what is computed anyway.
Result<void> read_config_windows(const ModelFacts& facts, const Family& family, ModelShape& shape) {
  constexpr std::string_view kTypes = "layer_types";
  shape.windows = EBB_TRY(windows_by_rule(facts, family, shape));
  if (!facts.has(kTypes)) return {};
  const std::vector<std::string> types = EBB_TRY(facts.texts(kTypes));
  if (types.size() != shape.layers)
    return invalid(facts.shown(kTypes) + ": has " + number(types.size()) +
                   " entries, but there are " + number(shape.layers) + " layers");
  const bool decides =
      family.window == WindowRule::kUpperLayers || family.window == WindowRule::kUnrotatedLayers;
  uint32_t window = 0;
  if (decides && EBB_TRY(facts.flag_or("use_sliding_window", false)))
    window = EBB_TRY(facts.count_or("sliding_window", kContextMax, 0));
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    const bool narrow = types[layer] == "sliding_attention";
    if (!narrow && types[layer] != "full_attention")
      return unsupported(facts.shown(kTypes) + ": \"" + shown_text(types[layer]) +
                         "\" is not supported (supported: full_attention, sliding_attention)");
    if (narrow ? window == 0 && shape.windows[layer] == 0 : !decides && shape.windows[layer] != 0)
      return unsupported(facts.shown(kTypes) + ": layer " + number(layer) + " is " + types[layer] +
                         ", which contradicts the sliding window of the other keys");
    if (decides) shape.windows[layer] = narrow ? window : 0;
  }
  return {};
}

Result<bool> read_config_bias(const ModelFacts& facts, Bias bias) {
  if (bias == Bias::kNever) return false;  // attention_bias stays a key that nobody asked for
  if (bias == Bias::kAlways) return true;
  return facts.flag_or("attention_bias", false);
}

Result<void> check_config_activation(const ModelFacts& facts) {
  constexpr std::string_view kKey = "hidden_act";
  const std::string act = facts.has(kKey) ? EBB_TRY(facts.text(kKey)) : "silu";
  if (act == "silu" || act == "swish") return {};
  return unsupported(facts.shown(kKey) + ": \"" + shown_text(act) +
                     "\" is not supported (supported: silu)");
}

Result<void> check_tensor(const TensorTable& tensors, const std::string& name, uint64_t rows,
                          uint64_t columns) {
  const TensorView* view = tensors.find(name);
  if (view == nullptr) return invalid("tensor " + name + ": not in the model's files");
  if (view->rows != rows || view->columns != columns)
    return invalid("tensor " + name + ": is " + number(view->rows) + " x " + number(view->columns) +
                   " (rows x columns), but the model's numbers say " + number(rows) + " x " +
                   number(columns));
  if (rows == 1 && block_elements(view->type) != 1)
    return unsupported("tensor " + name + ": a vector stored as " + weight_type_name(view->type) +
                       " (supported: F32, F16, BF16)");
  return {};
}

}  // namespace

Result<ModelShape> read_gguf_shape(const ModelFacts& facts, const Family& family,
                                   const TensorTable& tensors) {
  ModelShape shape = EBB_TRY(read_numbers(facts, kGgufKeys, {}));
  shape.architecture = family.name;
  constexpr std::string_view kValues = "attention.value_length";
  const uint32_t values = EBB_TRY(facts.count_or(kValues, kWidthMax, shape.head_size));
  if (values != shape.head_size)
    return unsupported(facts.shown(kValues) + ": " + number(values) +
                       " differs from the key length " + number(shape.head_size));
  if (!EBB_TRY(facts.flag_or("attention.causal", true)))
    return unsupported(facts.shown("attention.causal") + ": false (supported: true)");
  EBB_TRY_VOID(read_gguf_rope(facts, family, tensors, shape));
  EBB_TRY_VOID(read_gguf_window(facts, shape));
  shape.tied_head =
      tensors.find(tensor_rule(TensorRole::kHead).name(FileFormat::kGguf, 0)) == nullptr;
  shape.qkv_bias = has_bias(tensors, family.qkv_bias, TensorRole::kQBias);
  shape.attention_out_bias =
      has_bias(tensors, family.attention_out_bias, TensorRole::kAttentionOutBias);
  shape.qk_norm = family.qk_norm;
  EBB_TRY_VOID(read_gguf_vocabulary(facts, tensors, shape));
  EBB_TRY_VOID(refuse_foreign_keys(facts, FileFormat::kGguf));
  return shape;
}

Result<ModelShape> read_config_shape(const ModelFacts& facts, const Family& family) {
  const Defaults defaults{family.default_heads_kv, family.default_head_size, 1e-6};
  ModelShape shape = EBB_TRY(read_numbers(facts, kConfigKeys, defaults));
  shape.architecture = family.name;
  shape.vocabulary = EBB_TRY(facts.count("vocab_size", kVocabularyMax));
  EBB_TRY_VOID(check_config_activation(facts));
  EBB_TRY_VOID(read_config_rope(facts, family, shape));
  EBB_TRY_VOID(read_config_windows(facts, family, shape));
  shape.tied_head = EBB_TRY(facts.flag_or("tie_word_embeddings", family.default_tied_head));
  shape.qkv_bias = EBB_TRY(read_config_bias(facts, family.qkv_bias));
  shape.attention_out_bias = EBB_TRY(read_config_bias(facts, family.attention_out_bias));
  shape.qk_norm = family.qk_norm;
  EBB_TRY_VOID(refuse_foreign_keys(facts, FileFormat::kHuggingFace));
  return shape;
}

Result<void> check_tensors(const TensorTable& tensors, FileFormat format, const ModelShape& shape) {
  std::vector<std::string> known;
  for (const TensorRule& rule : tensor_rules()) {
    if (!has_tensor(shape, rule.role)) continue;
    const uint64_t rows = extent_of(shape, rule.rows), columns = extent_of(shape, rule.columns);
    for (uint32_t layer = 0; layer < (rule.in_layers() ? shape.layers : 1); ++layer) {
      known.push_back(rule.name(format, layer));
      EBB_TRY_VOID(check_tensor(tensors, known.back(), rows, columns));
    }
  }
  std::sort(known.begin(), known.end());
  for (const TensorView& view : tensors.all()) {
    const std::string name(view.name);
    if (std::binary_search(known.begin(), known.end(), name) || is_neutral_tensor(format, name))
      continue;
    // Saved all the same by some: the opener holds it against the embedding.
    if (shape.tied_head && name == tensor_rule(TensorRole::kHead).name(format, 0)) continue;
    return unsupported("tensor " + shown_text(name) + ": the " + shape.architecture +
                       " graph has no place for it");
  }
  return {};
}

}  // namespace ebb::models
