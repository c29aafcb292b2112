// Tokens that may come next, against a plain trial of each; limits on memory and work.
#include "models/grammar/token_matcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/grammar/texts.h"

namespace ebb::models::grammar::testing {
namespace {

using ::testing::HasSubstr;

/// All bytes, many pieces of JSON and words, two tokens alike, some that are no text.
TokenTable small_vocabulary() {
  TokenTable table;
  for (int byte = 0; byte < 256; ++byte) table.tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* text : {"",       "{\"",          "\":",
                           "\": \"", "\",\"",        "\"}",
                           "[]",     "null",         "true",
                           "name",   "\xE2\x82\xAC", "\xE2\x82",
                           "\xAC\"", "12",           "123",
                           "  ",     "\n  \"",       "name",
                           "e\":",   "}}",           "a very long token of thirty bytes"}) {
    table.tokens.emplace_back(text);
  }
  return table;
}

std::shared_ptr<const Grammar> compiled(ConstraintKind kind, std::string_view source) {
  auto grammar = compile_constraint(kind, source);
  EBB_CHECK(grammar.has_value());
  return std::make_shared<const Grammar>(*std::move(grammar));
}

std::shared_ptr<const TokenTrie> small_trie() {
  return std::make_shared<const TokenTrie>(small_vocabulary());
}

/// Compares with a trial of each token, token by token along random texts.
void expect_exact(ConstraintKind kind, std::string_view source, MatcherLimits limits) {
  const TokenTable table = small_vocabulary();
  const auto grammar = compiled(kind, source);
  TokenMatcher matcher(grammar, small_trie(), limits);
  std::mt19937_64 random(3);
  for (int run = 0; run < 8; ++run) {
    TokenMatcher::Cursor cursor(matcher);
    Language language{Grammar(*grammar)};
    std::string text;
    for (int step = 0; step < 40 && !cursor.ends(); ++step) {
      const auto allowed = cursor.allowed();
      ASSERT_TRUE(allowed) << allowed.error().message;
      std::vector<TokenId> choices;
      for (size_t id = 0; id < table.tokens.size(); ++id) {
        const bool fits = !table.tokens[id].empty() && language.begins(text + table.tokens[id]);
        const auto token = static_cast<TokenId>(id);
        ASSERT_EQ((*allowed)->contains(token), fits) << text << " + " << table.tokens[id];
        if (fits) choices.push_back(token);
      }
      if (choices.empty()) break;
      const TokenId token = choices[random() % choices.size()];
      cursor.advance(token);
      text += table.tokens[static_cast<size_t>(token)];
      ASSERT_EQ(cursor.accepts(), language.has(text)) << text;
    }
  }
}

constexpr std::string_view kNames = R"({"type":"object","properties":{"name":{"type":"string"},
  "tags":{"type":"array","items":{"enum":["name","12",null]}}},"required":["name"]})";

TEST(TokenMatcher, AllowsExactlyTheTokensThatTheLanguageAllows) {
  expect_exact(ConstraintKind::kJsonSchema, kNames, {});
  expect_exact(ConstraintKind::kJsonObject, "", {});
  expect_exact(ConstraintKind::kRegex, "(name|null)*12{1,3}\xE2\x82\xAC?", {});
  expect_exact(ConstraintKind::kChoice, R"(["null","12","123","\u20ac"])", {});
}

TEST(TokenMatcher, ForgettingStatesBetweenTokensChangesNothing) {
  MatcherLimits tight;
  tight.automaton_bytes = 1;
  tight.mask_bytes = 100;
  expect_exact(ConstraintKind::kJsonSchema, kNames, tight);
  expect_exact(ConstraintKind::kJsonObject, "", tight);
}

TEST(TokenMatcher, SequencesAtDifferentPlacesDoNotDisturbEachOther) {
  MatcherLimits tight;
  tight.automaton_bytes = 1;
  TokenMatcher matcher(compiled(ConstraintKind::kJsonObject, ""), small_trie(), tight);
  TokenMatcher::Cursor first(matcher), second(matcher);
  const auto feed = [](TokenMatcher::Cursor& cursor, std::string_view text) {
    for (const char c : text) {
      const auto id = static_cast<TokenId>(static_cast<uint8_t>(c));
      const auto allowed = cursor.allowed();
      ASSERT_TRUE(allowed);
      ASSERT_TRUE((*allowed)->contains(id)) << text;
      cursor.advance(id);
    }
  };
  feed(first, "{\"a\":[[");
  feed(second, "{\"b");
  feed(first, "1]]");
  feed(second, "\":true}");
  feed(first, "}");
  EXPECT_TRUE(first.ends());
  EXPECT_TRUE(second.ends());
}

TEST(TokenMatcher, TheSameStateIsComputedOnce) {
  TokenMatcher matcher(compiled(ConstraintKind::kRegex, "(ab)*"), small_trie());
  TokenMatcher::Cursor cursor(matcher);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(cursor.allowed());
    cursor.advance(i % 2 == 0 ? 'a' : 'b');
  }
  EXPECT_LE(matcher.sets_made(), 3u);
}

TEST(TokenMatcher, MemoryStaysBoundedOverALongAnswer) {
  MatcherLimits limits;
  limits.automaton_bytes = 200'000;
  limits.mask_bytes = 10'000;
  TokenMatcher matcher(compiled(ConstraintKind::kRegex, "(\\w{1,9} ){4000}"), small_trie(), limits);
  TokenMatcher::Cursor cursor(matcher);
  uint64_t most = 0;
  for (int i = 0; i < 8000; ++i) {
    ASSERT_TRUE(cursor.allowed());
    cursor.advance(i % 2 == 0 ? 'a' : ' ');
    most = std::max(most, matcher.bytes());
  }
  // One token's walk may add to it before it is trimmed.
  EXPECT_LT(most, 2 * limits.automaton_bytes);
}

TEST(TokenMatcher, AmbiguityWithoutEndIsAnErrorNotAWait) {
  MatcherLimits limits;
  limits.places_per_token = 100'000;
  TokenMatcher matcher(
      compiled(ConstraintKind::kRegex, "(((a|aa){0,60}|a){0,60}(a|aa){0,60}){0,60}b"), small_trie(),
      limits);
  TokenMatcher::Cursor cursor(matcher);
  for (int i = 0; i < 200; ++i) {
    const auto allowed = cursor.allowed();
    if (!allowed) {
      EXPECT_THAT(allowed.error().message, HasSubstr("too ambiguous"));
      return;
    }
    cursor.advance('a');
  }
  FAIL() << "200 tokens without an error";
}

TEST(TokenMatcher, AVocabularyThatCannotSpellTheTextIsAnError) {
  TokenTable table;
  table.tokens = {"a", "b"};
  TokenMatcher matcher(compiled(ConstraintKind::kRegex, "abc"),
                       std::make_shared<const TokenTrie>(table));
  TokenMatcher::Cursor cursor(matcher);
  ASSERT_TRUE(cursor.allowed());
  cursor.advance(0);
  ASSERT_TRUE(cursor.allowed());
  cursor.advance(1);
  const auto allowed = cursor.allowed();
  ASSERT_FALSE(allowed);
  EXPECT_THAT(allowed.error().message, HasSubstr("no token of the vocabulary"));
}

TEST(TokenTable, TravelsWhole) {
  TokenTable table = small_vocabulary();
  table.tokens.push_back(std::string(300, 'x'));
  table.tokens.push_back(std::string("\0\0", 2));
  const std::string packed = pack_token_table(table);
  const auto unpacked = unpack_token_table(packed);
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(*unpacked, table);
  EXPECT_NE(token_table_digest(packed), token_table_digest(packed + "x"));
}

TEST(TokenTable, BrokenBytesAreRefused) {
  const std::string packed = pack_token_table(small_vocabulary());
  for (size_t size = 0; size < packed.size(); size += 7) {
    EXPECT_FALSE(unpack_token_table(packed.substr(0, size))) << size;
  }
  EXPECT_FALSE(unpack_token_table(packed + "x"));
  EXPECT_FALSE(unpack_token_table("\xFF\xFF\xFF\xFF\xFF\xFF"));
  EXPECT_FALSE(unpack_token_table("\xFF\xFF\xFF\x7F"));
}

TEST(TokenTrie, HoldsEveryTokenAtItsSpelling) {
  const TokenTable table = small_vocabulary();
  const TokenTrie trie(table);
  std::vector<std::string> found(table.tokens.size());
  std::string path;
  for (uint32_t node = 0; node < trie.nodes(); ++node) {
    path.resize(trie.depth(node) - 1);
    path += static_cast<char>(trie.byte(node));
    ASSERT_GT(trie.end(node), node);
    const auto [begin, end] = trie.tokens(node);
    for (const TokenId* id = begin; id != end; ++id) found[static_cast<size_t>(*id)] = path;
  }
  EXPECT_EQ(found, table.tokens);
}

}  // namespace
}  // namespace ebb::models::grammar::testing
