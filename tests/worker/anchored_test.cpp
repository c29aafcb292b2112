// Ebb's own policy: what it is made of, one part at a time, against the double reference.
#include <set>

#include "tests/worker/policy_fixture.h"

namespace ebb::worker::testing {
namespace {

using control::DigestKind;

class AnchoredTest : public PolicyFixture {
 protected:
  AnchoredTest() {
    model_.layers = 6;
    model_.head_size = 32;
  }

  /// Layers 0 and 1 read everything, the others choose or follow.
  static PolicyParams anchored(DigestKind digest, std::vector<uint32_t> select_layers) {
    PolicyParams params;
    params.kind = PolicyKind::kAnchored;
    params.budget = 24;
    params.sinks = 2;
    params.window = 6;
    params.digest = digest;
    params.select_layers = std::move(select_layers);
    return params;
  }
  static std::vector<uint32_t> every_layer() { return {2, 3, 4, 5}; }

  using Sets = std::vector<std::vector<Position>>;
  /// The set that `layer` reads in `step`, for every head; everything below the first anchor.
  static Sets sets_of(const Step& step, const LayerScores& of) {
    const control::SelectionTrace* nearest = nullptr;
    for (const auto& trace : step.trace) {
      if (trace.anchor <= of.layer) nearest = &trace;
    }
    if (nearest == nullptr) return ReferenceModel::all(of);
    return Sets(of.logits.size(), nearest->positions);
  }
  /// Scores of one layer: the maximum over heads of the probability.
  static Vector scores_of(const LayerScores& of) {
    Vector most(of.logits[0].size());
    for (const Vector& head : of.logits) {
      const Vector p = softmax(head);
      for (size_t i = 0; i < p.size(); ++i) most[i] = std::max(most[i], p[i]);
    }
    return most;
  }
};

TEST_F(AnchoredTest, WithoutDigestEstimateAndHysteresisItIsTidalBitForBit) {
  const auto ids = tokens(1, 150);
  PolicyParams tidal = anchored(DigestKind::kNone, {1, 4});
  tidal.kind = PolicyKind::kTidal;
  const auto expected = run(group(), ids, 110, tidal);
  const auto steps = run(group(), ids, 110, anchored(DigestKind::kNone, {1, 4}));
  expect_same_bits(steps, expected);
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].trace, expected[i].trace);
}

TEST_F(AnchoredTest, ABudgetThatCoversEverythingIsDenseBitForBit) {
  const auto ids = tokens(2, 150);
  const auto dense = run(group(), ids, 110, {});
  for (const DigestKind digest : control::kDigestKinds) {
    PolicyParams params = anchored(digest, {2, 4});
    params.budget = 150;
    params.left_out = true;
    params.boost = 1;
    params.boost_steps = 4;
    expect_same_bits(run(group(), ids, 110, params), dense);
  }
}

TEST_F(AnchoredTest, LayersAttendToTheirSetsAndToTheEstimateOfTheRest) {
  const auto ids = tokens(3, 230);
  for (const DigestKind digest : {DigestKind::kNone, DigestKind::kH3}) {
    for (const bool estimate : {false, true}) {
      PolicyParams params = anchored(digest, {2, 4});
      params.left_out = estimate;
      const auto steps = run(group(), ids, 190, params);
      ReferenceModel model = reference(), other = reference();
      for (uint32_t i = 0; i < 190; ++i) {
        model.step(ids[i], ReferenceModel::all);
        other.step(ids[i], ReferenceModel::all);
      }
      double off = 0;
      for (size_t i = 0; i < steps.size(); ++i) {
        const bool anchors_dense = digest == DigestKind::kNone;
        const auto reads = [&](const LayerScores& of) {
          const bool anchor = of.layer == 2 || of.layer == 4;
          return anchors_dense && anchor ? ReferenceModel::all(of) : sets_of(steps[i], of);
        };
        model.left_out = estimate;
        other.left_out = !estimate;
        EXPECT_LT(distance(steps[i].logprobs, model.step(ids[190 + i], reads)), 3 * kRounding) << i;
        off = std::max(off, distance(steps[i].logprobs, other.step(ids[190 + i], reads)));
      }
      EXPECT_GT(off, 6 * kRounding) << "the estimate makes a difference that this test sees";
    }
  }
}

TEST_F(AnchoredTest, DigestsChooseNearlyWhatKeysWouldAndFinerOnesMoreSo) {
  const auto ids = tokens(4, 260);
  std::map<DigestKind, double> share;
  for (const DigestKind digest : {DigestKind::kInt4, DigestKind::kH3, DigestKind::kH2}) {
    const auto steps = run(group(), ids, 220, anchored(digest, every_layer()));
    ReferenceModel model = reference();
    for (uint32_t i = 0; i < 220; ++i) model.step(ids[i], ReferenceModel::all);
    double got = 0, most = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
      model.step(ids[220 + i], [&](const LayerScores& of) {
        const Sets sets = sets_of(steps[i], of);
        if (of.layer < 2) return sets;
        // Scores of what was chosen beside those of the best choice.
        const Vector scores = scores_of(of);
        Vector open(scores.begin() + 2, scores.end() - 6);
        std::sort(open.rbegin(), open.rend());
        for (size_t k = 0; k < 16; ++k) most += open[k];
        for (Position p : sets[0]) {
          if (p >= 2 && p + 6 < scores.size()) got += scores[p];
        }
        return sets;
      });
    }
    share[digest] = got / most;
  }
  EXPECT_GT(share[DigestKind::kInt4], 0.99);
  EXPECT_GT(share[DigestKind::kH3], 0.96);
  EXPECT_GT(share[DigestKind::kH2], 0.88);
  EXPECT_GT(share[DigestKind::kInt4], share[DigestKind::kH3]);
  EXPECT_GT(share[DigestKind::kH3], share[DigestKind::kH2]);
}

TEST_F(AnchoredTest, EachLayersSetHasTheSizeOfItsOwnBudget) {
  const auto ids = tokens(7, 160);
  PolicyParams params = anchored(DigestKind::kH3, every_layer());
  params.layer_budgets = {24, 24, 12, 40, 24, 60};
  const auto steps = run(group(), ids, 120, params);
  PolicyParams even = params;
  even.layer_budgets.clear();
  const auto as_even = run(group(), ids, 120, even);
  bool differs = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    ASSERT_EQ(steps[i].trace.size(), 4u);
    for (const auto& set : steps[i].trace) {
      EXPECT_EQ(set.positions.size(), params.layer_budgets[set.anchor]) << "layer " << set.anchor;
      EXPECT_TRUE(std::is_sorted(set.positions.begin(), set.positions.end()));
    }
    differs = differs || steps[i].logprobs != as_even[i].logprobs;
  }
  EXPECT_TRUE(differs);
  // Equal budgets by layer are the common budget.
  even.layer_budgets = {24, 24, 24, 24, 24, 24};
  expect_same_bits(run(group(), ids, 120, even), as_even);
}

TEST_F(AnchoredTest, ALayerWhoseBudgetCoversEverythingReadsEverythingAndItsNeighboursDoNot) {
  const auto ids = tokens(8, 100);
  PolicyParams params = anchored(DigestKind::kInt4, {2, 4});
  params.layer_budgets = {24, 24, 24, 24, 200, 200};
  for (const Step& step : run(group(), ids, 80, params)) {
    ASSERT_EQ(step.trace.size(), 1u) << "layer 4 has nothing to choose";
    EXPECT_EQ(step.trace[0].anchor, 2u);
  }
}

TEST_F(AnchoredTest, RecentChoicesCountMoreInTheSequencesOwnHistory) {
  const auto ids = tokens(5, 180);
  PolicyParams params = anchored(DigestKind::kNone, {2});
  params.boost = 1.5f;
  params.boost_steps = 3;
  const auto steps = run(group(), ids, 150, params);
  ReferenceModel model = reference();
  for (uint32_t i = 0; i < 149; ++i) model.step(ids[i], ReferenceModel::all);
  std::vector<Sets> history;  // of the prompt's last token, then of each step
  const auto expect_set = [&](const Vector& scores, const std::vector<Position>& chosen) {
    Vector boosted = scores;
    std::vector<bool> recent(scores.size(), false);
    for (size_t back = 1; back <= std::min<size_t>(3, history.size()); ++back) {
      for (Position p : history[history.size() - back][0]) recent[p] = true;
    }
    for (size_t p = 0; p < scores.size(); ++p) boosted[p] *= recent[p] ? 2.5 : 1;
    Vector open(boosted.begin() + 2, boosted.end() - 6);
    std::sort(open.rbegin(), open.rend());
    for (Position p = 2; p + 6 < scores.size(); ++p) {
      if (std::abs(boosted[p] - open[15]) <= 0.01 * open[15]) continue;
      EXPECT_EQ(std::binary_search(chosen.begin(), chosen.end(), p), boosted[p] > open[15]);
    }
  };
  // The prompt's last row chooses without a history; its set is not in the trace.
  model.step(ids[149], [&](const LayerScores& of) {
    if (of.layer == 2) {
      const Vector scores = scores_of(of);
      std::vector<Position> order;
      for (Position p = 2; p + 6 < scores.size(); ++p) order.push_back(p);
      std::stable_sort(order.begin(), order.end(),
                       [&](Position a, Position b) { return scores[a] > scores[b]; });
      order.resize(16);
      for (Position p : {0u, 1u}) order.push_back(p);
      for (Position p = 144; p < 150; ++p) order.push_back(p);
      history.push_back({order});
    }
    return ReferenceModel::all(of);
  });
  for (size_t i = 0; i < steps.size(); ++i) {
    model.step(ids[150 + i], [&](const LayerScores& of) {
      if (of.layer == 2) expect_set(scores_of(of), steps[i].trace.at(0).positions);
      return of.layer <= 2 ? ReferenceModel::all(of) : sets_of(steps[i], of);
    });
    history.push_back({steps[i].trace.at(0).positions});
  }
  params.boost = 1e6f;  // nobody who was never in comes in
  params.boost_steps = 100;
  std::set<Position> known(history[0][0].begin(), history[0][0].end());
  size_t strangers = 0;
  for (const Step& step : run(group(), ids, 150, params)) {
    const auto& chosen = step.trace.at(0).positions;
    for (Position p : chosen) strangers += known.contains(p) ? 0 : 1;
    --strangers;  // the newest token
    known.insert(chosen.begin(), chosen.end());
  }
  EXPECT_LE(strangers, 1u) << "up to a near tie at the prompt's last row";
}

TEST_F(AnchoredTest, PredictedQueriesOfSegmentsOfOneLayerAreTheLayersOwn) {
  const auto ids = tokens(6, 150);
  PolicyParams params = anchored(DigestKind::kH3, every_layer());
  const auto expected = run(group(), ids, 120, params);
  params.predict = true;
  const auto steps = run(group(), ids, 120, params);
  expect_same_bits(steps, expected);
}

TEST_F(AnchoredTest, PredictedSegmentsTakeTheBestOfAllTheirLayers) {
  // Layers 3 to 5 add nothing to the residual stream where their outputs are small: predictions are
  // good, so one set serves them nearly as well as sets of their own.
  const auto ids = tokens(7, 230);
  PolicyParams params = anchored(DigestKind::kInt4, {2});
  const auto own = run(group(), ids, 200, params);
  params.predict = true;
  const auto predicted = run(group(), ids, 200, params);
  ReferenceModel first = reference(), second = reference();
  for (uint32_t i = 0; i < 200; ++i) {
    first.step(ids[i], ReferenceModel::all);
    second.step(ids[i], ReferenceModel::all);
  }
  double of_own = 0, of_predicted = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    const auto mass = [](const LayerScores& of, const Sets& sets) {
      double sum = 0;
      const Vector scores = scores_of(of);
      for (Position p : sets[0]) sum += scores[p];
      return sum;
    };
    first.step(ids[200 + i], [&](const LayerScores& of) {
      const Sets sets = sets_of(own[i], of);
      if (of.layer > 2) of_own += mass(of, sets);
      return sets;
    });
    second.step(ids[200 + i], [&](const LayerScores& of) {
      const Sets sets = sets_of(predicted[i], of);
      if (of.layer > 2) of_predicted += mass(of, sets);
      return sets;
    });
  }
  EXPECT_GT(of_predicted, of_own) << "layers above the anchor find more of what they look for";
}

TEST_F(AnchoredTest, RanksTogetherHaveTheSetsOfOneAndTheSameOnes) {
  const auto ids = tokens(8, 170);
  for (const bool predict : {false, true}) {
    PolicyParams params = anchored(DigestKind::kInt4, {2, 4});
    params.left_out = true;
    params.boost = 1;
    params.boost_steps = 4;
    params.predict = predict;
    const auto one = run(group(1), ids, 140, params);
    const auto two = run(group(2), ids, 140, params);
    size_t same = 0, all = 0, steps_alike = 0;
    bool alike = true;  // no near tie has been decided differently so far
    for (size_t i = 0; i < one.size(); ++i) {
      alike = alike && one[i].trace == two[i].trace;
      if (alike) {
        EXPECT_LT(distance(one[i].logprobs, two[i].logprobs), 3 * kRounding) << i;
      }
      steps_alike += alike ? 1 : 0;
      ASSERT_EQ(one[i].trace.size(), two[i].trace.size());
      for (size_t t = 0; t < one[i].trace.size(); ++t) {
        const auto& theirs = two[i].trace[t].positions;
        for (Position p : one[i].trace[t].positions) {
          same += std::binary_search(theirs.begin(), theirs.end(), p) ? 1 : 0;
          ++all;
        }
      }
    }
    EXPECT_GT(static_cast<double>(same), 0.97 * static_cast<double>(all)) << "up to near ties";
    EXPECT_GT(steps_alike, 2u);
  }
}

TEST_F(AnchoredTest, AStepThatIsRunTwiceAddsNothingTwice) {
  const auto ids = tokens(9, 210);
  PolicyParams params = anchored(DigestKind::kH3, every_layer());
  params.left_out = true;
  params.boost = 1;
  params.boost_steps = 4;
  const auto expected = run(group(), ids, 180, params);
  const SeqId seq = next_seq();
  open(group(), seq, ids, 180, params);
  for (size_t i = 0; i < expected.size(); ++i) {
    group().board().fail(0, 1);
    EXPECT_FALSE(group().decode({seq})[0].failures.empty());
    const Step again = decode(group(), {seq}).at(0);
    EXPECT_EQ(again.logprobs, expected[i].logprobs) << i;
    EXPECT_EQ(again.trace, expected[i].trace) << i;
  }
}

TEST_F(AnchoredTest, OnlyWhatIsBelowTheFirstSetIsExact) {
  const auto ids = tokens(10, 150);
  run(group(), ids, 110, anchored(DigestKind::kH3, every_layer()));
  for (const auto& band : map_.bands) {
    ASSERT_FALSE(band.runs.empty());
    EXPECT_TRUE(band.runs[0].exact);
    // The band of layers 1 to 5: of the decoded tokens' layers only 1 and 2 are exact.
    const bool all = band.layers.end <= 3;
    ASSERT_EQ(band.runs.size(), all ? 1u : 2u);
    if (all) continue;
    EXPECT_EQ(band.runs[0].count, 110u);
    EXPECT_FALSE(band.runs[1].exact);
  }
}

TEST_F(AnchoredTest, BadParametersNameTheirField) {
  const auto profile = with_anchors(models::dense_profile(6, "m"), {2});
  const std::vector<uint32_t> none(6, 0), sliding(6, 20);
  const auto message = [&](const PolicyParams& params, const std::vector<uint32_t>& windows) {
    const auto made = make_policy(profile, params, windows);
    return made ? std::string("accepted") : made.error().message;
  };
  EXPECT_EQ(message(anchored(DigestKind::kH3, {2}), none), "accepted");
  PolicyParams params = anchored(DigestKind::kNone, {2});
  params.predict = true;
  EXPECT_NE(message(params, none).find("predict"), std::string::npos);
  params = anchored(DigestKind::kH3, {2});
  EXPECT_NE(message(params, sliding).find("digest"), std::string::npos);
  params = anchored(DigestKind::kNone, {2});
  params.left_out = true;
  EXPECT_NE(message(params, sliding).find("left_out"), std::string::npos);
  params = anchored(DigestKind::kH3, {2});
  params.boost = NAN;
  EXPECT_NE(message(params, none).find("hysteresis"), std::string::npos);
  params = anchored(DigestKind::kH3, {2});
  params.window = 22;
  EXPECT_NE(message(params, none).find("budget"), std::string::npos);
  params = anchored(DigestKind::kH3, {2, 6});
  EXPECT_NE(message(params, none).find("select_layers"), std::string::npos);
  params = anchored(DigestKind::kH3, {2});
  params.layer_budgets = {24, 24, 24};
  EXPECT_NE(message(params, none).find("3 layer_budgets for 6 layers"), std::string::npos);
  params.layer_budgets = {24, 24, 24, 24, 24, 8};
  EXPECT_NE(message(params, none).find("layer_budgets: 8 must be more"), std::string::npos);
}

}  // namespace
}  // namespace ebb::worker::testing
