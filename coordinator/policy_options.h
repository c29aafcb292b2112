// What a request may say about its attention policy, as it came: every field optional, ranges
// checked, nothing resolved. policy_rules.h makes parameters of it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/digest_size.h"
#include "transport/control/messages.h"

namespace ebb::coordinator {

/// Server-side limits; docs/policies.md lists them.
constexpr uint32_t kPolicyTokensMax = 1u << 24;  ///< budget, sinks, window; tokens of a stream
constexpr uint32_t kPolicyStepsMax = 1u << 16;   ///< correct_every, stride, check_every
constexpr uint32_t kPolicyPoolMax = 63;
constexpr uint32_t kBoostMax = 1000;                        ///< hysteresis
constexpr uint32_t kLeftOutTokens = models::kSumRunTokens;  ///< what one pseudo-token stands for
constexpr uint32_t kPolicyRebuildMax = 64;
constexpr uint32_t kUnionBudgetMax = 1u << 16;

/// Which shape of TidalDecode: our calibrated one, the paper's, or its authors' repair.
enum class TidalVariant : uint8_t { kCalibrated, kFaithful, kLessIsMore };
/// What a refresh of Recycled Attention does; kNone: there is none after the prompt.
enum class Refresh : uint8_t { kFull, kScoreOnly, kNone };

/// Scores of tokens that were in one of the last `steps` sets count (1 + boost) times.
struct Hysteresis {
  float boost = 0;
  uint32_t steps = 0;
};
/// How the budget is dealt to the layers: the profile's weights, these, or (none) alike.
struct LayerBudgets {
  bool from_profile = false;
  std::vector<double> weights;  ///< by layer
};
/// How ADORE's released tokens come back; kAuto: restored where every row fits the device.
enum class RebuildMode : uint8_t { kRecompute, kRestore, kAuto };

/// The part of the extension object `ebb` that is not common to all policies.
struct PolicyOptions {
  std::optional<TidalVariant> variant;
  std::optional<control::SetScope> scope;
  std::optional<std::vector<uint32_t>> select_layers;  ///< ascending
  std::optional<uint32_t> correct_every;
  std::optional<uint32_t> stride;
  std::optional<uint32_t> check_every;
  std::optional<double> similarity;
  std::optional<uint32_t> pool;
  std::optional<Refresh> refresh;
  std::optional<bool> post_rope;
  std::optional<bool> self_candidate;
  bool select_all = false;  ///< select_layers: "all"
  std::optional<control::DigestKind> digest;
  std::optional<bool> left_out;
  std::optional<Hysteresis> hysteresis;
  std::optional<bool> predict;
  std::optional<LayerBudgets> layer_budgets;
  std::optional<uint32_t> rebuild;
  std::optional<RebuildMode> rebuild_mode;
};

}  // namespace ebb::coordinator
