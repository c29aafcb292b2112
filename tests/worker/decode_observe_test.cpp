// What somebody who looks at decode steps sees, and what steps count of their reads.
#include "tests/worker/policy_fixture.h"
#include "worker/observer.h"

namespace ebb::worker::testing {
namespace {

class Witness final : public StepObserver {
 public:
  void on_logits(SeqId, uint32_t length, std::span<const float> logits) override {
    lengths.push_back(length);
    best.push_back(
        static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    vocabulary = logits.size();
    shares.push_back(std::exchange(step_, {}));
  }
  void on_bytes(SeqId, uint64_t of_step, uint64_t of_dense) override {
    bytes_read += of_step;
    bytes_dense += of_dense;
  }
  bool wants_reads() const override { return reads; }
  void on_read(SeqId, uint32_t layer, std::span<const float> of_heads) override {
    step_[layer].assign(of_heads.begin(), of_heads.end());
  }

  bool reads = true;
  std::vector<uint32_t> lengths;
  std::vector<TokenId> best;
  size_t vocabulary = 0;
  uint64_t bytes_read = 0, bytes_dense = 0;
  std::vector<std::map<uint32_t, std::vector<float>>> shares;  ///< by step and layer

 private:
  std::map<uint32_t, std::vector<float>> step_;
};

class ObserveTest : public PolicyFixture {
 protected:
  ObserveTest() { model_.layers = 6; }
  static PolicyParams tidal(SetScope scope, uint32_t budget) {
    PolicyParams params;
    params.kind = PolicyKind::kTidal;
    params.budget = budget;
    params.sinks = 2;
    params.window = 4;
    params.scope = scope;
    params.select_layers = {2, 4};
    return params;
  }
  /// The list that a query head reads of a traced set.
  const std::vector<Position>& list_of(const std::vector<control::SelectionTrace>& trace,
                                       uint32_t anchor, uint32_t head) const {
    for (const auto& set : trace) {
      const uint32_t of = set.scope == SetScope::kLayer ? 0
                          : set.scope == SetScope::kKvHead
                              ? head / (model_.heads_q / model_.heads_kv)
                              : head;
      if (set.anchor == anchor && set.head == of) return set.positions;
    }
    EBB_CHECK(false);
    return trace[0].positions;
  }
};

TEST_F(ObserveTest, SharesAreTheDenseProbabilityOfWhatIsRead) {
  const auto ids = tokens(5, 70);
  for (const SetScope scope : control::kSetScopes) {
    Witness witness;
    group().observe(0, &witness);
    const auto steps = run(group(), ids, 64, tidal(scope, 12));
    group().observe(0, nullptr);
    ReferenceModel model = reference();
    for (uint32_t i = 0; i < 64; ++i) model.step(ids[i], ReferenceModel::all);
    for (size_t i = 0; i < steps.size(); ++i) {
      ASSERT_EQ(witness.shares[i].size(), 2u) << "layers 3 and 5 read sets, the others everything";
      model.step(ids[64 + i], [&](const LayerScores& of) {
        if (of.layer != 3 && of.layer != 5) return ReferenceModel::all(of);
        std::vector<std::vector<Position>> lists;
        for (uint32_t head = 0; head < model_.heads_q; ++head) {
          lists.push_back(list_of(steps[i].trace, of.layer - 1, head));
          const Vector p = softmax(of.logits[head]);
          double share = 0;
          for (const Position at : lists.back()) share += p[at];
          EXPECT_NEAR(witness.shares[i].at(of.layer)[head], share, kRounding)
              << "step " << i << " layer " << of.layer << " head " << head;
        }
        return lists;
      });
    }
  }
}

TEST_F(ObserveTest, LookingChangesNoBitsAndSeesEveryStepsLogits) {
  const auto ids = tokens(6, 50);
  const auto alone = run(group(), ids, 40, tidal(SetScope::kLayer, 10));
  Witness witness;
  group().observe(0, &witness);
  expect_same_bits(run(group(), ids, 40, tidal(SetScope::kLayer, 10)), alone);
  group().observe(0, nullptr);
  ASSERT_EQ(witness.lengths.size(), 10u);
  EXPECT_EQ(witness.lengths.front(), 41u);
  EXPECT_EQ(witness.vocabulary, model_.vocabulary);
  for (size_t i = 0; i < alone.size(); ++i) {
    const auto& logprobs = alone[i].logprobs;
    EXPECT_EQ(witness.best[i],
              std::max_element(logprobs.begin(), logprobs.end()) - logprobs.begin());
  }
}

TEST_F(ObserveTest, NobodyWhoWantsNoReadsIsShownAny) {
  Witness witness;
  witness.reads = false;
  group().observe(0, &witness);
  run(group(), tokens(7, 44), 40, tidal(SetScope::kLayer, 10));
  group().observe(0, nullptr);
  for (const auto& step : witness.shares) EXPECT_TRUE(step.empty());
}

TEST_F(ObserveTest, StepsCountTheBytesThatTheyReadAndThoseOfDense) {
  const auto ids = tokens(8, 42);  // steps of 41 and 42 tokens
  const uint64_t row = uint64_t{model_.heads_kv} * 2 * model_.head_size * 2;  // K and V in bf16
  const uint64_t all = 41 + 42;
  const auto bytes = [&](const PolicyParams& policy) {
    Witness witness;
    witness.reads = false;
    group().observe(0, &witness);
    run(group(), ids, 40, policy);
    group().observe(0, nullptr);
    EXPECT_EQ(witness.bytes_dense, 6 * all * row);
    return witness.bytes_read;
  };
  EXPECT_EQ(bytes({}), 6 * all * row);
  // Four layers read everything, two read ten rows in each step.
  EXPECT_EQ(bytes(tidal(SetScope::kLayer, 10)), (4 * all + 2 * 2 * 10) * row);
  EXPECT_EQ(bytes(tidal(SetScope::kKvHead, 10)), (4 * all + 2 * 2 * 10) * row);
  // Two query heads share a KV head and have lists of their own.
  EXPECT_EQ(bytes(tidal(SetScope::kQueryHead, 10)), (4 * all + 2 * 2 * 2 * 10) * row);
  PolicyParams streaming;
  streaming.kind = PolicyKind::kStreaming;
  streaming.sinks = 2;
  streaming.window = 9;
  streaming.budget = 11;
  streaming.kept = 27;
  EXPECT_EQ(bytes(streaming), 6 * 2 * 12 * row) << "and the newest";
}

}  // namespace
}  // namespace ebb::worker::testing
