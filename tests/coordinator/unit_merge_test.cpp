// What several ranks answered becomes one outcome.
#include "coordinator/unit_merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/engine_samples.h"

namespace ebb::coordinator::test {
namespace {

using control::Place;
using control::PlaceRun;
using control::UnitResult;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

UnitResult result_of(uint32_t rank, uint64_t blocks_max) {
  UnitResult result;
  result.rank = rank;
  result.sequences.resize(1);
  result.sequences[0].seq = {5};
  result.sequences[0].counters.restored_bytes = 100 + rank;
  result.sequences[0].counters.device_blocks_max = blocks_max;
  result.arena_blocks_used = 10 + rank;
  result.arena_blocks_max = 20 + rank;
  return result;
}

TEST(UnitMerge, TakesTokensOfRankZeroAndAddsUpCounters) {
  UnitResult first = result_of(0, 30);
  first.sequences[0].has_token = true;
  first.sequences[0].token.token = 42;
  const auto outcome = merge_results(small_layout(), {first, result_of(1, 31)});
  ASSERT_EQ(outcome.sequences.size(), 1u);
  const auto& sequence = outcome.sequences[0];
  EXPECT_TRUE(sequence.result.has_token);
  EXPECT_EQ(sequence.result.token.token, 42);
  EXPECT_EQ(sequence.result.counters.restored_bytes, 201u);
  // Rank 0 has two KV heads, rank 1 one; a head's row is 32 bytes, a block 8 rows.
  EXPECT_EQ(sequence.device_bytes_max, 30u * 8 * 64 + 31u * 8 * 32);
  EXPECT_EQ(outcome.arena_blocks_used, 11u);
  EXPECT_EQ(outcome.arena_blocks_max, 21u);
}

TEST(UnitMerge, ReportsASequencesFailureOnceWithItsRank) {
  UnitResult first;
  UnitResult second;
  first.failures = {{{5}, unavailable("store s0 is gone")}};
  second.failures = {{{5}, unavailable("other words")}, {{6}, timed_out("restore")}};
  const auto outcome = merge_results(small_layout(), {first, second});
  ASSERT_EQ(outcome.failures.size(), 2u);
  EXPECT_EQ(outcome.failures[0].seq, SeqId{5});
  EXPECT_THAT(outcome.failures[0].error.message, HasSubstr("rank 0: store s0"));
  EXPECT_EQ(outcome.failures[1].error.code, Code::kTimeout);
}

TEST(UnitMerge, SaysThatATokenIsWhereTheFarthestRankHasIt) {
  control::SequenceMap a;
  a.length = 100;
  a.bands = {{0, {0, 1}, true, 64, {{0, 50, Place::kDevice}, {50, 50, Place::kHost}}}};
  control::SequenceMap b = a;
  b.bands[0].runs = {{0, 20, Place::kDevice}, {20, 40, Place::kHost}, {60, 40, Place::kSsd}};
  b.counters.hot_hits = 3;
  const auto merged = merge_maps({a, b});
  EXPECT_THAT(merged.bands[0].runs,
              ElementsAre(PlaceRun{0, 20, Place::kDevice}, PlaceRun{20, 40, Place::kHost},
                          PlaceRun{60, 40, Place::kSsd}));
  EXPECT_EQ(merged.counters.hot_hits, 3u);
}

TEST(UnitMerge, ATokenIsExactWhereEveryRankSaysSo) {
  control::SequenceMap a;
  a.bands = {{0, {0, 1}, false, 64, {{0, 60, Place::kDevice}, {60, 40, Place::kDevice, false}}}};
  control::SequenceMap b = a;
  b.bands[0].runs = {{0, 50, Place::kDevice}, {50, 50, Place::kDevice, false}};
  EXPECT_THAT(
      merge_maps({a, b}).bands[0].runs,
      ElementsAre(PlaceRun{0, 50, Place::kDevice}, PlaceRun{50, 50, Place::kDevice, false}));
}

TEST(UnitMerge, SetsOfHeadsComeTogetherFromTheirRanks) {
  const auto of_rank = [](uint32_t rank) {
    control::UnitResult result;
    control::SequenceResult sequence;
    sequence.seq = {4};
    sequence.trace = {{0, {1, 2}}, {1, {3 + rank}, control::SetScope::kKvHead, rank}};
    result.sequences = {sequence};
    return result;
  };
  const auto outcome = merge_results(small_layout(), {of_rank(0), of_rank(1)});
  const auto& trace = outcome.sequences.at(0).result.trace;
  ASSERT_EQ(trace.size(), 3u) << "the layer's set once, each head's from its own rank";
  EXPECT_EQ(trace[2].positions, std::vector<Position>{4});
  EXPECT_EQ(trace[2].head, 1u);
}

}  // namespace
}  // namespace ebb::coordinator::test
