// One model on disk, opened: a .gguf file or a Hugging Face directory. What it is (shape), where
// its tensors lie (by role, whatever the format calls them), how it speaks (tokenizer, chat
// template). Weights are mapped, never read here: a page costs memory only when somebody touches
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "models/chat_template.h"
#include "models/generation_defaults.h"
#include "models/model_shape.h"
#include "models/tensor_view.h"
#include "models/tokenizer.h"

namespace ebb::models {

/// What a tensor is for. The first three are there once, the others in each layer.
enum class TensorRole : uint8_t {
  kEmbedding,  ///< [vocabulary, width]
  kOutputNorm,
  kHead,           ///< [vocabulary, width]; that of kEmbedding for a tied head
  kAttentionNorm,  ///< [1, width]
  kQ,              ///< [heads_q * head_size, width]
  kK,              ///< [heads_kv * head_size, width]
  kV,
  kQBias,  ///< [1, heads_q * head_size]
  kKBias,
  kVBias,
  kAttentionOut,      ///< [width, heads_q * head_size]
  kAttentionOutBias,  ///< [1, width]
  kQNorm,             ///< [1, head_size]
  kKNorm,
  kFfnNorm,  ///< [1, width]
  kGate,     ///< [ffn_width, width]
  kUp,
  kDown,  ///< [width, ffn_width]
};

/// Immutable once open: all methods any thread.
class ModelFiles {
 public:
  /// Maps the files and checks everything but the weights' values. Errors: kNotFound (no such
  /// path), kInvalid (a file that is broken or contradicts another: names file, field and limit),
  /// kUnsupported (an architecture, a type or a feature that Ebb does not know: names it and the
  /// known ones).
  static Result<std::unique_ptr<ModelFiles>> open(const std::string& path);
  virtual ~ModelFiles() = default;

  virtual const std::string& path() const = 0;
  virtual const ModelShape& shape() const = 0;
  /// `layer` does not matter for roles that are there once. Errors: kNotFound (a role that this
  /// model does not have).
  virtual Result<TensorView> tensor(TensorRole role, uint32_t layer) const = 0;
  virtual bool has(TensorRole role, uint32_t layer) const = 0;
  virtual Result<std::unique_ptr<Tokenizer>> tokenizer() const = 0;
  /// Null: the model has none.
  virtual Result<std::unique_ptr<ChatTemplate>> chat_template() const = 0;
  virtual GenerationDefaults generation_defaults() const = 0;
  /// The pages of `bytes` bytes from `data` (of a tensor of this model) leave this process; they
  /// come back when touched. For weights that were copied: what was read no longer counts.
  virtual void forget_pages(const std::byte* data, uint64_t bytes) const = 0;
  void forget_pages(const TensorView& view) const { forget_pages(view.data, view.bytes); }
};

}  // namespace ebb::models
