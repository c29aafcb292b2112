// The golden reference and our tokenizer must speak of the same tokens, and the file must be what
// its readers take it for. (Whether our logits agree with it is the worker's test.)
#include <gtest/gtest.h>

#include "models/tokenizer.h"
#include "tests/models/golden_files.h"

namespace ebb::models {
namespace {

std::vector<TokenId> ids_of(const nlohmann::json& record, const char* key = "ids") {
  return record.at(key).get<std::vector<TokenId>>();
}

TEST(GoldenReference, PromptsEncodeToTheirIds) {
  std::unique_ptr<GgufFile> file = testing::open_real_model();
  ASSERT_NE(file, nullptr);
  Result<std::unique_ptr<Tokenizer>> tokenizer = load_tokenizer(*file);
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  nlohmann::json golden = testing::read_golden("smollm2_reference.json");
  ASSERT_EQ(golden.at("prompts").size(), 5u);
  for (const nlohmann::json& prompt : golden.at("prompts")) {
    SCOPED_TRACE(prompt.at("name").get<std::string>());
    std::string text = prompt.at("text");
    const auto ids = (*tokenizer)->encode(text, SpecialTokens::kParse);
    ASSERT_TRUE(ids.has_value()) << ids.error().text();
    EXPECT_EQ(*ids, ids_of(prompt));
    EXPECT_EQ((*tokenizer)->decode(ids_of(prompt, "continuation"), /*skip_special=*/false),
              prompt.at("continuation_text").get<std::string>());
  }
  const nlohmann::json& text = golden.at("text");
  EXPECT_EQ((*tokenizer)->decode(ids_of(text), false), text.at("text").get<std::string>());
}

TEST(GoldenReference, StepsAreWhatTheReadmeSays) {
  nlohmann::json golden = testing::read_golden("smollm2_reference.json");
  EXPECT_EQ(golden.at("text").at("ids").size(), 300u);
  EXPECT_EQ(golden.at("text").at("logprobs").size(), 300u);
  EXPECT_EQ(golden.at("residual_stream").at("taps").size(), 31u);
  for (const nlohmann::json& prompt : golden.at("prompts")) {
    std::vector<TokenId> continuation = ids_of(prompt, "continuation");
    ASSERT_EQ(prompt.at("steps").size(), continuation.size());
    for (size_t i = 0; i < continuation.size(); ++i) {
      const nlohmann::json& step = prompt.at("steps")[i];
      ASSERT_EQ(step.at("top").size(), 5u);
      EXPECT_EQ(step.at("best"), continuation[i]);
      EXPECT_EQ(step.at("top")[0][0], step.at("best"));
      EXPECT_EQ(step.at("top")[1][0], step.at("second"));
      double lead = step.at("top")[0][1].get<double>() - step.at("top")[1][1].get<double>();
      EXPECT_NEAR(lead, step.at("margin").get<double>(), 2e-5);
    }
  }
}

}  // namespace
}  // namespace ebb::models
