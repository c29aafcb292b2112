// Tokenizers of the shape of each model family, against what Hugging Face's `tokenizers` makes of
// the same 20 000 lines (tests/golden/make_tokenizers.py): encoded both ways and decoded.
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <sstream>

#include "models/tokenizer.h"
#include "models/tokenizer/gguf_spec.h"
#include "tests/models/tokenizer/generated_lines.h"
#include "tests/support/tree_paths.h"

namespace ebb::models {
namespace {

using testing::GeneratedLines;
using Json = nlohmann::json;

constexpr uint64_t kGroup = 200;
constexpr uint64_t kRandomGroup = 20;
constexpr uint64_t kRandomCount = 2000;

/// CRC-32 of zlib.
class Crc {
 public:
  void add(const void* data, size_t bytes) {
    static const auto kTable = [] {
      std::array<uint32_t, 256> table{};
      for (uint32_t i = 0; i < 256; ++i) {
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit) {
          table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? 0xEDB88320u : 0);
        }
      }
      return table;
    }();
    const auto* at = static_cast<const uint8_t*>(data);
    for (size_t i = 0; i < bytes; ++i) value_ = kTable[(value_ ^ at[i]) & 255] ^ (value_ >> 8);
  }
  void add_ids(const std::vector<TokenId>& ids) {
    add(ids.data(), ids.size() * sizeof(TokenId));
    const TokenId end = -1;
    add(&end, sizeof(end));
  }
  void add_text(const std::string& text) { add(text.c_str(), text.size() + 1); }
  uint32_t take() {
    const uint32_t value = ~value_;
    value_ = ~0u;
    return value;
  }

 private:
  uint32_t value_ = ~0u;
};

const GeneratedLines& lines() {
  static const GeneratedLines kLines;
  return kLines;
}

const Json& golden() {
  static const Json kGolden = testing::read_golden("tokenizers/golden.json");
  return kGolden;
}

std::string file_text(const std::string& family) {
  std::ifstream in(ebb::test::source_path("tests/golden/tokenizers/" + family + ".json"));
  EXPECT_TRUE(in.good()) << family;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::unique_ptr<Tokenizer> load(const std::string& family) {
  auto loaded = load_tokenizer_json(file_text(family), "", family + ".json");
  EXPECT_TRUE(loaded.has_value()) << loaded.error().text();
  return loaded ? *std::move(loaded) : nullptr;
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, const std::string& text,
                            SpecialTokens special) {
  auto ids = tokenizer.encode(text, special);
  EXPECT_TRUE(ids.has_value()) << ids.error().text();
  return ids ? *std::move(ids) : std::vector<TokenId>();
}

/// Compares groups of lines, and says of the first group that differs which one it is.
class Comparison {
 public:
  Comparison(const Json& expected, uint64_t group) : expected_(expected), group_(group) {}
  Crc& crc() { return crc_; }
  void end_of_line(uint64_t number, const char* what) {
    if ((number + 1) % group_ != 0) return;
    const uint64_t group = number / group_;
    if (crc_.take() != expected_.at(group).get<uint32_t>() && differing_++ == 0) {
      ADD_FAILURE() << what << ": lines " << group * group_ << " to " << number;
    }
  }
  ~Comparison() { EXPECT_EQ(differing_, 0) << "of " << expected_.size() << " groups"; }

 private:
  const Json& expected_;
  uint64_t group_;
  Crc crc_;
  int differing_ = 0;
};

void compare_lines(const Tokenizer& tokenizer, const Json& crc) {
  Comparison parsed(crc["parsed"], kGroup), as_text(crc["as_text"], kGroup),
      decoded(crc["decoded"], kGroup);
  for (uint64_t i = 0; i < lines().count(); ++i) {
    const std::string line = lines().line(i);
    const auto ids = encode(tokenizer, line, SpecialTokens::kParse);
    parsed.crc().add_ids(ids);
    parsed.end_of_line(i, "parsed");
    as_text.crc().add_ids(encode(tokenizer, line, SpecialTokens::kAsText));
    as_text.end_of_line(i, "as text");
    decoded.crc().add_text(tokenizer.decode_text(ids, /*skip_special=*/true));
    decoded.end_of_line(i, "decoded");
  }
}

class Families : public ::testing::TestWithParam<std::string> {};

TEST_P(Families, GiveTheReferencesIdsForTheFirstLines) {
  const auto tokenizer = load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const Json& ids = golden()["families"][GetParam()]["ids"];
  ASSERT_GE(ids.size(), 48u);
  for (uint64_t i = 0; i < ids.size(); ++i) {
    const std::string line = lines().line(i);
    EXPECT_EQ(encode(*tokenizer, line, SpecialTokens::kParse), ids[i].get<std::vector<TokenId>>())
        << "line " << i << ": " << line;
  }
}

TEST_P(Families, AgreeWithTheReferenceOnAllLinesBothWays) {
  const auto tokenizer = load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  compare_lines(*tokenizer, golden()["families"][GetParam()]["crc"]);
}

TEST_P(Families, DecodeIdsThatNoTextGivesAsTheReferenceDoes) {
  const auto tokenizer = load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  Comparison random(golden()["families"][GetParam()]["crc"]["random"], kRandomGroup);
  for (uint64_t i = 0; i < kRandomCount; ++i) {
    const auto ids = testing::random_ids(i, tokenizer->vocabulary());
    random.crc().add_text(tokenizer->decode_text(ids, /*skip_special=*/false));
    random.end_of_line(i, "random ids");
  }
}

TEST_P(Families, PutTheReferencesIdsAroundATextAndStreamWhatTheyDecode) {
  const auto tokenizer = load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const Json& expected = golden()["families"][GetParam()];
  EXPECT_EQ(tokenizer->ids_before(), expected["before"].get<std::vector<TokenId>>());
  EXPECT_EQ(tokenizer->ids_after(), expected["after"].get<std::vector<TokenId>>());
  for (uint64_t i = 0; i < 500; ++i) {
    const auto ids = encode(*tokenizer, lines().line(i), SpecialTokens::kParse);
    Detokenizer detokenizer(*tokenizer, Detokenizer::Begin::kText);
    std::string streamed;
    for (const TokenId id : ids) streamed += detokenizer.push(id);
    ASSERT_EQ(utf8_replaced(streamed), tokenizer->decode_text(ids, /*skip_special=*/false))
        << "line " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Families,
                         ::testing::Values("gpt2", "gpt2_prefix", "llama3", "qwen2", "smollm",
                                           "smollm3", "deepseek_llm", "deepseek_coder",
                                           "deepseek_v3", "tekken", "behaviors", "llama2",
                                           "llama2_added", "mistral", "metaspace"),
                         [](const auto& family) { return family.param; });

}  // namespace
}  // namespace ebb::models
