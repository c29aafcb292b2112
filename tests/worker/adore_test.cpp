// ADORE against its specification: each test carries the number of the property that it holds. An
// oracle stands in for the controller, whose own numbers gru_scores_test.cpp asks for.
#include <atomic>
#include <set>

#include "tests/worker/policy_fixture.h"
#include "tests/worker/scorers.h"

namespace ebb::worker::testing {
namespace {

/// Scores without any order to them, another one at each step.
float scattered(Position i, Position n) {
  ebb::testing::TinyRandom random(uint64_t{n} * 100003 + i);
  return random.uniform();
}
/// The same token is always as good as it is: nothing moves by itself.
float steady(Position i, Position) { return scattered(i, 0); }

PolicyParams adore(uint32_t budget, uint32_t rebuild, bool restores = false) {
  PolicyParams params;
  params.kind = PolicyKind::kAdore;
  params.budget = budget;
  params.sinks = params.window = 0;
  params.rebuild = rebuild;
  params.restores = restores;
  if (!restores) params.kept = budget + rebuild + 1;
  return params;
}

/// What the specification says about the tokens of each step, from the scores alone.
class Expected {
 public:
  Expected(Rule rule, uint32_t prompt, uint32_t budget, uint32_t rebuild)
      : rule_(std::move(rule)), budget_(budget), rebuild_(rebuild), next_(prompt) {
    std::vector<Position> all;
    for (Position p = 0; p < prompt; ++p) all.push_back(p);
    retained_ = best(all, budget, prompt);
  }
  void step() {
    std::vector<Position> released;
    for (Position p = 0; p < next_; ++p) {
      if (!retained_.contains(p)) released.push_back(p);
    }
    const auto back = best(released, rebuild_, next_);
    rebuilt.assign(back.begin(), back.end());
    auto all = retained_;
    all.insert(back.begin(), back.end());
    reads.assign(all.begin(), all.end());
    retained_ = best(reads, budget_ - 1, next_);
    retained_.insert(next_);
    reads.push_back(next_++);
  }
  std::vector<Position> retained() const { return {retained_.begin(), retained_.end()}; }
  std::vector<Position> rebuilt, reads;  ///< of the last step

 private:
  std::set<Position> best(std::vector<Position> from, size_t count, Position n) const {
    std::sort(from.begin(), from.end(), [&](Position a, Position b) {
      return std::pair(rule_(a, n), a) > std::pair(rule_(b, n), b);
    });
    if (from.size() > count) from.resize(count);
    return {from.begin(), from.end()};
  }
  Rule rule_;
  uint32_t budget_, rebuild_;
  Position next_;
  std::set<Position> retained_;
};

class AdoreTest : public PolicyFixture {
 protected:
  AdoreTest() { model_.layers = 3; }

  void score_by(Rule rule) {
    drop_groups();  // those of another rule
    scorer_ = std::make_shared<const OracleScorer>(model_.width, std::move(rule));
  }
  static std::vector<Position> up_to(const std::vector<Position>& list, Position last) {
    return {list.begin(), std::upper_bound(list.begin(), list.end(), last)};
  }
  static ReferenceModel::Reads only(const std::vector<Position>& list) {
    return [list](const LayerScores& scores) {
      return std::vector<std::vector<Position>>(scores.logits.size(), list);
    };
  }
  /// The published step, single rows in text order. `mutual`: rebuilt rows see each other.
  static Vector step(ReferenceModel& model, const std::vector<TokenId>& ids,
                     const Expected& expected, bool recomputes, bool mutual = true) {
    for (Position p : expected.rebuilt) {
      if (!recomputes) break;
      auto list = up_to(expected.reads, p);
      std::erase_if(list, [&](Position q) {
        const auto& back = expected.rebuilt;
        return !mutual && q != p && std::binary_search(back.begin(), back.end(), q);
      });
      model.remake(p, ids[p], only(list));
    }
    return model.step(ids[expected.reads.back()], only(expected.reads));
  }
  /// The engine's steps against the reference's, sets and numbers.
  void expect_specified(const std::vector<TokenId>& ids, uint32_t prompt, Rule rule,
                        PolicyParams params, uint32_t ranks = 1) {
    score_by(rule);
    const auto steps = run(group(ranks), ids, prompt, params);
    ReferenceModel model = reference();
    for (Position p = 0; p < prompt; ++p) model.step(ids[p], ReferenceModel::all);
    Expected expected(rule, prompt, params.budget, params.rebuild);
    ASSERT_EQ(steps.size(), ids.size() - prompt);
    for (size_t i = 0; i < steps.size(); ++i) {
      expected.step();
      ASSERT_EQ(steps[i].trace.size(), 1u);
      EXPECT_EQ(steps[i].trace[0].positions, expected.retained()) << i;
      const Vector wanted = step(model, ids, expected, !params.restores);
      EXPECT_LT(distance(steps[i].logprobs, wanted), kRounding) << "step " << i;
    }
  }
  static std::vector<Position> on_device(const control::BandMap& band) {
    std::vector<Position> list;
    for (const auto& run : band.runs) {
      if (run.place != control::Place::kDevice) continue;
      for (Position p = run.begin; p < run.begin + run.count; ++p) list.push_back(p);
    }
    return list;
  }
};

TEST_F(AdoreTest, Assertion1ABudgetThatIsNeverExceededEqualsDense) {
  score_by(scattered);
  const auto ids = tokens(1, 60);
  const auto dense = run(group(), ids, 30, {});
  expect_same_bits(run(group(), ids, 30, adore(60, 4)), dense);
  expect_same_bits(run(group(), ids, 30, adore(60, 4, true)), dense);
  EXPECT_EQ(map_.counters.released_records, 0u);
  EXPECT_EQ(map_.counters.rebuilt_tokens, 0u);
  const auto fewer = run(group(), ids, 30, adore(40, 4));
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(fewer[i].logprobs, dense[i].logprobs) << i;
}

TEST_F(AdoreTest, Assertion2WithoutRebuildingAReleasedTokenNeverComesBack) {
  score_by(scattered);
  const auto ids = tokens(2, 70);
  for (const bool restores : {false, true}) {
    const auto steps = run(group(), ids, 20, adore(24, 0, restores));
    std::vector<Position> before;
    for (Position p = 0; p < 20; ++p) before.push_back(p);
    for (size_t i = 0; i < steps.size(); ++i) {
      const auto& retained = steps[i].trace.at(0).positions;
      const Position newest = static_cast<Position>(20 + i);
      EXPECT_EQ(retained.size(), std::min<size_t>(24, newest + 1));
      EXPECT_EQ(retained.back(), newest);
      before.push_back(newest);
      EXPECT_TRUE(std::includes(before.begin(), before.end(), retained.begin(), retained.end()));
      before = retained;
    }
  }
}

TEST_F(AdoreTest, Assertion3TheRetainedSetIsBoundedAndTheSameInEveryLayer) {
  score_by(scattered);
  const auto ids = tokens(3, 90);
  for (uint32_t prompt : {10u, 60u}) {
    const auto steps = run(group(), ids, prompt, adore(24, 5));
    for (const Step& step : steps) EXPECT_LE(step.trace.at(0).positions.size(), 24u);
    ASSERT_GE(map_.bands.size(), 2u);
    for (const auto& band : map_.bands) {
      EXPECT_EQ(on_device(band), steps.back().trace[0].positions) << "band " << band.band;
    }
    // 24 + 5 + 1 rows in blocks of 16, in each of 3 layers.
    EXPECT_EQ(map_.counters.device_blocks, 3u * 2);
  }
}

TEST_F(AdoreTest, Assertion4ARestoredTokenHasTheBitsThatWereReleased) {
  score_by(scattered);
  const auto ids = tokens(4, 60);
  const auto dense = run(group(), ids, 40, {});
  // Everything that was released comes back each time: every row is read, none has changed.
  const auto restored = run(group(), ids, 40, adore(12, 64, true));
  expect_same_bits(restored, dense);
  for (const Step& step : restored) EXPECT_EQ(step.trace.at(0).positions.size(), 12u);
  EXPECT_GT(map_.counters.rebuilt_tokens, 20u * 28);
  expect_specified(ids, 40, scattered, adore(12, 6, true));
}

TEST_F(AdoreTest, Assertion5RebuildingAWholeReleasedSuffixReproducesDense) {
  score_by([](Position i, Position) { return -static_cast<float>(i); });
  const auto ids = tokens(5, 50);
  const auto dense = run(group(), ids, 40, {});
  const auto steps = run(group(), ids, 40, adore(20, 40));
  for (size_t i = 0; i < steps.size(); ++i) {
    // Rows of a decode step are rounded elsewhere than those of a bulk pass.
    EXPECT_LT(distance(steps[i].logprobs, dense[i].logprobs), kRounding) << i;
  }
  for (const auto& band : map_.bands) {
    for (const auto& run : band.runs)
      EXPECT_TRUE(run.exact) << "all of it is made as dense makes it";
  }
}

TEST_F(AdoreTest, Assertion6TheFirstLayersKvDependsOnIdAndPositionOnly) {
  model_.layers = 1;
  score_by(scattered);
  const auto ids = tokens(6, 60);
  // Chunks of 8 and steps of 1 + 5 rows: products have the bits of one row.
  const auto restored = run(group(), ids, 40, adore(16, 5, true), 8);
  const auto rebuilt = run(group(), ids, 40, adore(16, 5), 8);
  expect_same_bits(rebuilt, restored);
  for (const auto& band : map_.bands) {
    for (const auto& run : band.runs) EXPECT_TRUE(run.exact);
  }
}

TEST_F(AdoreTest, Assertion7RowsOfOneStepEqualSingleRowsInTextOrder) {
  const auto ids = tokens(7, 64);
  expect_specified(ids, 40, scattered, adore(14, 6));
  // The comparison would notice rows that do not see each other.
  ReferenceModel mutual = reference(), blind = reference();
  for (Position p = 0; p < 40; ++p) {
    mutual.step(ids[p], ReferenceModel::all);
    blind.step(ids[p], ReferenceModel::all);
  }
  Expected expected(scattered, 40, 14, 6);
  expected.step();
  EXPECT_GT(distance(step(mutual, ids, expected, true), step(blind, ids, expected, true, false)),
            kRounding);
}

TEST_F(AdoreTest, Assertion8AnOracleGivesTopMSparseAttention) {
  const auto ids = tokens(8, 60);
  // The true mean of attention over layers and heads, of the dense model.
  std::vector<Vector> means;
  ReferenceModel dense = reference();
  for (const TokenId id : ids) {
    Vector mean(dense.tokens() + 1);
    dense.step(id, [&](const LayerScores& scores) {
      for (const Vector& logits : scores.logits) {
        const Vector p = softmax(logits);
        for (size_t i = 0; i < p.size(); ++i) mean[i] += p[i];
      }
      return ReferenceModel::all(scores);
    });
    means.push_back(std::move(mean));
  }
  const Rule oracle = [means](Position i, Position n) { return static_cast<float>(means[n][i]); };
  expect_specified(ids, 40, oracle, adore(16, 4, true));
  expect_specified(ids, 40, oracle, adore(16, 4));
  // With all released tokens back as candidates, what stays is the oracle's own top m.
  score_by(oracle);
  const auto steps = run(group(2), ids, 40, adore(16, 64, true));
  for (size_t i = 0; i < steps.size(); ++i) {
    const Position n = static_cast<Position>(40 + i);
    std::vector<Position> best;
    for (Position p = 0; p < n; ++p) best.push_back(p);
    std::sort(best.begin(), best.end(),
              [&](Position a, Position b) { return oracle(a, n) > oracle(b, n); });
    best.resize(15);
    best.push_back(n);
    std::sort(best.begin(), best.end());
    EXPECT_EQ(steps[i].trace.at(0).positions, best) << i;
  }
}

TEST_F(AdoreTest, Assertion9OfEqualScoresTheLaterTokenCounts) {
  score_by([](Position, Position) { return 1.0f; });
  const auto ids = tokens(9, 50);
  const auto steps = run(group(), ids, 40, adore(8, 3));
  for (size_t i = 0; i < steps.size(); ++i) {
    std::vector<Position> last;
    for (Position p = static_cast<Position>(33 + i); p <= 40 + i; ++p) last.push_back(p);
    EXPECT_EQ(steps[i].trace.at(0).positions, last);
  }
  expect_specified(
      ids, 40, [](Position, Position) { return 1.0f; }, adore(8, 3));
}

TEST_F(AdoreTest, SinksAndAWindowStayWhateverTheirScore) {
  score_by(scattered);
  PolicyParams params = adore(16, 4);
  params.sinks = 3;
  params.window = 5;
  for (const Step& step : run(group(), tokens(10, 70), 30, params)) {
    const auto& retained = step.trace.at(0).positions;
    EXPECT_EQ(up_to(retained, 2), (std::vector<Position>{0, 1, 2}));
    EXPECT_EQ(retained.back() - retained[retained.size() - 5], 4u);
  }
}

TEST_F(AdoreTest, MemoryDoesNotGrowWithTheText) {
  score_by(steady);
  const auto ids = tokens(11, 400);
  run(group(), ids, 20, adore(40, 4));
  EXPECT_EQ(map_.counters.device_blocks, 3u * 3) << "45 rows in blocks of 16, in 3 layers";
  EXPECT_EQ(map_.counters.device_blocks_max, 3u * 3);
}

TEST_F(AdoreTest, OnlyExactKvIsMarkedExact) {
  const Rule rule = [](Position i, Position n) { return scattered(i, n / 8); };
  score_by(rule);
  const auto ids = tokens(12, 60);
  run(group(), ids, 40, adore(30, 3));
  Expected expected(rule, 40, 30, 3);
  std::set<Position> polluted;
  const auto make = [&](Position p) {
    // Exact again when it read every token before it, and all of those are.
    const bool dense = up_to(expected.reads, p).size() == p + 1;
    polluted.erase(p);
    if (!dense || polluted.lower_bound(0) != polluted.lower_bound(p)) polluted.insert(p);
  };
  for (Position n = 40; n < 60; ++n) {
    expected.step();
    for (const Position p : expected.rebuilt) make(p);
    make(n);
  }
  ASSERT_EQ(map_.bands.at(0).layers, (LayerRange{0, 1}));
  ASSERT_EQ(map_.bands.size(), 2u);
  size_t exact = 0, polluted_prompt = 0;
  for (const auto& band : map_.bands) {
    for (const auto& run : band.runs) {
      for (Position p = run.begin; p < run.begin + run.count; ++p) {
        if (run.place != control::Place::kDevice) continue;
        EXPECT_EQ(run.exact, band.band == 0 || !polluted.contains(p)) << "token " << p;
        if (band.band == 1 && run.exact) ++exact;
        if (band.band == 1 && !run.exact && p < 40) ++polluted_prompt;
      }
    }
  }
  EXPECT_GT(exact, 0u);
  EXPECT_GT(polluted_prompt, 0u) << "rebuilt ones that stayed";
}

TEST_F(AdoreTest, RanksTogetherHaveTheSetsOfOne) {
  const auto ids = tokens(13, 60);
  expect_specified(ids, 40, scattered, adore(14, 5), 2);
  expect_specified(ids, 40, scattered, adore(14, 5, true), 4);
}

/// Each begin() gives other scores, as another controller file on each rank would.
class DifferentScorer : public TokenScorer {
 public:
  explicit DifferentScorer(uint32_t width) : width_(width) {}
  uint32_t width() const override { return width_; }
  std::unique_ptr<TokenScores> begin() const override {
    const Position shift = 7 * ++count_;
    const OracleScorer scorer(width_,
                              [shift](Position i, Position) { return scattered(i, shift); });
    return scorer.begin();
  }

 private:
  uint32_t width_;
  mutable std::atomic<uint32_t> count_{0};
};

TEST_F(AdoreTest, RanksWithOtherScoresFailTheSequenceAndNotTheGroup) {
  scorer_ = std::make_shared<const DifferentScorer>(model_.width);
  const auto ids = tokens(14, 60);
  const SeqId seq = next_seq();
  open(group(2), seq, ids, 40, adore(14, 5));
  for (const auto& of_rank : group(2).decode({seq})) {
    ASSERT_EQ(of_rank.failures.size(), 1u);
    EXPECT_EQ(of_rank.failures[0].seq, seq);
    EXPECT_NE(of_rank.failures[0].error.message.find("model.controller"), std::string::npos);
  }
  group(2).close(seq);
  EXPECT_EQ(run(group(2), ids, 40, {}).size(), 20u) << "the group goes on";
}

TEST_F(AdoreTest, AStepThatFailedChangesNothing) {
  score_by(scattered);
  const auto ids = tokens(15, 60);
  PolicyParams tidal;
  tidal.kind = PolicyKind::kTidal;
  tidal.budget = 16;
  tidal.sinks = 2;
  tidal.window = 4;
  tidal.select_layers = {1};
  const auto undisturbed = run(group(), ids, 40, adore(14, 5));
  const SeqId seq = next_seq(), other = next_seq();
  open(group(), seq, ids, 40, adore(14, 5));
  open(group(), other, ids, 40, tidal);
  for (size_t i = 0; i < undisturbed.size(); ++i) {
    group().board().fail(0, 1);
    ASSERT_EQ(group().decode({seq, other})[0].failures.size(), 1u) << "layer 1 has no set";
    EXPECT_EQ(decode(group(), {seq})[0].logprobs, undisturbed[i].logprobs) << i;
  }
  const auto map = group().close(seq)[0].maps.at(0);
  EXPECT_EQ(map.counters.rebuilt_tokens, 20u * 5);
  group().close(other);
}

TEST_F(AdoreTest, SlidingWindowsCutWhatARowSees) {
  windows_ = {0, 9, 0};
  score_by(scattered);
  const auto ids = tokens(16, 60);
  const auto steps = run(group(), ids, 40, adore(14, 4));
  ReferenceModel model = reference();
  const auto cut = [](std::vector<Position> list, Position newest) -> ReferenceModel::Reads {
    return [list = std::move(list), newest](const LayerScores& scores) {
      auto seen = list;
      if (scores.layer == 1) std::erase_if(seen, [&](Position p) { return p + 9 <= newest; });
      return std::vector<std::vector<Position>>(scores.logits.size(), seen);
    };
  };
  std::vector<Position> all;
  for (Position p = 0; p < 40; ++p) {
    all.push_back(p);
    model.step(ids[p], cut(all, p));
  }
  Expected expected(scattered, 40, 14, 4);
  for (size_t i = 0; i < steps.size(); ++i) {
    expected.step();
    for (Position p : expected.rebuilt) model.remake(p, ids[p], cut(up_to(expected.reads, p), p));
    const Position newest = expected.reads.back();
    const Vector wanted = model.step(ids[newest], cut(expected.reads, newest));
    // Rows are rebuilt from rebuilt ones: their roundings to bf16 add up.
    EXPECT_LT(distance(steps[i].logprobs, wanted), 2 * kRounding) << i;
  }
}

TEST_F(AdoreTest, WithoutAControllerItIsRefused) {
  control::OpenUnit unit;
  unit.seq = next_seq();
  unit.prompt = tokens(17, 20);
  unit.max_tokens = 1;
  unit.policy = adore(8, 2);
  const auto opened = group().open(unit);
  ASSERT_EQ(opened[0].failures.size(), 1u);
  EXPECT_NE(opened[0].failures[0].error.message.find("model.controller"), std::string::npos);
}

}  // namespace
}  // namespace ebb::worker::testing
