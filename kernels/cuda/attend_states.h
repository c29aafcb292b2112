// Partial attention states, and what is uploaded for a call in one piece.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// States over disjoint sets of entries: with m the largest logit, sum = sum exp(logit - m), out =
/// sum exp(logit - m) v. A set without entries has m = kVeryLow and zeros.
struct States {
  float2* tops = nullptr;  ///< [states]: m, sum
  float* outs = nullptr;   ///< [states, head_size]
};

/// In the context's scratch memory, until the next call that needs some.
States take_states(CudaContext& context, uint64_t states, uint32_t head_size);

/// Where the states of one vector (a row's head) begin, and where their merge goes.
struct MergeRow {
  float* out = nullptr;   ///< [heads, head_size]; null: not wanted
  float* lse = nullptr;   ///< [heads]; null: not wanted
  uint64_t state_at = 0;  ///< of head h and chunk c: state_at + h * chunks + c
  uint32_t chunks = 0;
  /// True: `out` and `lse` already hold the state of other entries and keep it where there is
  /// nothing to merge, bit for bit.
  bool into = false;
};

/// Merges the states of every row in ascending order of chunks: an empty set gives out = 0 and
/// lse = -inf. One launch.
void merge_chunks(CudaContext& context, const States& states, const MergeRow* d_rows, uint32_t rows,
                  uint32_t heads, uint32_t head_size);

/// Values of several arrays for one copy to the device: offsets are into that copy.
class Packed {
 public:
  template <class T>
  uint64_t add(std::span<const T> values) {
    const uint64_t at = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(at + values.size_bytes());
    if (!values.empty()) std::memcpy(bytes_.data() + at, values.data(), values.size_bytes());
    return at;
  }
  template <class T>
  uint64_t add(const std::vector<T>& values) {
    return add(std::span<const T>(values));
  }
  const std::byte* upload(CudaContext& context) const {
    return static_cast<const std::byte*>(context.upload_bytes(bytes_.data(), bytes_.size()));
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace ebb::kernels::cuda
