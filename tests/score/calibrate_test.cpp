// The whole command on a small random model.
#include "score/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "models/selection_profile.h"
#include "tests/cli/fixture.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"

namespace ebb::score {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CalibrateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ebb::testing::TinyLlamaOptions tiny;
    tiny.layers = 6;
    tiny.name = "tiny \"six\"";
    options_.model = dir_.path("tiny.gguf");
    ebb::testing::write_tiny_llama(options_.model, tiny);
    options_.texts = {text("a", 1, 400), text("b", 2, 300)};
    options_.held_out = {text("c", 3, 300)};
    options_.compare = {"0,2"};
    options_.context = 160;
    options_.decode = 6;
    options_.anchors = 2;
    options_.rounds = 2;
    options_.swaps = 1;
    options_.batch = 4;
    options_.threads = 1;
  }
  std::string text(const std::string& name, uint64_t seed, size_t bytes) {
    ebb::testing::TinyRandom random(seed);
    std::string out;
    while (out.size() < bytes) out += static_cast<char>('a' + random.next() % 26);
    return dir_.file(name, out);
  }
  Result<cli::Exit> run(const std::string& out) {
    const Workplace place{kept_.terminal,           nullptr,        stop_,
                          cli::ProgressMode::kNone, dir_.path(out), "ebb-score calibrate x"};
    return run_calibrate(place, options_);
  }
  std::string file(const std::string& name) const { return test::read_file(dir_.path(name)); }
  void expect_refused(const std::string& message, Code code = Code::kInvalid) {
    const auto exit = run("refused");
    ASSERT_FALSE(exit) << message;
    EXPECT_EQ(exit.error().code, code) << exit.error().text();
    EXPECT_THAT(exit.error().message, HasSubstr(message));
    EXPECT_FALSE(std::filesystem::exists(dir_.path("refused"))) << "a folder was left behind";
  }

  test::TempDir dir_;
  cli::KeptTerminal kept_;
  cli::StopFlag stop_ = std::make_shared<std::atomic<bool>>(false);
  CalibrateOptions options_;
};

TEST_F(CalibrateTest, WritesAProfileOfTheModelAndTellsWhatItIsWorth) {
  options_.profile = dir_.path("mine.yaml");
  const auto exit = run("out");
  ASSERT_TRUE(exit) << exit.error().text();
  EXPECT_EQ(*exit, cli::kOk);
  const auto profile = models::read_selection_profile(options_.profile);
  ASSERT_TRUE(profile) << profile.error().text();
  EXPECT_EQ(profile->name, "mine");
  EXPECT_EQ(profile->model_name, "tiny \"six\"");
  EXPECT_EQ(profile->layers, 6u);
  ASSERT_EQ(profile->anchors.size(), 2u);
  EXPECT_EQ(profile->anchors[0], 0u);
  EXPECT_EQ(profile->budget_fraction, 0.125);
  EXPECT_THAT(file("mine.yaml"),
              AllOf(HasSubstr("# ebb-score calibrate x\n"), HasSubstr("# calibration: a, sha256 "),
                    HasSubstr("# held out: KL(dense || tidal) ")));

  const Json summary = Json::parse(file("out/summary.json"));
  const Json& results = summary["results"];
  EXPECT_EQ(results["anchors"], profile->anchors);
  const Json& found = results["figures"][0];
  for (const Json& line : results["figures"]) {
    if (line["budget_fraction"] != 0.125) continue;
    EXPECT_LE(found["kl"]["mean"], line["kl"]["mean"]) << line << ": the search looked there too";
    EXPECT_TRUE(line.contains("kl_held_out"));
  }
  EXPECT_EQ(results["matrices"].size(), 3u);
  EXPECT_EQ(results["matrices"][1]["errors"].size(), 6u);
  EXPECT_EQ(results["dynamic_programming"].size(), 6u);
  EXPECT_EQ(results["layers"][5]["errors"].size(), 3u);
  EXPECT_THAT(file("out/picture.svg"), HasSubstr("<svg"));

  // Budgets by layer go into the profile where they lose less.
  const Json& budgets = results["budgets"];
  ASSERT_EQ(budgets["weights"].size(), 6u);
  double sum = 0;
  for (size_t layer = 2; layer < 6; ++layer) sum += budgets["weights"][layer].get<double>();
  EXPECT_EQ(sum, 4.0);
  const bool pays = budgets["kl"]["by_layer_less_even"]["mean"] < 0;
  EXPECT_EQ(budgets["in_profile"], pays);
  EXPECT_EQ(!profile->budget_weights.empty(), pays);
  EXPECT_TRUE(budgets["kl_held_out"].contains("by_layer"));
}

TEST_F(CalibrateTest, BudgetsStayAlikeWhereThatIsAskedFor) {
  options_.even_budgets = true;
  options_.held_out.clear();
  ASSERT_TRUE(run("out"));
  EXPECT_TRUE(Json::parse(file("out/summary.json"))["results"]["budgets"].is_null());
  const auto profile = models::read_selection_profile(dir_.path("out/profile.yaml"));
  ASSERT_TRUE(profile) << profile.error().text();
  EXPECT_TRUE(profile->budget_weights.empty());
}

TEST_F(CalibrateTest, GivesTheSameAgainAndGoesOnWhereItStopped) {
  ASSERT_TRUE(run("out"));
  const std::string records = file("out/results.jsonl"), summary = file("out/summary.json");
  // 1. The same command: only the outcome is written once more.
  ASSERT_TRUE(run("out"));
  EXPECT_EQ(file("out/summary.json"), summary);
  EXPECT_EQ(std::count(records.begin(), records.end(), '\n') + 1, [this] {
    const std::string now = file("out/results.jsonl");
    return std::count(now.begin(), now.end(), '\n');
  }());
  // 2. From half of the records.
  std::filesystem::create_directories(dir_.path("half"));
  std::filesystem::copy_file(dir_.path("out/run.json"), dir_.path("half/run.json"));
  size_t cut = 0;
  for (int line = 0; line < 5; ++line) cut = records.find('\n', cut) + 1;
  dir_.file("half/results.jsonl", records.substr(0, cut));
  options_.profile = dir_.path("out/profile.yaml");
  ASSERT_TRUE(run("half"));
  EXPECT_EQ(file("half/summary.json"), summary);
  EXPECT_EQ(file("half/results.jsonl"), records);
}

TEST_F(CalibrateTest, ALaterRunMaySearchLongerInTheSameFolder) {
  options_.rounds = 0;
  ASSERT_TRUE(run("out"));
  const Json before = Json::parse(file("out/summary.json"))["results"];
  EXPECT_EQ(before["search"]["rounds"].size(), 1u);
  options_.rounds = 3;
  ASSERT_TRUE(run("out"));
  const Json after = Json::parse(file("out/summary.json"))["results"];
  EXPECT_LE(after["figures"][0]["kl"]["mean"], before["figures"][0]["kl"]["mean"]);
  options_.decode = 5;
  const auto other = run("out");
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("--decode"));
}

TEST_F(CalibrateTest, TakesTheLeastBudgetWithinTheTarget) {
  options_.target_kl = 1e6;
  ASSERT_TRUE(run("out"));
  EXPECT_EQ(models::read_selection_profile(dir_.path("out/profile.yaml"))->budget_fraction, 0.0625);
  options_.target_kl = 1e-12;
  ASSERT_TRUE(run("out"));
  EXPECT_EQ(models::read_selection_profile(dir_.path("out/profile.yaml"))->budget_fraction, 0.25);
}

TEST_F(CalibrateTest, AnInterruptionLeavesWhatIsDoneAndSaysSo) {
  *stop_ = true;
  const auto exit = run("out");
  ASSERT_TRUE(exit) << exit.error().text();
  EXPECT_EQ(*exit, cli::kInterrupted);
  EXPECT_THAT(kept_.err.str(), HasSubstr("the same command goes on"));
  *stop_ = false;
  EXPECT_EQ(*run("out"), cli::kOk);
}

TEST_F(CalibrateTest, SaysWhichOptionIsWrong) {
  const CalibrateOptions good = options_;
  const auto refused = [&](auto change, const std::string& message, Code code = Code::kInvalid) {
    options_ = good;
    change(options_);
    expect_refused(message, code);
  };
  refused([&](auto& o) { o.texts = {text("short", 4, 5)}; }, "short has 5 tokens");
  refused([&](auto& o) { o.texts = {text("short", 4, 60)}; }, "a longer text or --context");
  refused([&](auto& o) { o.texts = {dir_.path("none")}; }, "--text", Code::kNotFound);
  refused([&](auto& o) { o.held_out = {dir_.path("none")}; }, "--held-out", Code::kNotFound);
  refused([](auto& o) { o.texts.push_back(o.texts[0]); }, "another file is called a");
  refused([](auto& o) { o.texts.clear(); }, "--text is missing");
  refused([&](auto& o) { o.model = dir_.path("none.gguf"); }, "--model", Code::kNotFound);
  refused([](auto& o) { o.anchors = 7; }, "--anchors is 7, allowed: 0 to 6");
  refused([](auto& o) { o.compare = {"0,6"}; }, "--compare 0,6: layer 6");
  refused(
      [](auto& o) {
        o.context = 5000;
        o.texts[0] = o.held_out[0];
        o.decode = 4000;
      },
      "(--decode + 1)");
  refused([](auto& o) { o.budget_fraction = 0; }, "--budget-fraction");
  refused([](auto& o) { o.budget_fraction = 0.6; }, "--budget-fraction");
  refused([](auto& o) { o.budget_min = 100; }, "--budget-min is 100, allowed: 260");
  refused([](auto& o) { o.decode = 1; }, "--decode");
  refused([](auto& o) { o.every = 7; }, "--every");
  refused([](auto& o) { o.batch = 0; }, "--batch");
  refused([](auto& o) { o.target_kl = -1; }, "--target-kl");
}

TEST_F(CalibrateTest, AReportBeforeTheEndIsRefused) {
  *stop_ = true;
  ASSERT_TRUE(run("out"));
  const auto dir = ResultDir::open_for_report(dir_.path("out"));
  ASSERT_TRUE(dir) << dir.error().text();
  const auto report = report_of(*dir);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("has not ended"));
}

}  // namespace
}  // namespace ebb::score
