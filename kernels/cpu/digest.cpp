// Writing digests: the mean key, and the stored K of new tokens in few bits.
#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/kv_access.h"
#include "kernels/cpu/page_access.h"

namespace ebb::kernels::cpu {
namespace {

/// Tokens that one task codes: enough to be worth a second thread.
constexpr uint32_t kTaskTokens = 32;

}  // namespace

void CpuOps::mean_key(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> slots,
                      float* d_center) {
  const KvAccess access(shape, kv);
  const uint64_t size = shape.head_size;
  std::vector<double> sums(shape.heads_kv * size);
  float k[kHeadSizeMax];
  float v[kHeadSizeMax];
  EBB_CHECK(size <= kHeadSizeMax);
  for (const uint32_t slot : slots) {
    const std::byte* head = access.row(slot);
    for (uint64_t h = 0; h < shape.heads_kv; ++h, head += 2 * shape.vector_bytes()) {
      inner_.expand_rows(&head, 1, shape.element, shape.head_size, k, v);
      for (uint64_t j = 0; j < size; ++j) sums[h * size + j] += k[j];
    }
  }
  const double count = std::max<double>(static_cast<double>(slots.size()), 1);
  for (uint64_t j = 0; j < sums.size(); ++j) d_center[j] = static_cast<float>(sums[j] / count);
}

void CpuOps::write_digest(const KvShape& shape, const DigestShape& digest,
                          std::span<const DigestArgs> items) {
  for (const DigestArgs& item : items) write_digest_of(shape, digest, item);
}

void CpuOps::write_digest_of(const KvShape& shape, const DigestShape& digest,
                             const DigestArgs& item) {
  const KvAccess access(shape, item.kv);
  const PageAccess pages(shape, digest, item.digests);
  const uint64_t size = shape.head_size;
  EBB_CHECK(size <= kHeadSizeMax);
  const bool rotated = digest.format != DigestFormat::kInt4;
  const auto write = [&](const std::byte* head, uint64_t h, std::byte* to) {
    float k[kHeadSizeMax];
    float v[kHeadSizeMax];
    inner_.expand_rows(&head, 1, shape.element, shape.head_size, k, v);
    if (rotated && item.d_center != nullptr) {
      for (uint64_t j = 0; j < size; ++j) k[j] -= item.d_center[h * size + j];
    }
    if (rotated) inner_.turn_head(k, shape.head_size);
    inner_.encode_digest(digest.format, k, shape.head_size, to);
  };
  const size_t tasks = (item.slots.size() + kTaskTokens - 1) / kTaskTokens;
  team_.run(threads_, tasks, [&](uint64_t task) {
    const size_t end = std::min<size_t>(item.slots.size(), (task + 1) * kTaskTokens);
    for (size_t i = task * kTaskTokens; i < end; ++i) {
      const std::byte* row = access.row(item.slots[i]);
      std::byte* to = pages.entry(item.first + static_cast<uint32_t>(i));
      for (uint64_t h = 0; h < shape.heads_kv; ++h) {
        write(row + h * 2 * shape.vector_bytes(), h, to + h * digest.head_bytes());
      }
    }
  });
}

}  // namespace ebb::kernels::cpu
