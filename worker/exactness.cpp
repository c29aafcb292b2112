#include "worker/exactness.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::worker {

void Exactness::add(Position end, uint32_t dense_layers) {
  EBB_CHECK(end > length_);
  const uint32_t exact = std::min(layers_, 1 + std::min(dense_layers, least_));
  least_ = std::min(least_, exact);
  if (runs_.empty() || runs_.back().layers != exact) runs_.push_back({length_, exact});
  length_ = end;
}

void Exactness::remake(Position position, uint32_t dense_layers) {
  const size_t at = index_at(position);
  uint32_t before = layers_;  // least of the tokens before it
  for (const Run& run : runs_) {
    if (run.begin < position) before = std::min(before, run.layers);
  }
  const uint32_t exact = std::min(layers_, 1 + std::min(dense_layers, before));
  const Run old = runs_[at];
  const Position old_end = at + 1 < runs_.size() ? runs_[at + 1].begin : length_;
  std::vector<Run> runs(runs_.begin(), runs_.begin() + static_cast<ptrdiff_t>(at));
  const auto add_run = [&](Run run) {
    if (runs.empty() || runs.back().layers != run.layers) runs.push_back(run);
  };
  if (old.begin < position) add_run(old);
  add_run({position, exact});
  if (position + 1 < old_end) add_run({position + 1, old.layers});
  for (size_t i = at + 1; i < runs_.size(); ++i) add_run(runs_[i]);
  runs_ = std::move(runs);
  least_ = layers_;
  for (const Run& run : runs_) least_ = std::min(least_, run.layers);
}

void Exactness::correct(Position begin) {
  EBB_CHECK(begin <= length_);
  while (!runs_.empty() && runs_.back().begin >= begin) runs_.pop_back();
  if (begin < length_ && (runs_.empty() || runs_.back().layers != layers_)) {
    runs_.push_back({begin, layers_});
  }
  least_ = layers_;
  for (const Run& run : runs_) least_ = std::min(least_, run.layers);
}

size_t Exactness::index_at(Position position) const {
  EBB_CHECK(position < length_);
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), position,
                                      [](Position p, const Run& run) { return p < run.begin; });
  return static_cast<size_t>(after - runs_.begin()) - 1;
}

uint32_t Exactness::layers_of(Position position) const { return runs_[index_at(position)].layers; }

TokenRange Exactness::run_at(Position position) const {
  const size_t i = index_at(position);
  return {runs_[i].begin, i + 1 < runs_.size() ? runs_[i + 1].begin : length_};
}

bool Exactness::exact(TokenRange tokens, uint32_t layers_end) const {
  EBB_CHECK(tokens.end <= length_);
  for (size_t i = 0; i < runs_.size(); ++i) {
    const Position end = i + 1 < runs_.size() ? runs_[i + 1].begin : length_;
    const bool meets = runs_[i].begin < tokens.end && tokens.begin < end;
    if (meets && runs_[i].layers < layers_end) return false;
  }
  return true;
}

Position Exactness::first_polluted() const {
  for (const Run& run : runs_) {
    if (run.layers < layers_) return run.begin;
  }
  return length_;
}

}  // namespace ebb::worker
