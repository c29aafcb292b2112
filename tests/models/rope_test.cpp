// Frequencies of every scaling, read from both formats, against those of transformers.
#include "models/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/architecture.h"
#include "models/config_facts.h"
#include "models/model_files.h"
#include "models/rope_facts.h"
#include "tests/models/golden_files.h"
#include "tests/support/temp_file.h"
#include "tests/support/tiny_llama.h"

namespace ebb::models {
namespace {

using ::ebb::testing::GgufWriter;
using ::ebb::testing::TempFile;
using ::ebb::testing::TinyLlamaOptions;
using nlohmann::json;
using ::testing::HasSubstr;

json config_of(const json& golden) {
  return {{"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"head_dim", golden["head_size"]},
          {"vocab_size", 288},
          {"max_position_embeddings", golden["context"]}};
}

Result<ModelShape> config_shape(const json& config, const char* family = "llama") {
  const ConfigFacts facts = *ConfigFacts::parse(config.dump());
  return read_config_shape(facts, *family_of_model_type(family));
}

/// The case as GGUF metadata.
Result<ModelShape> gguf_shape(const json& golden, const json& test) {
  TinyLlamaOptions options;
  options.head_size = golden["head_size"];
  options.context_length = golden["context"];
  options.rope_base = test["rope_theta"];
  GgufWriter writer = ::ebb::testing::tiny_llama(options);
  for (const auto& [key, value] : test["gguf"].items()) {
    if (value.is_string()) writer.put_string("llama." + key, value.get<std::string>());
    if (value.is_number_float()) writer.put_f32("llama." + key, value.get<float>());
    if (value.is_number_integer()) writer.put_u32("llama." + key, value.get<uint32_t>());
  }
  if (test.contains("divisors"))
    writer.add_tensor("rope_freqs.weight", {test["divisors"].size()}, WeightType::kF32,
                      test["divisors"].get<std::vector<float>>());
  TempFile temp(".gguf");
  writer.write(temp.path());
  auto files = ModelFiles::open(temp.path());
  if (!files) return files.error();
  return (*files)->shape();
}

/// transformers computes in float32.
void expect_like(const ModelShape& shape, const json& test) {
  ASSERT_EQ(shape.rope_frequencies.size(), test["frequencies"].size());
  for (size_t i = 0; i < shape.rope_frequencies.size(); ++i) {
    const double wanted = test["frequencies"][i];
    EXPECT_NEAR(shape.rope_frequencies[i], wanted, 2e-6 * wanted) << "pair " << i;
  }
  EXPECT_NEAR(shape.rope_magnitude, test["magnitude"].get<double>(), 1e-6);
}

TEST(Rope, FrequenciesOfEveryScalingAreThoseOfTransformers) {
  const json golden = testing::read_golden("rope.json");
  for (const json& test : golden["cases"]) {
    SCOPED_TRACE(test["name"].get<std::string>());
    json older = config_of(golden);
    older["rope_theta"] = test["rope_theta"];
    older["rope_scaling"] = test["rope_scaling"];
    json newer = config_of(golden);
    newer["rope_parameters"] = test["rope_scaling"];
    newer["rope_parameters"]["rope_theta"] = test["rope_theta"];
    for (const json& config : {older, newer}) {
      auto shape = config_shape(config);
      ASSERT_TRUE(shape) << shape.error().text();
      auto served = shape_for_context(*shape, test["max_model_len"]);
      ASSERT_TRUE(served) << served.error().text();
      expect_like(*served, test);
    }
  }
}

TEST(Rope, GgufMetadataSayTheSame) {
  const json golden = testing::read_golden("rope.json");
  int tried = 0;
  for (const json& test : golden["cases"]) {
    if (test["gguf"].is_null()) continue;
    SCOPED_TRACE(test["name"].get<std::string>());
    auto shape = gguf_shape(golden, test);
    ASSERT_TRUE(shape) << shape.error().text();
    expect_like(*shape, test);
    ++tried;
  }
  EXPECT_GE(tried, 9);
}

TEST(Rope, GgufAttentionFactorMultipliesTheMagnitude) {
  const json golden = testing::read_golden("rope.json");
  json test = golden["cases"][0];
  test["gguf"] = {{"rope.scaling.type", "yarn"},
                  {"rope.scaling.factor", 4.0},
                  {"rope.scaling.attn_factor", 0.5}};
  EXPECT_NEAR(gguf_shape(golden, test)->rope_magnitude, 0.5 * yarn_magnitude(4), 1e-6);
}

TEST(Rope, ScalingsThatAreNotKnownOrContradictAreRefused) {
  struct Case {
    json scaling;
    Code code;
    const char* message;
  };
  const Case cases[] = {
      {{{"type", "su"}, {"factor", 4}},
       Code::kUnsupported,
       "rope_scaling.type: \"su\" is not supported (supported: default, linear, dynamic, yarn, "
       "llama3)"},
      {{{"rope_type", "linear"}}, Code::kNotFound, "rope_scaling.factor: not there"},
      {{{"rope_type", "linear"}, {"factor", 0}}, Code::kInvalid, "rope_scaling.factor: 0.0"},
      {{{"rope_type", "linear"}, {"factor", "x"}}, Code::kInvalid, "wanted a number"},
      {{{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}},
       Code::kInvalid,
       "high_freq_factor: 4.000000 is not above low_freq_factor"},
      {{{"rope_type", "yarn"}, {"factor", 4}, {"beta_fast", 1}, {"beta_slow", 2}},
       Code::kInvalid,
       "beta_fast: 1.000000 is less than"},
      {{{"rope_type", "linear"}, {"factor", 4}, {"wobble", 1}},
       Code::kUnsupported,
       "rope_scaling.wobble: this key is not known"},
      {{{"rope_type", "default"}, {"mrope_section", {16, 24}}},
       Code::kUnsupported,
       "rope_scaling.mrope_section: this key is not known"},
      {{{"rope_type", "default"}, {"partial_rotary_factor", 0.5}},
       Code::kUnsupported,
       "partial_rotary_factor: 0.500000 (supported: 1)"},
      {{{"rope_type", "default"}, {"rope_theta", 1}}, Code::kInvalid, "rope_theta: 1.0"},
  };
  const json golden = testing::read_golden("rope.json");
  for (const Case& c : cases) {
    json config = config_of(golden);
    config["rope_scaling"] = c.scaling;
    const auto shape = config_shape(config);
    ASSERT_FALSE(shape) << c.message;
    EXPECT_EQ(shape.error().code, c.code) << shape.error().text();
    EXPECT_THAT(shape.error().message, HasSubstr(c.message));
  }
}

TEST(Rope, DivisorsOfAGgufFileMustFitTheRotation) {
  for (const std::vector<float>& divisors :
       {std::vector<float>(7, 1.0f), std::vector<float>{1, 1, 0, 1, 1, 1, 1, 1},
        std::vector<float>{1, 1, 1, 1, 1, 1, 1, NAN}}) {
    GgufWriter writer = ::ebb::testing::tiny_llama();
    writer.add_tensor("rope_freqs.weight", {divisors.size()}, WeightType::kF32, divisors);
    TempFile temp(".gguf");
    writer.write(temp.path());
    const auto files = ModelFiles::open(temp.path());
    ASSERT_FALSE(files);
    EXPECT_EQ(files.error().code, Code::kInvalid);
    EXPECT_THAT(files.error().message, HasSubstr("rope_freqs.weight"));
  }
}

ModelShape dynamic_shape() {
  json config = config_of(testing::read_golden("rope.json"));
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  return *config_shape(config);
}

TEST(ShapeForContext, ChangesNothingWithinTheModelsContext) {
  const ModelShape shape = dynamic_shape();
  EXPECT_EQ(shape_for_context(shape, 0)->context_length, 4096u);
  const ModelShape shorter = *shape_for_context(shape, 100);
  EXPECT_EQ(shorter.context_length, 100u);
  EXPECT_EQ(shorter.rope_frequencies, shape.rope_frequencies);
  EXPECT_EQ(shorter.digest, shape.digest);
}

TEST(ShapeForContext, GivesALongerServiceItsOwnDigest) {
  const ModelShape shape = dynamic_shape();
  const ModelShape longer = *shape_for_context(shape, 8192);
  EXPECT_EQ(longer.context_length, 8192u);
  EXPECT_NE(longer.digest, shape.digest);
  EXPECT_NE(longer.digest, shape_for_context(shape, 8193)->digest);
}

TEST(ShapeForContext, RefusesMoreThanTheScalingReaches) {
  EXPECT_TRUE(shape_for_context(dynamic_shape(), 4 * 4096));
  const auto refused = shape_for_context(dynamic_shape(), 4 * 4096 + 1);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message,
              HasSubstr("model.max_model_len: 16385 is more than the model's context of 16384"));
  const auto plain = config_shape(config_of(testing::read_golden("rope.json")));
  EXPECT_FALSE(shape_for_context(*plain, 4097));
}

}  // namespace
}  // namespace ebb::models
