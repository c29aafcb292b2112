// Shapes of GGUF models: what is read, and everything that must be refused.
#include "models/architecture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/checksum.h"
#include "tests/support/real_model.h"
#include "tests/support/temp_file.h"
#include "tests/support/tiny_llama.h"

namespace ebb::models {
namespace {

using ::ebb::testing::GgufWriter;
using ::ebb::testing::TempFile;
using ::ebb::testing::TinyLlamaOptions;
using ::testing::HasSubstr;

Result<ModelShape> shape_of(const GgufWriter& writer) {
  TempFile temp(".gguf");
  writer.write(temp.path());
  auto files = ModelFiles::open(temp.path());
  if (!files) return files.error();
  return (*files)->shape();
}

/// Metadata and tensors can differ here: `told` is what the metadata say, `made` what the tensors
/// are like.
Result<ModelShape> shape_of_liar(const TinyLlamaOptions& told, const TinyLlamaOptions& made) {
  GgufWriter writer;
  put_tiny_metadata(writer, told);
  put_tiny_tokenizer(writer, told.vocabulary);
  add_tiny_tensors(writer, made);
  return shape_of(writer);
}

void expect_error(const Result<ModelShape>& shape, Code code, const std::string& message) {
  ASSERT_FALSE(shape);
  EXPECT_EQ(shape.error().code, code) << shape.error().text();
  EXPECT_THAT(shape.error().message, HasSubstr(message));
}

TEST(Architecture, ReadsEveryNumberOfALlama) {
  TinyLlamaOptions options{
      .layers = 3, .rope_base = 50000, .weights = WeightType::kQ4_1, .seed = 3};
  Result<ModelShape> shape = shape_of(tiny_llama(options));
  ASSERT_TRUE(shape) << shape.error().text();
  EXPECT_EQ(shape->architecture, "llama");
  EXPECT_EQ(shape->name, "tiny llama");
  EXPECT_EQ(shape->layers, 3u);
  EXPECT_EQ(shape->width, 64u);
  EXPECT_EQ(shape->heads_q, 4u);
  EXPECT_EQ(shape->heads_kv, 2u);
  EXPECT_EQ(shape->head_size, 16u);
  EXPECT_EQ(shape->ffn_width, 96u);
  EXPECT_EQ(shape->vocabulary, 288u);
  EXPECT_EQ(shape->context_length, 2048u);
  EXPECT_EQ(shape->rope_base, 50000.0);
  EXPECT_EQ(shape->rope_dims, 16u);
  EXPECT_EQ(shape->rope_pairs, RopePairs::kInterleaved);
  EXPECT_FLOAT_EQ(shape->rms_epsilon, 1e-5f);
  EXPECT_TRUE(shape->tied_head);
}

TEST(Architecture, ReadsAHeadOfItsOwn) {
  Result<ModelShape> shape = shape_of(testing::tiny_llama({.tied_head = false}));
  ASSERT_TRUE(shape) << shape.error().text();
  EXPECT_FALSE(shape->tied_head);
}

TEST(Architecture, DigestFollowsTheWeights) {
  Digest one = shape_of(testing::tiny_llama({.seed = 1}))->digest;
  EXPECT_EQ(shape_of(testing::tiny_llama({.seed = 1}))->digest, one);
  EXPECT_NE(shape_of(testing::tiny_llama({.seed = 2}))->digest, one);
}

TEST(Architecture, NamesAnArchitectureThatItDoesNotKnow) {
  expect_error(shape_of(GgufWriter().put_string("general.architecture", "mamba")),
               Code::kUnsupported,
               "general.architecture: \"mamba\" is not supported (supported: llama, qwen2, ");
}

TEST(Architecture, HoldsEveryTensorAgainstTheMetadata) {
  TinyLlamaOptions tiny;
  struct Case {
    std::function<void(TinyLlamaOptions&)> change;
    const char* message;
  };
  const Case cases[] = {
      {[](auto& o) { o.ffn_width = 128; },
       "blk.0.ffn_gate.weight: is 96 x 64 (rows x columns), but the model's numbers say 128 x 64"},
      {[](auto& o) { o.heads_q = 2; }, "blk.0.attn_q.weight: is 64 x 64"},
      {[](auto& o) { o.heads_kv = 4; }, "blk.0.attn_k.weight: is 32 x 64"},
      {[](auto& o) { o.layers = 3; }, "tensor blk.2.attn_norm.weight: not in"},
      {[](auto& o) { o.layers = 1; },
       "tensor blk.1.attn_norm.weight: the llama graph has no place for it"},
      {[](auto& o) { o.vocabulary = 300; },
       "llama.vocab_size: 300 tokens, but token_embd.weight has 288 rows"},
      {[](auto& o) { o.width = 96; }, "token_embd.weight: is 288 x 64"},
  };
  for (const Case& c : cases) {
    TinyLlamaOptions told = tiny;
    c.change(told);
    Result<ModelShape> shape = shape_of_liar(told, tiny);
    ASSERT_FALSE(shape) << c.message;
    EXPECT_THAT(shape.error().message, HasSubstr(c.message));
    EXPECT_TRUE(shape.error().code == Code::kInvalid || shape.error().code == Code::kUnsupported);
  }
}

TEST(Architecture, RefusesWhatTheGraphDoesNotDo) {
  struct Case {
    std::function<void(GgufWriter&)> add;
    const char* message;
  };
  const Case cases[] = {
      {[](auto& w) { w.put_string("llama.rope.scaling.type", "longrope"); },
       "llama.rope.scaling.type: \"longrope\" is not supported (supported: none, linear, yarn)"},
      {[](auto& w) { w.put_u32("llama.expert_count", 8); },
       "llama.expert_count: mixtures of experts are not supported"},
      {[](auto& w) { w.put_f32("llama.attn_logit_softcapping", 30); },
       "llama.attn_logit_softcapping: capped logits are not supported"},
      {[](auto& w) { w.put_f32("llama.residual_scale", 0.5f); },
       "llama.residual_scale: this key is not known, and could change what the model computes"},
      {[](auto& w) { w.put_bool("llama.attention.causal", false); },
       "llama.attention.causal: false (supported: true)"},
      {[](auto& w) {
         w.add_tensor("blk.0.ffn_gate.bias", {96}, WeightType::kF32, std::vector<float>(96, 1));
       },
       "tensor blk.0.ffn_gate.bias: the llama graph has no place for it"},
  };
  for (const Case& c : cases) {
    GgufWriter writer;
    put_tiny_metadata(writer, {});
    add_tiny_tensors(writer, {});
    c.add(writer);
    expect_error(shape_of(writer), Code::kUnsupported, c.message);
  }
}

TEST(Architecture, RefusesValuesOfAnotherSizeThanKeys) {
  expect_error(shape_of_liar({.value_length = 8}, {}), Code::kUnsupported,
               "llama.attention.value_length: 8 differs from the key length 16");
}

TEST(Architecture, AcceptsKeysThatSayNone) {
  GgufWriter writer = testing::tiny_llama();
  writer.put_string("llama.rope.scaling.type", "none").put_u32("llama.expert_count", 0);
  writer.put_f32("llama.residual_scale", 0).put_string("llama.something", "");
  Result<ModelShape> shape = shape_of(writer);
  EXPECT_TRUE(shape) << shape.error().text();
}

TEST(Architecture, RefusesNumbersOutOfRange) {
  struct Case {
    std::function<void(TinyLlamaOptions&)> change;
    const char* message;
  };
  const Case cases[] = {
      {[](auto& o) { o.layers = 0; }, "llama.block_count: 0 is out of range (1 to 1024)"},
      {[](auto& o) { o.layers = 1u << 31; }, "llama.block_count: 2147483648 is out of range"},
      {[](auto& o) { o.heads_kv = 0; }, "llama.attention.head_count_kv: 0 is out of range"},
      {[](auto& o) { o.heads_kv = 3; },
       "attention.head_count: 4 is not a multiple of attention.head_count_kv = 3"},
      {[](auto& o) { o.rope_base = -1; }, "rope.freq_base"},
      {[](auto& o) { o.context_length = 0; }, "llama.context_length: 0 is out of range"},
  };
  for (const Case& c : cases) {
    TinyLlamaOptions told;
    c.change(told);
    expect_error(shape_of_liar(told, {}), Code::kInvalid, c.message);
  }
}

TEST(Architecture, RefusesHeadSizesThatAttentionCannotCompute) {
  for (uint32_t size : {1u, 15u, 257u, 258u, 1024u, 1u << 20}) {
    TinyLlamaOptions told;
    told.head_size = size;
    expect_error(shape_of_liar(told, {}), Code::kUnsupported,
                 "metadata llama.attention.key_length: " + std::to_string(size) +
                     " (supported: even head sizes from 2 to 256)");
  }
  Result<ModelShape> widest = shape_of(testing::tiny_llama({.layers = 1, .head_size = 256}));
  EXPECT_TRUE(widest) << widest.error().text();
}

TEST(Architecture, RefusesAHeadSizeThatTheWidthImplies) {
  GgufWriter writer;
  writer.put_string("general.architecture", "llama").put_u32("llama.block_count", 1);
  writer.put_u32("llama.embedding_length", 1032).put_u32("llama.feed_forward_length", 64);
  writer.put_u32("llama.context_length", 64).put_u32("llama.attention.head_count", 4);
  expect_error(shape_of(writer), Code::kUnsupported,
               "metadata llama.embedding_length: 1032 over 4 heads gives a head size of 258 "
               "(supported: even head sizes from 2 to 256)");
}

TEST(Architecture, RefusesARotationThatIsNotOfPairs) {
  for (uint32_t dims : {3u, 18u}) {
    GgufWriter writer;
    put_tiny_metadata(writer, {.rope_dims = dims});
    expect_error(shape_of(writer), Code::kInvalid,
                 "llama.rope.dimension_count: " + std::to_string(dims) + " is not an even number");
  }
}

TEST(Architecture, NamesAKeyThatIsMissing) {
  expect_error(shape_of(GgufWriter().put_string("general.architecture", "llama")), Code::kInvalid,
               "llama.block_count: not in");
}

TEST(RealModel, HasTheShapeItIsKnownFor) {
  std::optional<std::string> path = testing::real_model_path();
  ASSERT_TRUE(path) << testing::kNoRealModel;
  auto files = ModelFiles::open(*path);
  ASSERT_TRUE(files) << files.error().text();
  const ModelShape* shape = &(*files)->shape();
  EXPECT_EQ(shape->layers, 30u);
  EXPECT_EQ(shape->width, 576u);
  EXPECT_EQ(shape->heads_q, 9u);
  EXPECT_EQ(shape->heads_kv, 3u);
  EXPECT_EQ(shape->head_size, 64u);
  EXPECT_EQ(shape->ffn_width, 1536u);
  EXPECT_EQ(shape->context_length, 8192u);
  EXPECT_EQ(shape->rope_base, 100000.0);
  EXPECT_TRUE(shape->tied_head);
  EXPECT_EQ(to_hex(shape->digest), "03e932ba10975ef1a382f3b7ff1ea823");
}

}  // namespace
}  // namespace ebb::models
