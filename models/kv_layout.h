// How KV is cut into rows, records and granules, and dealt to ranks. Plain arithmetic, shared by
// the coordinator (admission) and the workers (residency); the store sees only digests and byte
// counts. Vocabulary: row = K and V of one token in one layer for one rank's KV heads; record = one
// token's rows of all layers of a band; granule = `granule_tokens` consecutive records.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/model_shape.h"

namespace ebb::models {

constexpr uint32_t kv_type_bytes(KvType type) { return type == KvType::kF32 ? 4 : 2; }

/// `shape` served with K and V as `name` says: "bf16"; "f32", as they were computed; "auto": f32
/// for a model whose weights are all F32, else bf16. Errors: kInvalid: another name.
Result<ModelShape> shape_with_kv_type(ModelShape shape, std::string_view name);

/// KV heads of `rank`, dealt as evenly as possible, lower ranks first: 3 heads over 2 ranks: 2 + 1.
/// With more ranks than heads every rank has one head, and the ranks are dealt to the heads in the
/// same way: 3 heads over 4 ranks: heads 0, 0, 1, 2. Neighbours then hold copies of one head.
HeadRange kv_heads_of_rank(uint32_t heads_kv, uint32_t ranks, uint32_t rank);

/// Query heads of `rank`: all that read its KV heads; those of a head that several ranks hold are
/// dealt among them: 9 over 3 KV heads and 4 ranks: 2 + 1 + 3 + 3. Needs ranks <= heads_q.
HeadRange query_heads_of_rank(uint32_t heads_q, uint32_t heads_kv, uint32_t ranks, uint32_t rank);

/// Columns [begin, end) of `columns` for `rank`, dealt evenly in whole multiples of `unit`.
TokenRange columns_of_rank(uint32_t columns, uint32_t unit, uint32_t ranks, uint32_t rank);

/// Everything that decides what the bytes of a record mean; never the policy. Its digest is part of
/// every key.
struct KvLayout {
  Digest model_digest;
  std::vector<LayerRange> bands;  ///< ascending, together all layers
  uint32_t ranks = 1;
  uint32_t heads_kv = 0;
  uint32_t head_size = 0;
  KvType type = KvType::kBF16;
  uint32_t granule_tokens = 16;

  HeadRange heads(uint32_t rank) const { return kv_heads_of_rank(heads_kv, ranks, rank); }
  /// Heads that the ranks keep together, copies counted: heads_kv, or one a rank if that is more.
  uint32_t kept_heads() const { return ranks > heads_kv ? ranks : heads_kv; }
  /// The rank's among them. What is dealt by KV heads, but must not be copied, is dealt by these.
  HeadRange kept_heads_of(uint32_t rank) const {
    return kv_heads_of_rank(kept_heads(), ranks, rank);
  }
  /// How many lower ranks hold a copy of this rank's head; 0 where heads are not copied.
  uint32_t copy_of_head(uint32_t rank) const;
  /// Bytes of one row: [kv heads of rank][K, V][head_size] of `type`.
  uint32_t row_bytes(uint32_t rank) const;
  /// The same for all ranks together, copies counted.
  uint32_t row_bytes_all() const;
  uint32_t record_bytes(uint32_t rank, uint32_t band) const;
  uint32_t band_of(uint32_t layer) const;
  Digest digest() const;
  /// What the keys of the rank's granules are formed from: digest(), but each copy of a head has a
  /// name of its own, so that every rank stores, holds and drops its own records.
  Digest name(uint32_t rank) const;
};

/// Errors: kInvalid (granule not a power of two in [8, 32], more ranks than query heads, bands that
/// do not tile).
Result<KvLayout> make_layout(const ModelShape& shape, std::vector<LayerRange> bands, uint32_t ranks,
                             uint32_t granule_tokens);

}  // namespace ebb::models
