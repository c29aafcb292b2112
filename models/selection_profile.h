// The static side of sparse decoding, per model: which layers look at every token, which of them
// choose, how much. Owned by the coordinator, sent to the workers in the handshake. Read from
// configs/profiles/*.yaml.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace ebb::models {

/// kFull attends to every token; kAnchor does so and selects; kFollower attends to the set of the
/// nearest anchor below it.
enum class LayerClass : uint8_t { kFull, kAnchor, kFollower };
enum class SelectionScope : uint8_t { kLayer };  ///< one set for all heads and ranks
enum class SelectionAggregation : uint8_t {
  kMax
};  ///< score = max over heads of the softmax probability

struct SelectionProfile {
  uint32_t version = 2;    ///< 1 had no budget_weights
  std::string name;        ///< "smollm2-135m-instruct"
  std::string model_name;  ///< general.name it was calibrated for
  uint32_t layers = 0;
  std::vector<uint32_t> full;      ///< ascending
  std::vector<uint32_t> anchors;   ///< ascending
  double budget_fraction = 0.125;  ///< K = ceil(fraction * prompt tokens) when a request names none
  uint32_t budget_min = 512;       ///< and at least this
  uint32_t sinks = 4;
  uint32_t window = 256;  ///< most recent tokens, the current one included; counted in K
  /// By layer: its share of K beside the other layers' (policy anchored); empty: all alike.
  std::vector<double> budget_weights;
  SelectionScope scope = SelectionScope::kLayer;
  SelectionAggregation aggregation = SelectionAggregation::kMax;

  LayerClass layer_class(uint32_t layer) const;
  /// The anchor whose set `layer` uses; only for followers.
  uint32_t anchor_of(uint32_t layer) const;
  /// Bands: each run of followers is one; a full or an anchor layer is one of its own.
  std::vector<LayerRange> bands() const;
};

/// A profile for a model without one: every layer full (dense only), one band per layer.
SelectionProfile dense_profile(uint32_t layers, const std::string& model_name);

/// Weights of layers that a profile may give.
constexpr double kBudgetWeightMin = 0.25;
constexpr double kBudgetWeightMax = 4;

/// Strict YAML, every key of its version required. Unknown, missing or doubled keys, layers out of
/// range or out of order, a follower below the first anchor, a window plus sinks that exceed
/// budget_min: kInvalid, naming key and limit.
Result<SelectionProfile> parse_selection_profile(std::string_view yaml, const std::string& origin);
/// The same from a file; kNotFound where there is none.
Result<SelectionProfile> read_selection_profile(const std::string& path);
/// Errors: kInvalid: it was made for another model (names both).
Result<void> check_made_for(const SelectionProfile& profile, const std::string& model_name,
                            uint32_t layers);
/// YAML that parse_selection_profile reads back to the same value.
std::string print_selection_profile(const SelectionProfile& profile);

}  // namespace ebb::models
