// The units of one sequence's bulk pass, one after the other. Pure.
//
//   chunk by chunk   for each chunk of tokens: all layers
//   band by band     for each band: for each chunk of tokens: the band's layers;
//                    after a band that may be hot: its release
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "coordinator/admission.h"
#include "transport/control/messages.h"

namespace ebb::coordinator {

class BulkPlan {
 public:
  using Step = std::variant<control::BulkUnit, control::ReleaseUnit>;

  BulkPlan() = default;
  BulkPlan(const ArenaModel& arena, SeqId seq, const SequenceSize& size, Residency residency,
           uint32_t chunk_tokens);

  /// The next step; none when the pass is complete. A step stays next until advance().
  std::optional<Step> next() const;
  void advance();
  /// True when the next step is the one that computes the last token's logits: last chunk, last
  /// layer.
  bool next_gives_logits() const;
  /// Tokens that have passed all layers.
  uint32_t complete_tokens() const;

 private:
  struct Pass {
    LayerRange layers;
    std::optional<uint16_t> release;  ///< band to release when its tokens are done
  };
  std::vector<Pass> passes_;
  SeqId seq_;
  uint32_t tokens_ = 0;
  uint32_t hot_tokens_ = 0;
  uint32_t chunk_ = 1;
  size_t pass_ = 0;
  uint32_t done_ = 0;  ///< tokens of the current pass
};

}  // namespace ebb::coordinator
