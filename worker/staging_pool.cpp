#include "worker/staging_pool.h"

namespace ebb::worker {
namespace {

/// So that requests of nearly the same size find each other's memory.
constexpr uint64_t kUnit = 64 << 10;

}  // namespace

Result<kernels::Buffer> StagingPool::take(uint64_t bytes) {
  // The smallest that is large enough, but none that is mostly waste.
  auto best = idle_.end();
  for (auto it = idle_.begin(); it != idle_.end(); ++it) {
    const bool fits = it->size() >= bytes && it->size() / 4 <= std::max(bytes, kUnit);
    if (fits && (best == idle_.end() || it->size() < best->size())) best = it;
  }
  if (best != idle_.end()) {
    kernels::Buffer found = std::move(*best);
    idle_.erase(best);
    idle_bytes_ -= found.size();
    return found;
  }
  const uint64_t size = (std::max<uint64_t>(bytes, 1) + kUnit - 1) / kUnit * kUnit;
  auto fresh = device_.allocate(size, kernels::MemoryKind::kHost);
  if (!fresh) return with_context("staging memory for KV records", std::move(fresh).error());
  return fresh;
}

void StagingPool::give_back(kernels::Buffer buffer) {
  if (buffer.data() == nullptr) return;
  idle_bytes_ += buffer.size();
  idle_.push_back(std::move(buffer));
  while (idle_bytes_ > idle_max_) {
    idle_bytes_ -= idle_.front().size();
    idle_.erase(idle_.begin());
  }
}

}  // namespace ebb::worker
