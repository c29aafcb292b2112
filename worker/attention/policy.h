// Who decides which past tokens matter. Pure deciders: no I/O, no clock, no device, no state that
// outlives a step (the engine keeps sets and histories). One instance serves one sequence.
//
// Sliding windows are the model's, not the policy's: a layer never reads past its window, whatever
// it is told; the engine cuts sets and dense reads there. A policy knows them to choose among what
// can be read.
//
// The engine asks, in this order within a decode step: layer_plan for each layer; at a selecting
// layer, request() before the scores are cut to candidates, and compose() once the candidates of
// all ranks have been merged.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "models/selection_profile.h"
#include "transport/control/messages.h"

namespace ebb::worker {

/// What one layer reads in one step.
struct LayerPlan {
  enum class Reads : uint8_t {
    kAll,  ///< every token
    kSet,  ///< the set of layer `anchor`
  };
  Reads reads = Reads::kAll;
  bool selects = false;  ///< also chooses a set for the layers above
  uint32_t anchor = 0;   ///< for kSet
};

/// Which entries are candidates: tokens [begin, end), the best `take` of them, all of them within
/// the anchor's own window; the rest of the set is forced.
struct SelectionRequest {
  Position begin = 0;
  Position end = 0;
  uint32_t take = 0;
};

class AttentionPolicy {
 public:
  virtual ~AttentionPolicy() = default;
  /// `length` counts the tokens that the layer could read, the current one included.
  virtual LayerPlan layer_plan(uint32_t layer, uint32_t length) const = 0;
  virtual SelectionRequest request(uint32_t anchor, uint32_t length) const = 0;
  /// The set, ascending: forced tokens and `merged` (ascending, within the request's range).
  virtual std::vector<Position> compose(uint32_t anchor, uint32_t length,
                                        const std::vector<Position>& merged) const = 0;
  /// True when every layer below `layer` reads all tokens in decode steps: KV made there stays
  /// exact.
  virtual bool exact_at(uint32_t layer) const = 0;
};

/// Attends to every token in every layer.
std::unique_ptr<AttentionPolicy> make_dense_policy();

/// TidalDecode (arXiv:2410.05076) with calibrated anchors: anchors attend to every token and
/// select; each follower attends to the set of the nearest anchor below. Scope `layer` (one set for
/// all heads), score = max over heads of the softmax probability, sinks and a recent window always
/// in the set; K counts them. The set is chosen anew at every step. With K >= length every layer
/// reads all tokens.
///
/// Sliding windows. An anchor chooses among the tokens that it sees itself and that at least one of
/// its followers sees; sinks are forced only while a follower sees them. Followers that together
/// see at most K tokens read all of those, and their anchor chooses nothing.
std::unique_ptr<AttentionPolicy> make_tidal_policy(const models::SelectionProfile& profile,
                                                   const control::PolicyParams& params,
                                                   std::span<const uint32_t> windows);

/// `windows` by layer, as ModelShape has them. Errors: kInvalid when `params` name a policy that
/// `profile` cannot serve, or numbers out of range (names both).
Result<std::unique_ptr<AttentionPolicy>> make_policy(const models::SelectionProfile& profile,
                                                     const control::PolicyParams& params,
                                                     std::span<const uint32_t> windows);

}  // namespace ebb::worker
