#include "worker/staging_pool.h"

namespace ebb::worker {
namespace {

/// So that requests of nearly the same size find each other's memory.
constexpr uint64_t kUnit = 64 << 10;

}  // namespace

Result<Staging> StagingPool::take(uint64_t bytes, kernels::MemoryKind kind) {
  // The smallest that is large enough, but none that is mostly waste.
  auto best = idle_.end();
  for (auto it = idle_.begin(); it != idle_.end(); ++it) {
    const uint64_t size = it->buffer.size();
    const bool fits = it->kind == kind && size >= bytes && size / 4 <= std::max(bytes, kUnit);
    if (fits && (best == idle_.end() || size < best->buffer.size())) best = it;
  }
  if (best != idle_.end()) {
    Staging found = std::move(*best);
    idle_.erase(best);
    idle_bytes_ -= found.buffer.size();
    return found;
  }
  const uint64_t size = (std::max<uint64_t>(bytes, 1) + kUnit - 1) / kUnit * kUnit;
  auto fresh = device_.allocate(size, kind);
  if (fresh) return Staging{std::move(*fresh), kind};
  if (kind == kernels::MemoryKind::kDevice) return take(bytes, kernels::MemoryKind::kHost);
  return with_context("staging memory for KV records", std::move(fresh).error());
}

void StagingPool::give_back(Staging staging) {
  if (staging.buffer.data() == nullptr) return;
  idle_bytes_ += staging.buffer.size();
  idle_.push_back(std::move(staging));
  while (idle_bytes_ > idle_max_) {
    idle_bytes_ -= idle_.front().buffer.size();
    idle_.erase(idle_.begin());
  }
}

}  // namespace ebb::worker
