// The tables of families and tensors: complete, and without contradictions.
#include "models/family.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace ebb::models {
namespace {

TEST(Family, IsFoundByTheNamesOfBothFormats) {
  std::set<std::string_view> names;
  for (const Family& family : families()) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name;
    EXPECT_EQ(family_of_model_type(family.model_type), &family);
    const Family* of_gguf = family_of_gguf(family.gguf_architecture);
    ASSERT_NE(of_gguf, nullptr) << family.name;
    EXPECT_EQ(of_gguf->gguf_pairs, family.gguf_pairs) << family.name;
  }
  EXPECT_EQ(family_of_gguf("llama")->name, "llama");
  EXPECT_EQ(family_of_gguf("mamba"), nullptr);
  EXPECT_EQ(family_of_model_type("mixtral"), nullptr);
}

TEST(Family, ListsEachKnownNameOnce) {
  EXPECT_EQ(known_gguf_architectures(), "llama, qwen2, qwen3, smollm3");
  EXPECT_EQ(known_model_types(), "llama, mistral, qwen2, qwen3, smollm3");
}

TEST(TensorRules, HaveEveryRoleOnceAndNamesOfTheirOwn) {
  std::set<std::string> names;
  std::set<TensorRole> roles;
  for (const TensorRule& rule : tensor_rules()) {
    EXPECT_TRUE(roles.insert(rule.role).second);
    EXPECT_EQ(&tensor_rule(rule.role), &rule);
    EXPECT_EQ(rule.in_layers(), rule.hugging_face.find('%') != std::string_view::npos);
    EXPECT_TRUE(names.insert(rule.name(FileFormat::kGguf, 0)).second);
    EXPECT_TRUE(names.insert(rule.name(FileFormat::kHuggingFace, 0)).second);
  }
  EXPECT_EQ(roles.size(), 18u);
}

TEST(TensorRules, PutTheLayerIntoTheName) {
  const TensorRule& rule = tensor_rule(TensorRole::kQNorm);
  EXPECT_EQ(rule.name(FileFormat::kGguf, 17), "blk.17.attn_q_norm.weight");
  EXPECT_EQ(rule.name(FileFormat::kHuggingFace, 3), "model.layers.3.self_attn.q_norm.weight");
}

TEST(TensorRules, AskOnlyForWhatTheShapeHas) {
  ModelShape shape;
  shape.tied_head = true;
  for (TensorRole role : {TensorRole::kHead, TensorRole::kQBias, TensorRole::kVBias,
                          TensorRole::kAttentionOutBias, TensorRole::kKNorm})
    EXPECT_FALSE(has_tensor(shape, role));
  shape.tied_head = false;
  shape.qkv_bias = shape.attention_out_bias = shape.qk_norm = true;
  for (const TensorRule& rule : tensor_rules()) EXPECT_TRUE(has_tensor(shape, rule.role));
}

}  // namespace
}  // namespace ebb::models
