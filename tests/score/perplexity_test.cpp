#include "score/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class PerplexityTest : public ::testing::Test {
 protected:
  PerplexityTest()
      : at_([this](const Task& task) -> Result<Answer> {
          const std::lock_guard lock(mutex_);
          tasks_.push_back(task);
          if (task.ebb.find(refused_) != std::string::npos) return invalid("ebb.policy: unknown");
          return even_answer(task, 0.1);
        }) {
    std::string text;
    for (int i = 0; i < 200; ++i) text += static_cast<char>('a' + i % 26);
    options_.texts = {at_.dir.file("alphabet.txt", text)};
    options_.policies = "dense;tidal:budget=n/8";
    options_.context = 64;
    options_.decode = 50;
    options_.window = 20;
  }
  json summary() { return json::parse(at_.file("summary.json")); }

  std::mutex mutex_;
  std::vector<Task> tasks_;
  std::string refused_ = "nothing";
  TestPlace at_;
  PerplexityOptions options_;
};

TEST_F(PerplexityTest, WindowsPrefillTheContextAndDecodeWhatComesAfter) {
  ASSERT_EQ(*run_perplexity(at_.place, options_), cli::kOk) << at_.kept.err.str();
  ASSERT_EQ(tasks_.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    const size_t begin = 20 * (i / 2), size = i < 4 ? 20 : 10;
    EXPECT_EQ(tasks_[i].decode_from, 64u);
    EXPECT_EQ(tasks_[i].prompt.size(), 64 + size + 1) << "the last is scored, not fed";
    EXPECT_EQ(tasks_[i].prompt[0], static_cast<unsigned>('a' + begin % 26));
    EXPECT_EQ(tasks_[i].max_tokens, 0u);
  }
  EXPECT_EQ(tasks_[1].ebb, R"({"policy":"tidal","budget":8})");
}

TEST_F(PerplexityTest, IsPairedWithDenseOnTheSameTokens) {
  ASSERT_EQ(*run_perplexity(at_.place, options_), cli::kOk) << at_.kept.err.str();
  const json results = summary()["results"];
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0]["ratio"], 1.0);
  EXPECT_NEAR(results[0]["perplexity"].get<double>(), std::exp(1.0), 1e-9);
  EXPECT_EQ(results[1]["policy"], "tidal:budget=n/8");
  EXPECT_NEAR(results[1]["ratio"].get<double>(), std::exp(0.1), 1e-9);
  EXPECT_EQ(results[1]["tokens"], 50);
  EXPECT_EQ(results[1]["rows"], 8.0);
  EXPECT_NEAR(results[1]["cost"]["decode_tokens_per_second"].get<double>(), 50 / 1.5, 1e-9);
  EXPECT_THAT(at_.kept.out.str(), HasSubstr("+10.52"));
  EXPECT_THAT(at_.kept.out.str(), HasSubstr("command: ebb-score x"));
  EXPECT_THAT(at_.file("picture.svg"), HasSubstr("</svg>"));
}

TEST_F(PerplexityTest, AStreamNeedsNoBaselineAndNoRoomInTheContext) {
  options_.policies = "streaming:sinks=4,window=60";
  options_.baseline = "none";
  options_.texts = {at_.dir.file("long.txt", std::string(5000, 'x'))};
  options_.decode = 4500;
  options_.window = 0;
  ASSERT_EQ(*run_perplexity(at_.place, options_), cli::kOk) << at_.kept.err.str();
  const json result = summary()["results"][0];
  EXPECT_EQ(tasks_.size(), 1u);
  EXPECT_FALSE(result.contains("ratio"));
  EXPECT_EQ(result["tokens"], 4500);
  EXPECT_EQ(result["perplexity_by_part"].size(), 10u);
  EXPECT_NEAR(result["perplexity_by_part"][9].get<double>(), std::exp(1.1), 1e-9);
}

TEST_F(PerplexityTest, DenseIsAlwaysThere) {
  options_.policies = "tidal";
  ASSERT_EQ(*run_perplexity(at_.place, options_), cli::kOk);
  EXPECT_EQ(summary()["results"][0]["policy"], "dense");
}

TEST_F(PerplexityTest, ASecondRunGoesOnAndARefusedPolicyIsPartial) {
  refused_ = "tidal";
  EXPECT_EQ(*run_perplexity(at_.place, options_), cli::kPartial);
  EXPECT_EQ(summary()["cells"]["failed"], 3);
  EXPECT_EQ(summary()["failures"][0]["error"], "ebb.policy: unknown");
  refused_ = "nothing";
  tasks_.clear();
  EXPECT_EQ(*run_perplexity(at_.place, options_), cli::kOk);
  EXPECT_EQ(tasks_.size(), 3u) << "dense is there";
  options_.context = 65;
  const auto other = run_perplexity(at_.place, options_);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("--context is \"64\" there and \"65\" now"));
}

TEST_F(PerplexityTest, AReportDrawsAgainWhatTheRunDrew) {
  ASSERT_EQ(*run_perplexity(at_.place, options_), cli::kOk);
  const std::string table = at_.kept.out.str();
  const std::string picture = at_.file("picture.svg");
  at_.kept.out.str("");
  EXPECT_EQ(run_report(at_.kept.terminal, {at_.place.out}), cli::kOk);
  EXPECT_EQ(at_.kept.out.str(), table);
  EXPECT_EQ(at_.file("picture.svg"), picture);
  EXPECT_EQ(run_report(at_.kept.terminal, {at_.dir.path("nowhere")}), cli::kNotThere);
}

TEST_F(PerplexityTest, BadArgumentsNameTheOptionAndTheLimit) {
  const auto refused = [&](auto change) {
    PerplexityOptions options = options_;
    change(options);
    const auto result = run_perplexity(at_.place, options);
    return result ? "accepted" : result.error().message;
  };
  EXPECT_THAT(refused([](auto& o) { o.decode = 0; }), HasSubstr("--decode is 0, allowed: 2 to"));
  EXPECT_THAT(refused([](auto& o) { o.context = 0; }), HasSubstr("--context is 0, allowed: 1 to"));
  EXPECT_THAT(refused([](auto& o) { o.context = 5000; }), HasSubstr("context of 4096 tokens"));
  EXPECT_THAT(refused([](auto& o) { o.decode = 136; }), HasSubstr("has 200 tokens"));
  EXPECT_THAT(refused([](auto& o) { o.texts = {"/nowhere.txt"}; }),
              HasSubstr("--text /nowhere.txt"));
  EXPECT_THAT(refused([](auto& o) { o.policies = "tidal:budget"; }), HasSubstr("key=value"));
  EXPECT_EQ(at_.backend->runs, 0);
}

}  // namespace
}  // namespace ebb::score
