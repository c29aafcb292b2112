// Launches of selection: for every size, also those that no model has.
#include "kernels/cuda/selection_shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

namespace ebb::kernels::cuda {
namespace {

TEST(SelectionShapes, RowsHaveBlocksForTheirWorkAndNoMoreThanTheDeviceHolds) {
  for (const uint32_t rows : {0u, 1u, 8u, 64u, 1000u, 65535u}) {
    for (const uint32_t length : {0u, 1u, 255u, 4096u, 131072u, 1u << 20, 0xffffffffu}) {
      for (const uint32_t multiprocessors : {0u, 1u, 4u, 132u}) {
        const RowsShape shape = rows_shape(rows, length, multiprocessors);
        EXPECT_GE(shape.blocks, 1u);
        EXPECT_LE(shape.blocks, kRowBlocksMax);
        EXPECT_EQ(shape.threads % 32, 0u);
        if (shape.blocks > 1) {
          EXPECT_LE(uint64_t{shape.blocks} * rows, uint64_t{std::max(multiprocessors, 1u)} * 4);
          EXPECT_LT(uint64_t{shape.blocks - 1} * shape.threads, length) << "idle blocks";
        }
      }
    }
  }
  EXPECT_EQ(rows_shape(8, 131072, 132).blocks, 64u);
  EXPECT_EQ(rows_shape(1, 1u << 20, 132).blocks, 512u);
}

TEST(SelectionShapes, TheRankingHasAPlaceForEverySurvivor) {
  for (const uint32_t k : {0u, 1u, 31u, 32u, 33u, 2048u, 1u << 20, 0xffffffffu}) {
    EXPECT_GE(rank_blocks(k), 1u);
    EXPECT_GE(uint64_t{rank_blocks(k)} * kRankEach, k);
    EXPECT_LT(uint64_t{rank_blocks(k)} * kRankEach, uint64_t{k} + kRankEach + 1);
  }
}

TEST(SelectionShapes, AWarpScansEveryHeadOfEveryShapeInItsRounds) {
  for (const uint32_t heads_kv : {0u, 1u, 2u, 3u, 7u, 8u, 15u, 32u, 33u, 128u}) {
    for (const uint32_t group : {0u, 1u, 3u, 4u, 5u, 7u, 8u, 9u, 32u, 128u}) {
      for (const uint32_t units : {0u, 1u, 2u, 3u, 4u, 5u, 8u}) {
        for (const uint32_t queries_max : {4u, 8u}) {
          const ScanShape s = scan_shape({heads_kv, group, units, queries_max});
          EXPECT_TRUE(std::has_single_bit(s.lanes) && s.lanes >= units);
          EXPECT_TRUE(std::has_single_bit(s.queries) && s.queries <= queries_max);
          EXPECT_TRUE(s.heads >= 1 && s.tokens >= 1);
          EXPECT_LE(s.lanes * s.heads * s.tokens, 32u);
          EXPECT_LE(s.heads * s.queries, 32u) << "a row for each lane";
          EXPECT_GE(s.head_rounds * s.heads, heads_kv);
          EXPECT_GE(s.query_rounds * s.queries, group);
          EXPECT_LT((s.head_rounds - 1) * s.heads, std::max(heads_kv, 1u)) << "an empty round";
          EXPECT_LT((s.query_rounds - 1) * s.queries, std::max(group, 1u)) << "an empty round";
        }
      }
    }
  }
  // Llama 3 8B: all lanes busy with one token.
  const ScanShape llama = scan_shape({8, 4, 4, 8});
  EXPECT_EQ(llama.lanes * llama.heads * llama.tokens, 32u);
  EXPECT_EQ(llama.head_rounds * llama.query_rounds, 1u);
}

TEST(SelectionShapes, ScansHaveABlockForEveryToken) {
  EXPECT_EQ(scan_blocks(0), 1u);
  EXPECT_EQ(scan_blocks(1), 1u);
  EXPECT_EQ(scan_blocks(kScanTokens), 1u);
  EXPECT_EQ(scan_blocks(kScanTokens + 1), 2u);
  EXPECT_GE(uint64_t{scan_blocks(0xffffffffu)} * kScanTokens, 0xffffffffu);
}

}  // namespace
}  // namespace ebb::kernels::cuda
