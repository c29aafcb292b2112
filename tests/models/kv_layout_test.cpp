// How heads, columns and bytes are dealt.
#include "models/kv_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace ebb::models {
namespace {

using ::testing::HasSubstr;

ModelShape shape_with(uint32_t layers, uint32_t heads_kv) {
  ModelShape shape;
  shape.layers = layers;
  shape.heads_q = 3 * heads_kv;
  shape.heads_kv = heads_kv;
  shape.head_size = 64;
  return shape;
}

TEST(KvLayout, DealsThreeHeadsToTwoRanksAsTwoAndOne) {
  EXPECT_EQ(kv_heads_of_rank(3, 2, 0), (HeadRange{0, 2}));
  EXPECT_EQ(kv_heads_of_rank(3, 2, 1), (HeadRange{2, 3}));
}

TEST(KvLayout, DealsEveryHeadOnceAndEvenly) {
  for (uint32_t heads = 1; heads <= 16; ++heads)
    for (uint32_t ranks = 1; ranks <= heads; ++ranks) {
      uint32_t next = 0;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        HeadRange range = kv_heads_of_rank(heads, ranks, rank);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.size(), heads / ranks);
        EXPECT_LE(range.size(), heads / ranks + 1);
        next = range.end;
      }
      EXPECT_EQ(next, heads);
    }
}

TEST(KvLayout, CopiesHeadsWhenThereAreMoreRanks) {
  const HeadRange expected[] = {{0, 1}, {0, 1}, {1, 2}, {2, 3}};
  const HeadRange queries[] = {{0, 2}, {2, 3}, {3, 6}, {6, 9}};
  KvLayout layout = *make_layout(shape_with(10, 3), {{0, 10}}, 4, 16);
  for (uint32_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(kv_heads_of_rank(3, 4, rank), expected[rank]);
    EXPECT_EQ(query_heads_of_rank(9, 3, 4, rank), queries[rank]);
    EXPECT_EQ(layout.copy_of_head(rank), rank == 1 ? 1u : 0u);
    EXPECT_EQ(layout.kept_heads_of(rank),
              (HeadRange{static_cast<uint16_t>(rank), static_cast<uint16_t>(rank + 1)}));
    EXPECT_EQ(layout.row_bytes(rank), 2u * 64 * 2);
  }
  EXPECT_EQ(layout.kept_heads(), 4u);
  EXPECT_EQ(layout.row_bytes_all(), 4 * layout.row_bytes(0));
}

TEST(KvLayout, DealsEveryQueryHeadOnceBesideItsKvHead) {
  for (uint32_t heads_kv : {1u, 2u, 3u, 5u, 8u})
    for (uint32_t group : {1u, 2u, 3u, 7u})
      for (uint32_t ranks = 1; ranks <= std::min(16u, heads_kv * group); ++ranks) {
        uint32_t next = 0;
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          const HeadRange kv = kv_heads_of_rank(heads_kv, ranks, rank);
          const HeadRange q = query_heads_of_rank(heads_kv * group, heads_kv, ranks, rank);
          ASSERT_GT(q.size(), 0) << heads_kv << " x " << group << " over " << ranks;
          EXPECT_EQ(q.begin, next);
          EXPECT_EQ(q.begin / group, kv.begin);
          EXPECT_EQ((q.end - 1u) / group, kv.end - 1u);
          EXPECT_EQ(q.size() % kv.size(), 0) << "kernels want whole groups";
          next = q.end;
        }
        EXPECT_EQ(next, heads_kv * group);
      }
}

TEST(KvLayout, NamesTheRecordsOfEachCopyApart) {
  KvLayout layout = *make_layout(shape_with(10, 2), {{0, 10}}, 6, 16);
  EXPECT_EQ(layout.name(0), layout.digest());
  EXPECT_EQ(layout.name(3), layout.digest()) << "the first copy of head 1";
  std::set<Digest> names = {layout.name(0), layout.name(1), layout.name(2)};
  EXPECT_EQ(names.size(), 3u);
}

TEST(KvLayout, DealsColumnsInWholeUnits) {
  EXPECT_EQ(columns_of_rank(1536, 32, 2, 0), (TokenRange{0, 768}));
  EXPECT_EQ(columns_of_rank(1536, 32, 2, 1), (TokenRange{768, 1536}));
  EXPECT_EQ(columns_of_rank(96, 32, 2, 0), (TokenRange{0, 64}));
  EXPECT_EQ(columns_of_rank(96, 32, 2, 1), (TokenRange{64, 96}));
}

TEST(KvLayout, CountsBytesOfRowsAndRecords) {
  KvLayout layout = *make_layout(shape_with(30, 3), {{0, 1}, {1, 7}, {7, 30}}, 2, 16);
  EXPECT_EQ(layout.row_bytes(0), 2u * 2 * 64 * 2);
  EXPECT_EQ(layout.row_bytes(1), 1u * 2 * 64 * 2);
  EXPECT_EQ(layout.row_bytes_all(), layout.row_bytes(0) + layout.row_bytes(1));
  EXPECT_EQ(layout.record_bytes(0, 1), 6 * layout.row_bytes(0));
  EXPECT_EQ(layout.record_bytes(1, 2), 23 * layout.row_bytes(1));
}

TEST(KvLayout, RowsAreAsWideAsTheirNumbers) {
  ModelShape shape = *shape_with_kv_type(shape_with(30, 3), "auto");
  EXPECT_EQ(shape.kv_type, KvType::kBF16);
  shape.f32_weights = true;
  const KvLayout narrow = *make_layout(*shape_with_kv_type(shape, "bf16"), {{0, 30}}, 1, 16);
  const KvLayout wide = *make_layout(*shape_with_kv_type(shape, "auto"), {{0, 30}}, 1, 16);
  EXPECT_EQ(wide.row_bytes(0), 2 * narrow.row_bytes(0));
  EXPECT_NE(wide.digest(), narrow.digest());
  EXPECT_EQ(shape_with_kv_type(shape_with(30, 3), "f32")->kv_type, KvType::kF32);
  const auto refused = shape_with_kv_type(shape, "f16");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "model.kv_type: f16 is none of auto, bf16, f32");
}

TEST(KvLayout, FindsTheBandOfEveryLayer) {
  KvLayout layout = *make_layout(shape_with(10, 2), {{0, 1}, {1, 4}, {4, 10}}, 1, 16);
  EXPECT_EQ(layout.band_of(0), 0u);
  EXPECT_EQ(layout.band_of(1), 1u);
  EXPECT_EQ(layout.band_of(3), 1u);
  EXPECT_EQ(layout.band_of(4), 2u);
  EXPECT_EQ(layout.band_of(9), 2u);
}

TEST(KvLayout, DigestTellsApartWhatReadsBytesDifferently) {
  auto digest = [](uint32_t heads_kv, std::vector<LayerRange> bands, uint32_t ranks,
                   uint32_t granule) {
    return make_layout(shape_with(10, heads_kv), std::move(bands), ranks, granule)->digest();
  };
  ModelShape other_model = shape_with(10, 4);
  other_model.digest.bytes[3] = 1;
  std::set<Digest> digests = {
      digest(4, {{0, 10}}, 1, 16), digest(4, {{0, 10}}, 2, 16),
      digest(4, {{0, 10}}, 1, 32), digest(4, {{0, 4}, {4, 10}}, 1, 16),
      digest(2, {{0, 10}}, 1, 16), make_layout(other_model, {{0, 10}}, 1, 16)->digest()};
  EXPECT_EQ(digests.size(), 6u);
  EXPECT_EQ(digest(4, {{0, 10}}, 1, 16), digest(4, {{0, 10}}, 1, 16));
}

TEST(KvLayout, RefusesWhatCannotBeLaidOut) {
  struct Case {
    std::vector<LayerRange> bands;
    uint32_t ranks;
    uint32_t granule;
    const char* message;
  };
  const Case cases[] = {
      {{{0, 10}}, 1, 12, "granule_tokens: 12 is not a power of two from 8 to 32"},
      {{{0, 10}}, 1, 64, "granule_tokens: 64"},
      {{{0, 10}}, 1, 0, "granule_tokens: 0"},
      {{{0, 10}},
       0,
       16,
       "tensor_parallel_size: 0 is out of range (1 to 12, the model's query heads)"},
      {{{0, 10}}, 13, 16, "tensor_parallel_size: 13 is out of range"},
      {{}, 1, 16, "bands: they end at layer 0 but the model has 10"},
      {{{0, 9}}, 1, 16, "bands: they end at layer 9 but the model has 10"},
      {{{0, 11}}, 1, 16, "bands: they end at layer 11 but the model has 10"},
      {{{0, 4}, {5, 10}}, 1, 16, "band 1 is [5, 10) but must begin at layer 4"},
      {{{0, 4}, {3, 10}}, 1, 16, "band 1 is [3, 10)"},
      {{{0, 4}, {4, 4}, {4, 10}}, 1, 16, "band 1 is [4, 4)"},
  };
  for (const Case& c : cases) {
    Result<KvLayout> layout = make_layout(shape_with(10, 4), c.bands, c.ranks, c.granule);
    ASSERT_FALSE(layout) << c.message;
    EXPECT_EQ(layout.error().code, Code::kInvalid);
    EXPECT_THAT(layout.error().message, HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace ebb::models
