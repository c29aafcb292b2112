// The arithmetic of the arena against sums written out by hand, and against a simulation that
// counts blocks.
#include "coordinator/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/coordinator/engine_samples.h"

namespace ebb::coordinator::test {
namespace {

using ::testing::HasSubstr;

// small model: 8 layers, 2 resident (0, 3), followers 1,2 and 4..7; g = 8.
// block = 8 rows * (3 heads * 8 * 2 (K, V) * 2 bytes = 96) = 768 bytes; a token's activations are
// 64 * 4 = 256.

TEST(Admission, CountsBlocksOfAllRanks) {
  const ArenaModel arena = small_arena(100);
  EXPECT_EQ(arena.block_bytes, 768u);
  EXPECT_EQ(arena.blocks, 100u);
  EXPECT_EQ(arena.layers(), 8u);
  EXPECT_EQ(arena.blocks_of(0), 0u);
  EXPECT_EQ(arena.blocks_of(8), 1u);
  EXPECT_EQ(arena.blocks_of(9), 2u);
}

TEST(Admission, KeepsEveryLayerOfAResidentSequence) {
  EXPECT_EQ(all_resident_blocks(small_arena(100), {80, 100, 0}), 8u * 13);
}

TEST(Admission, AddsUpWhatAHotSequenceNeeds) {
  const ArenaModel arena = small_arena(1000);
  const SequenceSize size{160, 200, 40};
  // Pool: ceil((40 + 16) / 8) = 7 of at most ceil(200 / 8) = 25 blocks.
  EXPECT_EQ(hot_pool_blocks(arena, size, {1, 3}), 7u);
  EXPECT_EQ(hot_decode_blocks(arena, size), 2u * 25 + 6u * 7);
  // Activations: ceil(160 * 256 / 768) = 54. Bands of 20 blocks a layer: 0, then 1..2, then 3,
  // then 4..7.
  const uint64_t at_first = 54 + 20;
  const uint64_t at_second = 54 + 20 + 2 * 20;
  const uint64_t at_third = 54 + 20 + 2 * 7 + 20;
  const uint64_t at_last = 54 + 20 + 2 * 7 + 20 + 4 * 20;
  EXPECT_EQ(hot_peak_blocks(arena, size), std::max({at_first, at_second, at_third, at_last}));
}

TEST(Admission, PoolsAreDealtAsTheBudgetIs) {
  const ArenaModel arena = small_arena(1000);
  SequenceSize size{160, 200, 40};
  const uint64_t even = hot_decode_blocks(arena, size);
  size.budget = 20;
  size.layer_budgets = {20, 10, 10, 20, 20, 20, 30, 25};
  // Bands 1..2 and 4..7 of followers; the largest set of a band counts. Blocks have 8 rows.
  EXPECT_EQ(hot_pool_blocks(arena, size, {1, 3}), arena.blocks_of(20 + 16));
  EXPECT_EQ(hot_pool_blocks(arena, size, {4, 8}), arena.blocks_of(60 + 16));
  EXPECT_EQ(hot_decode_blocks(arena, size), even + 2 * (5 - 7) + 4 * (10 - 7));
  // Never fewer than the set, a granule and the newest token.
  size.hot_tokens = 21;
  EXPECT_EQ(hot_pool_blocks(arena, size, {4, 8}), arena.blocks_of(30 + 8 + 1 + 16));
}

TEST(Admission, NeverGivesAPoolMoreThanTheSequenceHas) {
  const ArenaModel arena = small_arena(1000);
  const SequenceSize size{20, 30, 500};
  EXPECT_EQ(hot_pool_blocks(arena, size, {1, 3}), arena.blocks_of(30));
  EXPECT_FALSE(release_helps(arena, size));
}

TEST(Admission, PrefersToStayResidentUnderPressureOnly) {
  const ArenaModel arena = small_arena(1000);
  const auto plans = placements(arena, {160, 200, 40}, ReleaseWhen::kPressure);
  ASSERT_TRUE(plans);
  ASSERT_EQ(plans->size(), 2u);
  EXPECT_EQ(plans->front().residency, Residency::kAll);
  EXPECT_EQ(plans->back().residency, Residency::kHot);
  const auto always = placements(arena, {160, 200, 40}, ReleaseWhen::kAlways);
  ASSERT_TRUE(always);
  ASSERT_EQ(always->size(), 1u);
  EXPECT_EQ(always->front().residency, Residency::kHot);
}

TEST(Admission, LeavesOutWhatCannotFit) {
  // Resident: 8 * 25 = 200 blocks; hot: 188 at its peak.
  const auto hot_only = placements(small_arena(190), {160, 200, 40}, ReleaseWhen::kPressure);
  ASSERT_TRUE(hot_only);
  ASSERT_EQ(hot_only->size(), 1u);
  EXPECT_EQ(hot_only->front().residency, Residency::kHot);
  EXPECT_EQ(hot_only->front().bulk_blocks, 188u);
  EXPECT_EQ(hot_only->front().decode_blocks, 92u);
}

TEST(Admission, NamesTheFigureThatWouldBeNeeded) {
  const auto dense = placements(small_arena(190), {160, 200, 0}, ReleaseWhen::kPressure);
  ASSERT_FALSE(dense);
  EXPECT_EQ(dense.error().code, Code::kInvalid);
  EXPECT_THAT(dense.error().message, HasSubstr(format_bytes(200 * 768)));
  EXPECT_THAT(dense.error().message, HasSubstr(format_bytes(190 * 768)));
  EXPECT_THAT(dense.error().message, HasSubstr("device_kv_size"));
  const auto tidal = placements(small_arena(180), {160, 200, 40}, ReleaseWhen::kPressure);
  ASSERT_FALSE(tidal);
  EXPECT_THAT(tidal.error().message, HasSubstr(format_bytes(188 * 768)));
}

TEST(Admission, RefusesAnArenaWithoutABlockForEachLayer) {
  const auto arena = make_arena_model(small_layout(), small_profile(), 7 * 768, 64);
  ASSERT_FALSE(arena);
  EXPECT_THAT(arena.error().message, HasSubstr("device_kv_size"));
}

/// Counts blocks as a worker that compacts in place would, layer by layer.
uint64_t simulated_peak(const ArenaModel& arena, const SequenceSize& size) {
  const uint64_t pool = arena.blocks_of(size.hot_tokens + 2 * arena.granule_tokens);
  const uint64_t dealt = (uint64_t{size.bulk_tokens} + 2) / 3 * 3;
  const uint64_t activations =
      (dealt * arena.width * 4 + arena.block_bytes - 1) / arena.block_bytes;
  std::vector<uint64_t> layers(arena.layers(), 0);
  uint64_t peak = 0;
  const auto used = [&] {
    uint64_t sum = activations;
    for (const uint64_t blocks : layers) sum += blocks;
    return sum;
  };
  for (const auto& band : arena.bands) {
    for (uint32_t token = 1; token <= size.bulk_tokens; ++token) {
      for (uint32_t l = band.layers.begin; l < band.layers.end; ++l)
        layers[l] = arena.blocks_of(token);
      peak = std::max(peak, used());
    }
    if (!band.follower) continue;
    for (uint32_t l = band.layers.begin; l < band.layers.end; ++l)
      layers[l] = std::min(layers[l], pool);
  }
  return peak;
}

TEST(Admission, PeakIsWhatASimulatedPassUses) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 200; ++round) {
    const uint32_t bulk = 1 + random() % 300;
    const SequenceSize size{bulk, bulk + static_cast<uint32_t>(random() % 50),
                            1 + static_cast<uint32_t>(random() % 200)};
    const ArenaModel arena = small_arena(100000);
    EXPECT_EQ(hot_peak_blocks(arena, size), simulated_peak(arena, size))
        << "tokens " << bulk << " of " << size.total_tokens << ", hot " << size.hot_tokens;
  }
}

TEST(Admission, CountsActivationsAsTheyAreDealtToTheFullestRank) {
  for (uint32_t ranks = 1; ranks <= 6; ++ranks) {
    const models::KvLayout layout = small_layout(ranks);
    const auto arena = make_arena_model(layout, small_profile(), 1 << 30, small_shape().width);
    ASSERT_TRUE(arena);
    ArenaModel without = *arena;
    without.width = 0;
    for (uint32_t tokens = 1; tokens <= 200; ++tokens) {
      const SequenceSize size{tokens, tokens, 1};
      const uint64_t counted = hot_peak_blocks(*arena, size) - hot_peak_blocks(without, size);
      uint64_t fullest = 0;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        const HeadRange heads = layout.kept_heads_of(rank);
        uint64_t rows = 0;
        for (uint32_t p = 0; p < tokens; ++p) {
          const uint32_t head = p % layout.kept_heads();
          rows += head >= heads.begin && head < heads.end;
        }
        const uint64_t block = uint64_t{layout.granule_tokens} * layout.row_bytes(rank);
        fullest = std::max(fullest, (rows * arena->width * 4 + block - 1) / block);
      }
      EXPECT_GE(counted, fullest) << tokens << " tokens on " << ranks << " ranks";
      EXPECT_LE(counted, fullest + 1);
    }
  }
}

// --- From request to policy -------------------------------------------------------------------

Result<CheckedRequest> check(GenerateRequest request, RequestRules rules = small_rules()) {
  return check_request(rules, small_arena(10000), std::move(request));
}

TEST(RequestCheck, GivesTheBudgetOfTheProfileAndOfTheRequest) {
  using control::PolicyKind;
  EXPECT_EQ(check(request_of(100, 4, PolicyKind::kTidal))->open.policy.budget, 32u);
  EXPECT_EQ(check(request_of(801, 4, PolicyKind::kTidal))->open.policy.budget, 101u);
  auto request = request_of(801, 4, PolicyKind::kTidal);
  request.budget = 64;
  EXPECT_EQ(check(request)->open.policy.budget, 64u);
  RequestRules rules = small_rules();
  rules.policy.budget = 77;
  EXPECT_EQ(check(request_of(801, 4, PolicyKind::kTidal), rules)->open.policy.budget, 77u);
}

TEST(RequestCheck, KeepsEnoughHotRowsForOneStep) {
  RequestRules rules = small_rules();
  rules.hot_tokens = 10;
  EXPECT_EQ(check(request_of(200, 4, control::PolicyKind::kTidal), rules)->size.hot_tokens,
            32u + 8 + 1);
  rules.hot_tokens = 0;
  EXPECT_EQ(check(request_of(200, 4, control::PolicyKind::kTidal), rules)->size.hot_tokens, 64u);
}

TEST(RequestCheck, NeverReleasesWhatABudgetCoversWhole) {
  EXPECT_EQ(check(request_of(20, 12, control::PolicyKind::kTidal))->size.hot_tokens, 0u);
  EXPECT_EQ(check(request_of(200, 4))->size.hot_tokens, 0u);
}

struct Refusal {
  const char* name;
  std::function<void(GenerateRequest&, RequestRules&)> spoil;
  const char* says;
};
class RefusedRequest : public ::testing::TestWithParam<Refusal> {};
TEST_P(RefusedRequest, IsInvalidAndNamesFieldAndLimit) {
  auto request = request_of(100, 10, control::PolicyKind::kTidal);
  RequestRules rules = small_rules();
  GetParam().spoil(request, rules);
  const auto refused = check(std::move(request), std::move(rules));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_THAT(refused.error().message, HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(
    RequestCheck, RefusedRequest,
    ::testing::Values(
        Refusal{"empty", [](auto& r, auto&) { r.prompt.clear(); }, "prompt: "},
        Refusal{"token", [](auto& r, auto&) { r.prompt[3] = 1000; }, "[0, 1000)"},
        Refusal{"negative", [](auto& r, auto&) { r.prompt[3] = -1; }, "-1"},
        Refusal{"context", [](auto& r, auto&) { r.max_tokens = 3997; }, "4096"},
        Refusal{"nothing", [](auto& r, auto&) { r.max_tokens = 0; }, "max_tokens: 0"},
        Refusal{"from0", [](auto& r, auto&) { r.decode_from = 0; }, "decode_from: 0"},
        Refusal{"from101", [](auto& r, auto&) { r.decode_from = 101; }, "[1, 100]"},
        Refusal{"budget", [](auto& r, auto&) { r.budget = 10; }, "sinks + window, 2 + 8"},
        Refusal{"window", [](auto& r, auto&) { r.window = 0; }, "window: "},
        Refusal{"policy",
                [](auto& r, auto& rules) {
                  r.policy.reset();
                  rules.policy.name = "magic";
                },
                "magic"},
        Refusal{"profile",
                [](auto&, auto& rules) { rules.profile = models::dense_profile(8, "small"); },
                "needs a selection profile"}),
    [](const auto& refusal) { return refusal.param.name; });

}  // namespace
}  // namespace ebb::coordinator::test
