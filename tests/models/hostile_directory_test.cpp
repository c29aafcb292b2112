// Directories with one file that is wrong, through the doors that a server uses: each gets an error
// that names the file and the limit, and costs next to no memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "models/model_files.h"
#include "tests/support/peak_memory.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_hugging_face.h"

namespace ebb::models {
namespace {

using ::ebb::test::TempDir;
using ::ebb::testing::peak_growth_kib;
using ::ebb::testing::TinyHuggingFace;
using ::testing::HasSubstr;

constexpr const char* kTokenizer =
    R"({"decoder":{"type":"Fuse"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},)"
    R"("merges":["a b"]}})";

/// A model of two shards that opens, with every file that is looked at.
class HostileDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_hugging_face(dir_.path(), TinyHuggingFace{.layers = 1, .shards = 2});
    dir_.file("generation_config.json", "{}");
    dir_.file("tokenizer.json", kTokenizer);
    dir_.file("tokenizer_config.json", "{}");
    dir_.file("special_tokens_map.json", "{}");
    dir_.file("chat_template.jinja", "x");
    ASSERT_EQ(refusal(), "accepted");
  }

  /// The first error of opening the model, its tokenizer and its chat template.
  std::string refusal() const {
    const auto files = ModelFiles::open(dir_.path());
    if (!files) return files.error().text();
    const auto tokenizer = (*files)->tokenizer();
    if (!tokenizer) return tokenizer.error().text();
    const auto chat = (*files)->chat_template();
    return chat ? "accepted" : chat.error().text();
  }

  /// The error when `name` holds `text` instead; the file is put back.
  std::string refusal_with(const std::string& name, const std::string& text) const {
    const std::string whole = test::read_file(dir_.path(name));
    dir_.file(name, text);
    std::string said = refusal();
    dir_.file(name, whole);
    return said;
  }

  TempDir dir_;
};

constexpr const char* kJsonFiles[] = {
    "config.json",           "generation_config.json",  "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "model.safetensors.index.json"};
constexpr const char* kShard = "model-00001-of-00002.safetensors";

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST_F(HostileDirectory, JsonOfAHundredThousandLevelsIsRefusedInEveryFile) {
  constexpr size_t kLevels = 100'000;
  const std::string lists = repeated("[", kLevels) + repeated("]", kLevels);
  const std::string objects = repeated("{\"a\":", kLevels) + "1" + repeated("}", kLevels);
  for (const char* name : kJsonFiles) {
    for (const std::string& deep : {lists, objects, "{\"extra\":" + lists + "}"}) {
      SCOPED_TRACE(std::string(name) + ": " + deep.substr(0, 12));
      EXPECT_THAT(refusal_with(name, deep), HasSubstr(std::filesystem::path(name).stem()));
      EXPECT_THAT(refusal_with(name, deep), HasSubstr("levels"));
    }
  }
}

TEST_F(HostileDirectory, JsonThatIsNoneIsRefusedInEveryFile) {
  const char* texts[] = {"{",          "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":-}",
                         "{\"a\":01}", "{\"a\":1}}",  "{\"\xff\":1}",     "{'a':1}",
                         "nul",        "\xef\xbb"};
  for (const char* name : kJsonFiles) {
    for (const char* text : texts) {
      SCOPED_TRACE(std::string(name) + ": " + text);
      EXPECT_THAT(refusal_with(name, text), HasSubstr(name));
      EXPECT_THAT(refusal_with(name, text), HasSubstr("not JSON"));
    }
  }
}

TEST_F(HostileDirectory, AKeyTwiceIsRefusedInEveryFile) {
  for (const char* name : kJsonFiles) {
    if (std::string_view(name) == "model.safetensors.index.json") continue;  // only its map counts
    SCOPED_TRACE(name);
    const std::string said = refusal_with(name, "{\"x\":1,\"x\":2}");
    EXPECT_THAT(said, HasSubstr(name));
    EXPECT_THAT(said, HasSubstr("twice"));
  }
}

TEST_F(HostileDirectory, AnErrorIsShortAndPrintableWhateverTheFileHolds) {
  const std::string key = "a\\n\\u0007" + repeated("x", 1 << 20);
  for (const char* name : kJsonFiles) {
    SCOPED_TRACE(name);
    const std::string twice = "{\"" + key + "\":1,\"" + key + "\":2}";
    for (const std::string& text : {twice, "{\"" + key + "\":{\"b\":" + repeated("[", 1000)}) {
      const std::string said = refusal_with(name, text);
      EXPECT_LT(said.size(), 1000u);
      EXPECT_EQ(said.find('\n'), said.npos);
      EXPECT_EQ(said.find('\a'), said.npos);
    }
  }
}

TEST_F(HostileDirectory, AFileOfFourGigabytesIsRefusedUnread) {
  for (const std::string name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "model.safetensors.index.json", "chat_template.jinja", kShard}) {
    SCOPED_TRACE(name);
    const std::string whole = test::read_file(dir_.path(name));
    std::filesystem::resize_file(dir_.path(name), uint64_t{4} << 30);  // sparse
    std::string said;
    const long grown = peak_growth_kib([&] { said = refusal(); });
    EXPECT_LT(grown, 8 * 1024);
    EXPECT_THAT(said, HasSubstr(name));
    EXPECT_THAT(said, ::testing::AnyOf(HasSubstr("over the limit of"), HasSubstr("of the data")));
    dir_.file(name, whole);
  }
}

TEST_F(HostileDirectory, AHeaderOfFourGigabytesThatIsThereIsRefusedUnread) {
  for (const uint64_t claimed : {uint64_t{4} << 30, (uint64_t{4} << 30) - 8}) {
    std::string head;
    testing::append_raw(head, claimed);
    dir_.file(kShard, head);
    std::filesystem::resize_file(dir_.path(kShard), (uint64_t{4} << 30) + 64);
    std::string said;
    EXPECT_LT(peak_growth_kib([&] { said = refusal(); }), 8 * 1024);
    EXPECT_THAT(said, HasSubstr("header: " + std::to_string(claimed) + " bytes exceed the limit"));
  }
}

TEST_F(HostileDirectory, WhatIsNoFileIsRefused) {
  for (const std::string name : {"config.json", "tokenizer.json", "chat_template.jinja", kShard}) {
    SCOPED_TRACE(name);
    const std::string whole = test::read_file(dir_.path(name));
    std::filesystem::remove(dir_.path(name));
    std::filesystem::create_directory(dir_.path(name));
    EXPECT_THAT(refusal(), HasSubstr("not a regular file"));
    std::filesystem::remove(dir_.path(name));
    ASSERT_EQ(mkfifo(dir_.path(name).c_str(), 0600), 0);
    EXPECT_THAT(refusal(), HasSubstr("not a regular file"));
    std::filesystem::remove(dir_.path(name));
    dir_.file(name, "");
    EXPECT_THAT(refusal(), HasSubstr(name + ": the file is empty"));
    dir_.file(name, whole);
  }
}

TEST_F(HostileDirectory, ManyValuesCostLittleMemoryWhereNothingOfThemIsWanted) {
  const std::string numbers = "{\"a\":[" + repeated("0,", 2'000'000 - 10) + "0]}";
  ASSERT_LT(numbers.size(), 4u << 20);  // what the smallest of the files may have
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json"}) {
    SCOPED_TRACE(name);
    std::string said;
    const long grown = peak_growth_kib([&] { said = refusal_with(name, numbers); });
    EXPECT_NE(said, "accepted");
    EXPECT_LT(grown, 256 * 1024);
  }
}

TEST_F(HostileDirectory, NumbersBeyondAllBoundsAreRefusedByKey) {
  const char* keys[] = {"num_hidden_layers",       "hidden_size", "num_attention_heads",
                        "num_key_value_heads",     "head_dim",    "intermediate_size",
                        "max_position_embeddings", "vocab_size"};
  const std::string config = test::read_file(dir_.path("config.json"));
  for (const std::string key : keys) {
    for (const char* value : {"-1", "0", "1.5", "1e30", "1e999", "-1e999", "18446744073709551616",
                              "9007199254740993", "4294967297", "\"1\"", "[1]", "{}", "true"}) {
      SCOPED_TRACE(key + ": " + value);
      const size_t begin = config.find("\"" + key + "\":") + key.size() + 3;
      std::string changed = config;
      changed.replace(begin, config.find(',', begin) - begin, value);
      const std::string said = refusal_with("config.json", changed);
      EXPECT_THAT(said, HasSubstr("config.json"));
      EXPECT_THAT(said, HasSubstr(key));
    }
  }
}

TEST_F(HostileDirectory, RealNumbersBeyondAllBoundsAreRefusedByKey) {
  const std::string config = test::read_file(dir_.path("config.json"));
  for (const char* value : {"-1.0", "0.0", "1e999", "\"x\"", "[]"}) {
    std::string changed = config;
    changed.replace(changed.find("1e-05"), 5, value);
    EXPECT_THAT(refusal_with("config.json", changed), HasSubstr("rms_norm_eps")) << value;
    changed = config;
    changed.insert(changed.size() - 1, std::string(",\"rope_theta\":") + value);
    EXPECT_THAT(refusal_with("config.json", changed), HasSubstr("rope_theta")) << value;
  }
}

TEST_F(HostileDirectory, MergesThatRunInACircleAreRefused) {
  const auto with_merges = [&](const char* merges) {
    std::string text = kTokenizer;
    text.replace(text.find("[\"a b\"]"), 7, merges);
    return refusal_with("tokenizer.json", text);
  };
  // What a merge makes is its two words in one, so a circle needs an empty word or a repetition.
  EXPECT_THAT(with_merges(R"(["a b","ab "])"), HasSubstr("model.merges[1] has an empty word"));
  EXPECT_THAT(with_merges(R"([["","a"]])"), HasSubstr("model.merges[0] has an empty word"));
  EXPECT_THAT(with_merges(R"([["a",""]])"), HasSubstr("model.merges[0] has an empty word"));
  EXPECT_THAT(with_merges(R"(["a b","ab a"])"), HasSubstr("model.merges[1] needs the token 'aba'"));
  EXPECT_THAT(with_merges(R"(["a b","ab ab"])"), HasSubstr("needs the token 'abab'"));
  EXPECT_THAT(with_merges(R"(["a b","a b"])"), HasSubstr("merge 1, of the tokens 0 and 1"));
}

}  // namespace
}  // namespace ebb::models
