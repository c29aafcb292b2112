// Writes small models of every family as Hugging Face directories, with seeded random weights. The
// same options give the same bytes.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "models/family.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/tiny_llama.h"

namespace ebb::testing {

/// Numbers, and which tensors there are; what else config.json says is `more`.
struct TinyHuggingFace {
  std::string family = "llama";
  uint32_t layers = 2;
  uint32_t width = 64;
  uint32_t heads_q = 4;
  uint32_t heads_kv = 2;
  uint32_t head_size = 16;
  uint32_t ffn_width = 96;
  uint32_t vocabulary = 288;
  uint32_t context_length = 2048;
  bool tied_head = false;
  bool qkv_bias = false;
  bool attention_out_bias = false;
  models::WeightType weights = models::WeightType::kF32;
  uint32_t shards = 1;
  uint64_t seed = 1;
  std::string more = {};  ///< members of config.json, each with a comma before it

  models::ModelShape shape() const {
    models::ModelShape shape;
    shape.layers = layers;
    shape.width = width;
    shape.heads_q = heads_q;
    shape.heads_kv = heads_kv;
    shape.head_size = head_size;
    shape.ffn_width = ffn_width;
    shape.vocabulary = vocabulary;
    shape.tied_head = tied_head;
    shape.qkv_bias = qkv_bias;
    shape.attention_out_bias = attention_out_bias;
    shape.qk_norm = models::family_of_model_type(family)->qk_norm;
    return shape;
  }
};

inline std::string tiny_config_json(const TinyHuggingFace& o) {
  const auto number = [](const char* key, uint32_t value) {
    return ",\"" + std::string(key) + "\":" + std::to_string(value);
  };
  std::string text = "{\"model_type\":\"" + o.family + "\",\"architectures\":[\"" +
                     std::string(models::family_of_model_type(o.family)->architecture) + "\"]";
  text += number("num_hidden_layers", o.layers) + number("hidden_size", o.width);
  text += number("num_attention_heads", o.heads_q) + number("num_key_value_heads", o.heads_kv);
  text += number("head_dim", o.head_size) + number("intermediate_size", o.ffn_width);
  text += number("vocab_size", o.vocabulary) + number("max_position_embeddings", o.context_length);
  text += ",\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\",\"torch_dtype\":\"bfloat16\"";
  text += std::string(",\"tie_word_embeddings\":") + (o.tied_head ? "true" : "false");
  return text + o.more + "}";
}

/// One writer a shard; the tensors are dealt in turns.
inline std::vector<SafetensorsWriter> tiny_shards(const TinyHuggingFace& o) {
  std::vector<SafetensorsWriter> shards(o.shards);
  const models::ModelShape shape = o.shape();
  TinyRandom random(o.seed);
  size_t count = 0;
  for (const models::TensorRule& rule : models::tensor_rules()) {
    if (!models::has_tensor(shape, rule.role)) continue;
    const uint64_t rows = extent_of(shape, rule.rows), columns = extent_of(shape, rule.columns);
    for (uint32_t layer = 0; layer < (rule.in_layers() ? o.layers : 1); ++layer) {
      const float scale = rows == 1 ? 0.1f : 1.0f / std::sqrt(static_cast<float>(columns));
      std::vector<float> values = random.values(rows * columns, scale);
      if (rule.name(models::FileFormat::kGguf, 0).ends_with("norm.weight"))
        for (float& x : values) x += 1.0f;
      const std::vector<uint64_t> extents =
          rows == 1 ? std::vector<uint64_t>{columns} : std::vector<uint64_t>{rows, columns};
      shards[count++ % shards.size()].add(rule.name(models::FileFormat::kHuggingFace, layer),
                                          extents, o.weights, values);
    }
  }
  return shards;
}

inline std::string shard_name(size_t shard, size_t shards) {
  if (shards == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
  return name;
}

inline std::string index_json(const std::vector<SafetensorsWriter>& shards) {
  std::string map;
  uint64_t bytes = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    bytes += shards[i].data_bytes();
    for (const std::string& name : shards[i].names())
      map += (map.empty() ? "\"" : ",\"") + name + "\":\"" + shard_name(i, shards.size()) + "\"";
  }
  return "{\"metadata\":{\"total_size\":" + std::to_string(bytes) + "},\"weight_map\":{" + map +
         "}}";
}

inline void write_text(const std::string& path, std::string_view text) {
  GgufWriter::write_file(path, text);
}

/// Weights and config.json into a directory that exists.
inline void write_tiny_hugging_face(const std::string& directory, const TinyHuggingFace& options) {
  write_text(directory + "/config.json", tiny_config_json(options));
  const std::vector<SafetensorsWriter> shards = tiny_shards(options);
  for (size_t i = 0; i < shards.size(); ++i)
    write_text(directory + "/" + shard_name(i, shards.size()), shards[i].bytes());
  if (shards.size() > 1)
    write_text(directory + "/model.safetensors.index.json", index_json(shards));
}

}  // namespace ebb::testing
