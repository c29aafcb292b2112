// Recycled Attention (RefreshKV) against its paper: each test carries the number of the property
// that it holds.
#include "tests/worker/policy_fixture.h"

namespace ebb::worker::testing {
namespace {

PolicyParams recycled(uint32_t budget) {
  PolicyParams params;
  params.kind = PolicyKind::kRecycled;
  params.scope = SetScope::kKvHead;
  params.budget = budget;
  params.sinks = 0;
  params.window = 0;
  return params;
}
PolicyParams every(uint32_t stride, uint32_t budget) {
  PolicyParams params = recycled(budget);
  params.stride = stride;
  return params;
}
PolicyParams by_similarity(uint32_t check_every, float similarity, uint32_t budget) {
  PolicyParams params = recycled(budget);
  params.check_every = check_every;
  params.similarity = similarity;
  return params;
}

/// The method from its equations, beside the reference model.
class ReferenceRecycled {
 public:
  ReferenceRecycled(const PolicyParams& params, uint32_t heads_q, uint32_t heads_kv)
      : params_(params), heads_q_(heads_q), group_(heads_q / heads_kv) {}

  /// The last prompt token, or a full step.
  std::vector<std::vector<Position>> full(const LayerScores& scores) {
    auto& lists = kept_[scores.layer];
    lists.clear();
    const size_t n = scores.logits[0].size();
    for (uint32_t first = 0; first < heads_q_; first += group_) {
      Vector most(n);
      for (uint32_t h = first; h < first + group_; ++h) {
        const Vector p = softmax(scores.logits[h]);
        for (size_t i = 0; i < n; ++i) most[i] = std::max(most[i], p[i]);
      }
      const auto reach = static_cast<int64_t>(params_.pool / 2);
      Vector pooled(n);
      for (int64_t i = 0; i < static_cast<int64_t>(n); ++i) {
        for (int64_t j = i - reach; j <= i + reach; ++j) {
          if (j >= 0 && j < static_cast<int64_t>(n)) {
            pooled[static_cast<size_t>(i)] =
                std::max(pooled[static_cast<size_t>(i)], most[static_cast<size_t>(j)]);
          }
        }
      }
      std::vector<Position> order(n);
      for (size_t i = 0; i < n; ++i) order[i] = static_cast<Position>(i);
      std::stable_sort(order.begin(), order.end(),
                       [&](Position a, Position b) { return pooled[a] > pooled[b]; });
      order.resize(std::min<size_t>(params_.budget, n));
      std::reverse(order.begin(), order.end());
      lists.push_back(order);
    }
    return ReferenceModel::all(scores);
  }
  std::vector<std::vector<Position>> partial(const LayerScores& scores) {
    auto& lists = kept_[scores.layer];
    const auto newest = static_cast<Position>(scores.logits[0].size() - 1);
    std::vector<std::vector<Position>> reads;
    for (auto& list : lists) {
      std::vector<Position> read = list;
      read.push_back(newest);
      std::sort(read.begin(), read.end());
      for (uint32_t h = 0; h < group_; ++h) reads.push_back(read);
      list.push_back(newest);
      if (list.size() > params_.budget) list.erase(list.begin());
    }
    return reads;
  }

 private:
  PolicyParams params_;
  uint32_t heads_q_;
  uint32_t group_;
  std::map<uint32_t, std::vector<std::vector<Position>>> kept_;  ///< by layer, by KV head
};

class RecycledTest : public PolicyFixture {
 protected:
  RecycledTest() { model_.layers = 4; }

  /// Steps of the reference from `from` on; the layers of `full` at step i (from 1) are full.
  std::vector<Vector> reference_run(const std::vector<TokenId>& ids, uint32_t from,
                                    const PolicyParams& params,
                                    const std::function<bool(uint32_t step)>& full) {
    ReferenceModel model = reference();
    ReferenceRecycled method(params, model_.heads_q, model_.heads_kv);
    std::vector<Vector> steps;
    for (uint32_t i = 0; i < ids.size(); ++i) {
      const Vector out = model.step(ids[i], [&](const LayerScores& scores) {
        if (i + 1 < from) return ReferenceModel::all(scores);
        const bool refresh = i + 1 == from || full(i + 1 - from);
        return refresh ? method.full(scores) : method.partial(scores);
      });
      if (i >= from) steps.push_back(out);
    }
    return steps;
  }
};

TEST_F(RecycledTest, Property1BudgetsThatCoverEverythingAreDenseBitForBit) {
  const auto ids = tokens(1, 60);
  const auto dense = run(group(), ids, 20, {});
  expect_same_bits(run(group(), ids, 20, every(5, 60)), dense);
  expect_same_bits(run(group(), ids, 20, by_similarity(3, 0.5f, 60)), dense);
  for (const auto& band : map_.bands) {
    for (const auto& run : band.runs) EXPECT_TRUE(run.exact);
  }
}

TEST_F(RecycledTest, Property2FullStepsOnlyAreDense) {
  const auto ids = tokens(2, 60);
  const auto dense = run(group(), ids, 30, {});
  expect_same_bits(run(group(), ids, 30, every(1, 8)), dense);
  expect_same_bits(run(group(), ids, 30, by_similarity(1, 1.5f, 8)), dense);
}

TEST_F(RecycledTest, Property3WithoutRefreshItIsSnapKvWithTheLowestScoreEvictedFirst) {
  const auto ids = tokens(3, 80);
  const auto never = [](uint32_t) { return false; };
  const auto expected = reference_run(ids, 50, recycled(12), never);
  const auto none = run(group(), ids, 50, recycled(12));
  const auto below = run(group(), ids, 50, by_similarity(5, -1.5f, 12));
  for (size_t i = 0; i < none.size(); ++i) {
    EXPECT_LT(distance(none[i].logprobs, expected[i]), kRounding) << "step " << i;
    EXPECT_EQ(none[i].logprobs, below[i].logprobs);
  }
}

TEST_F(RecycledTest, Property4AFullStepLeavesKTokensAndTheBestAmongThem) {
  const auto ids = tokens(4, 80);
  const auto steps = run(group(), ids, 50, every(5, 12));
  ReferenceModel model = reference();
  for (uint32_t i = 0; i < 50; ++i) model.step(ids[i], ReferenceModel::all);
  for (size_t i = 0; i < steps.size(); ++i) {
    ASSERT_EQ(steps[i].trace.size(), (i + 1) % 5 == 0 ? 2u * model_.layers : 0u);
    Matrix first_layer;
    model.step(ids[50 + i], [&](const LayerScores& scores) {
      if (scores.layer == 0) first_layer = scores.logits;
      return ReferenceModel::all(scores);
    });
    for (const auto& trace : steps[i].trace) {
      EXPECT_EQ(trace.positions.size(), 12u);
      EXPECT_EQ(trace.scope, SetScope::kKvHead);
      if (trace.anchor != 0) continue;
      Vector most(first_layer[0].size());
      for (uint32_t h = 2 * trace.head; h < 2 * trace.head + 2; ++h) {
        const Vector p = softmax(first_layer[h]);
        for (size_t t = 0; t < p.size(); ++t) most[t] = std::max(most[t], p[t]);
      }
      const auto top =
          static_cast<Position>(std::max_element(most.begin(), most.end()) - most.begin());
      EXPECT_TRUE(std::binary_search(trace.positions.begin(), trace.positions.end(), top));
    }
  }
}

TEST(RecycledPolicy, Property5WhatHadTheLowestScoreGoesFirstAndNoGeneratedTokenBefore) {
  const auto policy = make_recycled_policy(recycled(4));
  SelectionHistory kept, made;
  made.sets[0] = policy->compose(0, 10, {{7, 2, 9, 4}});  // best first
  policy->after_step({10, 0}, std::move(made), kept);
  EXPECT_EQ(kept.sets[0].lists[0], (std::vector<Position>{2, 4, 7, 9}));
  const std::vector<std::vector<Position>> expected = {
      {2, 7, 9, 10}, {2, 7, 10, 11}, {7, 10, 11, 12}, {10, 11, 12, 13}, {11, 12, 13, 14}};
  for (uint32_t i = 0; i < expected.size(); ++i) {
    policy->after_step({11 + i, 1 + i}, {}, kept);
    EXPECT_EQ(kept.sets[0].lists[0], expected[i]) << "step " << i;
  }
}

TEST_F(RecycledTest, Property6WithoutPoolAndGroupsItIsPlainTopKOfTheProbabilities) {
  model_.heads_kv = 4;
  const auto ids = tokens(6, 61);
  PolicyParams params = every(1, 9);
  params.pool = 1;
  const auto steps = run(group(), ids, 60, params);
  ReferenceModel model = reference();
  for (uint32_t i = 0; i < 60; ++i) model.step(ids[i], ReferenceModel::all);
  model.step(ids[60], [&](const LayerScores& scores) {
    for (uint32_t h = 0; h < 4; ++h) {
      const auto& trace = steps[0].trace.at(scores.layer * 4 + h);
      EXPECT_EQ(trace.anchor, scores.layer);
      const Vector p = softmax(scores.logits[h]);
      Vector sorted = p;
      std::sort(sorted.rbegin(), sorted.rend());
      for (Position at = 0; at < p.size(); ++at) {
        if (std::abs(p[at] - sorted[8]) <= 0.01 * sorted[8]) continue;
        EXPECT_EQ(std::binary_search(trace.positions.begin(), trace.positions.end(), at),
                  p[at] > sorted[8]);
      }
    }
    return ReferenceModel::all(scores);
  });
}

TEST_F(RecycledTest, Property7TheFullCacheHasEveryTokenAsItsStepMadeIt) {
  const auto ids = tokens(7, 90);
  for (uint32_t stride : {3u, 7u, 30u}) {  // 30: more partial steps than the budget has places
    const auto refresh = [&](uint32_t step) { return step % stride == 0; };
    const auto expected = reference_run(ids, 50, every(stride, 12), refresh);
    const auto steps = run(group(), ids, 50, every(stride, 12));
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_LT(distance(steps[i].logprobs, expected[i]), 2 * kRounding)
          << "stride " << stride << " step " << i;
    }
  }
}

TEST(RecycledPolicy, Property8And9EachLayerDecidesByItsOwnSimilarity) {
  const auto policy = make_recycled_policy(by_similarity(2, 0.85f, 4));
  EXPECT_FALSE(policy->plan(5, {20, 1}).checks);
  EXPECT_TRUE(policy->plan(5, {20, 2}).checks);
  const std::vector<float> a = {1, 0, 0}, b = {0, 1, 0}, close = {1, 0.2f, 0}, same = {3, 0, 0};
  EXPECT_TRUE(policy->at_query(5, {20, 2}, b, a).selects) << "cosine 0";
  EXPECT_FALSE(policy->at_query(4, {20, 2}, close, a).selects);
  EXPECT_FALSE(policy->at_query(4, {20, 2}, same, a).selects) << "cosine 1, whatever the length";
  const std::vector<float> opposite = {-1e30f, 0, 0}, huge = {1e30f, 0, 0};
  EXPECT_FALSE(make_recycled_policy(by_similarity(2, -1.0001f, 4))
                   ->at_query(0, {20, 2}, opposite, huge)
                   .selects)
      << "never below -1";
  EXPECT_TRUE(make_recycled_policy(by_similarity(2, 1.0f, 4))->at_query(0, {20, 2}, a, a).selects)
      << "never above 1";
}

TEST_F(RecycledTest, Property8SimilarityOfTheMeanQueryDecidesLayerByLayer) {
  const auto ids = tokens(8, 90);
  ReferenceModel model = reference();
  std::map<uint32_t, Vector> last;
  std::vector<std::vector<double>> cosines;
  const auto cosine = [](const Vector& a, const Vector& b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      ab += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
    return ab / std::sqrt(aa * bb);
  };
  // The first check step: nothing but its queries and those of the prompt's last token matters.
  PolicyParams params = by_similarity(1, 0, 12);
  for (uint32_t i = 0; i <= 50; ++i) {
    model.step(ids[i], [&](const LayerScores& scores) {
      if (i == 49) last[scores.layer] = scores.mean_query;
      if (i == 50) cosines.push_back({cosine(scores.mean_query, last[scores.layer])});
      return ReferenceModel::all(scores);
    });
  }
  // Layer 0's queries do not depend on what the layers below read.
  for (const double offset : {-1e-3, 1e-3}) {
    for (uint32_t ranks : {1u, 2u}) {
      params.similarity = static_cast<float>(cosines[0][0] + offset);
      const auto steps = run(group(ranks), {ids.begin(), ids.begin() + 51}, 50, params);
      const auto& trace = steps[0].trace;
      const bool full =
          std::any_of(trace.begin(), trace.end(), [](const auto& t) { return t.anchor == 0; });
      EXPECT_EQ(full, offset > 0) << ranks << " ranks";
    }
  }
}

TEST_F(RecycledTest, Property10ScoreOnlyRefreshChoosesWhatAFullOneWould) {
  const auto ids = tokens(10, 56);
  PolicyParams params = every(5, 12);
  const auto full = run(group(), ids, 50, params);
  params.score_only = true;
  const auto scores = run(group(), ids, 50, params);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(full[i].logprobs, scores[i].logprobs);
  ASSERT_EQ(full[4].trace.size(), scores[4].trace.size());
  for (size_t t = 0; t < 2; ++t) EXPECT_EQ(full[4].trace[t], scores[4].trace[t]) << "layer 0";
  EXPECT_NE(full[4].logprobs, scores[4].logprobs) << "it attends to the new set only";
}

TEST_F(RecycledTest, RanksTogetherDecideAsOne) {
  const auto ids = tokens(11, 70);
  const auto params = by_similarity(3, 0.6f, 12);
  const auto one = run(group(1), ids, 50, params);
  const auto two = run(group(2), ids, 50, params);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_LT(distance(one[i].logprobs, two[i].logprobs), 4 * kRounding) << i;
    EXPECT_EQ(one[i].trace.size(), two[i].trace.size()) << "the same layers were full";
  }
}

TEST_F(RecycledTest, WhereKvHeadsAreCopiedItIsRefused) {
  control::OpenUnit unit;
  unit.seq = next_seq();
  unit.prompt = tokens(12, 20);
  unit.max_tokens = 1;
  unit.policy = every(5, 8);
  const auto results = group(4).open(unit);
  ASSERT_EQ(results[0].failures.size(), 1u);
  EXPECT_NE(results[0].failures[0].error.message.find("2 KV heads"), std::string::npos);
}

TEST_F(RecycledTest, OnlyWhatSawEverythingIsMarkedExact) {
  run(group(), tokens(13, 60), 40, every(5, 12));
  ASSERT_EQ(map_.bands.size(), 2u);
  EXPECT_EQ(map_.bands[0].runs.size(), 1u) << "layer 0's keys come from the token alone";
  ASSERT_EQ(map_.bands[1].runs.size(), 2u);
  EXPECT_TRUE(map_.bands[1].runs[0].exact);
  EXPECT_EQ(map_.bands[1].runs[0].count, 40u) << "a full step over polluted KV is not exact";
}

}  // namespace
}  // namespace ebb::worker::testing
