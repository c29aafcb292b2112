// Batches in which every sequence has another policy and budget; exactness as a decider.
#include "tests/worker/policy_fixture.h"
#include "tests/worker/scorers.h"

namespace ebb::worker::testing {
namespace {

class MixedTest : public PolicyFixture {
 protected:
  MixedTest() {
    model_.layers = 5;
    scorer_ = std::make_shared<const ParityScorer>(model_.width);
  }
  static std::vector<PolicyParams> policies() {
    PolicyParams streaming;
    streaming.kind = PolicyKind::kStreaming;
    streaming.sinks = 2;
    streaming.window = 14;
    streaming.kept = 32;
    PolicyParams faithful;
    faithful.kind = PolicyKind::kTidal;
    faithful.budget = 9;
    faithful.sinks = faithful.window = 0;
    faithful.scope = SetScope::kQueryHead;
    faithful.select_layers = {1, 3};
    PolicyParams corrected = faithful;
    corrected.scope = SetScope::kKvHead;
    corrected.budget = 13;
    corrected.correct_every = 4;
    PolicyParams layer;
    layer.kind = PolicyKind::kTidal;
    layer.budget = 20;
    layer.sinks = 2;
    layer.window = 6;
    PolicyParams united = layer;
    united.rank_union = true;
    united.select_layers = {2};
    PolicyParams recycled;
    recycled.kind = PolicyKind::kRecycled;
    recycled.budget = 11;
    recycled.check_every = 2;
    recycled.similarity = 0.7f;
    PolicyParams strided = recycled;
    strided.check_every = 0;
    strided.stride = 3;
    strided.score_only = true;
    PolicyParams composed = layer;
    composed.kind = PolicyKind::kComposed;
    composed.select_layers = {1};
    composed.stride = 3;
    PolicyParams turning = composed;
    turning.scope = SetScope::kKvHead;
    turning.stride = 0;
    turning.check_every = 2;
    turning.similarity = 0.8f;
    PolicyParams anchored = layer;
    anchored.kind = PolicyKind::kAnchored;
    anchored.select_layers = {2, 3, 4};
    anchored.digest = control::DigestKind::kH3;
    anchored.left_out = true;
    anchored.boost = 1;
    anchored.boost_steps = 4;
    anchored.layer_budgets = {18, 18, 14, 25, 11};
    PolicyParams predicted = anchored;
    predicted.layer_budgets.clear();
    predicted.select_layers = {1};
    predicted.digest = control::DigestKind::kInt4;
    predicted.predict = true;
    PolicyParams adore;
    adore.kind = PolicyKind::kAdore;
    adore.budget = 18;
    adore.sinks = adore.window = 0;
    adore.rebuild = 2;
    adore.kept = 21;
    return {PolicyParams{}, streaming, faithful, corrected, layer, united,   recycled,
            strided,        composed,  turning,  anchored,  adore, predicted};
  }
};

TEST_F(MixedTest, SequencesGetTheBitsTheyGetAlone) {
  constexpr uint32_t kSteps = 12;
  const auto all = policies();
  for (uint32_t ranks : {1u, 2u}) {
    // Two batches: up to 8 rows, products have the bits of one row.
    for (size_t half : {size_t{0}, size_t{1}}) {
      std::vector<std::vector<Step>> alone;
      std::vector<SeqId> seqs;
      for (size_t i = half; i < all.size(); i += 2) {
        const auto prompt = static_cast<uint32_t>(30 + 5 * i);
        const auto text = tokens(100 + i, prompt + kSteps);
        alone.push_back(run(group(ranks), text, prompt, all[i]));
        seqs.push_back(next_seq());
        open(group(ranks), seqs.back(), text, prompt, all[i]);
      }
      for (size_t step = 0; step < kSteps; ++step) {
        const auto together = decode(group(ranks), seqs);
        for (size_t s = 0; s < seqs.size(); ++s) {
          EXPECT_EQ(together[s].logprobs, alone[s][step].logprobs)
              << ranks << " ranks, policy " << half + 2 * s << ", step " << step;
          EXPECT_EQ(together[s].trace, alone[s][step].trace);
        }
      }
      for (const SeqId seq : seqs) group(ranks).close(seq);
    }
  }
}

TEST_F(MixedTest, SetsOfWholeLayersAreByteEqualAcrossRanks) {
  const auto ids = tokens(1, 70);
  for (const PolicyParams& policy : policies()) {
    if (policy.kind != PolicyKind::kTidal || policy.scope != SetScope::kLayer) continue;
    const SeqId seq = next_seq();
    open(group(4), seq, ids, 40, policy);
    for (size_t i = 40; i < ids.size(); ++i) {
      const auto results = group(4).decode({seq});
      ASSERT_FALSE(results[0].sequences.at(0).trace.empty());
      for (const auto& of_rank : results) {
        EXPECT_EQ(of_rank.sequences.at(0).trace, results[0].sequences.at(0).trace);
      }
    }
    group(4).close(seq);
  }
}

TEST_F(MixedTest, PoliciesThatMayWantAnyRowAreNotReleased) {
  for (const PolicyParams& policy : policies()) {
    if (policy.kind == PolicyKind::kDense || policy.kind == PolicyKind::kAnchored ||
        (policy.kind == PolicyKind::kTidal && policy.scope == SetScope::kLayer &&
         policy.select_layers.empty())) {
      continue;
    }
    const SeqId seq = next_seq();
    open(group(), seq, tokens(2, 50), 49, policy);
    const auto released = group().release(seq, {1}, 30);
    ASSERT_EQ(released[0].failures.size(), 1u);
    EXPECT_NE(released[0].failures[0].error.message.find("every row"), std::string::npos);
    group().close(seq);
  }
}

TEST(Exactness, IsProvenanceLayerByLayer) {
  Exactness exactness(6);
  exactness.add(10, 6);
  EXPECT_TRUE(exactness.exact({0, 10}, 6));
  EXPECT_EQ(exactness.first_polluted(), 10u);
  exactness.add(11, 3);  // layers 0 to 2 read everything: layer 3 is the last exact one
  EXPECT_EQ(exactness.layers_of(10), 4u);
  EXPECT_TRUE(exactness.exact({5, 11}, 4));
  EXPECT_FALSE(exactness.exact({5, 11}, 5));
  EXPECT_TRUE(exactness.exact({5, 10}, 6));
  exactness.add(12, 6);  // dense, but over KV that is polluted from layer 4 on
  EXPECT_EQ(exactness.layers_of(11), 5u);
  EXPECT_EQ(exactness.first_polluted(), 10u);
  exactness.correct(10);
  EXPECT_TRUE(exactness.exact({0, 12}, 6));
  EXPECT_EQ(exactness.first_polluted(), 12u);
  exactness.add(13, 6);
  EXPECT_EQ(exactness.layers_of(12), 6u) << "what comes after a correction can be exact again";
}

TEST(Exactness, ATokenThatIsMadeAgainIsAsExactAsWhatItRead) {
  Exactness exactness(4);
  exactness.add(10, 4);
  exactness.remake(6, 0);
  EXPECT_EQ(exactness.layers_of(5), 4u);
  EXPECT_EQ(exactness.layers_of(6), 1u);
  EXPECT_EQ(exactness.layers_of(7), 4u) << "made before";
  EXPECT_EQ(exactness.first_polluted(), 6u);
  exactness.remake(8, 4);
  EXPECT_EQ(exactness.layers_of(8), 2u) << "it read everything, of which token 6 is polluted";
  exactness.add(11, 4);
  EXPECT_EQ(exactness.layers_of(10), 2u);
  exactness.remake(6, 4);
  exactness.remake(8, 4);
  exactness.remake(10, 4);
  EXPECT_TRUE(exactness.exact({0, 11}, 4)) << "all of them over exact KV";
  EXPECT_EQ(exactness.run_at(3), (TokenRange{0, 11}));
}

TEST(Exactness, LayerZeroNeedsNoAttention) {
  Exactness exactness(4);
  exactness.add(1, 0);
  exactness.add(9, 0);
  EXPECT_EQ(exactness.layers_of(8), 1u);
  EXPECT_EQ(exactness.run_at(3), (TokenRange{0, 9}));
}

}  // namespace
}  // namespace ebb::worker::testing
