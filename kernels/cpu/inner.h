// The table of inner loops of the CPU backend: one source, compiled once per instruction set (see
// inner.cpp), chosen at run time. The per-ISA objects include only this file and simd.h: an inline
// function of the standard library compiled there for AVX-512 could be picked by the linker for the
// whole program, and then kill it on an older CPU. So: plain pointers and sizes, no containers,
// nothing that is not static. (A test reads the symbols.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/digest.h"
#include "kernels/kv_element.h"
#include "kernels/weight_format.h"

namespace ebb::kernels::cpu {

/// Rows of x up to which `gemv` is used; beyond, a matrix product is.
constexpr uint32_t kGemvRowsMax = 8;
/// Largest head the attention kernels take, in elements (their working rows stand on the stack).
constexpr uint32_t kHeadSizeMax = 256;
/// Row pointers that an AttendChunk needs past its entries.
constexpr uint32_t kRowsPast = 16;
/// Query heads of one AttendChunk: what fits in registers together.
constexpr uint32_t kChunkHeadsMax = 4;

/// out[r, n] = sum_k x[r, k] * w[n, k] for n in [row_begin, row_end), r < rows <= kGemvRowsMax.
struct GemvTask {
  WeightFormat format = WeightFormat::kF32;
  const std::byte* weight = nullptr;
  uint64_t weight_stride = 0;  ///< bytes
  uint64_t columns = 0;
  uint64_t row_begin = 0;
  uint64_t row_end = 0;
  const float* x = nullptr;  ///< [rows, columns]
  uint32_t rows = 0;
  float* out = nullptr;
  uint64_t out_stride = 0;
};

/// One chunk of entries against the `heads` query heads that share one KV head, for one query row.
struct AttendChunk {
  const float* q = nullptr;      ///< [heads, head_size]
  const float* q_alt = nullptr;  ///< for entries [0, alt_entries); null: none
  uint32_t alt_entries = 0;
  /// [entries + kRowsPast]: K of this KV head, V right behind it. The kernel takes entries
  /// in groups: the pointers past the end must be readable rows too (any), their values are not
  /// used.
  const std::byte* const* rows = nullptr;
  uint32_t entries = 0;  ///< at least 1
  /// Bytes from each pointer on that are worth asking for ahead of use (a hint; 0: none).
  uint32_t prefetch_bytes = 0;
  uint32_t heads = 0;      ///< 1 to kChunkHeadsMax
  uint32_t head_size = 0;  ///< even, at most kHeadSizeMax
  KvElement element = KvElement::kBF16;
  float scale = 1;
  const float* bias = nullptr;  ///< [entries]: added to the logits of every head; null: none
  float* logits = nullptr;      ///< working rows and result: head h at logits + h * logits_stride
  uint64_t logits_stride = 0;   ///< at least `entries`
  float* weights = nullptr;     ///< scratch [heads, entries rounded up to 16]
  float* maximum = nullptr;     ///< [heads]
  float* sum = nullptr;         ///< [heads]: sum of exp(logit - maximum)
  float* out = nullptr;         ///< [heads, head_size]: sum of exp(logit - maximum) v
};

/// How a query that was rounded to integers n is scored against codes c of a digest: logit = scale
/// * (factor * sum n c + bias) + zero * total, with the digest's scale and zero.
struct DigestQuery {
  float factor = 0;
  float bias = 0;
  float total = 0;
};

/// One chunk of digests against the `heads` query heads that share one KV head.
struct DigestChunk {
  DigestFormat format = DigestFormat::kH3;
  /// [entries rounded up to 8], those past the end readable (any): what lies at `offset` behind
  /// them is this KV head's digest.
  const std::byte* const* tokens = nullptr;
  uint32_t offset = 0;
  uint32_t entries = 0;                  ///< at least 1
  uint32_t units = 0;                    ///< of kDigestUnit elements
  const std::byte* q = nullptr;          ///< [heads] as round_query wrote them
  const DigestQuery* queries = nullptr;  ///< [heads]
  uint32_t heads = 0;                    ///< 1 to kChunkHeadsMax
  float* logits = nullptr;               ///< head h at logits + h * logits_stride
  uint64_t logits_stride = 0;            ///< at least `entries`
  float* weights = nullptr;              ///< scratch [entries rounded up to 16]
  float* maximum = nullptr;              ///< [heads]
  float* sum = nullptr;                  ///< [heads]: sum of exp(logit - maximum)
};

/// A tile of scores in the online softmax (Alg. 3 of arXiv:1805.02867), many rows at a time.
struct SoftmaxTile {
  float* scores =
      nullptr;  ///< [rows, stride]: replaced by exp(score - new maximum); 0 where not seen
  uint64_t stride = 0;
  uint32_t rows = 0;
  uint32_t columns = 0;
  const uint32_t* begin = nullptr;  ///< [rows]: this row sees columns [begin, end), none if equal
  const uint32_t* end = nullptr;    ///< [rows]: at most `columns`
  float* out = nullptr;             ///< [rows, head_size], rescaled to the new maximum
  uint32_t head_size = 0;
  float* maximum = nullptr;  ///< [rows], running; -inf at first
  float* sum = nullptr;      ///< [rows], running; 0 at first
};

struct InnerKernels {
  const char* isa;
  void (*dequantize)(WeightFormat format, const std::byte* from, uint64_t count, float* out);
  void (*gemv)(const GemvTask& task);
  void (*rms_norm)(const float* x, const float* gain, uint64_t count, float epsilon, float* out);
  void (*add)(float* x, const float* y, uint64_t count);
  void (*silu_mul)(const float* gate, const float* up, uint64_t count, float* out);
  void (*to_bf16)(const float* from, uint64_t count, std::byte* out);
  /// K and V rows (V behind K) to f32: k and v [count, head_size].
  void (*expand_rows)(const std::byte* const* rows, uint32_t count, KvElement element,
                      uint32_t head_size, float* k, float* v);
  void (*attend_chunk)(const AttendChunk& chunk);
  void (*softmax_tile)(const SoftmaxTile& tile);
  /// scores[e] = max over heads of exp(logits[h * stride + e] - lse[h]), e < count.
  void (*score_max)(const float* logits, uint64_t stride, const float* lse, uint32_t heads,
                    uint64_t count, float* scores);
  /// x = x * scale + y * weight.
  void (*scale_add)(float* x, float scale, const float* y, float weight, uint64_t count);
  /// The rotation of kernels/digest.h, in place.
  void (*turn_head)(float* x, uint32_t head_size);
  /// One head's digest of x, which is centred and turned already.
  void (*encode_digest)(DigestFormat format, const float* x, uint32_t head_size, std::byte* to);
  /// A query of one head for scan_chunk: `scale` is that of the logits; `parts` takes 2 (kInt4) or
  /// 1 bytes for each element of its units.
  DigestQuery (*round_query)(DigestFormat format, const float* q, uint32_t head_size, float scale,
                             std::byte* parts);
  void (*scan_chunk)(const DigestChunk& chunk);
};

const InnerKernels& inner_kernels_v2();
const InnerKernels& inner_kernels_v3();
const InnerKernels& inner_kernels_v4();

}  // namespace ebb::kernels::cpu
