// Who says how much each token of a sequence matters to the next one, before a step: a trained
// controller (gru_scores.h, device_gru_scores.h), or in tests anything. Knows token embeddings, no
// attention. The same scores on every rank: they depend on token ids alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/ids.h"
#include "base/result.h"
#include "kernels/device.h"

namespace ebb::worker {

/// Of one sequence. What it keeps is a function of the tokens that it was told, so that a step that
/// is run again finds the same scores. Engine thread.
class TokenScores {
 public:
  virtual ~TokenScores() = default;
  /// Tokens that it was told: [0, length).
  virtual uint32_t length() const = 0;
  /// Room for `tokens` tokens in all, before they are told. Errors: kExhausted (device memory); it
  /// is then as it was.
  virtual Result<void> reserve(uint32_t tokens) {
    static_cast<void>(tokens);
    return {};
  }
  /// The next tokens: their ids, and their embeddings [ids, width] in memory of the kind that the
  /// scorer reads.
  virtual void append(std::span<const TokenId> ids, const float* embeddings) = 0;
  /// Scores of tokens [0, position) for the token at `position`, which is at most length(). None is
  /// NaN. Valid until the next call.
  virtual std::span<const float> at(Position position) = 0;
};

/// The next tokens of one sequence, as append() takes them.
struct TokenRows {
  TokenScores* scores = nullptr;
  std::span<const TokenId> ids;
  const float* embeddings = nullptr;
};
struct TokenScoresAt {
  TokenScores* scores = nullptr;
  Position position = 0;
};

/// Immutable: shared by all sequences.
class TokenScorer {
 public:
  virtual ~TokenScorer() = default;
  virtual uint32_t width() const = 0;  ///< elements of an embedding
  /// Where embeddings are read. kDevice: of the backend that it was made for.
  virtual kernels::MemoryKind reads() const { return kernels::MemoryKind::kHost; }
  /// Must not outlive the scorer.
  virtual std::unique_ptr<TokenScores> begin() const = 0;
  /// TokenScores::append of several sequences of this scorer, each once: in one piece where it can.
  virtual void append(std::span<const TokenRows> rows) const {
    for (const TokenRows& each : rows) each.scores->append(each.ids, each.embeddings);
  }
  /// Computes what TokenScores::at is going to be asked, for several sequences, each once: one wait
  /// for the device instead of one each.
  virtual void prepare(std::span<const TokenScoresAt> wanted) const { static_cast<void>(wanted); }
  /// Device memory that it and its sequences have.
  virtual uint64_t device_bytes() const { return 0; }
};

}  // namespace ebb::worker
