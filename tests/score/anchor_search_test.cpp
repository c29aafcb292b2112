#include "score/anchor_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "tests/support/tiny_llama.h"

namespace ebb::score {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ErrorMatrix random_errors(uint64_t seed, uint32_t layers) {
  ebb::testing::TinyRandom random(seed);
  ErrorMatrix errors(layers);
  for (uint32_t l = 0; l < layers; ++l) {
    for (uint32_t s = 0; s <= l; ++s)
      errors[l].push_back(static_cast<double>(random.next() % 1000) / 1000);
  }
  return errors;
}

/// Every set of anchors with layer 0, by its bits.
std::vector<Anchors> all_anchors(uint32_t layers) {
  std::vector<Anchors> out;
  for (uint32_t bits = 0; bits < 1u << (layers - 1); ++bits) {
    Anchors anchors = {0};
    for (uint32_t layer = 1; layer < layers; ++layer)
      if (bits >> (layer - 1) & 1) anchors.push_back(layer);
    out.push_back(std::move(anchors));
  }
  return out;
}

TEST(AnchorSearch, TheProgrammeEqualsTryingEverything) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const uint32_t layers = 1 + static_cast<uint32_t>(seed % 9);
    const ErrorMatrix errors = random_errors(seed, layers);
    const std::vector<Anchors> best = best_anchors(errors, layers + 3);
    ASSERT_EQ(best.size(), layers) << "seed " << seed;
    for (const Anchors& tried : all_anchors(layers)) {
      ASSERT_EQ(best[tried.size() - 1].size(), tried.size());
      EXPECT_LE(cost_of(errors, best[tried.size() - 1]), cost_of(errors, tried) + 1e-12)
          << "seed " << seed << ": " << anchors_text(best[tried.size() - 1]) << " and "
          << anchors_text(tried);
    }
  }
}

TEST(AnchorSearch, TheCostIsThatOfTheLayersThatReadASet) {
  ErrorMatrix errors = random_errors(3, 5);
  errors[1][0] = 1, errors[3][2] = 10, errors[4][2] = 100;
  EXPECT_DOUBLE_EQ(cost_of(errors, {0, 2}), 111);
  EXPECT_DOUBLE_EQ(cost_of(errors, {0, 1, 2, 3, 4}), 0);
}

TEST(AnchorSearch, NeighboursAreAsManyAnchorsElsewhereTheLikelyOnesFirst) {
  const ErrorMatrix errors = random_errors(5, 16);
  const Anchors from = {0, 1, 7, 8, 15};
  const std::vector<Anchors> some = neighbours(errors, from, 5);
  EXPECT_EQ(some, neighbours(errors, from, 5));
  std::vector<double> costs;
  for (const Anchors& other : some) {
    EXPECT_EQ(other.size(), from.size());
    EXPECT_EQ(other.front(), 0u);
    EXPECT_LT(other.back(), 16u);
    EXPECT_NE(other, from);
    EXPECT_TRUE(std::adjacent_find(other.begin(), other.end(), std::greater_equal<>()) ==
                other.end())
        << anchors_text(other);
    costs.push_back(cost_of(errors, other));
  }
  EXPECT_TRUE(std::is_sorted(costs.begin(), costs.end()));
  const auto has = [&](const Anchors& anchors) {
    return std::find(some.begin(), some.end(), anchors) != some.end();
  };
  EXPECT_TRUE(has({0, 2, 7, 8, 15}) && has({0, 3, 7, 8, 15}) && has({0, 1, 5, 8, 15}) &&
              has({0, 1, 7, 10, 15}) && has({0, 1, 7, 8, 13}));
  const size_t only_moves = neighbours(errors, from, 0).size();
  EXPECT_EQ(some.size(), only_moves + 5);
}

/// A loss for every set of anchors that has nothing to do with errors.
double made_up_loss(const Anchors& anchors, uint64_t seed) {
  uint64_t mixed = seed;
  for (const uint32_t layer : anchors) mixed = mixed * 31 + layer;
  return static_cast<double>(ebb::testing::TinyRandom(mixed).next() % 10000);
}

TEST(AnchorSearch, IsNeverWorseThanItsStartAndEndsWhereNoNeighbourIsBetter) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const ErrorMatrix errors = random_errors(seed, 14);
    const Anchors start = best_anchors(errors, 4).back();
    std::map<Anchors, int> asked;
    const Judge judge = [&](std::span<const Anchors> some) -> Result<std::vector<double>> {
      std::vector<double> losses;
      for (const Anchors& anchors : some) {
        EXPECT_EQ(++asked[anchors], 1) << "judged twice: " << anchors_text(anchors);
        losses.push_back(made_up_loss(anchors, seed));
      }
      return losses;
    };
    const auto found = search_anchors(start, errors, {50, 4}, judge);
    ASSERT_TRUE(found) << found.error().text();
    EXPECT_LE(found->loss, made_up_loss(start, seed));
    EXPECT_EQ(found->loss, made_up_loss(found->best, seed));
    ASSERT_TRUE(found->is_local_best);
    for (const Anchors& other : neighbours(errors, found->best, 4))
      EXPECT_GE(made_up_loss(other, seed), found->loss);
    for (size_t i = 1; i < found->rounds.size(); ++i)
      EXPECT_LE(found->rounds[i].loss, found->rounds[i - 1].loss);
  }
}

TEST(AnchorSearch, MovesThatPayAloneAreTriedTogether) {
  const ErrorMatrix errors = random_errors(9, 20);
  const Anchors start = {0, 5, 10, 15};
  // Each anchor has a place of its own where it is best.
  const Judge judge = [&](std::span<const Anchors> some) -> Result<std::vector<double>> {
    std::vector<double> losses;
    for (const Anchors& anchors : some)
      losses.push_back(std::abs(int(anchors[1]) - 6) + std::abs(int(anchors[2]) - 12) +
                       std::abs(int(anchors[3]) - 14));
    return losses;
  };
  const auto found = search_anchors(start, errors, {1, 0}, judge);
  ASSERT_TRUE(found);
  EXPECT_THAT(found->best, ElementsAre(0, 6, 12, 14));
  EXPECT_FALSE(found->is_local_best) << "one round cannot know";
}

TEST(AnchorSearch, KeepsWhatWasFoundWhenTimeRunsOutAndReportsOtherErrors) {
  const ErrorMatrix errors = random_errors(9, 12);
  const Anchors start = {0, 4, 8};
  size_t left = 9;
  double best = std::numeric_limits<double>::infinity();
  Code code = Code::kCancelled;
  const Judge judge = [&](std::span<const Anchors> some) -> Result<std::vector<double>> {
    std::vector<double> losses;
    if (left < some.size()) return Error{code, "no more"};
    left -= some.size();
    for (const Anchors& anchors : some) {
      losses.push_back(made_up_loss(anchors, 2));
      best = std::min(best, losses.back());
    }
    return losses;
  };
  const auto found = search_anchors(start, errors, {10, 3}, judge);
  ASSERT_TRUE(found) << found.error().text();
  EXPECT_EQ(found->loss, best);
  EXPECT_FALSE(found->is_local_best);
  code = Code::kExhausted;
  left = 3;
  const auto failed = search_anchors(start, errors, {10, 3}, judge);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "no more");
}

TEST(AnchorSearch, ListsOfLayersAreReadStrictly) {
  const auto good = parse_anchors("--compare", "0,2,7", 8);
  ASSERT_TRUE(good) << good.error().text();
  EXPECT_THAT(*good, ElementsAre(0, 2, 7));
  for (const char* text : {"", "0,", ",0", "0,2,8", "2,7", "0,7,2", "0,2,2", "0;2", "0,-1", "a"}) {
    const auto bad = parse_anchors("--compare", text, 8);
    ASSERT_FALSE(bad) << text;
    EXPECT_EQ(bad.error().code, Code::kInvalid);
    EXPECT_THAT(bad.error().message, HasSubstr("--compare"));
  }
  EXPECT_THAT(parse_anchors("--compare", "0,2,8", 8).error().message, HasSubstr("0 to 7"));
}

}  // namespace
}  // namespace ebb::score
