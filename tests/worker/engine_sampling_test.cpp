// Sampling and constraints in whole groups: what a sequence gets does not depend on its company, on
// the ranks, or on other sequences' constraints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "tests/worker/sampling_requests.h"

namespace ebb::worker::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class EngineSampling : public ::testing::Test {
 protected:
  GroupSetup setup(uint32_t ranks) { return sampling_setup(dir_.path("tiny.gguf"), ranks); }
  static std::string text(const std::vector<TokenId>& tokens) {
    std::string out;
    for (const TokenId id : tokens) {
      if (id >= kFirstByte) out += static_cast<char>(id - kFirstByte);
    }
    return out;
  }
  ebb::test::TempDir dir_;
};

TEST_F(EngineSampling, ASequenceGetsTheSameTokensInAnyCompany) {
  constexpr int kSteps = 30;
  const auto all = various_requests();
  RankGroup group(setup(2));
  std::vector<std::vector<TokenId>> expected;
  for (const auto& open : all) expected.push_back(alone(group, open, kSteps));

  const auto batched = together(group, all, kSteps);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(batched[i], expected[i]) << "sequence " << i;
}

TEST_F(EngineSampling, TheSameSeedGivesTheSameTokensAndAnotherOneOthers) {
  RankGroup group(setup(1));
  control::OpenUnit open = sampling_request(3);
  const auto first = alone(group, open, 20);
  EXPECT_EQ(alone(group, open, 20), first);
  ++open.sampling.seed;
  EXPECT_NE(alone(group, open, 20), first);
}

TEST_F(EngineSampling, AnAnswerObeysItsConstraintAndSaysWhenItIsComplete) {
  for (uint32_t ranks : {1u, 3u}) {
    RankGroup group(setup(ranks));
    for (uint64_t seed = 0; seed < 5; ++seed) {
      control::OpenUnit open = sampling_request(1);
      open.sampling.temperature = 1.5f;
      open.sampling.seed = seed;
      open.constraint = {control::ConstraintKind::kRegex, "[0-9]{3}-(ab|cd){2}x"};
      group.open(open);
      std::vector<TokenId> tokens;
      auto results = group.prefill(SeqId{1}, static_cast<uint32_t>(open.prompt.size()), 48);
      while (tokens.size() < 30) {
        tokens.push_back(token_of(results[0].sequences[0]));
        if (results[0].sequences[0].complete) break;
        results = group.decode({SeqId{1}});
      }
      EXPECT_THAT(text(tokens), MatchesRegex("[0-9]+-[abcd]+x"));
      EXPECT_EQ(tokens.size(), 9u);
      group.close(SeqId{1});
    }
  }
}

TEST_F(EngineSampling, AConstraintThatDoesNotCompileFailsItsSequenceOnly) {
  RankGroup group(setup(2));
  control::OpenUnit open = sampling_request(1);
  open.constraint = {control::ConstraintKind::kJsonSchema, "{\"not\":{}}"};
  const auto results = group.open(open);
  ASSERT_EQ(results[0].failures.size(), 1u);
  EXPECT_THAT(results[0].failures[0].error.message, HasSubstr("at not"));
  EXPECT_EQ(alone(group, sampling_request(2), 5).size(), 6u);
}

TEST_F(EngineSampling, AConstraintThatTheVocabularyCannotSpellIsAProblemOfItsSequence) {
  const control::SequenceResult result = unspellable(setup(2));
  EXPECT_FALSE(result.has_token);
  EXPECT_THAT(result.problem, HasSubstr("no token of the vocabulary"));
}

TEST_F(EngineSampling, PromptTokensAreScoredWithTheirRank) {
  RankGroup group(setup(2));
  control::OpenUnit open = sampling_request(1);
  open.sampling.prompt_logprobs = true;
  open.sampling.prompt_top = 4;
  group.open(open);
  group.prefill(SeqId{1}, static_cast<uint32_t>(open.prompt.size()), 48);
  ASSERT_EQ(group.prompt_scores.size(), open.prompt.size() - 1);
  for (const control::TokenLogprob& score : group.prompt_scores) {
    ASSERT_EQ(score.top.size(), 4u);
    ASSERT_GE(score.rank, 1u);
    const float best = score.top[std::min(score.rank, 4u) - 1].second;
    EXPECT_TRUE(score.rank <= 4 ? score.logprob == best : score.logprob <= best);
  }
}

}  // namespace
}  // namespace ebb::worker::testing
