#include "score/recall.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

/// Layers 3 and 5 read sets: 0.8 and 0.6 of the mass, in even steps 0.1 less.
Result<Answer> reads_two_layers(const Task& task) {
  Answer answer = even_answer(task);
  EXPECT_TRUE(task.recall);
  if (task.ebb.find("dense") != std::string::npos) return answer;
  for (uint64_t i = 0; i + 1 < answer.forced.size(); ++i) {
    const double less = i % 2 == 0 ? 0.1 : 0.0;
    answer.recall.push_back({{3, 0.8 - less}, {5, 0.6 - less}});
  }
  return answer;
}

class RecallTest : public ::testing::Test {
 protected:
  RecallTest() : at_(reads_two_layers) {
    at_.backend->is_inside = true;
    options_.texts = {at_.dir.file("text.txt", std::string(200, 'x'))};
    options_.policies = "tidal:budget=n/8;dense";
    options_.context = 100;
    options_.decode = 40;
  }
  TestPlace at_;
  RecallOptions options_;
};

TEST_F(RecallTest, IsShownByLayerAndAsAMean) {
  EXPECT_EQ(*run_recall(at_.place, options_), cli::kPartial) << "dense reads no set";
  const json summary = json::parse(at_.file("summary.json"));
  EXPECT_THAT(summary["failures"][0]["error"].get<std::string>(),
              HasSubstr("no layer reads a set"));
  ASSERT_EQ(summary["results"].size(), 1u);
  const json tidal = summary["results"][0];
  EXPECT_NEAR(tidal["recall"].get<double>(), 0.65, 1e-9);
  EXPECT_EQ(tidal["values"], 40);
  ASSERT_EQ(tidal["layers"].size(), 2u);
  EXPECT_EQ(tidal["layers"][1]["layer"], 5);
  EXPECT_NEAR(tidal["layers"][1]["recall"].get<double>(), 0.55, 1e-9);
  EXPECT_THAT(at_.kept.out.str(), HasSubstr("0.5500"));
  EXPECT_THAT(at_.file("picture.svg"), HasSubstr("Attention mass"));
  at_.kept.out.str("");
  EXPECT_EQ(run_report(at_.kept.terminal, {at_.place.out}), cli::kOk);
  EXPECT_THAT(at_.kept.out.str(), HasSubstr("mean"));
}

TEST_F(RecallTest, IsRefusedWhereNobodySeesInside) {
  at_.backend->is_inside = false;
  const auto refused = run_recall(at_.place, options_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("recall needs --model PATH"));
  EXPECT_EQ(at_.backend->runs, 0);
}

TEST_F(RecallTest, BadArgumentsNameTheOptionAndTheLimit) {
  options_.decode = 1;
  EXPECT_THAT(run_recall(at_.place, options_).error().message, HasSubstr("--decode is 1, allowed"));
  options_.decode = 40;
  options_.context = 170;
  EXPECT_THAT(run_recall(at_.place, options_).error().message, HasSubstr("has 200 tokens"));
  options_.context = 4096;
  EXPECT_THAT(run_recall(at_.place, options_).error().message, HasSubstr("--context is 4096"));
}

}  // namespace
}  // namespace ebb::score
