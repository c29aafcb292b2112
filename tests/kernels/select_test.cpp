#include "tests/kernels/kernels_fixture.h"

#include <algorithm>
#include <set>

namespace ebb::kernels {
namespace {

class Select : public KernelsTest {
 protected:
  void compare_top(const Floats& scores, uint32_t begin, uint32_t end, uint32_t k) {
    Machine subject = make_subject(2);
    Machine reference = make_reference();
    const TopKArgs got_of{subject.upload(scores), begin, end, k};
    const TopKArgs expected_of{reference.upload(scores), begin, end, k};
    expect_same(subject.ops().top_k(std::span(&got_of, 1)),
                reference.ops().top_k(std::span(&expected_of, 1)));
  }
  static void expect_same(const std::vector<std::vector<Scored>>& got,
                          const std::vector<std::vector<Scored>>& expected) {
    ASSERT_EQ(got.size(), expected.size());
    for (size_t item = 0; item < got.size(); ++item) {
      ASSERT_EQ(got[item].size(), expected[item].size()) << "item " << item;
      for (size_t i = 0; i < got[item].size(); ++i) {
        ASSERT_EQ(got[item][i].position, expected[item][i].position)
            << "item " << item << ", place " << i;
        ASSERT_EQ(got[item][i].score, expected[item][i].score);
      }
    }
  }
};

TEST_P(Select, TopKIsExactForEverySize) {
  const Floats scores = random_floats(random_, 8000);
  for (const uint32_t k : {0u, 1u, 2u, 100u, 1000u, 7999u, 8000u, 9000u}) {
    compare_top(scores, 0, 8000, k);
  }
  compare_top(scores, 4, 7744, 950);
  compare_top(scores, 10, 10, 5);
  compare_top(scores, 10, 11, 5);
}

TEST_P(Select, ItemsOfOneCallDoNotDisturbEachOther) {
  const Floats scores = random_floats(random_, 20000);  // longer than what one block chooses from
  Machine subject = make_subject(2);
  Machine reference = make_reference();
  const float* d_scores = subject.upload(scores);
  const float* reference_scores = reference.upload(scores);
  const std::vector<std::vector<TopKArgs>> calls = {
      {},
      {{nullptr, 5, 5, 3}},
      {{nullptr, 0, 900, 17}, {nullptr, 3, 3, 9}, {nullptr, 100, 20000, 40}, {nullptr, 7, 8, 2}},
      {{nullptr, 0, 20000, 5000}, {nullptr, 1, 4, 1}, {nullptr, 10, 6000, 5990}}};
  for (const auto& call : calls) {
    std::vector<TopKArgs> mine = call, theirs = call;
    for (TopKArgs& item : mine) item.d_scores = d_scores;
    for (TopKArgs& item : theirs) item.d_scores = reference_scores;
    expect_same(subject.ops().top_k(mine), reference.ops().top_k(theirs));
  }
}

TEST_P(Select, TiesGoToTheLowerPosition) {
  compare_top(Floats(500, 0.25f), 3, 500, 100);
  Floats few_values(4000);
  for (float& value : few_values) value = static_cast<float>(random_() % 5) * 0.125f;
  for (const uint32_t k : {1u, 799u, 800u, 801u, 2500u}) compare_top(few_values, 0, 4000, k);
  compare_top({0.0f, -0.0f, 0.0f, -0.0f, 1.0f}, 0, 5, 3);
}

TEST_P(Select, OneHugeAndManyTinyScoresAreOrdered) {
  Floats scores(3000, 0.0f);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = 1e-38f / static_cast<float>(1 + i % 97);
  scores[1234] = 1.0f;
  scores[77] = -3.0f;
  scores[2999] = 3e38f;
  compare_top(scores, 0, 3000, 400);
}

TEST_P(Select, ScoreMaxIsTheLargestProbabilityOverHeads) {
  for (const uint32_t count : {1u, 16u, 37u, 1025u}) {
    for (const uint32_t heads : {1u, 6u, 9u}) {
      Floats logits = random_floats(random_, size_t{heads} * count, 4.0f);
      logits[0] = -500.0f;
      const Floats lse(heads, 9.0f);
      const auto run = [&](Machine& m) {
        float* scores = m.room(count);
        m.ops().score_max(m.upload(logits), m.upload(lse), heads, count, scores);
        return m.download(scores, count);
      };
      Machine subject = make_subject(2);
      Machine reference = make_reference();
      expect_close("score_max", run(subject), run(reference), std::to_string(count));
    }
  }
}

TEST_P(Select, ScoresOfListedPositionsAreScaledAndNoOthers) {
  Machine m = make_subject(1);
  float* scores = m.upload(Floats{1, 2, 3, 0, -5});
  m.ops().scale_scores(scores, {}, 7.0f);
  m.ops().scale_scores(scores, std::vector<Position>{4, 1, 3}, 2.0f);
  EXPECT_EQ(m.download(scores, 5), (Floats{1, 4, 3, 0, -10}));
}

EBB_ON_EVERY_SUBJECT(Select);

}  // namespace
}  // namespace ebb::kernels
