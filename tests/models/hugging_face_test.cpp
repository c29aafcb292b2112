// Hugging Face directories: what config.json means in each family, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "models/model_files.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_hugging_face.h"

namespace ebb::models {
namespace {

using ::ebb::test::TempDir;
using ::ebb::testing::tiny_config_json;
using ::ebb::testing::TinyHuggingFace;
using ::ebb::testing::write_text;
using ::ebb::testing::write_tiny_hugging_face;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<std::unique_ptr<ModelFiles>> open_tiny(const TinyHuggingFace& options) {
  TempDir dir;
  write_tiny_hugging_face(dir.path(), options);
  return ModelFiles::open(dir.path());
}

Result<ModelShape> shape_of(const TinyHuggingFace& options) {
  auto files = open_tiny(options);
  if (!files) return files.error();
  return (*files)->shape();
}

void expect_refused(const TinyHuggingFace& options, Code code, const std::string& message) {
  SCOPED_TRACE(message);
  const auto files = open_tiny(options);
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code, code) << files.error().text();
  EXPECT_THAT(files.error().message, HasSubstr(message));
}

TEST(HuggingFace, ReadsEveryNumberOfALlama) {
  TempDir dir;
  std::filesystem::create_directory(dir.path("tiny"));
  write_tiny_hugging_face(dir.path("tiny"), {.layers = 3, .more = ",\"rope_theta\":50000.0"});
  auto files = ModelFiles::open(dir.path("tiny") + "/");
  ASSERT_TRUE(files) << files.error().text();
  const ModelShape& shape = (*files)->shape();
  EXPECT_EQ(shape.architecture, "llama");
  EXPECT_EQ(shape.name, "tiny");
  EXPECT_EQ(shape.layers, 3u);
  EXPECT_EQ(shape.width, 64u);
  EXPECT_EQ(shape.heads_q, 4u);
  EXPECT_EQ(shape.heads_kv, 2u);
  EXPECT_EQ(shape.head_size, 16u);
  EXPECT_EQ(shape.ffn_width, 96u);
  EXPECT_EQ(shape.vocabulary, 288u);
  EXPECT_EQ(shape.context_length, 2048u);
  EXPECT_EQ(shape.rope_base, 50000.0);
  EXPECT_EQ(shape.rope_pairs, RopePairs::kHalves);
  EXPECT_FLOAT_EQ(shape.rms_epsilon, 1e-5f);
  EXPECT_FALSE(shape.tied_head || shape.qkv_bias || shape.attention_out_bias || shape.qk_norm);
  EXPECT_THAT(shape.windows, ElementsAre(0, 0, 0));
  EXPECT_THAT(shape.rope_layers, Each(true));
}

TEST(HuggingFace, FindsTensorsByRole) {
  auto files = open_tiny({.family = "qwen3", .weights = WeightType::kBF16});
  ASSERT_TRUE(files) << files.error().text();
  const TensorView down = *(*files)->tensor(TensorRole::kDown, 1);
  EXPECT_EQ(down.name, "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(down.rows, 64u);
  EXPECT_EQ(down.columns, 96u);
  EXPECT_EQ(down.type, WeightType::kBF16);
  EXPECT_EQ((*files)->tensor(TensorRole::kQNorm, 0)->columns, 16u);
  EXPECT_EQ((*files)->tensor(TensorRole::kQNorm, 0)->rows, 1u);
  EXPECT_FALSE((*files)->has(TensorRole::kQBias, 0));
}

TEST(HuggingFace, ATiedHeadIsTheEmbedding) {
  auto files = open_tiny({.tied_head = true});
  ASSERT_TRUE(files) << files.error().text();
  EXPECT_TRUE((*files)->shape().tied_head);
  EXPECT_EQ((*files)->tensor(TensorRole::kHead, 0)->name, "model.embed_tokens.weight");
}

TEST(HuggingFace, ATiedHeadThatIsSavedTooMustBeTheSame) {
  for (const float lift : {0.0f, 1.0f}) {
    TempDir dir;
    TinyHuggingFace options{.tied_head = true};
    write_tiny_hugging_face(dir.path(), options);
    auto shards = tiny_shards(options);
    // The embedding is the first tensor that is drawn.
    std::vector<float> values =
        testing::TinyRandom(options.seed).values(288 * 64, 1.0f / std::sqrt(64.0f));
    values.back() += lift;
    shards[0].add("lm_head.weight", {288, 64}, WeightType::kF32, values);
    write_text(dir.path("model.safetensors"), shards[0].bytes());
    const auto files = ModelFiles::open(dir.path());
    EXPECT_EQ(files.has_value(), lift == 0.0f);
    if (files) continue;
    EXPECT_THAT(files.error().message, HasSubstr("lm_head.weight: differs from"));
  }
}

TEST(HuggingFace, ShardsAreOneModel) {
  const TinyHuggingFace one{.family = "qwen2", .qkv_bias = true};
  TinyHuggingFace three = one;
  three.shards = 3;
  auto whole = open_tiny(one), cut = open_tiny(three);
  ASSERT_TRUE(whole && cut) << cut.error().text();
  for (const TensorRole role : {TensorRole::kEmbedding, TensorRole::kVBias, TensorRole::kUp}) {
    const TensorView a = *(*whole)->tensor(role, 1), b = *(*cut)->tensor(role, 1);
    ASSERT_EQ(a.bytes, b.bytes);
    EXPECT_EQ(std::memcmp(a.data, b.data, a.bytes), 0) << a.name;
  }
}

TEST(HuggingFace, DigestFollowsConfigAndWeights) {
  const Digest digest = shape_of({})->digest;
  EXPECT_EQ(shape_of({})->digest, digest);
  EXPECT_NE(shape_of({.seed = 2})->digest, digest);
  EXPECT_NE(shape_of({.more = ",\"rope_theta\":20000.0"})->digest, digest);
}

TEST(HuggingFace, LlamaMayHaveBiasesInAttention) {
  const ModelShape shape =
      *shape_of({.qkv_bias = true, .attention_out_bias = true, .more = ",\"attention_bias\":true"});
  EXPECT_TRUE(shape.qkv_bias);
  EXPECT_TRUE(shape.attention_out_bias);
  expect_refused({.more = ",\"attention_bias\":true"}, Code::kInvalid,
                 "q_proj.bias: not in the model's files");
  expect_refused({.qkv_bias = true}, Code::kUnsupported,
                 "q_proj.bias: the llama graph has no place for it");
}

TEST(HuggingFace, MistralsWindowCountsForEveryLayer) {
  EXPECT_THAT(shape_of({.family = "mistral", .more = ",\"sliding_window\":100"})->windows,
              ElementsAre(100, 100));
  EXPECT_THAT(shape_of({.family = "mistral", .more = ",\"sliding_window\":null"})->windows,
              ElementsAre(0, 0));
  EXPECT_THAT(shape_of({.family = "mistral"})->windows, ElementsAre(4096, 4096));
}

TEST(HuggingFace, QwensWindowCountsAboveMaxWindowLayersWhereItIsUsed) {
  TinyHuggingFace options{.family = "qwen2", .layers = 3, .qkv_bias = true};
  options.more = ",\"use_sliding_window\":false,\"sliding_window\":50,\"max_window_layers\":1";
  EXPECT_THAT(shape_of(options)->windows, ElementsAre(0, 0, 0));
  options.more = ",\"use_sliding_window\":true,\"sliding_window\":50,\"max_window_layers\":1";
  EXPECT_THAT(shape_of(options)->windows, ElementsAre(0, 50, 50));
  options.more =
      ",\"use_sliding_window\":true,\"sliding_window\":50,\"layer_types\":["
      "\"sliding_attention\",\"full_attention\",\"full_attention\"]";
  EXPECT_THAT(shape_of(options)->windows, ElementsAre(50, 0, 0));
  options.more =
      ",\"use_sliding_window\":false,\"sliding_window\":50,\"layer_types\":["
      "\"sliding_attention\",\"full_attention\",\"full_attention\"]";
  expect_refused(options, Code::kUnsupported, "layer_types: layer 0 is sliding_attention");
  options.more = ",\"layer_types\":[\"full_attention\"]";
  expect_refused(options, Code::kInvalid, "layer_types: has 1 entries, but there are 3 layers");
  options.more = ",\"layer_types\":[\"linear_attention\",\"x\",\"y\"]";
  expect_refused(options, Code::kUnsupported, "\"linear_attention\" is not supported");
}

TEST(HuggingFace, LlamaHasNoWindow) {
  expect_refused({.more = ",\"sliding_window\":4096"}, Code::kUnsupported,
                 "config.json: sliding_window: this family is computed without a sliding window");
}

TEST(HuggingFace, SmolLm3RotatesThreeLayersOfFour) {
  TinyHuggingFace options{.family = "smollm3", .layers = 5};
  const ModelShape shape = *shape_of(options);
  EXPECT_THAT(shape.rope_layers, ElementsAre(true, true, true, false, true));
  EXPECT_EQ(shape.rope_base, 2000000.0);
  options.more = ",\"no_rope_layers\":[0,1,1,1,0]";
  EXPECT_THAT(shape_of(options)->rope_layers, ElementsAre(false, true, true, true, false));
  options.more = ",\"no_rope_layer_interval\":2";
  EXPECT_THAT(shape_of(options)->rope_layers, ElementsAre(true, false, true, false, true));
  options.more = ",\"use_sliding_window\":true,\"sliding_window\":64";
  EXPECT_THAT(shape_of(options)->windows, ElementsAre(0, 0, 0, 64, 0));
  options.more = ",\"no_rope_layers\":[1]";
  expect_refused(options, Code::kInvalid, "no_rope_layers: has 1 entries");
}

TEST(HuggingFace, AllRatiosOfHeadsAreRead) {
  for (const uint32_t heads_kv : {1u, 2u, 4u}) {
    const auto shape = shape_of({.heads_kv = heads_kv});
    ASSERT_TRUE(shape) << shape.error().text();
    EXPECT_EQ(shape->heads_kv, heads_kv);
  }
}

TEST(HuggingFace, NeutralKeysAreIgnored) {
  EXPECT_TRUE(shape_of({.more = ",\"_name_or_path\":\"x\",\"use_cache\":true,\"pad_token_id\":null,"
                                "\"pruned_heads\":{},\"num_experts\":0,\"bos_token_id\":1,"
                                "\"transformers_version\":\"5\",\"attention_dropout\":0.0"}));
}

TEST(HuggingFace, RefusesByNameWhatTheGraphDoesNotDo) {
  const std::pair<const char*, const char*> cases[] = {
      {",\"hidden_act\":\"gelu\"", "hidden_act: \"gelu\" is not supported (supported: silu)"},
      {",\"mlp_bias\":true", "mlp_bias: a bias in the feed-forward network is not supported"},
      {",\"num_local_experts\":8", "num_local_experts: mixtures of experts are not supported"},
      {",\"final_logit_softcapping\":30.0", "final_logit_softcapping: capped logits"},
      {",\"quantization_config\":{\"quant_method\":\"gptq\"}",
       "quantization_config: quantised safetensors are not supported"},
      {",\"partial_rotary_factor\":0.5", "partial_rotary_factor: 0.500000 (supported: 1)"},
      {",\"logits_scaling\":8", "logits_scaling: this key is not known, and could change"},
      {",\"rope_interleaved\":true", "rope_interleaved: this key is not known"},
      {",\"auto_map\":{\"AutoModel\":\"x.Y\"}", "auto_map: models that bring their own code"},
      {",\"use_sliding_window\":true", "use_sliding_window: this family is computed without"},
      {",\"head_dim_2\":7", "head_dim_2: this key is not known"},
  };
  for (const auto& [more, message] : cases) {
    std::string text = more;
    TinyHuggingFace options;
    // hidden_act is there already: config.json must not have a key twice.
    TempDir dir;
    write_tiny_hugging_face(dir.path(), options);
    std::string config = tiny_config_json(options);
    if (text.find("hidden_act") != std::string::npos)
      config.replace(config.find(",\"hidden_act\":\"silu\""), 20, "");
    config.insert(config.size() - 1, text);
    write_text(dir.path("config.json"), config);
    const auto files = ModelFiles::open(dir.path());
    ASSERT_FALSE(files) << message;
    EXPECT_EQ(files.error().code, Code::kUnsupported) << files.error().text();
    EXPECT_THAT(files.error().message, HasSubstr(message));
  }
}

TEST(HuggingFace, NamesFamiliesThatItDoesNotKnow) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"model_type\":\"mixtral\"}",
       "model_type: \"mixtral\" is not supported (supported: llama, mistral, qwen2, "},
      {"{\"model_type\":\"llama\",\"architectures\":[\"LlamaForSequenceClassification\"]}",
       "\"LlamaForSequenceClassification\" is not supported (supported with this model_type: "
       "LlamaForCausalLM)"},
      {"{}", "config.json: model_type: not there"},
      {"{\"model_type\":7}", "config.json: model_type: is 7, wanted a string"},
      {"[]", "config.json: is an array, wanted an object"},
      {"{\"model_type\":", "config.json: is not JSON at byte"},
      {"{\"a\":1,\"a\":2}", "config.json: has \"a\" twice in one object"},
  };
  for (const auto& [config, message] : cases) {
    TempDir dir;
    dir.file("config.json", config);
    const auto files = ModelFiles::open(dir.path());
    ASSERT_FALSE(files) << message;
    EXPECT_THAT(files.error().message, HasSubstr(message));
  }
}

TEST(HuggingFace, NumbersOutOfRangeAreRefused) {
  struct Case {
    std::function<void(TinyHuggingFace&)> change;
    Code code;
    const char* message;
  };
  const Case cases[] = {
      {[](auto& o) { o.layers = 0; }, Code::kInvalid, "num_hidden_layers: 0 is out of range"},
      {[](auto& o) { o.heads_kv = 3; }, Code::kInvalid, "not a multiple of num_key_value_heads"},
      {[](auto& o) { o.head_size = 258; }, Code::kUnsupported, "head_dim: 258 (supported: even"},
      {[](auto& o) { o.vocabulary = 0; }, Code::kInvalid, "vocab_size: 0 is out of range"},
      {[](auto& o) { o.context_length = 0; }, Code::kInvalid, "max_position_embeddings: 0"},
      {[](auto& o) { o.width = 4000000000u; }, Code::kInvalid, "hidden_size: 4000000000 is out"},
  };
  for (const Case& c : cases) {
    TinyHuggingFace options;
    c.change(options);
    TempDir dir;
    dir.file("config.json", tiny_config_json(options));
    const auto files = ModelFiles::open(dir.path());
    ASSERT_FALSE(files) << c.message;
    EXPECT_EQ(files.error().code, c.code) << files.error().text();
    EXPECT_THAT(files.error().message, HasSubstr(c.message));
  }
}

TEST(HuggingFace, GenerationConfigGivesTheDefaults) {
  TempDir dir;
  write_tiny_hugging_face(dir.path(), {.more = ",\"eos_token_id\":7"});
  EXPECT_THAT((*ModelFiles::open(dir.path()))->generation_defaults().end_of_text, ElementsAre(7));
  dir.file("generation_config.json",
           "{\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,\"do_sample\":true,"
           "\"repetition_penalty\":1.05,\"eos_token_id\":[5,6],\"pad_token_id\":3}");
  const GenerationDefaults defaults = (*ModelFiles::open(dir.path()))->generation_defaults();
  EXPECT_EQ(defaults.temperature, 0.6);
  EXPECT_EQ(defaults.top_k, 20);
  EXPECT_EQ(defaults.top_p, 0.95);
  EXPECT_EQ(defaults.min_p, std::nullopt);
  EXPECT_EQ(defaults.repetition_penalty, 1.05);
  EXPECT_THAT(defaults.end_of_text, ElementsAre(5, 6));
  dir.file("generation_config.json", "{\"do_sample\":false}");
  EXPECT_EQ((*ModelFiles::open(dir.path()))->generation_defaults().temperature, 0.0);
}

TEST(HuggingFace, AGenerationConfigOutOfRangeIsRefused) {
  for (const char* text : {"{\"top_p\":1.5}", "{\"temperature\":\"hot\"}", "{\"top_k\":-1}",
                           "{\"eos_token_id\":-1}", "{\"eos_token_id\":[1,\"x\"]}", "[1]", "{"}) {
    TempDir dir;
    write_tiny_hugging_face(dir.path(), {});
    dir.file("generation_config.json", text);
    const auto files = ModelFiles::open(dir.path());
    ASSERT_FALSE(files) << text;
    EXPECT_EQ(files.error().code, Code::kInvalid);
    EXPECT_THAT(files.error().message, HasSubstr("generation_config.json"));
  }
}

TEST(HuggingFace, ChatTemplatesComeFromTheFilesBesideTheWeights) {
  TempDir dir;
  write_tiny_hugging_face(dir.path(), {});
  const auto chat = [&] { return (*ModelFiles::open(dir.path()))->chat_template(); };
  EXPECT_EQ(*chat(), nullptr);
  ChatInput input;
  dir.file("chat_template.json", "{\"chat_template\":\"older\"}");
  EXPECT_EQ(*(*chat())->render(input), "older");
  dir.file("tokenizer_config.json", "{\"chat_template\":\"config\"}");
  EXPECT_EQ(*(*chat())->render(input), "config");
  dir.file("chat_template.jinja", "file");
  EXPECT_EQ(*(*chat())->render(input), "file");
  std::filesystem::create_directory(dir.path("additional_chat_templates"));
  dir.file("additional_chat_templates/broken.jinja", "{% for %}");
  EXPECT_EQ(chat().error().code, Code::kInvalid);
}

TEST(HuggingFace, TheTokenizerComesFromTheFilesBesideTheWeights) {
  TempDir dir;
  write_tiny_hugging_face(dir.path(), {});
  const auto tokenizer = [&] { return (*ModelFiles::open(dir.path()))->tokenizer(); };
  EXPECT_THAT(tokenizer().error().message, HasSubstr("tokenizer.json: No such file"));
  const std::string text =
      R"({"decoder":{"type":"Fuse"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},)"
      R"("merges":["a b"]},"added_tokens":[{"id":3,"content":"<e>","special":true}]})";
  dir.file("tokenizer.json", text);
  dir.file("special_tokens_map.json", "{\"eos_token\":\"<e>\"}");
  auto loaded = tokenizer();
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_THAT(*(*loaded)->encode("aab<e>", SpecialTokens::kParse), ElementsAre(0, 2, 3));
  EXPECT_EQ((*loaded)->end_of_text(), 3);
  dir.file("tokenizer_config.json", "{\"eos_token\":\"<x>\"}");
  EXPECT_THAT(tokenizer().error().message, HasSubstr("eos_token is '<x>', which the vocabulary"));
}

TEST(HuggingFace, ATokenizerWithMoreIdsThanTheModelHasRowsIsRefused) {
  TempDir dir;
  write_tiny_hugging_face(dir.path(), {});
  std::string vocabulary;
  for (int i = 0; i < 300; ++i) {
    vocabulary += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + "\":" + std::to_string(i);
  }
  dir.file("tokenizer.json", R"({"decoder":{"type":"Fuse"},"model":{"type":"BPE","vocab":{)" +
                                 vocabulary + R"(},"merges":[]}})");
  EXPECT_THAT((*ModelFiles::open(dir.path()))->tokenizer().error().message,
              HasSubstr("has 300 ids, but the model's vocab_size is 288"));
}

TEST(HuggingFace, SaysWhatADirectoryLacks) {
  TempDir dir;
  const auto message = [&] { return ModelFiles::open(dir.path()).error().message; };
  EXPECT_THAT(message(),
              HasSubstr("model directory " + dir.path() + ": config.json: No such file"));
  dir.file("config.json", tiny_config_json({}));
  EXPECT_THAT(message(),
              HasSubstr("has neither model.safetensors nor model.safetensors.index.json"));
  dir.file("pytorch_model.bin", "x");
  EXPECT_THAT(message(), HasSubstr("its weights are pickle files"));
  EXPECT_EQ(ModelFiles::open(dir.path()).error().code, Code::kUnsupported);
  EXPECT_THAT(ModelFiles::open(dir.path("config.json")).error().message,
              HasSubstr("is opened by its directory"));
}

}  // namespace
}  // namespace ebb::models
