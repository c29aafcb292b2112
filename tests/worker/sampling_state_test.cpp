// What sampling remembers: penalties over prompt and answer, stop tokens kept away, and answers
// that obey a constraint.
#include "worker/sampling_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/grammar/token_table.h"

namespace ebb::worker {
namespace {

namespace grammar = models::grammar;
using ::testing::HasSubstr;

constexpr uint32_t kTokens = 300;
constexpr TokenId kEnd = 256;
constexpr TokenId kWord = 257;  ///< "yes"

/// Single bytes, an end token that is no text, a word; the other logits have no token.
std::string packed_vocabulary() {
  grammar::TokenTable table;
  for (int byte = 0; byte < 256; ++byte) table.tokens.emplace_back(1, static_cast<char>(byte));
  table.tokens.emplace_back("");
  table.tokens.emplace_back("yes");
  return grammar::pack_token_table(table);
}

class SamplingStateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string packed = packed_vocabulary();
    ASSERT_TRUE(tools_.constraints.set_vocabulary(grammar::token_table_digest(packed), packed));
    open_.prompt = {'p', 'q', 'q'};
    open_.max_tokens = 100;
    open_.sampling.temperature = 0;
    open_.sampling.stop_tokens = {kEnd};
  }
  void start() {
    auto made = SamplingState::make(open_, kTokens, tools_);
    ASSERT_TRUE(made) << made.error().message;
    state_ = std::move(*made);
  }
  void constrain(control::ConstraintKind kind, std::string source) {
    open_.constraint = {kind, std::move(source)};
  }
  TokenId sample(const std::vector<float>& logits) {
    const auto token = state_->sample(logits, position_++);
    EXPECT_TRUE(token) << token.error().message;
    return token ? *token : -1;
  }
  /// Logits from a seed, the end token likely.
  std::vector<float> noise(float end) {
    std::vector<float> logits(kTokens);
    for (size_t i = 0; i < kTokens; ++i) {
      logits[i] = static_cast<float>(keyed_uniform(77, 1000 * position_ + i)) * 4;
    }
    logits[kEnd] = end;
    return logits;
  }
  /// Until a stop token or the end of the constraint.
  std::string answer(float end) {
    std::string text;
    for (int i = 0; i < 400; ++i) {
      const TokenId token = sample(noise(end));
      if (token < 0 || state_->is_stop(token)) break;
      text += token == kWord ? "yes" : std::string(1, static_cast<char>(token));
      if (state_->complete()) break;
    }
    return text;
  }

  SamplingTools tools_;
  control::OpenUnit open_;
  std::unique_ptr<SamplingState> state_;
  Position position_ = 3;
};

TEST_F(SamplingStateTest, RepetitionCountsThePromptAndWhatFollows) {
  open_.sampling.repetition_penalty = 2;
  start();
  std::vector<float> logits(kTokens, 0);
  logits['q'] = 10;
  logits['a'] = 6;
  logits['b'] = 5.5f;
  EXPECT_EQ(sample(logits), 'a') << "q is in the prompt: 5";
  EXPECT_EQ(sample(logits), 'b') << "a has come: 3";
  EXPECT_EQ(sample(logits), 'q');
}

TEST_F(SamplingStateTest, PresenceAndFrequencyCountTheAnswerOnly) {
  open_.sampling.presence_penalty = 1;
  open_.sampling.frequency_penalty = 1;
  start();
  std::vector<float> logits(kTokens, 0);
  logits['q'] = 10;
  logits['a'] = 7.5f;
  EXPECT_EQ(sample(logits), 'q') << "10, though the prompt has it";
  EXPECT_EQ(sample(logits), 'q') << "8: once";
  EXPECT_EQ(sample(logits), 'a') << "q is at 7: twice";
}

TEST_F(SamplingStateTest, MinTokensKeepsStopTokensAway) {
  open_.sampling.min_tokens = 2;
  open_.sampling.stop_tokens = {kEnd, 'x'};
  start();
  std::vector<float> logits(kTokens, 0);
  logits[kEnd] = 9;
  logits['x'] = 8;
  logits['a'] = 1;
  EXPECT_EQ(sample(logits), 'a');
  EXPECT_EQ(sample(logits), 'a');
  EXPECT_EQ(sample(logits), kEnd);
}

TEST_F(SamplingStateTest, AnAnswerObeysItsRegularExpression) {
  constrain(control::ConstraintKind::kRegex, "[a-c]{3,5}(yes|no)!");
  start();
  const std::string text = answer(100);
  EXPECT_THAT(text, ::testing::MatchesRegex("[a-c]+(yes|no)!")) << text;
  EXPECT_TRUE(state_->complete());
}

TEST_F(SamplingStateTest, AStopTokenIsPossibleOnlyWhereTheTextMayEnd) {
  constrain(control::ConstraintKind::kRegex, "ab(cd)*");
  start();
  EXPECT_EQ(answer(100), "ab");
}

TEST_F(SamplingStateTest, EveryTemperatureAndSeedGivesAChoice) {
  constrain(control::ConstraintKind::kChoice, R"(["yes","no","perhaps not"])");
  for (uint64_t seed = 0; seed < 40; ++seed) {
    open_.sampling.temperature = 2;
    open_.sampling.seed = seed;
    start();
    const std::string text = answer(0);
    EXPECT_TRUE(text == "yes" || text == "no" || text == "perhaps not") << text;
  }
}

TEST_F(SamplingStateTest, PenaltiesAndFiltersWorkInsideAConstraint) {
  constrain(control::ConstraintKind::kRegex, "[xy]{6}");
  open_.sampling.frequency_penalty = 2;
  start();
  std::vector<float> logits(kTokens, 50);
  logits['x'] = 1;
  logits['y'] = 0;
  std::string text;
  for (int i = 0; i < 6; ++i) text += static_cast<char>(sample(logits));
  EXPECT_EQ(text, "xyxyxy");
}

TEST_F(SamplingStateTest, MinTokensGivesWayToTheConstraint) {
  constrain(control::ConstraintKind::kRegex, "a|ab");
  open_.sampling.min_tokens = 10;
  start();
  EXPECT_EQ(answer(100), "ab") << "the end token is kept away as long as b may come";
}

TEST_F(SamplingStateTest, SequencesWithTheSameConstraintShareItsAutomaton) {
  constrain(control::ConstraintKind::kJsonObject, "");
  const auto first = tools_.constraints.matcher(open_.constraint);
  const auto second = tools_.constraints.matcher(open_.constraint);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
}

TEST_F(SamplingStateTest, WhatCannotBeMetIsAnError) {
  constrain(control::ConstraintKind::kRegex, "(a");
  auto made = SamplingState::make(open_, kTokens, tools_);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("missing )"));

  open_.constraint = {};
  open_.sampling.logit_bias = {{300, 1}};
  made = SamplingState::make(open_, kTokens, tools_);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("token 300"));
}

TEST(Constraints, WithoutAVocabularyThereAreNone) {
  Constraints constraints;
  ASSERT_TRUE(constraints.set_vocabulary({}, ""));
  const auto made = constraints.matcher({control::ConstraintKind::kJsonObject, ""});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnavailable);
}

TEST(Constraints, AVocabularyIsKeptForLaterEpochsByItsDigest) {
  const std::string packed = packed_vocabulary();
  const Digest digest = grammar::token_table_digest(packed);
  Constraints constraints;
  EXPECT_FALSE(constraints.set_vocabulary(digest, "")) << "not sent yet";
  EXPECT_FALSE(constraints.set_vocabulary({}, packed)) << "another digest";
  ASSERT_TRUE(constraints.set_vocabulary(digest, packed));
  EXPECT_TRUE(constraints.set_vocabulary(digest, ""));
  EXPECT_TRUE(constraints.matcher({control::ConstraintKind::kJsonObject, ""}));
}

}  // namespace
}  // namespace ebb::worker
