// ModelFiles: tensors by role, and what a model's files say beside them.
#include "models/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/gguf.h"
#include "tests/support/temp_file.h"
#include "tests/support/tiny_llama.h"

namespace ebb::models {
namespace {

using ::testing::HasSubstr;

TEST(ModelFiles, FindsTensorsOfAGgufFileByRole) {
  testing::TempFile temp(".gguf");
  testing::write_tiny_llama(temp.path(), {.layers = 2});
  auto files = ModelFiles::open(temp.path());
  ASSERT_TRUE(files) << files.error().text();
  EXPECT_EQ((*files)->path(), temp.path());
  EXPECT_EQ((*files)->shape().layers, 2u);
  EXPECT_EQ((*files)->tensor(TensorRole::kEmbedding, 0)->name, "token_embd.weight");
  EXPECT_EQ((*files)->tensor(TensorRole::kHead, 0)->name, "token_embd.weight");
  EXPECT_EQ((*files)->tensor(TensorRole::kDown, 1)->name, "blk.1.ffn_down.weight");
  EXPECT_TRUE((*files)->has(TensorRole::kGate, 1));
  EXPECT_FALSE((*files)->has(TensorRole::kQBias, 0));
  EXPECT_EQ((*files)->tensor(TensorRole::kQBias, 0).error().code, Code::kNotFound);
}

TEST(ModelFiles, ForgottenPagesComeBackUnchanged) {
  testing::TempFile temp(".gguf");
  testing::write_tiny_llama(temp.path(), {.vocabulary = 4096});
  auto files = ModelFiles::open(temp.path());
  ASSERT_TRUE(files) << files.error().text();
  const TensorView view = *(*files)->tensor(TensorRole::kEmbedding, 0);
  const std::string before(reinterpret_cast<const char*>(view.data), view.bytes);
  (*files)->forget_pages(view);
  EXPECT_EQ(before, std::string_view(reinterpret_cast<const char*>(view.data), view.bytes));
}

TEST(ModelFiles, SpeakWithTheModelsTokenizerAndTemplate) {
  testing::TempFile temp(".gguf");
  testing::write_tiny_llama(temp.path());
  auto files = ModelFiles::open(temp.path());
  ASSERT_TRUE(files) << files.error().text();
  auto tokenizer = (*files)->tokenizer();
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  EXPECT_EQ((*tokenizer)->vocabulary(), 288u);
  auto chat = (*files)->chat_template();
  ASSERT_TRUE(chat) << chat.error().text();
  jinja::Dict message;
  message.set("role", "user");
  message.set("content", "hi");
  ChatInput input;
  input.messages = {message};
  input.add_generation_prompt = false;
  EXPECT_EQ(*(*chat)->render(input), "<|im_start|>user\nhi<|im_end|>\n");
}

TEST(ModelFiles, GgufMetadataGiveTheDefaultsOfSampling) {
  testing::GgufWriter writer = testing::tiny_llama();
  writer.put_f32("general.sampling.temp", 0.5f).put_i32("general.sampling.top_k", 40);
  writer.put_u32("tokenizer.ggml.eot_token_id", 1);
  testing::TempFile temp(".gguf");
  writer.write(temp.path());
  auto files = ModelFiles::open(temp.path());
  ASSERT_TRUE(files) << files.error().text();
  const GenerationDefaults defaults = (*files)->generation_defaults();
  EXPECT_EQ(defaults.temperature, 0.5);
  EXPECT_EQ(defaults.top_k, 40);
  EXPECT_EQ(defaults.top_p, std::nullopt);
  EXPECT_THAT(defaults.end_of_text, ::testing::ElementsAre(testing::kTinyImEnd, 1));
  writer.put_f32("general.sampling.top_p", 7);
  writer.write(temp.path());
  EXPECT_THAT(ModelFiles::open(temp.path()).error().message,
              HasSubstr("general.sampling.top_p: 7.0"));
}

TEST(ModelFiles, AModelWithoutANameIsCalledByItsFile) {
  testing::GgufWriter writer;
  put_tiny_metadata(writer, {.name = ""});
  add_tiny_tensors(writer, {});
  testing::TempFile temp(".gguf");
  writer.write(temp.path());
  const std::string name = (*ModelFiles::open(temp.path()))->shape().name;
  EXPECT_FALSE(name.empty());
  EXPECT_EQ(name.find(".gguf"), std::string::npos);
}

TEST(ModelFiles, SayWhenThereIsNoSuchPath) {
  auto error = ModelFiles::open("/nonexistent/model").error();
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_THAT(error.message, HasSubstr("/nonexistent/model"));
}

}  // namespace
}  // namespace ebb::models
