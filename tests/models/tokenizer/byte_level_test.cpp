#include "models/tokenizer/byte_level.h"

#include <gtest/gtest.h>

#include <set>

namespace ebb::models {
namespace {

TEST(ByteAlphabet, GivesEachByteATextOfItsOwnAndFindsItBack) {
  const ByteAlphabet alphabet;
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string& text = alphabet.text_of(static_cast<uint8_t>(byte));
    EXPECT_TRUE(seen.insert(text).second) << byte;
    EXPECT_EQ(alphabet.bytes_of(text), std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteAlphabet, SpellsASpaceAndANewlineAsGpt2Does) {
  const ByteAlphabet alphabet;
  EXPECT_EQ(alphabet.text_of(' '), "\u0120");
  EXPECT_EQ(alphabet.text_of('\n'), "\u010A");
  EXPECT_EQ(alphabet.text_of(0xAD), "\u0143");
  EXPECT_EQ(alphabet.text_of('A'), "A");
}

TEST(ByteAlphabet, RefusesCharactersOutsideIt) {
  const ByteAlphabet alphabet;
  EXPECT_FALSE(alphabet.bytes_of("a b"));
  EXPECT_FALSE(alphabet.bytes_of("\u4E2D"));
  EXPECT_FALSE(alphabet.bytes_of("\u0144"));
  EXPECT_FALSE(alphabet.bytes_of("\xFF"));
}

}  // namespace
}  // namespace ebb::models
