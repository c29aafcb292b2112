// Small random models of every family and every weight type against Hugging Face's reference
// (tests/golden/README.md), teacher-forced: by bulk pass and token by token, on one rank and on
// several.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/support/temp_dir.h"
#include "tests/support/tree_paths.h"
#include "tests/worker/family_cases.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {
namespace {

constexpr double kLogits = 1e-3;  // of the largest logit
constexpr double kMargin = 0.05;  // nats: where the best token is clear

/// All log-probabilities of every position.
using Distributions = std::vector<std::vector<double>>;

class Families : public ::testing::TestWithParam<const char*> {
 protected:
  static control::OpenUnit open_unit(uint64_t seq, const FamilyCase& of, uint32_t bulk) {
    control::OpenUnit open;
    open.seq = SeqId{seq};
    open.prompt = of.prompt;
    open.decode_from = bulk;
    open.max_tokens = 1;
    open.sampling.temperature = 0;
    open.sampling.prompt_logprobs = true;
    open.sampling.logprobs = static_cast<int>(of.whole.begin()->second.size());
    return open;
  }
  static void add(const control::TokenLogprob& score, Distributions& out) {
    std::vector<double> all(score.top.size());
    for (auto [token, logprob] : score.top) all.at(static_cast<size_t>(token)) = logprob;
    out.push_back(std::move(all));
  }
  /// The first `bulk` tokens in chunks, the others one by one.
  static Distributions distributions(RankGroup& group, const FamilyCase& of, uint32_t bulk) {
    static uint64_t seq = 0;
    const SeqId id{++seq};
    Distributions out;
    group.open(open_unit(id.value, of, bulk));
    auto results = group.prefill(id, bulk, 40);
    for (const auto& score : group.prompt_scores) add(score, out);
    while (out.size() < of.prompt.size()) {
      if (results[0].sequences.empty()) {
        ADD_FAILURE() << results[0].failures.at(0).error.text();
        break;
      }
      const auto& result = results[0].sequences[0];
      if (result.has_token) add(result.token, out);
      if (out.size() == of.prompt.size()) break;
      results = group.decode({id});
      if (!results[0].sequences.empty() && !results[0].sequences[0].prompt.empty()) {
        add(results[0].sequences[0].prompt[0], out);
      }
    }
    group.close(id);
    return out;
  }
  /// Largest difference, in parts of the largest logit.
  static double compare(const FamilyCase& of, const Distributions& got) {
    double worst = 0;
    EXPECT_EQ(got.size(), of.prompt.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const auto best = std::max_element(got[i].begin(), got[i].end()) - got[i].begin();
      if (of.margin[i] > kMargin) {
        EXPECT_EQ(best, of.best[i]) << of.name << ", position " << i;
      }
      if (i < of.forced.size()) {
        const auto next = static_cast<size_t>(of.prompt[i + 1]);
        worst = std::max(worst, std::abs(got[i][next] - of.forced[i]));
      }
      const auto whole = of.whole.find(static_cast<uint32_t>(i));
      for (size_t t = 0; whole != of.whole.end() && t < got[i].size(); ++t) {
        worst = std::max(worst, std::abs(got[i][t] - whole->second[t]));
      }
    }
    return worst / of.largest;
  }
  /// The same for the next tokens alone, by the reference that does not round K and V.
  static double compare_f32(const FamilyCase& of, const Distributions& got) {
    double worst = 0;
    for (size_t i = 0; i < of.forced_f32.size(); ++i) {
      const auto next = static_cast<size_t>(of.prompt[i + 1]);
      worst = std::max(worst, std::abs(got.at(i).at(next) - of.forced_f32[i]));
    }
    return worst / of.largest;
  }
  static GroupSetup setup(const std::string& path, uint32_t ranks) {
    GroupSetup s;
    s.model_path = path;
    s.ranks = ranks;
    s.device_kv_bytes = 4 << 20;
    auto files = models::ModelFiles::open(path);
    EBB_CHECK(files.has_value());
    s.profile = models::dense_profile((*files)->shape().layers, "small");
    s.rows_max = 40;
    return s;
  }
};

TEST_P(Families, SayWhatTheReferenceSaysOnAnyNumberOfRanks) {
  const auto cases = read_family_cases(ebb::test::source_path("tests/golden/") + GetParam());
  EXPECT_GE(cases.size(), 10u);
  double worst = 0;
  for (const FamilyCase& of : cases) {
    ebb::test::TempDir dir;
    const std::string path = write_model(of, dir.path());
    auto files = models::ModelFiles::open(path);
    ASSERT_TRUE(files) << of.name << ": " << files.error().text();
    for (uint32_t ranks : {1u, 2u, 3u}) {
      RankGroup group(setup(path, ranks));
      for (uint32_t bulk : {64u, 1u}) {
        const double off = compare(of, distributions(group, of, bulk));
        EXPECT_LT(off, kLogits) << of.name << ", " << ranks << " ranks, bulk pass of " << bulk;
        worst = std::max(worst, off);
      }
    }
  }
  RecordProperty("worst", std::to_string(worst));
}

TEST_P(Families, WithKvInF32SayWhatAReferenceSaysThatRoundsNothing) {
  for (const FamilyCase& of :
       read_family_cases(ebb::test::source_path("tests/golden/") + GetParam())) {
    ebb::test::TempDir dir;
    GroupSetup s = setup(write_model(of, dir.path()), 2);
    s.kv_type = "f32";
    RankGroup group(s);
    EXPECT_LT(compare_f32(of, distributions(group, of, 32)), kLogits) << of.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Families,
                         ::testing::Values("families_hf.json", "families_gguf.json",
                                           "weight_types.json"),
                         [](const auto& file) {
                           const std::string name = file.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace ebb::worker::testing
