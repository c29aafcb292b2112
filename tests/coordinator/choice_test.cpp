#include "coordinator/choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/fake_engine.h"

namespace ebb::coordinator {
namespace {

using testing::FakeTokenizer;
using testing::kEuroWorld;
using testing::kHello;

class ChoiceTest : public ::testing::Test {
 protected:
  Choice make(std::vector<TokenId> prompt, ChoiceSetup setup = {}) {
    setup.prompt = std::make_shared<const std::vector<TokenId>>(std::move(prompt));
    setup.logprobs = true;
    if (setup.scored_from == 0) {
      setup.scored_from = static_cast<uint32_t>(setup.prompt->size());
    }
    return Choice(tokenizer_, std::move(setup));
  }
  static control::TokenLogprob token(TokenId id) {
    control::TokenLogprob one;
    one.token = id;
    one.logprob = -1;
    return one;
  }
  static Piece push(Choice& choice, TokenId id) {
    auto piece = choice.token(token(id), {});
    EXPECT_TRUE(piece) << piece.error().text();
    return piece ? *piece : Piece{};
  }
  static std::vector<TokenId> ids(const Piece& piece) {
    std::vector<TokenId> out;
    for (const ShownToken& shown : piece.tokens) out.push_back(shown.token.token);
    return out;
  }

  FakeTokenizer tokenizer_;
};

TEST_F(ChoiceTest, ATokenGoesOutWithItsFirstByte) {
  Choice choice = make({'a'});
  EXPECT_EQ(push(choice, 'x').text, "x");
  const Piece half = push(choice, 0xE2);
  EXPECT_TRUE(half.empty());
  const Piece rest = push(choice, kEuroWorld);
  EXPECT_EQ(rest.text, "\xE2\x82\xACworld");
  EXPECT_THAT(ids(rest), ::testing::ElementsAre(0xE2, kEuroWorld));
  EXPECT_EQ(rest.tokens[0].text_offset, 1u);
}

TEST_F(ChoiceTest, StopStringsCountBehindMinTokensAndMayBeKept) {
  ChoiceSetup setup;
  setup.stop = {"x"};
  setup.min_tokens = 2;
  setup.include_stop = true;
  Choice choice = make({'a'}, setup);
  EXPECT_EQ(push(choice, 'x').text, "x");
  EXPECT_EQ(push(choice, 'x').text, "x");
  EXPECT_FALSE(choice.stopped());
  const Piece last = push(choice, 'x');
  EXPECT_TRUE(choice.stopped());
  EXPECT_EQ(last.text, "x");
  EXPECT_THAT(ids(last), ::testing::ElementsAre('x'));
}

TEST_F(ChoiceTest, TokensOfAStopStringAreNotShown) {
  ChoiceSetup setup;
  setup.stop = {"lo w"};
  Choice choice = make({'a'}, setup);
  Piece all = push(choice, kHello);
  for (const char c : std::string(" w!")) all.append(push(choice, c));
  EXPECT_TRUE(choice.stopped());
  auto last = choice.finish();
  ASSERT_TRUE(last);
  all.append(*last);
  EXPECT_EQ(all.text, "hel");
  EXPECT_THAT(ids(all), ::testing::ElementsAre(kHello));
  EXPECT_EQ(choice.generated(), 3u) << "hello, space, w: the token after the stop does not count";
}

TEST_F(ChoiceTest, EchoBeginsWithThePromptAndItsScores) {
  ChoiceSetup setup;
  setup.echo = true;
  setup.show_prompt = true;
  setup.scored_from = 1;
  Choice choice = make({'a', 'b', kHello}, setup);
  auto nothing = choice.scored({token('b')});
  ASSERT_TRUE(nothing);
  EXPECT_TRUE(nothing->empty()) << "the rest of the scores is still to come";
  auto prompt = choice.scored({token(kHello)});
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->text, "abhello");
  ASSERT_EQ(prompt->tokens.size(), 3u);
  EXPECT_FALSE(prompt->tokens[0].scored);
  EXPECT_TRUE(prompt->tokens[1].scored);
  EXPECT_EQ(prompt->tokens[2].text_offset, 2u);
  const Piece next = push(choice, 'z');
  EXPECT_EQ(next.tokens[0].text_offset, 7u);
}

TEST_F(ChoiceTest, ScoresOfAnotherTokenAreAnError) {
  ChoiceSetup setup;
  setup.show_prompt = true;
  setup.scored_from = 1;
  Choice choice = make({'a', 'b'}, setup);
  auto piece = choice.scored({token('x')});
  ASSERT_FALSE(piece);
  EXPECT_EQ(piece.error().code, Code::kInternal);
}

TEST_F(ChoiceTest, MissingScoresAreAnError) {
  ChoiceSetup setup;
  setup.show_prompt = true;
  setup.scored_from = 1;
  Choice choice = make({'a', 'b', 'c'}, setup);
  ASSERT_TRUE(choice.scored({token('b')}));
  auto piece = choice.finish();
  ASSERT_FALSE(piece);
  EXPECT_EQ(piece.error().message, "only 1 of 2 prompt tokens were scored");
}

TEST_F(ChoiceTest, AnAddedBosIsNotText) {
  ChoiceSetup setup;
  setup.echo = true;
  setup.added_bos = 1;
  Choice choice = make({testing::kBeginOfText, 'a'}, setup);
  EXPECT_EQ(push(choice, 'b').text, "ab");
}

TEST_F(ChoiceTest, SpecialTokensAreShownButAreNotText) {
  Choice choice = make({'a'});
  Piece all = push(choice, testing::kEndOfText);
  all.append(push(choice, 'b'));
  auto last = choice.finish();
  ASSERT_TRUE(last);
  all.append(*last);
  EXPECT_EQ(all.text, "b");
  EXPECT_THAT(ids(all), ::testing::ElementsAre(testing::kEndOfText, 'b'));
}

}  // namespace
}  // namespace ebb::coordinator
