// The architecture as data: what a model's files say, without tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace ebb::models {

/// How a head's dimensions pair up under RoPE. GGUF `llama` files are permuted for kInterleaved.
enum class RopePairs { kInterleaved, kHalves };

/// The number type of K and V on devices, in records and in every tier.
enum class KvType : uint8_t { kBF16, kF32 };

/// Numbers of one decoder-only transformer. Units: layers, elements, tokens.
struct ModelShape {
  std::string architecture;  ///< the family: "llama", "qwen3"
  std::string name;          ///< what the files call the model
  uint32_t layers = 0;
  uint32_t width = 0;  ///< embedding length
  uint32_t heads_q = 0;
  uint32_t heads_kv = 0;
  uint32_t head_size = 0;
  uint32_t ffn_width = 0;
  uint32_t vocabulary = 0;
  uint32_t context_length = 0;           ///< what the files promise
  uint32_t context_most = 0;             ///< how far shape_for_context() can stretch it
  double rope_base = 10000.0;            ///< for display; what counts is rope_frequencies
  uint32_t rope_dims = 0;                ///< rotated dims of a head; the rest pass through
  std::vector<double> rope_frequencies;  ///< [rope_dims / 2] radians per position, scaled
  float rope_magnitude = 1;              ///< multiplies cos and sin (YaRN)
  double rope_dynamic_factor = 0;        ///< dynamic NTK: for shape_for_context(); 0: not dynamic
  RopePairs rope_pairs = RopePairs::kInterleaved;
  std::vector<bool> rope_layers;  ///< [layers] false: this layer does not rotate
  std::vector<uint32_t> windows;  ///< [layers] tokens that a token sees, itself included; 0: all
  bool qkv_bias = false;
  bool attention_out_bias = false;
  bool qk_norm = false;  ///< RMSNorm over each head of Q and of K, before RoPE
  float rms_epsilon = 1e-5f;
  bool tied_head = false;          ///< the embedding is the head
  bool f32_weights = false;        ///< every tensor is stored as F32
  KvType kv_type = KvType::kBF16;  ///< how Ebb keeps K and V: see shape_with_kv_type()
  Digest digest;                   ///< of all metadata, tensor descriptions and tensor bytes

  bool rotates(uint32_t layer) const { return rope_layers[layer]; }
  uint32_t window(uint32_t layer) const { return windows[layer]; }
};

}  // namespace ebb::models
