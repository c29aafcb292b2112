// What a tokenizer.json may be: everything that is not known is refused by its place in the file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "models/tokenizer.h"
#include "tests/models/golden_files.h"

namespace ebb::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

/// Five characters, two merges, three special tokens; as SentencePiece's are.
Json small_json() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
      {"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true},
      {"id": 9, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": false}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
      "continuing_subword_prefix": null, "end_of_word_suffix": null,
      "fuse_unk": true, "byte_fallback": false, "ignore_merges": false,
      "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "a": 3, "b": 4, "c": 5, "ab": 6, "▁ab": 7, "x": 8},
      "merges": ["a b", ["▁", "ab"]]}})");
}

std::string refusal(const std::string& text, const std::string& config = "") {
  const auto loaded = load_tokenizer_json(text, config, "tokenizer.json");
  return loaded ? "accepted" : loaded.error().text();
}

/// The refusal of the small file with one value in another way.
std::string refusal_with(const std::string& pointer, const Json& value) {
  Json changed = small_json();
  changed[Json::json_pointer(pointer)] = value;
  return refusal(changed.dump());
}

std::unique_ptr<Tokenizer> made(const std::string& config = "") {
  auto loaded = load_tokenizer_json(small_json().dump(), config, "tokenizer.json");
  EXPECT_TRUE(loaded.has_value()) << loaded.error().text();
  return loaded ? *std::move(loaded) : nullptr;
}

TEST(TokenizerJson, ReadsAFileOfTheSentencePieceKind) {
  const auto tokenizer = made();
  EXPECT_THAT(*tokenizer->encode("ab c</s>", SpecialTokens::kParse), ElementsAre(7, 2, 5, 9));
  EXPECT_THAT(*tokenizer->encode("zza", SpecialTokens::kParse), ElementsAre(2, 0, 3));
  EXPECT_EQ(tokenizer->decode({7, 2, 5}, false), "ab c");
  EXPECT_THAT(tokenizer->ids_before(), ElementsAre(1));
  EXPECT_TRUE(tokenizer->is_special(1));
  EXPECT_FALSE(tokenizer->is_special(9));
  EXPECT_EQ(tokenizer->vocabulary(), 10u);
  EXPECT_EQ(tokenizer->end_of_text(), -1);
}

TEST(TokenizerJson, TheConfigNamesTheEndsAndForLlamaClassesWhatIsPutAround) {
  const auto plain = made(R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  EXPECT_EQ(plain->begin_of_text(), 1);
  EXPECT_EQ(plain->end_of_text(), 9);
  EXPECT_TRUE(plain->is_special(9)) << "what ends a text is no text";
  const auto llama = made(R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false,
                              "add_eos_token": true, "tokenizer_class": "LlamaTokenizerFast"})");
  EXPECT_THAT(llama->ids_before(), ElementsAre());
  EXPECT_THAT(llama->ids_after(), ElementsAre(9));
  EXPECT_THAT(refusal(small_json().dump(), R"({"eos_token": "<end>"})"),
              HasSubstr("tokenizer_config.json: eos_token is '<end>', which the vocabulary"));
  EXPECT_THAT(refusal(small_json().dump(), R"({"tokenizer_class": "LlamaTokenizer"})"),
              HasSubstr("add_bos_token is true, but there is no bos_token"));
}

TEST(TokenizerJson, RefusesPartsThatItDoesNotKnowAndSaysWhichItDoes) {
  EXPECT_THAT(refusal_with("/extra", 1), HasSubstr("extra is not known here; known are 'version'"));
  EXPECT_THAT(refusal_with("/version", "2.0"), HasSubstr("version is '2.0'; known is '1.0'"));
  EXPECT_THAT(refusal_with("/model/type", "Unigram"),
              HasSubstr("tokenizer.json: model.type is 'Unigram'; known is 'BPE'"));
  EXPECT_THAT(refusal_with("/model/dropout", 0.1), HasSubstr("model.dropout is not null or 0"));
  EXPECT_THAT(refusal_with("/model/end_of_word_suffix", "</w>"),
              HasSubstr("model.end_of_word_suffix is not null or empty"));
  EXPECT_THAT(refusal_with("/normalizer/normalizers/0", Json{{"type", "Lowercase"}}),
              HasSubstr("normalizer.normalizers[0].type is 'Lowercase'; known are NFC, Prepend"));
  EXPECT_THAT(refusal_with("/normalizer/normalizers/1/pattern", Json{{"Regex", " "}}),
              HasSubstr("normalizer.normalizers[1].pattern.Regex is not known here"));
  EXPECT_THAT(refusal_with("/pre_tokenizer", Json{{"type", "Whitespace"}}),
              HasSubstr("pre_tokenizer.type is 'Whitespace'; known are ByteLevel, Digits"));
  EXPECT_THAT(refusal_with("/post_processor", Json{{"type", "BertProcessing"}}),
              HasSubstr("post_processor.type is 'BertProcessing'; known are ByteLevel"));
  EXPECT_THAT(refusal_with("/decoder/decoders/1", Json{{"type", "WordPiece"}}),
              HasSubstr("decoder.decoders[1].type is 'WordPiece'; known are ByteFallback"));
  EXPECT_THAT(refusal_with("/decoder", nullptr), HasSubstr("decoder is missing"));
}

TEST(TokenizerJson, RefusesFieldsInsideKnownParts) {
  EXPECT_THAT(refusal_with("/added_tokens/0/colour", 1),
              HasSubstr("added_tokens[0].colour is not known here"));
  EXPECT_THAT(refusal_with("/decoder/decoders/3/stop", 2), HasSubstr("decoders[3].stop is not 0"));
  EXPECT_THAT(refusal_with("/decoder/decoders/2", Json{{"type", "ByteFallback"}}),
              HasSubstr("decoder.decoders[2] stands in an order that is not known"));
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", "(a"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  EXPECT_THAT(
      refusal_with("/pre_tokenizer", split),
      HasSubstr("tokenizer.json: pre_tokenizer.pattern.Regex has a group that does not end"));
  Json odd = split;
  odd["behavior"] = "Sometimes";
  EXPECT_THAT(refusal_with("/pre_tokenizer", odd),
              HasSubstr("pre_tokenizer.behavior is 'Sometimes'; known are Isolated"));
  const Json after_bytes = {{"type", "Sequence"},
                            {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "ByteLevel"}}}}};
  EXPECT_THAT(refusal_with("/pre_tokenizer", after_bytes),
              HasSubstr("pretokenizers[1] stands behind a ByteLevel"));
}

TEST(TokenizerJson, WhatATrainingRunLeftBehindDoesNotChangeTokens) {
  Json changed = small_json();
  changed["truncation"] = {
      {"direction", "Right"}, {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}};
  changed["padding"] = {{"strategy", {{"Fixed", 16}}}, {"pad_id", 0}};
  const auto loaded = load_tokenizer_json(changed.dump(), "", "x");
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  EXPECT_EQ((*loaded)->encode("a b c a b c", SpecialTokens::kParse)->size(), 12u);
  EXPECT_THAT(refusal_with("/truncation", Json{{"surprise", 1}}),
              HasSubstr("truncation.surprise is not known here"));
}

TEST(TokenizerJson, RefusesVocabulariesThatContradictThemselves) {
  EXPECT_THAT(refusal_with("/model/vocab/x", 7), HasSubstr("ab is 7, and so is the id of 'x'"));
  EXPECT_THAT(refusal_with("/model/vocab/x", 10), HasSubstr("no token has the id 8"));
  EXPECT_THAT(refusal_with("/model/vocab/x", -1), HasSubstr("model.vocab.x is -1; the limits are"));
  EXPECT_THAT(refusal_with("/model/vocab/x", 4000000000u), HasSubstr("the limits are 0 and"));
  EXPECT_THAT(refusal_with("/model/vocab/x", 1.5), HasSubstr("model.vocab.x must be an integer"));
  EXPECT_THAT(refusal_with("/model/vocab", Json::object()), HasSubstr("model.vocab is empty"));
  EXPECT_THAT(refusal_with("/added_tokens/2/id", 8), HasSubstr("'</s>' has the id 8 of 'x'"));
  EXPECT_THAT(refusal_with("/added_tokens/0/id", 1), HasSubstr("'<unk>' has the id 1, but 0"));
  EXPECT_THAT(refusal_with("/model/unk_token", "<none>"),
              HasSubstr("model.unk_token names no token of model.vocab"));
  std::string twice = small_json().dump();
  twice.replace(twice.find("\"x\":8"), 5, "\"x\":8,\"a\":9");
  EXPECT_THAT(refusal(twice), HasSubstr("has the key 'a' twice"));
}

TEST(TokenizerJson, RefusesMergesThatMakeNoToken) {
  EXPECT_THAT(refusal_with("/model/merges/0", "a x"),
              HasSubstr("model.merges[0] needs the token 'ax'"));
  EXPECT_THAT(refusal_with("/model/merges/0", "a"),
              HasSubstr("model.merges[0] 'a' is not two words"));
  EXPECT_THAT(refusal_with("/model/merges/0", Json::array({"a"})),
              HasSubstr("model.merges[0] is not two words"));
  EXPECT_THAT(refusal_with("/model/merges/0", Json::array({"", "ab"})),
              HasSubstr("model.merges[0] has an empty word"));
  EXPECT_THAT(refusal_with("/model/merges/1", "a b"), HasSubstr("merge 1, of the tokens 3 and 4"));
  EXPECT_THAT(refusal_with("/model/merges", "a b"), HasSubstr("model.merges must be an array"));
}

TEST(TokenizerJson, RefusesTemplatesThatHoldNoTextOrUnknownTokens) {
  EXPECT_THAT(refusal_with("/post_processor/special_tokens/<s>/ids/0", 99),
              HasSubstr("ids[0] is 99; the vocabulary has 10 tokens"));
  EXPECT_THAT(refusal_with("/post_processor/single/0/SpecialToken/id", "<e>"),
              HasSubstr("is '<e>', which special_tokens does not have"));
  EXPECT_THAT(refusal_with("/post_processor/single", Json::array()),
              HasSubstr("post_processor.single must hold the Sequence 'A' once"));
  EXPECT_THAT(refusal_with("/post_processor/single/1/Sequence/id", "B"), HasSubstr("is not 'A'"));
}

TEST(TokenizerJson, RefusesAbsurdFilesQuickly) {
  EXPECT_THAT(refusal(std::string(20'000'000, '[')), HasSubstr("levels deep"));
  EXPECT_THAT(refusal("[]"), HasSubstr("the document must be an object"));
  EXPECT_THAT(refusal(""), HasSubstr("is not JSON"));
  EXPECT_THAT(refusal_with("/added_tokens/2/content", std::string(5000, 'x')),
              HasSubstr("has 5000 bytes; the limit is 512"));
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 40; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  EXPECT_THAT(refusal_with("/normalizer", deep), HasSubstr("levels deep"));
}

TEST(TokenizerJson, ACatastrophicPatternCostsAnErrorAndNotTheServer) {
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", "(?:x+x+)+y|x++y"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  Json changed = small_json();
  changed["pre_tokenizer"] = split;
  const auto loaded = load_tokenizer_json(changed.dump(), "", "x");
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  const auto ids = (*loaded)->encode(std::string(100'000, 'x') + " y", SpecialTokens::kParse);
  ASSERT_FALSE(ids.has_value());
  EXPECT_THAT(ids.error().text(), HasSubstr("too much for the model's pattern '(?:x+x+)+y|x++y'"));
}

TEST(TokenizerJson, MutatedFilesAreAcceptedOrRefusedAndNothingElse) {
  const std::string text = small_json().dump();
  std::mt19937 random(7);
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = text;
    for (uint32_t n = 1 + random() % 3; n > 0; --n) {
      const size_t at = random() % mutated.size();
      if (random() % 3 == 0)
        mutated.erase(at, 1 + random() % 8);
      else
        mutated[at] =
            static_cast<char>(random() % 2 == 0 ? random() % 256 : text[random() % text.size()]);
    }
    const auto loaded = load_tokenizer_json(mutated, "", "x");
    if (!loaded) continue;
    ++accepted;
    const auto ids = (*loaded)->encode("ab c \xFF</s> zz", SpecialTokens::kParse);
    if (ids) (*loaded)->decode_text(*ids, false);
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace ebb::models
