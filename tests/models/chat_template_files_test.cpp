#include "models/chat_template_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/temp_file.h"
#include "tests/support/tiny_llama.h"

namespace ebb::models {
namespace {

namespace testing = ebb::testing;
using ::testing::HasSubstr;

/// The text, or the error's.
std::string render(const Result<std::unique_ptr<ChatTemplate>>& chat_template,
                   const ChatInput& input = {}) {
  if (!chat_template) return chat_template.error().text();
  if (*chat_template == nullptr) return "(no template)";
  const auto text = (*chat_template)->render(input);
  return text ? *text : text.error().text();
}

std::string render_config(const std::string& tokenizer_config, const std::string& map = "") {
  return render(load_chat_template(ChatTemplateFiles{tokenizer_config, map, {}}));
}

const std::string kList =
    R"([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}])";

TEST(ChatTemplateFiles, ATokenizerConfigHoldsOneTemplateOrNone) {
  EXPECT_EQ(render_config(R"({"chat_template": "a{{ 1 + 1 }}"})"), "a2");
  EXPECT_EQ(render_config("{}"), "(no template)");
  EXPECT_EQ(render_config(""), "(no template)");
  EXPECT_EQ(render_config(R"({"chat_template": null})"), "(no template)");
}

TEST(ChatTemplateFiles, SpecialTokensComeFromEitherFile) {
  const std::string chat =
      R"("chat_template": "{{ bos_token }} {{ eos_token }} {{ pad_token is none }}")";
  EXPECT_EQ(render_config(R"({"bos_token": "<s>", "eos_token": {"content": "</s>"},)" + chat + "}"),
            "<s> </s> False");
  EXPECT_EQ(render_config(R"({"bos_token": null, "eos_token": "E",)" + chat + "}",
                          R"({"bos_token": {"content": "B"}, "eos_token": "X"})"),
            "B E False");
}

TEST(ChatTemplateFiles, OfSeveralTemplatesTheToolsDecide) {
  const std::string config = R"({"chat_template": )" + kList + "}";
  const auto loaded = load_chat_template(ChatTemplateFiles{config, "", {}});
  ChatInput input;
  EXPECT_EQ(render(loaded, input), "plain");
  input.tools = jinja::List{jinja::Dict()};
  EXPECT_EQ(render(loaded, input), "tools");
  input.template_name = "default";
  EXPECT_EQ(render(loaded, input), "plain");
  input.template_name = "rag";
  EXPECT_EQ(render(loaded, input),
            "not_found: this model has no chat template \"rag\", only \"default\", \"tool_use\"");
}

TEST(ChatTemplateFiles, WithoutADefaultOneMustBeNamed) {
  const auto loaded =
      load_chat_template(ChatTemplateFiles{"", "", {{"a", "x"}, {"tool_use", "y"}}});
  EXPECT_THAT(render(loaded), HasSubstr("choose one of \"a\", \"tool_use\""));
}

TEST(ChatTemplateFiles, FilesOfTheirOwnGoBeforeTheConfig) {
  const std::string config = R"({"bos_token": "<s>", "chat_template": "old"})";
  EXPECT_EQ(render(load_chat_template(
                ChatTemplateFiles{config, "", {{"default", "new {{ bos_token }}"}}})),
            "new <s>");
}

TEST(ChatTemplateFiles, AnOldChatTemplateJsonCountsWhereNothingElseDoes) {
  const std::string older = R"({"chat_template": "older {{ bos_token }}"})";
  const std::string config = R"({"bos_token": "<s>"})";
  EXPECT_EQ(render(load_chat_template(ChatTemplateFiles{config, "", {}, older})), "older <s>");
  EXPECT_EQ(render(load_chat_template(ChatTemplateFiles{config, "", {{"default", "x"}}, older})),
            "x");
  EXPECT_EQ(render(load_chat_template(
                ChatTemplateFiles{R"({"chat_template": "config"})", "", {}, older})),
            "config");
  EXPECT_THAT(render(load_chat_template(ChatTemplateFiles{config, "", {}, "[]"})),
              HasSubstr("chat_template.json: "));
  EXPECT_THAT(
      render(load_chat_template(ChatTemplateFiles{config, "", {}, R"({"chat_template": 5})"})),
      HasSubstr("chat_template.json: chat_template is neither"));
}

TEST(ChatTemplateFiles, WhatIsWrongInTheFilesIsNamed) {
  EXPECT_THAT(render_config("{"), HasSubstr("tokenizer_config.json: is not JSON"));
  EXPECT_THAT(render_config("[]"), HasSubstr("must be an object, not an array"));
  EXPECT_THAT(render_config("{}", "1"), HasSubstr("special_tokens_map.json"));
  EXPECT_THAT(render_config(R"({"chat_template": 5})"), HasSubstr("neither a string nor a list"));
  EXPECT_THAT(render_config(R"({"chat_template": [{"name": "a"}]})"),
              HasSubstr("without name or template"));
  EXPECT_THAT(render_config(R"({"chat_template": [{"name": "a", "template": ""},
                                                  {"name": "a", "template": ""}]})"),
              HasSubstr("the name \"a\" occurs twice"));
  EXPECT_THAT(render_config(R"({"chat_template": [{"name": "a", "template": "{{"}]})"),
              HasSubstr("chat template \"a\": line 1, column 1"));
}

Result<std::unique_ptr<ChatTemplate>> load_gguf(
    const std::function<void(testing::GgufWriter&)>& add) {
  testing::GgufWriter writer;
  testing::put_tiny_tokenizer(writer, testing::kTinyTokens);
  add(writer);
  const testing::TempFile file(".gguf");
  writer.write(file.path());
  const auto gguf = EBB_TRY(GgufFile::open(file.path()));
  return load_chat_template(*gguf);
}

TEST(ChatTemplateFiles, AGgufFileNamesItsFurtherTemplates) {
  const auto loaded = load_gguf([](testing::GgufWriter& writer) {
    writer.put_strings("tokenizer.chat_templates", {"tool_use"});
    writer.put_string("tokenizer.chat_template.tool_use", "{{ bos_token }} {{ eos_token }}");
    writer.put_u32("tokenizer.ggml.unknown_token_id", UINT32_MAX);
  });
  ChatInput input;
  EXPECT_EQ(render(loaded, input), "<|im_start|>assistant\n");
  input.tools = jinja::List{jinja::Dict()};
  EXPECT_EQ(render(loaded, input), "<|im_start|> <|im_end|>");
}

TEST(ChatTemplateFiles, AGgufFileThatNamesATemplateMustHoldIt) {
  const auto loaded = load_gguf([](testing::GgufWriter& writer) {
    writer.put_strings("tokenizer.chat_templates", {"tool_use"});
  });
  EXPECT_THAT(render(loaded), HasSubstr("tokenizer.chat_template.tool_use: not in"));
}

}  // namespace
}  // namespace ebb::models
