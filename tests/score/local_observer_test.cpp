#include "score/local_observer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ebb::score {
namespace {

TEST(LocalObserver, DivergenceIsOfTheDistributionsAndZeroOfEqualOnes) {
  // p = (1/2, 1/2), q = (1/4, 3/4), whatever is added to all logits.
  const std::vector<float> p = log_softmax(std::vector<float>{3, 3});
  const std::vector<float> q = {7, 7 + std::log(3.0f)};
  EXPECT_NEAR(divergence(p, q), 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3), 1e-6);
  EXPECT_NEAR(divergence(log_softmax(q), std::vector<float>{3, 3}),
              0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-6);
  EXPECT_EQ(divergence(log_softmax(q), q), 0.0);
}

TEST(LocalObserver, LooksAtTheStepsThatScoreThePrompt) {
  const Task task{{1, 2, 3, 4, 5}, 2, 4, "{}", false, true, true};
  DenseReference dense;
  LocalObserver first(task);
  first.record(dense);
  const std::vector<float> even = {0, 0};
  for (uint32_t length = 3; length <= 6; ++length) first.on_logits(SeqId{1}, length, even);
  EXPECT_EQ(dense.logprobs.size(), 2u) << "lengths 3 and 4 score the fourth and fifth token";
  EXPECT_TRUE(dense.covers(task));
  Task other = task;
  other.prompt[0] = 9;
  EXPECT_FALSE(dense.covers(other));

  LocalObserver second(task);
  second.compare(dense);
  second.on_read(SeqId{1}, 3, std::vector<float>{0.5f, 1.0f});
  second.on_logits(SeqId{1}, 3, std::vector<float>{0, std::log(3.0f)});
  second.on_logits(SeqId{1}, 4, even);
  second.on_logits(SeqId{1}, 5, even);
  Answer answer;
  second.move_into(answer);
  ASSERT_EQ(answer.divergence.size(), 2u);
  EXPECT_NEAR(answer.divergence[0], 0.5 * std::log(4.0 / 3), 1e-6);
  EXPECT_EQ(answer.divergence[1], 0.0);
  ASSERT_EQ(answer.recall.size(), 2u);
  EXPECT_DOUBLE_EQ(answer.recall[0].at(3), 0.75);
  EXPECT_TRUE(answer.recall[1].empty());
}

}  // namespace
}  // namespace ebb::score
