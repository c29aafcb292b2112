// How attention is cut up, without a device.
#include "kernels/cuda/attend_shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kMillion = 1u << 20;
constexpr uint64_t kSharedMax = uint64_t{227} << 10;  // of a Hopper block

TEST(AttendShapes, OffsetsOfRowsPassFourGibibytes) {
  // 8 KV heads of 128 bf16: rows of 4 KiB, blocks of 64 KiB.
  EXPECT_EQ(row_offset(0, 0, 16, 4096), 0u);
  EXPECT_EQ(row_offset(65536, 0, 16, 4096), uint64_t{1} << 32);
  EXPECT_EQ(row_offset(65536, 15, 16, 4096), (uint64_t{1} << 32) + 15 * 4096);
  EXPECT_EQ(row_offset(2'000'000, 7, 16, 4096), (uint64_t{2'000'000} * 16 + 7) * 4096);
  // Even block * block_tokens may pass 2^32.
  EXPECT_EQ(row_offset(0xffffffffu, 255, 256, 24), (uint64_t{0xffffffffu} * 256 + 255) * 24);
  static_assert(row_offset(1u << 31, 0, 4, 1) == uint64_t{1} << 33);
}

TEST(AttendShapes, EntriesOfRowsAreCausalAndWindowed) {
  const auto seen = [](uint32_t count, uint32_t rows, uint32_t row, uint32_t window) {
    const RowEntries e = row_entries(count, rows, row, window);
    return std::pair{e.begin, e.end};
  };
  EXPECT_EQ(seen(0, 1, 0, 0), (std::pair{0u, 0u}));
  EXPECT_EQ(seen(1, 1, 0, 0), (std::pair{0u, 1u}));
  EXPECT_EQ(seen(5, 3, 0, 0), (std::pair{0u, 3u}));
  EXPECT_EQ(seen(5, 3, 2, 2), (std::pair{3u, 5u}));
  EXPECT_EQ(seen(5, 3, 2, 5), (std::pair{0u, 5u}));
  EXPECT_EQ(seen(5, 3, 2, 0xffffffffu), (std::pair{0u, 5u}));
  EXPECT_EQ(seen(2, 5, 2, 0), (std::pair{0u, 0u}));  // more rows than slots
  EXPECT_EQ(seen(2, 5, 3, 1), (std::pair{0u, 1u}));
  EXPECT_EQ(seen(0xffffffffu, 1, 0, 1), (std::pair{0xfffffffeu, 0xffffffffu}));
}

TEST(AttendShapes, ChunksCoverEveryEntryOnceWhateverTheDevice) {
  for (const uint32_t multiprocessors : {0u, 1u, 14u, 132u, 1000u}) {
    for (const uint32_t heads_kv : {1u, 3u, 8u, 128u}) {
      for (const uint32_t entries :
           {0u, 1u, 31u, 127u, 128u, 129u, 2048u, 8192u, 131071u, kMillion, 0xffffffffu}) {
        const Chunks c = decode_chunks(entries, heads_kv, multiprocessors);
        ASSERT_GE(c.count, 1u);
        ASSERT_LE(c.count, 128u);
        ASSERT_GT(c.entries, 0u);
        ASSERT_EQ(c.entries % (kDecodeWarps * kGroupEntries), 0u);
        ASSERT_GE(uint64_t{c.count} * c.entries, entries);
        ASSERT_TRUE(entries == 0 || uint64_t{c.count - 1} * c.entries < entries) << "an empty one";
      }
    }
  }
}

TEST(AttendShapes, OneSequenceFillsTheDeviceAndManyKeepTheirStatesSmall) {
  // 8 KV heads, 132 multiprocessors.
  EXPECT_EQ(decode_chunks(2048, 8, 132).count, 16u);
  EXPECT_EQ(decode_chunks(8192, 8, 132).count, 64u);
  EXPECT_EQ(decode_chunks(131072, 8, 132).count, 64u);
  EXPECT_EQ(decode_chunks(131072, 1, 132).count, 128u);  // one KV head of a large model's rank
  EXPECT_EQ(decode_chunks(131072, 8, 1).count, 1u);
  // A state of 4 heads of 128 is 2 KiB; K and V of a chunk of 128 entries 64 KiB.
  EXPECT_EQ(state_bytes(4, 1, 128), 4 * 130 * 4u);
  EXPECT_EQ(state_bytes(1024, 128, 256), uint64_t{1024} * 128 * 258 * 4);
}

TEST(AttendShapes, EveryHeadSizeAndGroupHasAKernel) {
  for (uint32_t size = 2; size <= 256; size += 2) {
    for (const uint32_t together : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 64u}) {
      const DecodeKind kind = decode_kind(size, together, KvElement::kBF16);
      ASSERT_TRUE(kind.lanes == 8 || kind.lanes == 16 || kind.lanes == 32);
      ASSERT_GE(kind.lanes * kSliceElements, size);
      ASSERT_EQ(kind.whole, size % 8 == 0);
      ASSERT_TRUE(kind.heads == 1 || kind.heads == 2 || kind.heads == 4 || kind.heads == 8);
      ASSERT_LE(decode_shared_bytes(kind, size), uint64_t{48} << 10) << "would need allow_shared";
    }
    const TileKind tile = tile_kind(size);
    ASSERT_GE(tile.columns, size);
    ASSERT_EQ(tile.columns % 16, 0u);
    ASSERT_LE(tile_shared_bytes(tile.columns), kSharedMax);
  }
  EXPECT_EQ(decode_kind(128, 4, KvElement::kBF16), (DecodeKind{16, 4, true}));
  EXPECT_EQ(decode_kind(64, 3, KvElement::kBF16), (DecodeKind{8, 4, true}));
  EXPECT_EQ(decode_kind(128, 1, KvElement::kF32), (DecodeKind{16, 4, false}));
  EXPECT_EQ(decode_kind(6, 1, KvElement::kBF16), (DecodeKind{8, 4, false}));
  for (const uint32_t size : {64u, 80u, 96u, 128u, 256u}) EXPECT_EQ(tile_kind(size).columns, size);
}

TEST(AttendShapes, TilesAreForManyRowsOfBf16) {
  EXPECT_FALSE(takes_tiles(0, true));
  EXPECT_FALSE(takes_tiles(1, true));
  EXPECT_FALSE(takes_tiles(4, true));
  EXPECT_TRUE(takes_tiles(5, true));
  EXPECT_FALSE(takes_tiles(4096, false));
}

TEST(AttendShapes, FewTilesShareOutTheirEntries) {
  EXPECT_EQ(tile_chunks(8, 4, 100, 8, 132).tiles, 1u);
  EXPECT_EQ(tile_chunks(8, 4, 100, 8, 132).chunks, 1u) << "too few entries";
  EXPECT_EQ(tile_chunks(8, 4, 32768, 8, 132).chunks, 33u);
  EXPECT_EQ(tile_chunks(8, 4, kMillion, 1, 132).chunks, 128u);
  EXPECT_EQ(tile_chunks(2048, 4, 8192, 8, 132).tiles, 128u);
  EXPECT_EQ(tile_chunks(2048, 4, 8192, 8, 132).chunks, 1u);
  EXPECT_EQ(tile_chunks(0, 1, 0, 1, 0).tiles, 1u);
  EXPECT_EQ(tile_chunks(1u << 26, 64, kMillion, 8, 132).tiles, 1u << 26);
}

}  // namespace
}  // namespace ebb::kernels::cuda
