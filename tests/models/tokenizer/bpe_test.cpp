#include "models/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <utility>

namespace ebb::models {
namespace {

using ::testing::ElementsAre;

/// Bytes are their own tokens; merges get the ids from 256 on, in order of rank.
struct Table {
  MergeTable merges{64};
  std::vector<std::pair<TokenId, TokenId>> pairs;

  TokenId add(TokenId left, TokenId right) {
    const auto rank = static_cast<uint32_t>(pairs.size());
    const TokenId merged = 256 + static_cast<TokenId>(rank);
    if (merges.add(left, right, {rank, merged})) pairs.emplace_back(left, right);
    return merged;
  }
  std::vector<TokenId> encode(std::string_view piece) const {
    const std::vector<TokenId> symbols(piece.begin(), piece.end());
    std::vector<TokenId> out;
    BpeScratch scratch;
    bpe_encode(merges, symbols, scratch, out);
    return out;
  }
};

/// The definition, word by word: look at all pairs, merge the best, begin again.
std::vector<TokenId> encode_slowly(const MergeTable& merges, std::string_view piece) {
  std::vector<TokenId> tokens;
  for (char c : piece) tokens.push_back(static_cast<unsigned char>(c));
  for (;;) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const Merge* merge = merges.find(tokens[i], tokens[i + 1]);
      if (merge == nullptr || (best != nullptr && best->rank <= merge->rank)) continue;
      best = merge;
      at = i;
    }
    if (best == nullptr) return tokens;
    tokens[at] = best->token;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, MergesTheLowestRankFirstAndTheLeftmostOfEquals) {
  Table table;
  const TokenId bc = table.add('b', 'c');
  const TokenId ab = table.add('a', 'b');
  const TokenId aa = table.add('a', 'a');
  EXPECT_THAT(table.encode("abc"), ElementsAre('a', bc));
  EXPECT_THAT(table.encode("abab"), ElementsAre(ab, ab));
  EXPECT_THAT(table.encode("aaa"), ElementsAre(aa, 'a'));
}

TEST(Bpe, NothingAndOneSymbolStayAsTheyAre) {
  Table table;
  table.add('a', 'b');
  EXPECT_THAT(table.encode(""), ElementsAre());
  EXPECT_THAT(table.encode("a"), ElementsAre('a'));
}

TEST(Bpe, APairMergesOneWayOnly) {
  MergeTable merges(2);
  EXPECT_TRUE(merges.add(1, 2, {0, 3}));
  EXPECT_FALSE(merges.add(1, 2, {1, 4}));
  ASSERT_NE(merges.find(1, 2), nullptr);
  EXPECT_EQ(merges.find(1, 2)->token, 3);
  EXPECT_EQ(merges.find(2, 1), nullptr);
}

TEST(Bpe, EqualsTheDefinitionOnRandomVocabulariesAndTexts) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    Table table;
    std::vector<TokenId> known = {'a', 'b', 'c'};
    for (int i = 0; i < 30; ++i) {
      const TokenId left = known[random() % known.size()];
      const TokenId right = known[random() % known.size()];
      if (table.merges.find(left, right) == nullptr) known.push_back(table.add(left, right));
    }
    std::string text;
    for (uint32_t i = 0; i < 5 + seed; ++i) text.push_back(static_cast<char>('a' + random() % 3));
    ASSERT_EQ(table.encode(text), encode_slowly(table.merges, text));
  }
}

TEST(Bpe, AMegabyteInOnePieceIsNotQuadratic) {
  Table table;
  TokenId run = 'a';
  for (int i = 0; i < 8; ++i) run = table.add(run, run);
  const std::string text(1 << 20, 'a');
  const auto tokens = table.encode(text);  // 4096 tokens of 256; squared, this would take minutes
  EXPECT_EQ(tokens.size(), text.size() / 256);
}

}  // namespace
}  // namespace ebb::models
