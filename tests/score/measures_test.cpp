// Needle, RULER-style tasks, long generation and hits as whole runs over a made-up model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "score/hits.h"
#include "score/longgen.h"
#include "score/needle.h"
#include "score/ruler.h"
#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json summary(const TestPlace& at) { return json::parse(at.file("summary.json")); }

bool is_dense(const Task& task) { return task.ebb.find("dense") != std::string::npos; }

std::string text_of(const Tokens& tokens) {
  std::string text;
  for (const uint32_t token : tokens) text += static_cast<char>(token);
  return text;
}

/// Dense reads the prompt and finds the number; other policies guess.
Result<Answer> finds_when_dense(const Task& task) {
  Answer answer = even_answer(task, 0.25);
  const std::string prompt = text_of(task.prompt);
  const size_t at = prompt.find("The secret number for ");
  const size_t number = prompt.find(" is ", at) + 4;
  answer.text = is_dense(task) ? " " + prompt.substr(number, 4) + "." : " 1.";
  return answer;
}

TEST(NeedleRun, CountsWhatWasFoundByPolicyAndPlace) {
  TestPlace at(finds_when_dense);
  NeedleOptions options;
  options.text = at.dir.file("text.txt", "One day. Another day! The end?");
  options.lengths = {400, 800};
  options.depths = {0, 1};
  ASSERT_EQ(*run_needle(at.place, options), cli::kOk) << at.kept.err.str();
  const json results = summary(at)["results"];
  EXPECT_EQ(results[0]["right"], 4);
  EXPECT_EQ(results[1]["right"], 0);
  EXPECT_EQ(results[1]["prompts"], 4);
  EXPECT_THAT(at.kept.out.str(), HasSubstr("4 of 4"));
  options.depths = {1.5};
  EXPECT_THAT(run_needle(at.place, options).error().message, HasSubstr("--depths has 1.500"));
  options.depths = {0};
  options.lengths = {5000};
  EXPECT_THAT(run_needle(at.place, options).error().message, HasSubstr("--lengths has 5000"));
}

TEST(NeedleRun, TheQuestionGoesThroughTheDecodePath) {
  std::vector<Task> tasks;
  TestPlace at([&](const Task& task) {
    tasks.push_back(task);
    return finds_when_dense(task);
  });
  NeedleOptions options;
  options.text = at.dir.file("text.txt", "One day. Another day!");
  options.policies = "tidal:budget=n/8";
  options.lengths = {400};
  options.depths = {0.5};
  ASSERT_EQ(*run_needle(at.place, options), cli::kOk) << at.kept.err.str();
  ASSERT_EQ(tasks.size(), 1u);
  const std::string rest = text_of(
      {tasks[0].prompt.begin() + static_cast<long>(tasks[0].decode_from), tasks[0].prompt.end()});
  EXPECT_TRUE(rest.starts_with("\n\nWhat is the secret number for")) << rest;
  EXPECT_THAT(rest, HasSubstr("<answer>The secret number for"));
  EXPECT_EQ(tasks[0].ebb, R"({"policy":"tidal","budget":50})");
}

TEST(RulerRun, ScoresEachTaskFreelyAndTeacherForced) {
  TestPlace at(finds_when_dense);
  RulerOptions options;
  options.tasks = {"multi_key", "frequent_words"};
  options.lengths = {2000};
  ASSERT_EQ(*run_ruler(at.place, options), cli::kOk) << at.kept.err.str();
  const json results = summary(at)["results"];
  ASSERT_EQ(results.size(), 6u) << "two tasks and all, two policies";
  EXPECT_EQ(results[3]["policy"], "tidal:budget=n/8");
  EXPECT_EQ(results[3]["score"], 0);
  EXPECT_NEAR(results[3]["loss_mean"].get<double>(), 0.25, 1e-9);
  EXPECT_NEAR(results[3]["answer_logprob"].get<double>(), -1.25, 1e-9);
  EXPECT_EQ(results[0]["loss_mean"], 0.0);
  options.tasks = {"multi_kay"};
  EXPECT_THAT(run_ruler(at.place, options).error().message,
              HasSubstr("--tasks has \"multi_kay\"; known are multi_key"));
}

TEST(LonggenRun, CountsRowsAndShowsQuartersOfTheAnswer) {
  // Dense copies, others lose more the longer the answer gets.
  TestPlace at([](const Task& task) -> Result<Answer> {
    Answer answer = even_answer(task);
    if (is_dense(task)) answer.text = table_question(0, 3).answer;
    for (size_t i = 0; i < answer.forced.size() && !is_dense(task); ++i)
      answer.forced[i] -= static_cast<double>(i) / 1000;
    return answer;
  });
  LonggenOptions options;
  options.length = 1000;
  ASSERT_EQ(*run_longgen(at.place, options), cli::kOk) << at.kept.err.str();
  const json tidal = summary(at)["results"][1];
  EXPECT_EQ(tidal["rows_right"], 0);
  EXPECT_GT(tidal["rows"], 10);
  const json quarters = tidal["loss_by_quarter"];
  EXPECT_LT(quarters[0]["loss_mean"], quarters[3]["loss_mean"]);
  options.length = 5000;
  EXPECT_THAT(run_longgen(at.place, options).error().message,
              HasSubstr("--length is 5000, allowed"));
}

TEST(HitsRun, SimulatesBuffersOverTheTrace) {
  TestPlace at([](const Task& task) -> Result<Answer> {
    Answer answer = even_answer(task);
    EXPECT_TRUE(task.trace);
    if (is_dense(task)) return answer;
    for (uint32_t step = 0; step < task.max_tokens; ++step)
      answer.trace.push_back({{2, {step % 4, 50}}, {7, {1}}, {7, {2, 1}}});  // 7 by heads
    return answer;
  });
  HitsOptions options;
  options.texts = {at.dir.file("text.txt", std::string(200, 'x'))};
  options.policies = "dense;tidal:budget=n/8";
  options.capacities = {2, 8};
  options.context = 100;
  options.decode = 9;
  EXPECT_EQ(*run_hits(at.place, options), cli::kPartial) << "dense selects nothing";
  const json all = summary(at);
  EXPECT_THAT(all["failures"][0]["error"].get<std::string>(), HasSubstr("dense does not select"));
  ASSERT_EQ(all["results"].size(), 2u);
  // Layer 2 finds 50 only, layer 7 both: 8 + 16 of 32; with eight rows three of layer 2 are cold.
  EXPECT_NEAR(all["results"][0]["hit_rate"].get<double>(), 24.0 / 32, 1e-9);
  EXPECT_NEAR(all["results"][1]["hit_rate"].get<double>(), 29.0 / 32, 1e-9);
  EXPECT_NEAR(all["results"][1]["fetched_per_step"].get<double>(), 3.0 / 16, 1e-9);
  EXPECT_EQ(all["results"][0]["hit_rate_by_layer"]["7"], 1.0);
  options.decode = 257;
  EXPECT_THAT(run_hits(at.place, options).error().message,
              HasSubstr("--decode is 257, allowed: 2 to 256"));
}

}  // namespace
}  // namespace ebb::score
