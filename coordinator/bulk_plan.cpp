#include "coordinator/bulk_plan.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::coordinator {

BulkPlan::BulkPlan(const ArenaModel& arena, SeqId seq, const SequenceSize& size,
                   Residency residency, uint32_t chunk_tokens)
    : seq_(seq),
      tokens_(size.bulk_tokens),
      hot_tokens_(size.hot_tokens),
      chunk_(std::max(chunk_tokens, uint32_t{1})) {
  EBB_CHECK(tokens_ > 0);
  if (residency == Residency::kAll) {
    passes_.push_back({LayerRange{0, arena.layers()}, std::nullopt});
    return;
  }
  for (size_t band = 0; band < arena.bands.size(); ++band) {
    const bool hot = may_be_hot(arena.bands[band], size);
    passes_.push_back({arena.bands[band].layers,
                       hot ? std::optional(static_cast<uint16_t>(band)) : std::nullopt});
  }
}

std::optional<BulkPlan::Step> BulkPlan::next() const {
  if (pass_ == passes_.size()) return std::nullopt;
  const Pass& pass = passes_[pass_];
  if (done_ == tokens_) return control::ReleaseUnit{seq_, {*pass.release}, hot_tokens_};
  const uint32_t end = done_ + std::min(chunk_, tokens_ - done_);
  return control::BulkUnit{seq_, {done_, end}, pass.layers};
}

void BulkPlan::advance() {
  EBB_CHECK(pass_ < passes_.size());
  const bool released = done_ == tokens_;
  if (!released) {
    done_ += std::min(chunk_, tokens_ - done_);
    if (done_ < tokens_ || passes_[pass_].release) return;
  }
  ++pass_;
  done_ = 0;
}

bool BulkPlan::next_gives_logits() const {
  return pass_ + 1 == passes_.size() && done_ < tokens_ && tokens_ - done_ <= chunk_;
}

uint32_t BulkPlan::complete_tokens() const {
  if (pass_ == passes_.size()) return tokens_;
  return pass_ + 1 == passes_.size() ? done_ : 0;
}

}  // namespace ebb::coordinator
