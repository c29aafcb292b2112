#include "score/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

using ::testing::HasSubstr;

/// -(how many tokens stand before the scored one).
Result<Answer> counts_context(const Task& task) {
  Answer answer;
  answer.forced.assign(1, -static_cast<double>(task.prompt.size() - 1));
  answer.cost.prefill_seconds = 0.5;
  return answer;
}

TEST(Recompute, EveryTokenIsScoredBehindTheLastTokensOnly) {
  std::vector<Task> tasks;
  FakeBackend backend([&](const Task& task) {
    tasks.push_back(task);
    return counts_context(task);
  });
  const Task task{{10, 11, 12, 13, 14, 15, 16}, 4, 0, R"({"policy":"dense"})"};
  const auto answer = run_recomputed(backend, task, 3, 0);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->forced, (std::vector<double>{-3, -3, -3}));
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0].prompt, (Tokens{11, 12, 13, 14}));
  EXPECT_EQ(tasks[2].prompt, (Tokens{13, 14, 15, 16}));
  EXPECT_EQ(tasks[2].decode_from, 3u) << "the last token is scored by the prefill";
  EXPECT_EQ(tasks[2].max_tokens, 0u);
  EXPECT_EQ(answer->cost.decoded, 2u);
  EXPECT_DOUBLE_EQ(answer->cost.decode_seconds, 1.5);
}

TEST(Recompute, TheModelsPrefixStaysInFrontAndAWideWindowIsEverything) {
  std::vector<Task> tasks;
  FakeBackend backend([&](const Task& task) {
    tasks.push_back(task);
    return counts_context(task);
  });
  const Task task{{1, 11, 12, 13, 14, 15}, 4, 0, R"({"policy":"dense"})"};
  ASSERT_TRUE(run_recomputed(backend, task, 3, 1).has_value());
  EXPECT_EQ(tasks[0].prompt, (Tokens{1, 12, 13, 14}));
  EXPECT_EQ(tasks[1].prompt, (Tokens{1, 13, 14, 15}));
  ASSERT_TRUE(run_recomputed(backend, task, 100, 1).has_value());
  EXPECT_EQ(tasks[3].prompt, task.prompt);
}

TEST(Recompute, TakesAWindowAndNothingElse) {
  const auto window = [](const char* text) {
    return recompute_window((*parse_policies(text))[0], 64);
  };
  EXPECT_EQ(*window("window-recompute:window=n/4"), 16u);
  EXPECT_EQ(*window("window-recompute:window=9"), 9u);
  for (const char* bad : {"window-recompute", "window-recompute:window=1",
                          "window-recompute:sinks=4", "window-recompute:window=9,sinks=4"}) {
    const auto refused = window(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_THAT(refused.error().message, HasSubstr("has one setting, window")) << bad;
  }
  EXPECT_FALSE(is_recompute((*parse_policies("streaming:window=9"))[0]));
}

}  // namespace
}  // namespace ebb::score
