// Sampling and constraints in whole groups: what a sequence gets does not depend on its company, on
// the ranks, or on other sequences' constraints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr uint32_t kVocabulary = 288;
constexpr TokenId kFirstByte = 3;
constexpr TokenId kEnd = 2;

class EngineSampling : public ::testing::Test {
 protected:
  GroupSetup setup(uint32_t ranks) {
    ebb::testing::TinyLlamaOptions options;
    options.layers = 4;
    options.vocabulary = kVocabulary;
    GroupSetup s;
    s.model_path = dir_.path("tiny.gguf");
    ebb::testing::write_tiny_llama(s.model_path, options);
    s.ranks = ranks;
    s.device_kv_bytes = 8 << 20;
    s.profile = models::dense_profile(options.layers, "tiny llama");
    s.rows_max = 64;
    models::grammar::TokenTable table;
    table.tokens.resize(kVocabulary);
    for (size_t byte = 0; byte < 256; ++byte) {
      table.tokens[kFirstByte + byte] = std::string(1, static_cast<char>(byte));
    }
    s.vocabulary = models::grammar::pack_token_table(table);
    return s;
  }
  static control::OpenUnit open_unit(uint64_t seq) {
    ebb::testing::TinyRandom random(seq);
    control::OpenUnit open;
    open.seq = SeqId{seq};
    for (uint32_t i = 0; i < 20 + 7 * seq; ++i) {
      open.prompt.push_back(static_cast<TokenId>(3 + random.next() % 256));
    }
    open.max_tokens = 60;
    open.sampling.seed = 100 + seq;
    open.sampling.stop_tokens = {kEnd};
    return open;
  }
  /// Sequences that are as different as requests can be.
  static std::vector<control::OpenUnit> various() {
    std::vector<control::OpenUnit> all;
    for (uint64_t seq = 1; seq <= 6; ++seq) all.push_back(open_unit(seq));
    all[0].sampling.top_p = 0.9f;
    all[0].sampling.repetition_penalty = 1.3f;
    all[1].sampling.temperature = 0;
    all[1].sampling.frequency_penalty = 0.7f;
    all[2].sampling.top_k = 20;
    all[2].sampling.typical_p = 0.9f;
    all[2].sampling.logit_bias = {{7, 5}, {9, -100}};
    all[3].constraint = {control::ConstraintKind::kJsonObject, ""};
    all[4].constraint = {control::ConstraintKind::kRegex, "[a-f]{50,60}"};
    all[4].sampling.min_p = 0.05f;
    all[5].sampling.temperature = 1.7f;
    all[5].sampling.min_tokens = 60;
    return all;
  }
  static TokenId token_of(const control::SequenceResult& result) {
    EXPECT_TRUE(result.has_token) << result.problem;
    return result.token.token;
  }
  static std::vector<TokenId> alone(RankGroup& group, const control::OpenUnit& open, int steps) {
    group.open(open);
    const auto size = static_cast<uint32_t>(open.prompt.size());
    std::vector<TokenId> out = {token_of(group.prefill(open.seq, size, 48)[0].sequences[0])};
    for (int i = 0; i < steps; ++i) {
      out.push_back(token_of(group.decode({open.seq})[0].sequences[0]));
    }
    group.close(open.seq);
    return out;
  }
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
  const auto all = various();
  RankGroup group(setup(2));
  std::vector<std::vector<TokenId>> expected;
  for (const auto& open : all) expected.push_back(alone(group, open, kSteps));

  std::vector<std::vector<TokenId>> together(all.size());
  std::vector<SeqId> seqs;
  for (size_t i = 0; i < all.size(); ++i) {
    group.open(all[i]);
    const auto size = static_cast<uint32_t>(all[i].prompt.size());
    together[i].push_back(token_of(group.prefill(all[i].seq, size, 48)[0].sequences[0]));
    seqs.push_back(all[i].seq);
  }
  for (int step = 0; step < kSteps; ++step) {
    const auto results = group.decode(seqs);
    for (size_t i = 0; i < all.size(); ++i) {
      together[i].push_back(token_of(results[0].sequences[i]));
    }
  }
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(together[i], expected[i]) << "sequence " << i;
}

TEST_F(EngineSampling, TheSameSeedGivesTheSameTokensAndAnotherOneOthers) {
  RankGroup group(setup(1));
  control::OpenUnit open = open_unit(3);
  const auto first = alone(group, open, 20);
  EXPECT_EQ(alone(group, open, 20), first);
  ++open.sampling.seed;
  EXPECT_NE(alone(group, open, 20), first);
}

TEST_F(EngineSampling, AnAnswerObeysItsConstraintAndSaysWhenItIsComplete) {
  for (uint32_t ranks : {1u, 3u}) {
    RankGroup group(setup(ranks));
    for (uint64_t seed = 0; seed < 5; ++seed) {
      control::OpenUnit open = open_unit(1);
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
  control::OpenUnit open = open_unit(1);
  open.constraint = {control::ConstraintKind::kJsonSchema, "{\"not\":{}}"};
  const auto results = group.open(open);
  ASSERT_EQ(results[0].failures.size(), 1u);
  EXPECT_THAT(results[0].failures[0].error.message, HasSubstr("at not"));
  EXPECT_EQ(alone(group, open_unit(2), 5).size(), 6u);
}

TEST_F(EngineSampling, AConstraintThatTheVocabularyCannotSpellIsAProblemOfItsSequence) {
  GroupSetup s = setup(2);
  models::grammar::TokenTable table;
  table.tokens.resize(kVocabulary);
  table.tokens[50] = "a";
  s.vocabulary = models::grammar::pack_token_table(table);
  RankGroup group(s);
  control::OpenUnit open = open_unit(1);
  open.constraint = {control::ConstraintKind::kRegex, "ab"};
  group.open(open);
  group.prefill(SeqId{1}, static_cast<uint32_t>(open.prompt.size()), 48);
  const auto results = group.decode({SeqId{1}});
  EXPECT_TRUE(results[0].failures.empty());
  EXPECT_FALSE(results[0].sequences[0].has_token);
  EXPECT_THAT(results[0].sequences[0].problem, HasSubstr("no token of the vocabulary"));
}

TEST_F(EngineSampling, PromptTokensAreScoredWithTheirRank) {
  RankGroup group(setup(2));
  control::OpenUnit open = open_unit(1);
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
