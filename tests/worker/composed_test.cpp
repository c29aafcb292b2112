// Reuse across layers and steps at once: what it shares with the two methods that it is made of,
// and the method itself from its definition, in double.
#include "tests/worker/policy_fixture.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kSinks = 2;
constexpr uint32_t kWindow = 5;
const std::vector<uint32_t> kAnchors = {1, 3};
using Sets = std::vector<std::vector<Position>>;  ///< in order of heads

PolicyParams composed(uint32_t budget, SetScope scope = SetScope::kLayer) {
  PolicyParams params;
  params.kind = PolicyKind::kComposed;
  params.budget = budget;
  params.sinks = kSinks;
  params.window = kWindow;
  params.scope = scope;
  params.select_layers = kAnchors;
  params.pool = 1;
  return params;
}
PolicyParams every(uint32_t stride, uint32_t budget, SetScope scope = SetScope::kLayer) {
  PolicyParams params = composed(budget, scope);
  params.stride = stride;
  return params;
}
PolicyParams by_similarity(uint32_t check_every, float similarity, uint32_t budget) {
  PolicyParams params = composed(budget);
  params.check_every = check_every;
  params.similarity = similarity;
  return params;
}
PolicyParams tidal(PolicyParams params) {
  params.kind = PolicyKind::kTidal;
  params.stride = params.check_every = 0;
  return params;
}

/// The method from its definition: sinks, the best of an anchor's last choice, and a window that
/// slides.
class ReferenceComposed {
 public:
  explicit ReferenceComposed(const PolicyParams& params) : params_(params) {}

  /// At an anchor: chooses. `engine`: what the engine chose here, a list for each set in order of
  /// heads; empty where it does not say. It is taken over, so that a near tie, which rounding
  /// decides, does not part the two; it may differ from the best in nothing but near ties.
  void choose(const LayerScores& scores, const Sets& engine) {
    const size_t n = scores.logits[0].size();
    const size_t share = params_.scope == SetScope::kLayer    ? scores.logits.size()
                         : params_.scope == SetScope::kKvHead ? 2
                                                              : 1;
    chosen_.clear();
    for (size_t first = 0; first < scores.logits.size(); first += share) {
      Vector most(n);
      for (size_t h = first; h < first + share; ++h) {
        const Vector p = softmax(scores.logits[h]);
        for (size_t i = 0; i < n; ++i) most[i] = std::max(most[i], p[i]);
      }
      std::vector<Position> order;
      for (Position p = params_.sinks; p < n - params_.window; ++p) order.push_back(p);
      std::stable_sort(order.begin(), order.end(),
                       [&](Position a, Position b) { return most[a] > most[b]; });
      const size_t take = params_.budget - params_.sinks - params_.window;
      const double last = most[order[take - 1]];
      if (engine.empty()) {
        near_tie_ = near_tie_ || most[order[take]] > 0.995 * last;
      } else {
        order = candidates_of(engine.at(first / share), static_cast<Position>(n));
        ASSERT_EQ(order.size(), take);
        expect_the_best(order, most, last);
      }
      order.resize(take);
      for (Position p = 0; p < params_.sinks; ++p) order.push_back(p);
      for (size_t h = first; h < first + share; ++h) chosen_.push_back(order);
    }
    window_ = static_cast<Position>(n - params_.window);
  }
  /// What a layer above reads, or the anchor itself between two choices: at a choice K tokens, in
  /// between the newest one besides.
  std::vector<std::vector<Position>> read(const LayerScores& scores, bool fresh) {
    const auto n = static_cast<Position>(scores.logits[0].size());
    if (!fresh) window_ = n - params_.window - 1;
    std::vector<std::vector<Position>> lists = chosen_;
    for (auto& list : lists) {
      for (Position p = window_; p < n; ++p) list.push_back(p);
      std::sort(list.begin(), list.end());
    }
    return lists;
  }
  /// A choice of its own was so close that the engine's rounding, which depends on the CPU, may
  /// decide it otherwise.
  bool near_tie() const { return near_tie_; }

 private:
  /// Without what is forced.
  std::vector<Position> candidates_of(const std::vector<Position>& set, Position n) const {
    std::vector<Position> out;
    for (const Position p : set)
      if (p >= params_.sinks && p < n - params_.window) out.push_back(p);
    return out;
  }
  void expect_the_best(const std::vector<Position>& set, const Vector& most, double last) const {
    for (Position p = params_.sinks; p < most.size() - params_.window; ++p) {
      if (std::find(set.begin(), set.end(), p) != set.end()) {
        EXPECT_GE(most[p], 0.995 * last) << "position " << p;
      } else {
        EXPECT_LE(most[p], 1.005 * last) << "position " << p;
      }
    }
  }

  bool near_tie_ = false;
  PolicyParams params_;
  std::vector<std::vector<Position>> chosen_;  ///< by query head
  Position window_ = 0;
};

class ComposedTest : public PolicyFixture {
 protected:
  ComposedTest() { model_.layers = 5; }

  /// Tokens [0, from) densely, the others by the method; refreshes in steps that `full` names, and
  /// where there is no choice yet. The engine's steps say what it chose.
  void expect_close(const std::vector<Step>& steps, const std::vector<TokenId>& ids, uint32_t from,
                    const PolicyParams& params, const std::function<bool(uint32_t step)>& full) {
    ReferenceModel model = reference();
    std::vector<ReferenceComposed> anchors(2, ReferenceComposed(params));
    bool chosen = false;  // before this step
    for (uint32_t i = 0; i < ids.size(); ++i) {
      const bool sparse = i + 1 > params.budget;
      const bool fresh = i + 1 == from || (i >= from && (!chosen || full(i + 1 - from)));
      const Vector out = model.step(ids[i], [&](const LayerScores& scores) {
        const uint32_t layer = scores.layer;
        if (!sparse || i + 1 < from || layer < kAnchors[0]) return ReferenceModel::all(scores);
        ReferenceComposed& anchor = anchors[layer < kAnchors[1] ? 0 : 1];
        const bool is_anchor = layer == kAnchors[0] || layer == kAnchors[1];
        if (is_anchor && fresh) {
          anchor.choose(scores, i < from ? Sets() : chosen_at(steps.at(i - from), layer));
        }
        if (i < from || (is_anchor && fresh)) return ReferenceModel::all(scores);
        return anchor.read(scores, fresh);
      });
      chosen = chosen || (sparse && i + 1 >= from);
      ASSERT_FALSE(anchors[0].near_tie() || anchors[1].near_tie())
          << "the prompt's own choice is a near tie: take other tokens";
      if (i < from) continue;
      EXPECT_LT(distance(steps.at(i - from).logprobs, out), 2 * kRounding) << "step " << i - from;
    }
  }
  static Sets chosen_at(const Step& step, uint32_t anchor) {
    std::map<uint32_t, std::vector<Position>> by_head;
    for (const control::SelectionTrace& set : step.trace)
      if (set.anchor == anchor) by_head[set.head] = set.positions;
    Sets out;
    for (auto& [head, positions] : by_head) out.push_back(std::move(positions));
    EXPECT_FALSE(out.empty()) << "anchor " << anchor << " has not chosen";
    return out;
  }
};

TEST_F(ComposedTest, BudgetsThatCoverEverythingAreDenseBitForBit) {
  const auto ids = tokens(1, 50);
  const auto dense = run(group(), ids, 20, {});
  expect_same_bits(run(group(), ids, 20, every(3, 50)), dense);
  expect_same_bits(run(group(), ids, 20, by_similarity(2, 0.5f, 50)), dense);
}

TEST_F(ComposedTest, ARefreshInEveryStepIsTidalBitForBit) {
  const auto ids = tokens(2, 70);
  for (const SetScope scope : control::kSetScopes) {
    const auto each = run(group(), ids, 40, every(1, 16, scope));
    const auto alone = run(group(), ids, 40, tidal(every(1, 16, scope)));
    expect_same_bits(each, alone);
    for (size_t i = 0; i < each.size(); ++i) EXPECT_EQ(each[i].trace, alone[i].trace);
  }
  expect_same_bits(run(group(), ids, 40, by_similarity(1, 1.5f, 16)),
                   run(group(), ids, 40, tidal(composed(16))));
}

TEST_F(ComposedTest, BetweenRefreshesAnchorsAndFollowersReadTheLastChoice) {
  const auto ids = tokens(3, 80);
  for (const SetScope scope : control::kSetScopes) {
    const auto due = [](uint32_t step) { return step % 4 == 0; };
    const auto steps = run(group(), ids, 50, every(4, 14, scope));
    expect_close(steps, ids, 50, every(4, 14, scope), due);
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_EQ(steps[i].trace.empty(), !due(static_cast<uint32_t>(i + 1)));
    }
  }
}

TEST_F(ComposedTest, TheFirstStepPastTheBudgetChooses) {
  const auto ids = tokens(4, 60);
  const auto due = [](uint32_t step) { return step % 5 == 0; };
  expect_close(run(group(), ids, 10, every(5, 18)), ids, 10, every(5, 18), due);
  const auto never = [](uint32_t) { return false; };
  const auto params = by_similarity(3, -1.5f, 18);
  expect_close(run(group(), ids, 10, params), ids, 10, params, never);
}

TEST_F(ComposedTest, SimilarityDecidesAnchorByAnchorAndTheSameOnEveryRank) {
  const auto ids = tokens(5, 80);
  const auto params = by_similarity(3, 0.7f, 16);
  const auto one = run(group(1), ids, 50, params);
  const auto two = run(group(2), ids, 50, params);
  size_t refreshes = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE((i + 1) % 3 == 0 || one[i].trace.empty()) << "no check step";
    EXPECT_EQ(one[i].trace.size(), two[i].trace.size()) << "the same anchors chose";
    EXPECT_LT(distance(one[i].logprobs, two[i].logprobs), 4 * kRounding) << i;
    refreshes += one[i].trace.size();
  }
  EXPECT_GT(refreshes, 0u);
  for (const auto& step : run(group(), ids, 50, by_similarity(3, -1.5f, 16))) {
    EXPECT_TRUE(step.trace.empty()) << "never below -1";
  }
}

TEST_F(ComposedTest, AStepThatIsRunTwiceIsTheSameStep) {
  const auto ids = tokens(6, 70);
  const auto params = by_similarity(2, 0.8f, 16);
  const auto expected = run(group(), ids, 50, params);
  const SeqId seq = next_seq();
  open(group(), seq, ids, 50, params);
  for (const Step& once : expected) {
    if (!once.trace.empty()) {
      group().board().fail(0, 1);
      EXPECT_FALSE(group().decode({seq})[0].failures.empty());
    }
    const Step again = decode(group(), {seq}).at(0);
    EXPECT_EQ(again.logprobs, once.logprobs);
    EXPECT_EQ(again.trace, once.trace);
  }
}

TEST(ComposedPolicy, TheWindowSlidesAndTheChoiceStays) {
  PolicyParams params = composed(9);
  params.stride = 4;
  const auto policy =
      make_composed_policy(models::dense_profile(2, "m"), params, std::vector<uint32_t>(2, 0));
  SelectionHistory made, kept;
  made.sets[1] = TokenSet{SetScope::kLayer, {{0, 1, 7, 9, 15, 16, 17, 18, 19}}, {}};
  policy->after_step({20, 4}, std::move(made), kept);
  policy->after_step({21, 5}, {}, kept);
  policy->after_step({22, 6}, {}, kept);
  EXPECT_EQ(kept.sets[1].lists[0], (std::vector<Position>{0, 1, 7, 9, 17, 18, 19, 20, 21}));
}

TEST_F(ComposedTest, SchedulesThatLoseTokensAreRefused) {
  control::OpenUnit unit;
  unit.seq = next_seq();
  unit.prompt = tokens(7, 40);
  unit.max_tokens = 1;
  const auto refused = [&](const PolicyParams& policy, const std::string& says) {
    unit.policy = policy;
    const auto results = group().open(unit);
    ASSERT_EQ(results[0].failures.size(), 1u) << says;
    EXPECT_NE(results[0].failures[0].error.message.find(says), std::string::npos)
        << results[0].failures[0].error.message;
  };
  refused(every(kWindow + 1, 16), "stride (6) must be at most window (5)");
  refused(composed(16), "stride or check_every");
  PolicyParams params = every(1, 16);
  params.window = 0;
  refused(params, "window must be at least 1");
}

}  // namespace
}  // namespace ebb::worker::testing
