// Writes small models of the llama kind with seeded random weights, a byte-level tokenizer and a
// ChatML template: for tests that need a model file but not a model that makes sense. The same
// options give the same bytes.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "models/gguf.h"
#include "tests/support/gguf_writer.h"

namespace ebb::testing {

struct TinyLlamaOptions {
  uint32_t layers = 2;
  uint32_t width = 64;  ///< a multiple of 32 for the quantised types
  uint32_t heads_q = 4;
  uint32_t heads_kv = 2;
  uint32_t head_size = 16;
  uint32_t ffn_width = 96;
  uint32_t vocabulary = 288;  ///< at least kTinyTokens; the rest are unused tokens
  uint32_t context_length = 2048;
  double rope_base = 10000.0;
  uint32_t rope_dims = 0;                                   ///< 0: the head size
  std::optional<uint32_t> value_length = {};                ///< nothing: the head size
  models::WeightType weights = models::WeightType::kF32;    ///< matrices of the layers
  models::WeightType embedding = models::WeightType::kF32;  ///< and of the head
  bool tied_head = true;
  std::string architecture = "llama";
  bool qkv_bias = false;
  bool attention_out_bias = false;
  bool qk_norm = false;
  uint64_t seed = 1;
  std::string name = "tiny llama";
};

/// Ids of the tiny tokenizer: three specials, one token per byte, one per merge.
constexpr int32_t kTinyEndOfText = 0;
constexpr int32_t kTinyImStart = 1;
constexpr int32_t kTinyImEnd = 2;
constexpr uint32_t kTinyTokens = 3 + 256 + 6;

/// SplitMix64; a distribution of our own, so that every library gives the same weights.
class TinyRandom {
 public:
  explicit TinyRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// Uniform in [-1, 1).
  float uniform() { return static_cast<float>(static_cast<int32_t>(next() >> 32)) * 0x1p-31f; }
  /// Variance `scale` squared.
  std::vector<float> values(uint64_t count, float scale) {
    std::vector<float> out(count);
    for (float& x : out) x = uniform() * scale * std::sqrt(3.0f);
    return out;
  }

 private:
  uint64_t state_;
};

/// The character that byte-level BPE writes for a byte, as UTF-8: itself where it is printable
/// Latin-1, else the next free code point from 256 up.
inline std::string byte_character(uint8_t byte) {
  auto printable = [](uint32_t b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
  };
  uint32_t code = byte;
  if (!printable(byte)) {
    code = 256;
    for (uint32_t b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

inline void put_tiny_tokenizer(GgufWriter& writer, uint32_t vocabulary) {
  EBB_CHECK(vocabulary >= kTinyTokens);
  constexpr int32_t kNormal = 1, kControl = 3, kUnused = 5;
  const std::string space = byte_character(' ');
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"t", "h"}, {"th", "e"}, {space, "the"}, {"i", "n"}, {"e", "r"}, {space, "a"}};
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<int32_t> types(tokens.size(), kControl);
  for (uint32_t byte = 0; byte < 256; ++byte)
    tokens.push_back(byte_character(static_cast<uint8_t>(byte)));
  std::vector<std::string> merge_lines;
  for (const auto& [left, right] : merges) {
    tokens.push_back(left + right);
    merge_lines.push_back(left + " " + right);
  }
  types.resize(tokens.size(), kNormal);
  while (tokens.size() < vocabulary)
    tokens.push_back("<unused" + std::to_string(tokens.size()) + ">");
  types.resize(tokens.size(), kUnused);
  writer.put_string("tokenizer.ggml.model", "gpt2").put_string("tokenizer.ggml.pre", "smollm");
  writer.put_strings("tokenizer.ggml.tokens", tokens).put_i32s("tokenizer.ggml.token_type", types);
  writer.put_strings("tokenizer.ggml.merges", merge_lines);
  writer.put_u32("tokenizer.ggml.bos_token_id", kTinyImStart);
  writer.put_u32("tokenizer.ggml.eos_token_id", kTinyImEnd);
  writer.put_bool("tokenizer.ggml.add_bos_token", false);
  writer.put_bool("tokenizer.ggml.add_space_prefix", false);
  writer.put_string("tokenizer.chat_template",
                    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
                    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
                    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
}

inline void put_tiny_metadata(GgufWriter& writer, const TinyLlamaOptions& options) {
  const auto key = [&](const char* name) { return options.architecture + "." + name; };
  writer.put_string("general.architecture", options.architecture);
  writer.put_string("general.name", options.name);
  writer.put_u32(key("block_count"), options.layers);
  writer.put_u32(key("embedding_length"), options.width);
  writer.put_u32(key("feed_forward_length"), options.ffn_width);
  writer.put_u32(key("context_length"), options.context_length);
  writer.put_u32(key("attention.head_count"), options.heads_q);
  writer.put_u32(key("attention.head_count_kv"), options.heads_kv);
  writer.put_u32(key("attention.key_length"), options.head_size);
  writer.put_u32(key("attention.value_length"), options.value_length.value_or(options.head_size));
  writer.put_f32(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  writer.put_u32(key("rope.dimension_count"),
                 options.rope_dims == 0 ? options.head_size : options.rope_dims);
  writer.put_f32(key("rope.freq_base"), static_cast<float>(options.rope_base));
  writer.put_u32(key("vocab_size"), options.vocabulary);
}

inline void add_tiny_tensors(GgufWriter& writer, const TinyLlamaOptions& options) {
  TinyRandom random(options.seed);
  // Scaled so that activations keep their size from layer to layer, and logits spread by a few
  // units.
  auto matrix = [&](const std::string& name, uint64_t rows, uint64_t columns,
                    models::WeightType type) {
    float scale = 1.0f / std::sqrt(static_cast<float>(columns));
    writer.add_tensor(name, {columns, rows}, type, random.values(rows * columns, scale));
  };
  auto vector = [&](const std::string& name, uint64_t size, float middle) {
    std::vector<float> values = random.values(size, 0.1f);
    for (float& x : values) x += middle;
    writer.add_tensor(name, {size}, models::WeightType::kF32, values);
  };
  auto norm = [&](const std::string& name) { vector(name, options.width, 1.0f); };
  uint64_t q_width = uint64_t{options.heads_q} * options.head_size;
  uint64_t kv_width = uint64_t{options.heads_kv} * options.head_size;
  writer.add_tensor("token_embd.weight", {options.width, options.vocabulary}, options.embedding,
                    random.values(uint64_t{options.vocabulary} * options.width, 0.3f));
  for (uint32_t layer = 0; layer < options.layers; ++layer) {
    std::string block = "blk." + std::to_string(layer) + ".";
    norm(block + "attn_norm.weight");
    matrix(block + "attn_q.weight", q_width, options.width, options.weights);
    matrix(block + "attn_k.weight", kv_width, options.width, options.weights);
    matrix(block + "attn_v.weight", kv_width, options.width, options.weights);
    matrix(block + "attn_output.weight", options.width, q_width, options.weights);
    if (options.qkv_bias) {
      vector(block + "attn_q.bias", q_width, 0.0f);
      vector(block + "attn_k.bias", kv_width, 0.0f);
      vector(block + "attn_v.bias", kv_width, 0.0f);
    }
    if (options.attention_out_bias) vector(block + "attn_output.bias", options.width, 0.0f);
    if (options.qk_norm) {
      vector(block + "attn_q_norm.weight", options.head_size, 1.0f);
      vector(block + "attn_k_norm.weight", options.head_size, 1.0f);
    }
    norm(block + "ffn_norm.weight");
    matrix(block + "ffn_gate.weight", options.ffn_width, options.width, options.weights);
    matrix(block + "ffn_up.weight", options.ffn_width, options.width, options.weights);
    matrix(block + "ffn_down.weight", options.width, options.ffn_width, options.weights);
  }
  norm("output_norm.weight");
  if (!options.tied_head)
    matrix("output.weight", options.vocabulary, options.width, options.embedding);
}

/// The whole file as a writer, for tests that change it before writing.
inline GgufWriter tiny_llama(const TinyLlamaOptions& options = {}) {
  GgufWriter writer;
  put_tiny_metadata(writer, options);
  put_tiny_tokenizer(writer, options.vocabulary);
  add_tiny_tensors(writer, options);
  return writer;
}

inline void write_tiny_llama(const std::string& path, const TinyLlamaOptions& options = {}) {
  tiny_llama(options).write(path);
}

}  // namespace ebb::testing
