// From the body of a chat request to the text of its prompt, with templates in the shapes of all
// families: as Hugging Face's transformers makes it of what the API makes of the body.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "coordinator/prompt_builder.h"
#include "tests/coordinator/fake_engine.h"
#include "tests/support/tree_paths.h"

namespace ebb::coordinator {
namespace {

using Json = nlohmann::ordered_json;
using testing::FakeEngine;
using testing::FakeTokenizer;

constexpr uint32_t kContext = 1 << 20;

std::string read_file(const std::string& name) {
  std::ifstream in(ebb::test::source_path("tests/golden/" + name));
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class ChatPrompts : public ::testing::Test {
 protected:
  void SetUp() override {
    golden_ = Json::parse(read_file("templates.json"), nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(golden_.is_object());
    for (const auto& [name, text] : golden_["special"].items()) special_.emplace_back(name, text);
  }

  /// The prompt's text; nothing where the request is refused.
  std::optional<std::string> prompt(const std::string& source, const std::string& body) {
    const auto parsed = models::ChatTemplate::parse({{"default", source}}, special_, {});
    EXPECT_TRUE(parsed) << parsed.error().text();
    if (!parsed) return std::nullopt;
    OpenAiRequest request;
    const ApiLimits limits{kContext, testing::kVocabulary};
    const auto refused = parse_openai_request(body, Endpoint::kChat, limits, request);
    EXPECT_FALSE(refused) << refused->message;
    ApiContext context(engine_, tokenizer_, parsed->get(), metrics_);
    context.max_model_len = kContext;
    std::vector<BuiltPrompt> prompts;
    if (build_prompts(context, request, prompts)) return std::nullopt;
    std::string text;
    for (const TokenId id : prompts.at(0).tokens) text += tokenizer_.token_bytes(id);
    return text;
  }

  Json golden_;
  models::SpecialTexts special_;
  FakeEngine engine_;
  FakeTokenizer tokenizer_;
  Metrics metrics_;
};

TEST_F(ChatPrompts, OfAllTemplatesAreWhatTransformersMakesOfTheBody) {
  size_t compared = 0;
  for (const auto& [name, wanted] : golden_["request_prompts"].items()) {
    if (name == "(model)") continue;  // its text is in the model's file
    const std::string source = read_file("templates/" + name + ".jinja");
    if (source.find("strftime_now") != source.npos) continue;  // prompts of today
    ASSERT_EQ(wanted.size(), golden_["requests"].size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      SCOPED_TRACE(name + ", request " + std::to_string(i));
      const auto text = prompt(source, golden_["requests"][i].get<std::string>());
      const std::string none = "(refused)";
      EXPECT_EQ(text.value_or(none), wanted[i].is_null() ? none : wanted[i].get<std::string>());
      ++compared;
    }
  }
  EXPECT_GE(compared, 120u);
}

TEST_F(ChatPrompts, TellTodaysDate) {
  const std::string body = R"({"messages":[{"role":"user","content":"x"}]})";
  const auto year = prompt("{{ strftime_now('%Y') }}", body);
  ASSERT_TRUE(year);
  EXPECT_GE(std::stoi(*year), 2024);
}

}  // namespace
}  // namespace ebb::coordinator
