// TidalDecode against its paper: each test carries the number of the property that it holds.
#include "tests/worker/policy_fixture.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kStart = 2;
constexpr uint32_t kAgain = 4;

/// The paper's: a set of its own for each query head, nothing forced.
PolicyParams faithful(uint32_t budget) {
  PolicyParams params;
  params.kind = PolicyKind::kTidal;
  params.budget = budget;
  params.sinks = 0;
  params.window = 0;
  params.scope = SetScope::kQueryHead;
  params.select_layers = {kStart, kAgain};
  return params;
}

PolicyParams scoped(SetScope scope, uint32_t budget, uint32_t sinks, uint32_t window) {
  PolicyParams params = faithful(budget);
  params.scope = scope;
  params.sinks = sinks;
  params.window = window;
  return params;
}

/// The `count` best, ascending; ties: the lower position.
std::vector<Position> best(const Vector& scores, size_t count) {
  std::vector<Position> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Position>(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](Position a, Position b) { return scores[a] > scores[b]; });
  order.resize(std::min(count, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

class TidalTest : public PolicyFixture {
 protected:
  TidalTest() { model_.layers = 6; }

  using Sets = std::vector<std::vector<Position>>;
  /// The faithful method, from the equations; `sets` gets each selection layer's.
  Vector reference_step(ReferenceModel& model, TokenId id, uint32_t budget,
                        std::map<uint32_t, LayerScores>& scores) {
    Sets current;
    return model.step(id, [&](const LayerScores& of) {
      const bool selects = of.layer == kStart || of.layer == kAgain;
      if (of.logits[0].size() <= budget || of.layer < kStart) return ReferenceModel::all(of);
      if (!selects) return current;
      scores[of.layer] = of;
      current.clear();
      for (const Vector& head : of.logits) current.push_back(best(head, budget));
      return ReferenceModel::all(of);
    });
  }
};

TEST_F(TidalTest, Property1BudgetsThatCoverEverythingAreDenseBitForBit) {
  const auto ids = tokens(1, 60);
  const auto dense = run(group(), ids, 20, {});
  for (const SetScope scope : control::kSetScopes) {
    expect_same_bits(run(group(), ids, 20, scoped(scope, 60, 2, 4)), dense);
  }
  expect_same_bits(run(group(), ids, 20, faithful(60)), dense);
}

TEST_F(TidalTest, Property2WithoutSelectionLayersItIsDenseAndWithoutASecondOneTheFirstServesAll) {
  const std::vector<uint32_t> no_windows(6, 0);
  const auto full = make_tidal_policy(models::dense_profile(6, "m"), faithful(8), no_windows);
  for (uint32_t layer = 0; layer < 6; ++layer) {
    EXPECT_EQ(full->plan(layer, {100, 1}).reads, LayerPlan::Reads::kAll);
    EXPECT_FALSE(full->plan(layer, {100, 1}).selects);
  }
  const auto one =
      make_tidal_policy(with_anchors(models::dense_profile(6, "m"), {2}), faithful(8), no_windows);
  for (uint32_t layer = 3; layer < 6; ++layer) {
    EXPECT_EQ(one->plan(layer, {100, 1}).owner, 2u);
    EXPECT_EQ(one->plan(layer, {100, 1}).reads, LayerPlan::Reads::kSet);
  }
}

TEST_F(TidalTest, Property3SetsEqualASortOfLogitsAndOfProbabilities) {
  const auto ids = tokens(2, 90);
  constexpr uint32_t kBudget = 12;
  const auto steps = run(group(), ids, 50, faithful(kBudget));
  ReferenceModel model = reference();
  std::map<uint32_t, LayerScores> scores;
  for (uint32_t i = 0; i < 50; ++i) model.step(ids[i], ReferenceModel::all);
  for (size_t i = 0; i < steps.size(); ++i) {
    reference_step(model, ids[50 + i], kBudget, scores);
    ASSERT_EQ(steps[i].trace.size(), 2u * model_.heads_q);
    for (const auto& trace : steps[i].trace) {
      EXPECT_EQ(trace.scope, SetScope::kQueryHead);
      const Vector& logits = scores.at(trace.anchor).logits.at(trace.head);
      const Vector p = softmax(logits);
      EXPECT_EQ(best(logits, kBudget), best(p, kBudget));
      Vector sorted = p;
      std::sort(sorted.rbegin(), sorted.rend());
      EXPECT_EQ(trace.positions.size(), kBudget);
      for (Position at = 0; at < p.size(); ++at) {
        if (std::abs(p[at] - sorted[kBudget - 1]) <= 0.01 * sorted[kBudget - 1]) continue;
        const bool in = std::binary_search(trace.positions.begin(), trace.positions.end(), at);
        EXPECT_EQ(in, p[at] > sorted[kBudget - 1]) << "step " << i << " position " << at;
      }
    }
  }
}

TEST_F(TidalTest, Property4LayersUpToTheFirstSelectionDoNotDependOnTheBudget) {
  const auto ids = tokens(3, 61);
  std::vector<std::vector<Position>> wide;
  const auto eight = run(group(), ids, 60, faithful(8));
  const auto twenty = run(group(), ids, 60, faithful(20));
  for (size_t head = 0; head < model_.heads_q; ++head) {
    const auto& small = eight[0].trace[head];
    const auto& large = twenty[0].trace[head];
    ASSERT_EQ(small.anchor, kStart);
    EXPECT_TRUE(std::includes(large.positions.begin(), large.positions.end(),
                              small.positions.begin(), small.positions.end()))
        << "the same scores, cut at another place";
  }
}

TEST_F(TidalTest, Property5And6SparseLayersAttendToExactlyTheSet) {
  const auto ids = tokens(4, 80);
  constexpr uint32_t kBudget = 10;
  const auto steps = run(group(), ids, 50, faithful(kBudget));
  ReferenceModel model = reference(), stale = reference();
  std::map<uint32_t, LayerScores> scores;
  for (uint32_t i = 0; i < 50; ++i) {
    model.step(ids[i], ReferenceModel::all);
    stale.step(ids[i], ReferenceModel::all);
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    // The engine's own sets: a tie of scores is no difference of the layers above.
    const auto reads = [&](const LayerScores& of) {
      if (of.layer <= kStart || of.layer == kAgain) return ReferenceModel::all(of);
      Sets sets;
      for (const auto& trace : steps[i].trace) {
        if (trace.anchor == (of.layer < kAgain ? kStart : kAgain)) sets.push_back(trace.positions);
      }
      return sets;
    };
    EXPECT_LT(distance(steps[i].logprobs, model.step(ids[50 + i], reads)), 2 * kRounding) << i;
    // An index buffer that is zeroed between layers reads the first token over and over.
    const auto zeroed = [&](const LayerScores& of) {
      if (of.layer <= kStart || of.layer == kAgain) return ReferenceModel::all(of);
      return Sets(of.logits.size(), {0});
    };
    EXPECT_GT(distance(steps[i].logprobs, stale.step(ids[50 + i], zeroed)), 6 * kRounding) << i;
  }
}

TEST_F(TidalTest, Property7AfterACorrectionKvIsThatOfADenseModel) {
  const auto ids = tokens(5, 72);
  PolicyParams params = faithful(10);
  const auto without = run(group(), ids, 40, params);
  params.correct_every = 8;
  const auto with = run(group(), ids, 40, params);  // corrected after 48, 56, 64 and 72 tokens
  for (const auto& band : map_.bands) {
    for (const auto& run : band.runs) EXPECT_TRUE(run.exact) << "72 tokens: nothing is polluted";
  }
  for (uint32_t n : {48u, 56u, 64u}) {
    const auto fresh = run(group(), {ids.begin(), ids.begin() + n + 1}, n, params);
    EXPECT_LT(distance(with[n - 40].logprobs, fresh[0].logprobs), kRounding) << n;
    EXPECT_GT(distance(without[n - 40].logprobs, fresh[0].logprobs), kRounding) << n;
  }
}

TEST_F(TidalTest, Property7CorrectingEveryStepStillAttendsSparsely) {
  const auto ids = tokens(6, 56);
  PolicyParams params = faithful(10);
  params.correct_every = 1;
  const auto steps = run(group(), ids, 40, params);
  const auto dense = run(group(), ids, 40, {});
  for (uint32_t n = 41; n < 56; ++n) {
    const auto fresh = run(group(), {ids.begin(), ids.begin() + n + 1}, n, params);
    EXPECT_LT(distance(steps[n - 40].logprobs, fresh[0].logprobs), kRounding) << n;
  }
  EXPECT_GT(distance(steps.back().logprobs, dense.back().logprobs), 2 * kRounding);
}

TEST_F(TidalTest, Property7bLayersUpToTheFirstSparseOneAreExactWithoutCorrection) {
  const SeqId seq = next_seq();
  open(group(), seq, tokens(7, 60), 40, faithful(10));
  for (int i = 0; i < 20; ++i) decode(group(), {seq});
  const auto map = group().close(seq)[0].maps.at(0);
  ASSERT_EQ(map.bands.size(), 2u) << "layer 0, and layers 1 to 5";
  ASSERT_EQ(map.bands[0].runs.size(), 1u);
  EXPECT_TRUE(map.bands[0].runs[0].exact);
  ASSERT_EQ(map.bands[1].runs.size(), 2u);
  EXPECT_TRUE(map.bands[1].runs[0].exact);
  EXPECT_EQ(map.bands[1].runs[0].count, 40u) << "of the others, layer 4 is the first that is not";
  EXPECT_FALSE(map.bands[1].runs[1].exact);
}

TEST_F(TidalTest, Property8AStepThatIsRunTwiceChoosesTheSameSets) {
  const auto ids = tokens(8, 60);
  PolicyParams params = scoped(SetScope::kLayer, 16, 2, 4);
  const auto expected = run(group(), ids, 40, params);
  const SeqId seq = next_seq();
  open(group(), seq, ids, 40, params);
  for (int i = 0; i < 10; ++i) {
    group().board().fail(0, 1);
    EXPECT_FALSE(group().decode({seq})[0].failures.empty());
    const Step again = decode(group(), {seq}).at(0);
    EXPECT_EQ(again.logprobs, expected[i].logprobs);
    EXPECT_EQ(again.trace, expected[i].trace);
  }
}

TEST_F(TidalTest, Property9ForcedTokensAreInEverySetAndSetsHaveTheBudgetsSize) {
  const auto ids = tokens(9, 70);
  for (const SetScope scope : control::kSetScopes) {
    const auto steps = run(group(), ids, 50, scoped(scope, 16, 3, 1));
    for (size_t i = 0; i < steps.size(); ++i) {
      ASSERT_FALSE(steps[i].trace.empty());
      for (const auto& trace : steps[i].trace) {
        EXPECT_EQ(trace.positions.size(), 16u);
        EXPECT_EQ(trace.positions.back(), 50 + i) << "the newest token";
        for (Position p = 0; p < 3; ++p) EXPECT_EQ(trace.positions[p], p);
      }
    }
  }
}

TEST_F(TidalTest, SetsOfKvHeadsTakeTheMaximumOfTheirGroupsProbabilities) {
  const auto ids = tokens(10, 60);
  const auto steps = run(group(), ids, 59, scoped(SetScope::kKvHead, 12, 2, 4));
  ReferenceModel model = reference();
  std::map<uint32_t, LayerScores> scores;
  for (uint32_t i = 0; i < 59; ++i) model.step(ids[i], ReferenceModel::all);
  reference_step(model, ids[59], 12, scores);
  ASSERT_EQ(steps[0].trace[0].anchor, kStart);
  for (uint32_t head = 0; head < 2; ++head) {
    const Vector a = softmax(scores.at(kStart).logits[2 * head]);
    const Vector b = softmax(scores.at(kStart).logits[2 * head + 1]);
    Vector most(60, -1);
    for (Position p = 2; p < 56; ++p) most[p] = std::max(a[p], b[p]);
    auto expected = best(most, 6);
    expected.insert(expected.begin(), {0, 1});
    expected.insert(expected.end(), {56, 57, 58, 59});
    EXPECT_EQ(steps[0].trace[head].positions, expected);
    EXPECT_EQ(steps[0].trace[head].head, head);
  }
}

TEST_F(TidalTest, LessIsMoreTakesAllHeadsFirstChoicesThenAllSecondOnes) {
  const auto ids = tokens(11, 60);
  PolicyParams params = scoped(SetScope::kLayer, 16, 2, 3);
  params.rank_union = true;
  ReferenceModel model = reference();
  std::map<uint32_t, LayerScores> scores;
  for (uint32_t i = 0; i < 59; ++i) model.step(ids[i], ReferenceModel::all);
  reference_step(model, ids[59], 16, scores);
  std::vector<Position> expected;
  for (size_t place = 0; expected.size() < 11; ++place) {
    for (const Vector& head : scores.at(kStart).logits) {
      std::vector<Position> order;
      for (Position p = 2; p < 57; ++p) order.push_back(p);
      std::stable_sort(order.begin(), order.end(),
                       [&](Position a, Position b) { return head[a] > head[b]; });
      const bool known =
          std::find(expected.begin(), expected.end(), order[place]) != expected.end();
      if (!known && expected.size() < 11) expected.push_back(order[place]);
    }
  }
  expected.insert(expected.end(), {0, 1, 57, 58, 59});
  std::sort(expected.begin(), expected.end());
  for (uint32_t ranks : {1u, 2u, 4u}) {
    const auto steps = run(group(ranks), ids, 59, params);
    EXPECT_EQ(steps[0].trace.at(0).positions, expected) << ranks << " ranks";
  }
}

TEST_F(TidalTest, RanksTogetherHaveTheSetsOfOne) {
  const auto ids = tokens(12, 70);
  for (const SetScope scope : {SetScope::kQueryHead, SetScope::kKvHead}) {
    const auto one = run(group(1), ids, 60, scoped(scope, 16, 2, 4));
    const auto two = run(group(2), ids, 60, scoped(scope, 16, 2, 4));
    bool alike = true;  // no near tie has been decided differently so far
    size_t same = 0, all = 0;
    for (size_t i = 0; i < one.size(); ++i) {
      auto mine = one[i].trace, theirs = two[i].trace;
      const auto by_name = [](const auto& a, const auto& b) {
        return std::pair(a.anchor, a.head) < std::pair(b.anchor, b.head);
      };
      std::sort(mine.begin(), mine.end(), by_name);
      std::sort(theirs.begin(), theirs.end(), by_name);
      ASSERT_EQ(mine.size(), theirs.size());
      for (size_t t = 0; t < mine.size(); ++t) {
        EXPECT_EQ(mine[t].head, theirs[t].head);
        alike = alike && mine[t].positions == theirs[t].positions;
        for (const Position p : mine[t].positions) {
          const auto& set = theirs[t].positions;
          same += std::binary_search(set.begin(), set.end(), p) ? 1 : 0;
          ++all;
        }
      }
      EXPECT_TRUE(alike || i > 1);
      if (alike) {
        EXPECT_LT(distance(one[i].logprobs, two[i].logprobs), 4 * kRounding) << i;
      }
    }
    EXPECT_GT(static_cast<double>(same), 0.95 * static_cast<double>(all)) << "up to near ties";
  }
}

}  // namespace
}  // namespace ebb::worker::testing
