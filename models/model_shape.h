// The architecture as data: what a model file says, without tensors.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/result.h"

namespace ebb::models {

/// How a head's dimensions pair up under RoPE. GGUF `llama` files are permuted for kInterleaved.
enum class RopePairs { kInterleaved, kHalves };

/// Numbers of one decoder-only transformer. Units: layers, elements, tokens.
struct ModelShape {
  std::string architecture;  ///< "llama"
  std::string name;          ///< general.name
  uint32_t layers = 0;
  uint32_t width = 0;        ///< embedding length
  uint32_t heads_q = 0;
  uint32_t heads_kv = 0;
  uint32_t head_size = 0;
  uint32_t ffn_width = 0;
  uint32_t vocabulary = 0;
  uint32_t context_length = 0;
  double rope_base = 10000.0;
  uint32_t rope_dims = 0;
  RopePairs rope_pairs = RopePairs::kInterleaved;
  float rms_epsilon = 1e-5f;
  bool tied_head = false;    ///< no output.weight: the embedding is the head
  Digest digest;             ///< of all metadata, tensor descriptions and tensor bytes
};

}  // namespace ebb::models
