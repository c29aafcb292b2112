// The families of models that Ebb computes, as data: every row of the table is one family, every
// row of the second one tensor of the graph that they all share. A new family of this shape is a
// row here; a graph that does something new is a field more, and its reader in architecture.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "models/model_files.h"
#include "models/model_shape.h"

namespace ebb::models {

enum class FileFormat : uint8_t { kGguf, kHuggingFace };

/// Whether projections have a bias. kOptional: config.json says so (attention_bias); a GGUF file
/// shows it by having the tensors.
enum class Bias : uint8_t { kNever, kAlways, kOptional };

/// Which layers of config.json's sliding window see only that window.
enum class WindowRule : uint8_t {
  kNone,             ///< the family has no window
  kEveryLayer,       ///< where sliding_window is not null
  kUpperLayers,      ///< with use_sliding_window: from max_window_layers up
  kUnrotatedLayers,  ///< with use_sliding_window: those without RoPE
};

struct Family {
  std::string_view name;
  std::string_view models;  ///< for people: what belongs to it
  std::string_view
      gguf_architecture;          ///< general.architecture; one name may serve several families
  std::string_view model_type;    ///< config.json
  std::string_view architecture;  ///< config.json: architectures
  RopePairs gguf_pairs = RopePairs::kHalves;  ///< config.json's are always halves
  Bias qkv_bias = Bias::kNever;
  Bias attention_out_bias = Bias::kNever;
  bool qk_norm = false;
  WindowRule window = WindowRule::kNone;
  /// Every n-th layer does not rotate, unless config.json lists them (no_rope_layers); 0: all do.
  uint32_t unrotated_every = 0;

  // What the family's configuration class takes where config.json is silent.
  double rope_base = 10000.0;
  uint32_t default_window = 0;     ///< 0: none
  uint32_t default_heads_kv = 0;   ///< 0: as many as query heads
  uint32_t default_head_size = 0;  ///< 0: the width over the query heads
  bool default_tied_head = false;
};

std::span<const Family> families();
/// Null: not known. For a GGUF architecture the first row with that name.
const Family* family_of_gguf(std::string_view architecture);
const Family* family_of_model_type(std::string_view model_type);
/// "llama, mistral, ..." for messages.
std::string known_gguf_architectures();
std::string known_model_types();

/// One extent of a tensor, as a number of the shape.
enum class Extent : uint8_t { kOne, kVocabulary, kWidth, kQueries, kKeys, kHead, kFfn };
uint64_t extent_of(const ModelShape& shape, Extent extent);

/// A tensor of the graph. '%' in a name stands for the layer.
struct TensorRule {
  TensorRole role;
  std::string_view gguf;
  std::string_view hugging_face;
  Extent rows;
  Extent columns;

  bool in_layers() const { return gguf.find('%') != std::string_view::npos; }
  std::string name(FileFormat format, uint32_t layer) const;
};

/// In the order in which a forward pass meets them.
std::span<const TensorRule> tensor_rules();
const TensorRule& tensor_rule(TensorRole role);
/// Whether a model of this shape has the tensor. A tied head has none of its own.
bool has_tensor(const ModelShape& shape, TensorRole role);

}  // namespace ebb::models
