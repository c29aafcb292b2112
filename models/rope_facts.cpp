// GGUF: keys below "rope.", as llama.cpp reads them (llama-model.cpp, llama-context.cpp), and the
// divisors in rope_freqs.weight, which is how converted Llama 3.1 models carry their scaling.
// config.json: rope_scaling beside rope_theta (transformers 4), or rope_parameters (5).
#include "models/rope_facts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "models/rope.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

using Kind = RopeScaling::Kind;

constexpr uint64_t kContextMax = 1u << 28;
constexpr uint64_t kRotatedMax = 1u << 16;

/// What both formats come to.
struct Rotation {
  double base = 10000.0;
  RopeScaling scaling;
  double magnitude = 1;
};

Error bad_number(const ModelFacts& facts, std::string_view key, double value, const char* wanted) {
  return invalid(facts.shown(key) + ": " + std::to_string(value) + " is not " + wanted);
}

Result<double> read_base(const ModelFacts& facts, std::string_view key, double fallback) {
  const double base = EBB_TRY(facts.positive_or(key, fallback));
  if (base <= 1) return bad_number(facts, key, base, "above 1");
  return base;
}

uint32_t stretched(double context, double factor) {
  return static_cast<uint32_t>(std::min(context * factor, static_cast<double>(kContextMax)));
}

void apply(const Rotation& rotation, ModelShape& shape) {
  const RopeScaling& scaling = rotation.scaling;
  shape.rope_base = rotation.base;
  shape.rope_frequencies = rope_frequencies(rotation.base, shape.rope_dims, scaling);
  shape.rope_magnitude = static_cast<float>(rotation.magnitude);
  shape.context_most = shape.context_length;
  if (scaling.kind == Kind::kDynamic) shape.rope_dynamic_factor = scaling.factor;
  uint32_t reach = shape.context_length;
  if (scaling.kind == Kind::kLinear || scaling.kind == Kind::kDynamic)
    reach = stretched(shape.context_length, scaling.factor);
  if (scaling.kind == Kind::kYarn) reach = stretched(scaling.original_context, scaling.factor);
  shape.context_most = std::max(shape.context_length, reach);
}

/// Layers n, 2n, ... (counted from 1) do not rotate.
void skip_every(uint32_t n, ModelShape& shape) {
  shape.rope_layers.assign(shape.layers, true);
  if (n == 0) return;
  for (uint32_t layer = n - 1; layer < shape.layers; layer += n) shape.rope_layers[layer] = false;
}

Result<std::vector<double>> read_divisors(const TensorTable& tensors, uint32_t rope_dims) {
  const TensorView* view = tensors.find(kRopeDivisors);
  if (view == nullptr) return std::vector<double>();
  const std::string what = "tensor " + std::string(kRopeDivisors);
  if (view->type != WeightType::kF32 || view->rows != 1 || view->columns != rope_dims / 2)
    return invalid(what + ": is " + std::to_string(view->rows) + " x " +
                   std::to_string(view->columns) + " of " + weight_type_name(view->type) +
                   ", wanted 1 x " + std::to_string(rope_dims / 2) + " of F32");
  std::vector<double> divisors;
  for (uint64_t i = 0; i < view->columns; ++i) {
    float value;
    std::memcpy(&value, view->data + i * sizeof value, sizeof value);
    if (!std::isfinite(value) || value <= 0)
      return invalid(what + ": element " + std::to_string(i) + " is not a finite number above 0");
    divisors.push_back(value);
  }
  return divisors;
}

Result<Kind> gguf_kind(const ModelFacts& facts, bool has_factor) {
  constexpr std::string_view kKey = "rope.scaling.type";
  if (!facts.has(kKey)) return has_factor ? Kind::kLinear : Kind::kNone;
  const Result<std::string> stated = facts.text(kKey);
  if (!stated) return stated.error();
  const std::string& type = *stated;
  if (type == "none") return Kind::kNone;
  if (type == "linear") return Kind::kLinear;
  if (type == "yarn") return Kind::kYarn;
  return unsupported(facts.shown(kKey) + ": \"" + shown_text(type) +
                     "\" is not supported (supported: none, linear, yarn)");
}

Result<void> read_yarn_ramp(const ModelFacts& facts, std::string_view fast, std::string_view slow,
                            RopeScaling& scaling) {
  scaling.beta_fast = EBB_TRY(facts.positive_or(fast, scaling.beta_fast));
  scaling.beta_slow = EBB_TRY(facts.positive_or(slow, scaling.beta_slow));
  if (scaling.beta_fast < scaling.beta_slow)
    return invalid(facts.shown(fast) + ": " + std::to_string(scaling.beta_fast) + " is less than " +
                   std::string(slow) + " = " + std::to_string(scaling.beta_slow));
  return {};
}

/// llama.cpp forms YaRN's magnitude from the factor alone, and then multiplies with attn_factor.
/// Converters write config.json's attention_factor to another key, which llama.cpp does not use:
/// accepted where it says the same.
Result<void> read_gguf_yarn(const ModelFacts& facts, const ModelShape& shape, Rotation& rotation) {
  constexpr std::string_view kStated = "rope.scaling.yarn_attn_factor";
  RopeScaling& scaling = rotation.scaling;
  scaling.original_context = EBB_TRY(
      facts.count_or("rope.scaling.original_context_length", kContextMax, shape.context_length));
  EBB_TRY_VOID(
      read_yarn_ramp(facts, "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", scaling));
  const double own = yarn_magnitude(scaling.factor);
  const double stated = EBB_TRY(facts.positive_or(kStated, own));
  if (std::abs(stated - own) > 1e-4 && stated != 1)
    return unsupported(facts.shown(kStated) + ": " + std::to_string(stated) +
                       " (supported: that of the scaling factor, " + std::to_string(own) + ")");
  rotation.magnitude *= own;
  return {};
}

Result<Rotation> read_gguf_rotation(const ModelFacts& facts, const ModelShape& shape) {
  Rotation rotation;
  rotation.base = EBB_TRY(read_base(facts, "rope.freq_base", rotation.base));
  // The older name of the factor counts where the newer is not there. Zero: no scaling.
  std::string_view factor_key = "rope.scaling.factor";
  if (!facts.has(factor_key)) factor_key = "rope.scale_linear";
  double factor = facts.has(factor_key) ? EBB_TRY(facts.number(factor_key)) : 0;
  RopeScaling& scaling = rotation.scaling;
  scaling.kind = EBB_TRY(gguf_kind(facts, factor != 0));
  if (factor != 0) scaling.factor = EBB_TRY(facts.positive(factor_key));
  rotation.magnitude = EBB_TRY(facts.positive_or("rope.scaling.attn_factor", 1));
  if (facts.has("rope.scaling.yarn_ext_factor")) {
    const double mix = EBB_TRY(facts.number("rope.scaling.yarn_ext_factor"));
    if (mix >= 0 && mix != (scaling.kind == Kind::kYarn ? 1 : 0))
      return unsupported(facts.shown("rope.scaling.yarn_ext_factor") + ": " + std::to_string(mix) +
                         " (supported: 1 with yarn, 0 without)");
  }
  if (scaling.kind == Kind::kYarn) EBB_TRY_VOID(read_gguf_yarn(facts, shape, rotation));
  return rotation;
}

/// Where config.json keeps the scaling; empty: nowhere.
Result<std::string> scaling_object(const ModelFacts& facts) {
  const bool older = facts.has("rope_scaling"), newer = facts.has("rope_parameters");
  if (older && newer)
    return invalid(facts.shown("rope_scaling") +
                   ": there is also rope_parameters; only one of the "
                   "two may hold something");
  return std::string(older ? "rope_scaling." : newer ? "rope_parameters." : "");
}

struct NamedKind {
  std::string_view name;
  Kind kind;
};
constexpr NamedKind kKinds[] = {{"default", Kind::kNone},
                                {"linear", Kind::kLinear},
                                {"dynamic", Kind::kDynamic},
                                {"yarn", Kind::kYarn},
                                {"llama3", Kind::kLlama3}};

Result<Kind> config_kind(const ModelFacts& facts, const std::string& object) {
  std::string key = object + "rope_type";
  if (!facts.has(key) && facts.has(object + "type")) key = object + "type";
  if (!facts.has(key)) return Kind::kNone;
  const Result<std::string> stated = facts.text(key);
  if (!stated) return stated.error();
  const std::string& type = *stated;
  std::string known;
  for (const NamedKind& candidate : kKinds) {
    if (candidate.name == type) return candidate.kind;
    known += (known.empty() ? "" : ", ") + std::string(candidate.name);
  }
  return unsupported(facts.shown(key) + ": \"" + shown_text(type) +
                     "\" is not supported (supported: " + known + ")");
}

Result<double> config_yarn_magnitude(const ModelFacts& facts, const std::string& object,
                                     double factor) {
  const double weight = EBB_TRY(facts.positive_or(object + "mscale", 0));
  const double weight_all = EBB_TRY(facts.positive_or(object + "mscale_all_dim", 0));
  double magnitude = yarn_magnitude(factor);
  if (weight > 0 && weight_all > 0)
    magnitude = yarn_magnitude(factor, weight) / yarn_magnitude(factor, weight_all);
  return facts.positive_or(object + "attention_factor", magnitude);
}

Result<void> read_config_yarn(const ModelFacts& facts, const std::string& object,
                              const ModelShape& shape, Rotation& rotation) {
  RopeScaling& scaling = rotation.scaling;
  if (!facts.has(object + "factor"))
    scaling.factor = double{static_cast<double>(shape.context_length)} / scaling.original_context;
  EBB_TRY_VOID(read_yarn_ramp(facts, object + "beta_fast", object + "beta_slow", scaling));
  scaling.whole_ramp_ends = EBB_TRY(facts.flag_or(object + "truncate", true));
  rotation.magnitude = EBB_TRY(config_yarn_magnitude(facts, object, scaling.factor));
  return {};
}

Result<void> read_config_llama3(const ModelFacts& facts, const std::string& object,
                                RopeScaling& scaling) {
  const std::string low = object + "low_freq_factor", high = object + "high_freq_factor";
  scaling.low_frequency_factor = EBB_TRY(facts.positive(low));
  scaling.high_frequency_factor = EBB_TRY(facts.positive(high));
  if (scaling.high_frequency_factor <= scaling.low_frequency_factor)
    return invalid(
        facts.shown(high) + ": " + std::to_string(scaling.high_frequency_factor) +
        " is not above low_freq_factor = " + std::to_string(scaling.low_frequency_factor));
  return {};
}

Result<Rotation> read_config_rotation(const ModelFacts& facts, const Family& family,
                                      const ModelShape& shape) {
  Rotation rotation;
  const std::string object = EBB_TRY(scaling_object(facts));
  const double outer = EBB_TRY(read_base(facts, "rope_theta", family.rope_base));
  rotation.base = EBB_TRY(read_base(facts, object + "rope_theta", outer));
  if (object.empty()) return rotation;
  RopeScaling& scaling = rotation.scaling;
  scaling.kind = EBB_TRY(config_kind(facts, object));
  const std::string factor = object + "factor";
  if (scaling.kind != Kind::kNone && (scaling.kind != Kind::kYarn || facts.has(factor)))
    scaling.factor = EBB_TRY(facts.positive(factor));
  // Some models keep the context that they were trained on beside the object: it then counts.
  const uint32_t inner = EBB_TRY(facts.count_or(object + "original_max_position_embeddings",
                                                kContextMax, shape.context_length));
  scaling.original_context =
      EBB_TRY(facts.count_or("original_max_position_embeddings", kContextMax, inner));
  if (scaling.kind == Kind::kYarn) EBB_TRY_VOID(read_config_yarn(facts, object, shape, rotation));
  if (scaling.kind == Kind::kLlama3) EBB_TRY_VOID(read_config_llama3(facts, object, scaling));
  return rotation;
}

/// Rotating a part of the head only is another graph.
Result<void> refuse_partial_rotation(const ModelFacts& facts, const std::string& key) {
  const double part = EBB_TRY(facts.positive_or(key, 1));
  if (part == 1) return {};
  return unsupported(facts.shown(key) + ": " + std::to_string(part) + " (supported: 1)");
}

/// no_rope_layers lists, for each layer, 1 where it rotates.
Result<void> read_unrotated_layers(const ModelFacts& facts, const Family& family,
                                   ModelShape& shape) {
  constexpr std::string_view kList = "no_rope_layers";
  if (family.unrotated_every == 0) {
    skip_every(0, shape);
    return {};
  }
  const uint32_t every =
      EBB_TRY(facts.count_or("no_rope_layer_interval", 1u << 16, family.unrotated_every));
  skip_every(every, shape);
  if (!facts.has(kList)) return {};
  const std::vector<uint64_t> rotates = EBB_TRY(facts.integers(kList));
  if (rotates.size() < shape.layers)
    return invalid(facts.shown(kList) + ": has " + std::to_string(rotates.size()) +
                   " entries, but there are " + std::to_string(shape.layers) + " layers");
  for (uint32_t layer = 0; layer < shape.layers; ++layer)
    shape.rope_layers[layer] = rotates[layer] != 0;
  return {};
}

}  // namespace

Result<void> read_gguf_rope(const ModelFacts& facts, const Family& family,
                            const TensorTable& tensors, ModelShape& shape) {
  constexpr std::string_view kDims = "rope.dimension_count";
  shape.rope_dims = EBB_TRY(facts.count_or(kDims, kRotatedMax, shape.head_size));
  if (shape.rope_dims % 2 != 0 || shape.rope_dims > shape.head_size)
    return invalid(facts.shown(kDims) + ": " + std::to_string(shape.rope_dims) +
                   " is not an even number up to the head size " + std::to_string(shape.head_size));
  shape.rope_pairs = family.gguf_pairs;
  Rotation rotation = EBB_TRY(read_gguf_rotation(facts, shape));
  rotation.scaling.divisors = EBB_TRY(read_divisors(tensors, shape.rope_dims));
  apply(rotation, shape);
  skip_every(family.unrotated_every, shape);
  return {};
}

Result<void> read_config_rope(const ModelFacts& facts, const Family& family, ModelShape& shape) {
  shape.rope_dims = shape.head_size;
  shape.rope_pairs = RopePairs::kHalves;
  for (const char* key : {"partial_rotary_factor", "rope_scaling.partial_rotary_factor",
                          "rope_parameters.partial_rotary_factor"})
    EBB_TRY_VOID(refuse_partial_rotation(facts, key));
  apply(EBB_TRY(read_config_rotation(facts, family, shape)), shape);
  return read_unrotated_layers(facts, family, shape);
}

}  // namespace ebb::models
