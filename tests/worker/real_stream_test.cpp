// StreamingLLM's finding on the real model: with the first tokens kept, perplexity past the window
// stays where it was; without them it explodes.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kRead = 64;  // sinks and window
constexpr uint32_t kChunk = 64;
constexpr uint32_t kTokens = 300;

/// Of the tokens past the window, when `sinks` of the kept tokens are the text's first ones.
double perplexity(RankGroup& group, uint64_t seq, const std::vector<TokenId>& ids, uint32_t sinks) {
  control::OpenUnit open;
  open.seq = SeqId{seq};
  open.prompt = ids;
  open.max_tokens = 1;
  open.sampling.prompt_logprobs = true;
  open.sampling.logprobs = 0;
  if (sinks < kRead) {
    open.policy.kind = control::PolicyKind::kStreaming;
    open.policy.sinks = sinks;
    open.policy.window = kRead - sinks;
    open.policy.kept = kRead + kChunk;
  }
  EXPECT_TRUE(group.open(open)[0].failures.empty());
  EXPECT_TRUE(
      group.prefill(open.seq, static_cast<uint32_t>(ids.size()), kChunk)[0].failures.empty());
  double sum = 0;
  uint32_t count = 0;
  for (size_t i = kRead + 8; i < group.prompt_scores.size(); ++i, ++count) {
    sum -= group.prompt_scores[i].logprob;
  }
  group.close(open.seq);
  return std::exp(sum / count);
}

TEST(RealStream, PerplexityStaysFlatWithSinksAndExplodesWithout) {
  const auto path = ebb::testing::real_model_path();
  ASSERT_TRUE(path.has_value()) << ebb::testing::kNoRealModel;
  std::ifstream file(ebb::test::source_path("tests/golden/smollm2_reference.json"));
  std::vector<TokenId> ids = nlohmann::json::parse(file)["text"]["ids"];
  ASSERT_GE(ids.size(), kTokens);
  ids.resize(kTokens);
  GroupSetup setup;
  setup.model_path = *path;
  setup.device_kv_bytes = 32 << 20;
  setup.rows_max = kChunk;
  auto profile = models::read_selection_profile(
      ebb::test::source_path("configs/profiles/smollm2-135m-instruct.yaml"));
  ASSERT_TRUE(profile);
  setup.profile = *profile;
  RankGroup group(setup);
  const double dense = perplexity(group, 1, ids, kRead);
  const double with_sinks = perplexity(group, 2, ids, 4);
  const double without = perplexity(group, 3, ids, 0);
  RecordProperty("dense", std::to_string(dense));
  RecordProperty("with_sinks", std::to_string(with_sinks));
  RecordProperty("without", std::to_string(without));
  EXPECT_LT(with_sinks, 1.6 * dense) << "a short memory costs something";
  EXPECT_GT(without, 1.5 * with_sinks);
}

}  // namespace
}  // namespace ebb::worker::testing
