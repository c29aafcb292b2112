// Policy adore's controller where the tensors are: a GRU over the embeddings x of a sequence's
// tokens and a head that scores token i for the token at position n,
//   z_i = GRU(W x_i + b, z_{i-1}),   z_{-1} = 0
//   score(n, i) = w1 . gelu(W0 z_i + b0 + W0 p_bucket(n - i)) + b1
// (docs/adore.md). Ops::make_token_gru() makes one; a backend may have none: then whoever asked
// computes on the host (worker/attention/gru_scores.h). Engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace ebb::kernels {

/// Host memory, read before the call returns. Matrices are row-major, an output a row; gates in
/// PyTorch's order: reset, update, new.
struct TokenGruWeights {
  uint32_t hidden = 0;                     ///< H: elements of an embedding
  uint32_t width = 0;                      ///< C: elements of a state
  std::span<const float> input;            ///< W [C, H]
  std::span<const float> input_bias;       ///< b [C]
  std::span<const float> from_input;       ///< [3C, C]
  std::span<const float> from_input_bias;  ///< [3C]
  std::span<const float> from_state;       ///< [3C, C]
  std::span<const float> from_state_bias;  ///< [3C]
  std::span<const float> head;             ///< W0 [C, C]
  std::span<const float> head_bias;        ///< b0 [C]
  std::span<const float> of_bucket;        ///< W0 p [buckets, C]
  std::span<const uint32_t> bucket_begin;  ///< [buckets]: least distance of each; 0, 1, ascending
  std::span<const float> score_weight;     ///< w1 [C]
  float score_bias = 0;                    ///< b1
};

/// What a device keeps of one sequence: its state, what the head needs of every token, and the
/// scores. A function of the tokens that it was told. Must not outlive its TokenGru.
class TokenGruSequence {
 public:
  virtual ~TokenGruSequence() = default;
  virtual uint32_t length() const = 0;  ///< tokens that it was told
  /// Device memory for `tokens` tokens in all: 4 (C + 1) bytes for each, in steps of
  /// TokenGru::kStep tokens; while it grows, the old memory and the new. Errors: kExhausted, with
  /// the figures; the sequence is then as it was.
  virtual Result<void> reserve(uint32_t tokens) = 0;
  /// Host memory: what TokenGru::score() computed last. None is NaN. Valid until the next call.
  virtual std::span<const float> scores() const = 0;
};

/// The weights, for all sequences.
class TokenGru {
 public:
  /// Tokens by which a sequence's memory grows: 67 KB at C = 64, and a copy of all of it each
  /// time.
  static constexpr uint32_t kStep = 256;

  /// Tokens that follow each other.
  struct Rows {
    TokenGruSequence* sequence = nullptr;
    const float* d_embeddings = nullptr;  ///< [tokens, H]
    uint32_t tokens = 0;
  };
  struct At {
    TokenGruSequence* sequence = nullptr;
    uint32_t position = 0;  ///< n, at most length()
  };

  virtual ~TokenGru() = default;
  /// Takes no memory of the device before reserve().
  virtual std::unique_ptr<TokenGruSequence> begin() = 0;
  /// Sequences each once, with room reserved; one that has no tokens here is left alone. Enqueues.
  virtual void append(std::span<const Rows> rows) = 0;
  /// Sequences each once: their scores() become those of tokens [0, position). Going on by one
  /// position computes and brings to the host what changed: one score for each bucket, with the
  /// bits of scoring anew. Waits once for all. After an error of the device scores are numbers, but
  /// mean nothing: Device::synchronize() has the error.
  virtual void score(std::span<const At> wanted) = 0;
  /// Device memory of the weights and of all sequences.
  virtual uint64_t device_bytes() const = 0;
};

}  // namespace ebb::kernels
