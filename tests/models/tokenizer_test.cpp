#include "models/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "models/tokenizer/byte_level.h"
#include "models/tokenizer/gguf_spec.h"
#include "tests/models/golden_files.h"

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            SpecialTokens special) {
  auto ids = tokenizer.encode(text, special);
  EXPECT_TRUE(ids.has_value()) << ids.error().text();
  return ids ? *std::move(ids) : std::vector<TokenId>();
}

/// All 256 bytes, three merges, and special tokens of which one begins another.
struct SmallVocabulary {
  std::vector<std::string> tokens;
  std::vector<std::string> merges = {"h e", "l l", "\u0120 he"};
  GgufTokenizer data;
  TokenId he = 256, ll = 257, space_he = 258, end = 259, end_more = 260, think = 261;

  SmallVocabulary() {
    const ByteAlphabet alphabet;
    for (int i = 0; i < 256; ++i) tokens.push_back(alphabet.text_of(static_cast<uint8_t>(i)));
    for (const char* text : {"he", "ll", "\u0120he", "<end>", "<end>more", "<think>"})
      tokens.push_back(text);
    data.model = "gpt2";
    data.pre = "gpt-2";
    data.token_type.assign(tokens.size(), 1);
    data.token_type[end] = data.token_type[end_more] = 3;
    data.token_type[think] = 4;
    data.eos_token_id = end;
  }
  Result<std::unique_ptr<Tokenizer>> make() {
    data.tokens.assign(tokens.begin(), tokens.end());
    data.merges.assign(merges.begin(), merges.end());
    auto spec = make_spec(data);
    if (!spec) return std::move(spec).error();
    return make_tokenizer(*std::move(spec));
  }
  std::unique_ptr<Tokenizer> made() {
    auto tokenizer = make();
    EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().text();
    return *std::move(tokenizer);
  }
  std::string refusal() {
    const auto tokenizer = make();
    return tokenizer ? "accepted" : tokenizer.error().text();
  }
};

TEST(Tokenizer, MergesInsidePiecesOnly) {
  SmallVocabulary small;
  EXPECT_THAT(encode(*small.made(), "hello he", SpecialTokens::kAsText),
              ElementsAre(small.he, small.ll, 'o', small.space_he));
}

TEST(Tokenizer, SpecialTextIsTextUnlessParsingIsAskedFor) {
  SmallVocabulary small;
  const auto tokenizer = small.made();
  EXPECT_THAT(encode(*tokenizer, "<end>", SpecialTokens::kAsText),
              ElementsAre('<', 'e', 'n', 'd', '>'));
  EXPECT_THAT(encode(*tokenizer, "a<end>b<think>", SpecialTokens::kParse),
              ElementsAre('a', small.end, 'b', small.think));
}

TEST(Tokenizer, TheLongestSpecialTokenWins) {
  SmallVocabulary small;
  EXPECT_THAT(encode(*small.made(), "<end>more<end>mor<<end>", SpecialTokens::kParse),
              ElementsAre(small.end_more, small.end, 'm', 'o', 'r', '<', small.end));
}

TEST(Tokenizer, InvalidUtf8IsEncodedAsTheBytesItIsAndComesBack) {
  SmallVocabulary small;
  const auto tokenizer = small.made();
  const std::string text = "he\xFF\xC3he \xF0\x9F\x99\xE2\x82\xAC";
  const auto ids = encode(*tokenizer, text, SpecialTokens::kAsText);
  EXPECT_EQ(ids[1], 0xFF);
  EXPECT_EQ(tokenizer->decode(ids, /*skip_special=*/false), text);
}

TEST(Tokenizer, DecodingLeavesOutControlTokensOnWishButKeepsUserDefinedOnes) {
  SmallVocabulary small;
  const auto tokenizer = small.made();
  const std::vector<TokenId> ids = {small.think, small.space_he, small.end};
  EXPECT_EQ(tokenizer->decode(ids, true), "<think> he");
  EXPECT_EQ(tokenizer->decode(ids, false), "<think> he<end>");
  EXPECT_TRUE(tokenizer->is_special(small.end));
  EXPECT_FALSE(tokenizer->is_special(small.think));
}

TEST(Tokenizer, IdsOutsideTheVocabularyHaveNoBytes) {
  SmallVocabulary small;
  const auto tokenizer = small.made();
  EXPECT_EQ(tokenizer->token_bytes(-1), "");
  EXPECT_EQ(tokenizer->token_bytes(static_cast<TokenId>(tokenizer->vocabulary())), "");
  EXPECT_FALSE(tokenizer->is_special(-1));
}

TEST(Tokenizer, WholeWordsComeBeforeMergesWhereThePreTokenizerSaysSo) {
  SmallVocabulary small;
  small.tokens.push_back("hel");  // no merge makes it
  small.data.token_type.push_back(1);
  small.data.bos_token_id = small.end;
  small.data.pre = "llama-bpe";
  EXPECT_THAT(encode(*small.made(), "hel", SpecialTokens::kAsText), ElementsAre(262));
  EXPECT_TRUE(small.made()->adds_bos());
  small.data.pre = "gpt-2";
  EXPECT_THAT(encode(*small.made(), "hel", SpecialTokens::kAsText), ElementsAre(small.he, 'l'));
  EXPECT_FALSE(small.made()->adds_bos());
}

TEST(Tokenizer, RefusesAMergeOfAnUnknownToken) {
  SmallVocabulary small;
  small.merges.push_back("he x");
  EXPECT_THAT(small.refusal(), HasSubstr("tokenizer.ggml.merges[3] 'he x': no token is 'hex'"));
}

TEST(Tokenizer, RefusesAMergeThatIsNotTwoWordsOrIsThereTwice) {
  SmallVocabulary small;
  small.merges[1] = "ll";
  EXPECT_THAT(small.refusal(), HasSubstr("merges[1] 'll' is not two words"));
  small.merges[1] = "l l l";
  EXPECT_THAT(small.refusal(), HasSubstr("merges[1] 'l l l' is not two words"));
  small.merges[1] = "h e";
  EXPECT_THAT(small.refusal(), HasSubstr("merge 1, of the tokens 104 and 101, is there twice"));
}

TEST(Tokenizer, RefusesMergesThatRunInACircle) {
  SmallVocabulary small;
  // What a merge makes is its two words in one, so a circle needs an empty word or a repetition.
  small.merges.push_back("he ");
  EXPECT_THAT(small.refusal(), HasSubstr("tokenizer.ggml.merges[3] 'he ' is not two words"));
  small.merges.back() = " he";
  EXPECT_THAT(small.refusal(), HasSubstr("tokenizer.ggml.merges[3] ' he' is not two words"));
  small.merges.back() = "he h";
  EXPECT_THAT(small.refusal(), HasSubstr("no token is 'heh'"));
  small.merges.back() = "he he";
  EXPECT_THAT(small.refusal(), HasSubstr("no token is 'hehe'"));
}

TEST(Tokenizer, RefusesATokenThatIsThereTwice) {
  SmallVocabulary small;
  small.tokens[300 - 40] = "he";
  EXPECT_THAT(small.refusal(), HasSubstr("'he' is both token 256 and token 260"));
}

TEST(Tokenizer, RefusesTypesThatDoNotMatchTheTokens) {
  SmallVocabulary small;
  small.data.token_type.pop_back();
  EXPECT_THAT(small.refusal(), HasSubstr("token_type has 261 entries, tokenizer.ggml.tokens 262"));
  small.data.token_type.push_back(9);
  EXPECT_THAT(small.refusal(), HasSubstr("token_type[261] is 9; the limits are 1 and 6"));
}

TEST(Tokenizer, RefusesAnEndTokenOutsideTheVocabulary) {
  SmallVocabulary small;
  small.data.eos_token_id = 5000;
  EXPECT_THAT(small.refusal(), HasSubstr("tokenizer.ggml.eos_token_id is 5000"));
}

TEST(Tokenizer, RefusesAPreTokenizerThatItDoesNotKnow) {
  SmallVocabulary small;
  small.data.pre = "mystery";
  EXPECT_THAT(small.refusal(), HasSubstr("unsupported: tokenizer.ggml.pre is 'mystery'"));
}

/// The real model's tokenizer against ids that the reference implementation gave.
class RealTokenizer : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = testing::open_real_model();
    ASSERT_NE(file_, nullptr);
    auto loaded = load_tokenizer(*file_);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
    tokenizer_ = *std::move(loaded);
    golden_ = testing::read_golden("smollm2_tokenizer.json");
    ASSERT_TRUE(golden_.is_object());
  }

  std::unique_ptr<GgufFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json golden_;
};

TEST_F(RealTokenizer, GivesTheReferencesIdsForEveryText) {
  ASSERT_GE(golden_["cases"].size(), 300u);
  for (const auto& entry : golden_["cases"]) {
    const auto text = entry["text"].get<std::string>();
    const auto ids = entry["ids"].get<std::vector<TokenId>>();
    const auto parsed = entry.value("ids_parsed", ids);
    EXPECT_EQ(encode(*tokenizer_, text, SpecialTokens::kAsText), ids) << entry["text"];
    EXPECT_EQ(encode(*tokenizer_, text, SpecialTokens::kParse), parsed) << entry["text"];
  }
}

TEST_F(RealTokenizer, TextsComeBackExceptBytesThatTheVocabularyLacks) {
  // The model's vocabulary has no tokens for six control characters and for lead bytes F1 and F2.
  const std::string lacks = "\x04\x06\x13\x14\x16\x1D\xF1\xF2";
  for (const auto& entry : golden_["cases"]) {
    const auto text = entry["text"].get<std::string>();
    if (text.find_first_of(lacks) != text.npos) continue;
    const auto ids = encode(*tokenizer_, text, SpecialTokens::kParse);
    EXPECT_EQ(tokenizer_->decode(ids, false), text);
  }
}

TEST_F(RealTokenizer, CutsTheGplIntoTheReferencesTokens) {
  std::ifstream in("/usr/share/common-licenses/GPL-3");
  ASSERT_TRUE(in.good()) << "package base-files is incomplete";
  std::stringstream text;
  text << in.rdbuf();
  const auto ids = encode(*tokenizer_, text.str(), SpecialTokens::kAsText);
  ASSERT_EQ(ids.size(), 7639u);
  const auto first = golden_["gpl3"]["first"].get<std::vector<TokenId>>();
  const auto last = golden_["gpl3"]["last"].get<std::vector<TokenId>>();
  EXPECT_TRUE(std::equal(first.begin(), first.end(), ids.begin()));
  EXPECT_TRUE(std::equal(last.rbegin(), last.rend(), ids.rbegin()));
  EXPECT_EQ(tokenizer_->decode(ids, true), text.str());
}

TEST_F(RealTokenizer, KnowsItsEnds) {
  EXPECT_EQ(tokenizer_->vocabulary(), 49152u);
  EXPECT_EQ(tokenizer_->end_of_text(), 2);
  EXPECT_EQ(tokenizer_->begin_of_text(), 1);
  EXPECT_FALSE(tokenizer_->adds_bos());
  EXPECT_TRUE(tokenizer_->is_special(2));
  EXPECT_EQ(tokenizer_->token_bytes(2), "<|im_end|>");
}

TEST_F(RealTokenizer, ThreadsShareOneTokenizer) {
  const std::string text = "The secret number for Oslo is 4711.<|im_end|>";
  const auto expected = encode(*tokenizer_, text, SpecialTokens::kParse);
  std::vector<std::thread> threads;
  std::array<int, 4> wrong{};
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i)
        wrong[t] += encode(*tokenizer_, text, SpecialTokens::kParse) != expected;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

TEST_F(RealTokenizer, AMegabyteOfOneLetterIsOnePieceAndComesBack) {
  const std::string text(1 << 20, 'a');
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, text, SpecialTokens::kParse), false), text);
}

}  // namespace
}  // namespace ebb::models
