// Whole templates in the shapes of the families, and the default model's own, on conversations of
// all kinds: the prompts are those of Hugging Face's transformers, and where it raises, so do we.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "models/jinja/interpreter.h"
#include "models/jinja/parser.h"
#include "tests/models/golden_files.h"
#include "tests/models/template_values.h"
#include "tests/support/tree_paths.h"

namespace ebb::models {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

Json read_golden(const std::string& name) {
  std::ifstream in(ebb::test::source_path("tests/golden/" + name));
  return Json::parse(in, nullptr, /*allow_exceptions=*/false);
}

class ChatGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    golden_ = read_golden("templates.json");
    ASSERT_TRUE(golden_.is_object());
    for (const auto& [name, text] : golden_["special"].items()) special_.emplace_back(name, text);
  }

  /// The prompts of one template; `name` stands in the golden file.
  void compare(const std::string& name, const std::string& source) {
    SCOPED_TRACE(name);
    const auto parsed = ChatTemplate::parse({{"default", source}}, special_, {});
    ASSERT_TRUE(parsed) << parsed.error().text();
    const Json& prompts = golden_["prompts"][name];
    ASSERT_EQ(prompts.size(), golden_["conversations"].size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      const Json& conversation = golden_["conversations"][i];
      SCOPED_TRACE(conversation["name"].get<std::string>());
      ChatInput input = testing::chat_input(conversation);
      input.local_time = testing::local_time(golden_["now"]);
      const auto text = (*parsed)->render(input);
      if (prompts[i].is_null()) {
        EXPECT_FALSE(text) << *text;
      } else if (!text) {
        ADD_FAILURE() << text.error().text() << "\nwanted\n" << prompts[i].get<std::string>();
      } else {
        EXPECT_EQ(*text, prompts[i].get<std::string>());
      }
    }
  }

  static std::string source_of(const std::string& name) {
    std::ifstream in(ebb::test::source_path("tests/golden/templates/" + name + ".jinja"));
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

  Json golden_;
  SpecialTexts special_;
};

TEST_F(ChatGolden, TemplatesOfAllFamiliesGiveTransformersPrompts) {
  ASSERT_GE(golden_["prompts"].size(), 17u);
  for (const auto& [name, prompts] : golden_["prompts"].items()) {
    if (name != "(model)") compare(name, source_of(name));
  }
}

TEST_F(ChatGolden, TheRealModelsTemplateGivesTransformersPrompts) {
  const auto file = testing::open_real_model();
  ASSERT_NE(file, nullptr);
  const auto source = file->get_string("tokenizer.chat_template");
  ASSERT_TRUE(source.has_value());
  compare("(model)", *source);
}

TEST(TemplateGolden, EveryThingThatTemplatesCanSayIsAsInJinja2) {
  const Json golden = read_golden("template_expressions.json");
  ASSERT_TRUE(golden.is_object());
  ASSERT_GE(golden["cases"].size(), 750u);
  jinja::RenderOptions options{1'000'000, 1 << 20, testing::local_time(golden["now"])};
  const jinja::Value variables = testing::template_value(golden["variables"]);
  for (const Json& entry : golden["cases"]) {
    const auto source = entry[0].get<std::string>();
    const auto body = jinja::parse_template(source);
    const auto text = body ? jinja::render(*body, *variables.dict(), options) : body.error();
    if (entry[1].is_null()) {
      ASSERT_FALSE(text) << source << "\ngave " << *text;
      EXPECT_THAT(text.error().message, HasSubstr("line ")) << source;
    } else if (!text) {
      ADD_FAILURE() << source << "\n" << text.error().text();
    } else {
      EXPECT_EQ(*text, entry[1].get<std::string>()) << source;
    }
  }
}

}  // namespace
}  // namespace ebb::models
