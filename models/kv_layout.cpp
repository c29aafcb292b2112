// Arithmetic of rows, records and granules. Pure: no files, no clocks, no policy.
#include "models/kv_layout.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/checksum.h"

namespace ebb::models {
namespace {

constexpr uint32_t kGranuleTokensMin = 8;
constexpr uint32_t kGranuleTokensMax = 32;
/// Keeps every byte count of a granule within 32 bits.
constexpr uint64_t kTokenBytesMax = 1ull << 26;

/// Part `rank` of `count` things dealt as evenly as possible, lower ranks first.
TokenRange share(uint32_t count, uint32_t ranks, uint32_t rank) {
  EBB_CHECK(ranks > 0 && rank < ranks);
  uint32_t each = count / ranks;
  uint32_t extra = count % ranks;
  uint32_t begin = rank * each + std::min(rank, extra);
  return {begin, begin + each + (rank < extra ? 1 : 0)};
}

HeadRange heads(TokenRange range) {
  return {static_cast<uint16_t>(range.begin), static_cast<uint16_t>(range.end)};
}

/// The one KV head of a rank where there are more ranks than heads.
uint32_t head_of_rank(uint32_t heads_kv, uint32_t ranks, uint32_t rank) {
  uint32_t head = 0;
  while (share(ranks, heads_kv, head).end <= rank) ++head;
  return head;
}

std::string range_text(const LayerRange& band) {
  return "[" + std::to_string(band.begin) + ", " + std::to_string(band.end) + ")";
}

Result<void> check_bands(const std::vector<LayerRange>& bands, uint32_t layers) {
  uint32_t expected = 0;
  for (size_t i = 0; i < bands.size(); ++i) {
    if (bands[i].begin != expected || bands[i].end <= bands[i].begin)
      return invalid("bands: band " + std::to_string(i) + " is " + range_text(bands[i]) +
                     " but must begin at layer " + std::to_string(expected) + " and not be empty");
    expected = bands[i].end;
  }
  if (expected != layers)
    return invalid("bands: they end at layer " + std::to_string(expected) + " but the model has " +
                   std::to_string(layers));
  return {};
}

}  // namespace

Result<ModelShape> shape_with_kv_type(ModelShape shape, std::string_view name) {
  if (name == "f32" || (name == "auto" && shape.f32_weights)) {
    shape.kv_type = KvType::kF32;
  } else if (name == "bf16" || name == "auto") {
    shape.kv_type = KvType::kBF16;
  } else {
    return invalid("model.kv_type: " + std::string(name) + " is none of auto, bf16, f32");
  }
  return shape;
}

HeadRange kv_heads_of_rank(uint32_t heads_kv, uint32_t ranks, uint32_t rank) {
  EBB_CHECK(heads_kv > 0 && heads_kv <= UINT16_MAX);
  if (ranks <= heads_kv) return heads(share(heads_kv, ranks, rank));
  const uint32_t head = head_of_rank(heads_kv, ranks, rank);
  return heads({head, head + 1});
}

HeadRange query_heads_of_rank(uint32_t heads_q, uint32_t heads_kv, uint32_t ranks, uint32_t rank) {
  EBB_CHECK(ranks <= heads_q && heads_q % heads_kv == 0 && heads_q <= UINT16_MAX);
  const uint32_t group = heads_q / heads_kv;
  const HeadRange kv = kv_heads_of_rank(heads_kv, ranks, rank);
  if (ranks <= heads_kv) return heads({kv.begin * group, kv.end * group});
  const TokenRange sharing = share(ranks, heads_kv, kv.begin);
  const TokenRange mine = share(group, sharing.size(), rank - sharing.begin);
  return heads({kv.begin * group + mine.begin, kv.begin * group + mine.end});
}

TokenRange columns_of_rank(uint32_t columns, uint32_t unit, uint32_t ranks, uint32_t rank) {
  EBB_CHECK(unit > 0 && columns % unit == 0);
  TokenRange part = share(columns / unit, ranks, rank);
  return {part.begin * unit, part.end * unit};
}

uint32_t KvLayout::row_bytes(uint32_t rank) const {
  return heads(rank).size() * 2 * head_size * kv_type_bytes(type);
}

uint32_t KvLayout::row_bytes_all() const {
  return kept_heads() * 2 * head_size * kv_type_bytes(type);
}

uint32_t KvLayout::copy_of_head(uint32_t rank) const {
  if (ranks <= heads_kv) return 0;
  return rank - share(ranks, heads_kv, heads(rank).begin).begin;
}

uint32_t KvLayout::record_bytes(uint32_t rank, uint32_t band) const {
  EBB_CHECK(band < bands.size());
  return row_bytes(rank) * bands[band].size();
}

uint32_t KvLayout::band_of(uint32_t layer) const {
  auto after = std::upper_bound(bands.begin(), bands.end(), layer,
                                [](uint32_t l, const LayerRange& band) { return l < band.begin; });
  EBB_CHECK(after != bands.begin() && layer < std::prev(after)->end);
  return static_cast<uint32_t>(std::prev(after) - bands.begin());
}

Digest KvLayout::digest() const {
  DigestBuilder builder;
  builder.add(std::string_view("ebb kv layout 1")).add(model_digest).add_u64(bands.size());
  for (const LayerRange& band : bands) builder.add_u64(band.begin).add_u64(band.end);
  builder.add_u64(ranks).add_u64(heads_kv).add_u64(head_size);
  builder.add_u64(static_cast<uint64_t>(type)).add_u64(granule_tokens);
  return builder.digest();
}

Digest KvLayout::name(uint32_t rank) const {
  const uint32_t copy = copy_of_head(rank);
  if (copy == 0) return digest();
  DigestBuilder builder;
  builder.add(std::string_view("ebb kv layout 1, copy of a head")).add(digest()).add_u64(copy);
  return builder.digest();
}

Result<KvLayout> make_layout(const ModelShape& shape, std::vector<LayerRange> bands, uint32_t ranks,
                             uint32_t granule_tokens) {
  if (!std::has_single_bit(granule_tokens) || granule_tokens < kGranuleTokensMin ||
      granule_tokens > kGranuleTokensMax)
    return invalid("granule_tokens: " + std::to_string(granule_tokens) +
                   " is not a power of two from 8 to 32");
  if (ranks < 1 || ranks > shape.heads_q)
    return invalid("tensor_parallel_size: " + std::to_string(ranks) + " is out of range (1 to " +
                   std::to_string(shape.heads_q) + ", the model's query heads)");
  EBB_TRY_VOID(check_bands(bands, shape.layers));
  KvLayout layout;
  layout.model_digest = shape.digest;
  layout.bands = std::move(bands);
  layout.ranks = ranks;
  layout.heads_kv = shape.heads_kv;
  layout.head_size = shape.head_size;
  layout.type = shape.kv_type;
  layout.granule_tokens = granule_tokens;
  uint64_t token_bytes = uint64_t{shape.layers} * layout.kept_heads() * shape.head_size * 2 *
                         kv_type_bytes(layout.type);
  if (token_bytes > kTokenBytesMax)
    return invalid("model: the KV of one token takes " + std::to_string(token_bytes) +
                   " bytes, over the limit of " + std::to_string(kTokenBytesMax));
  return layout;
}

}  // namespace ebb::models
