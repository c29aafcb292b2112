// Who says how much each token of a sequence matters to the next one, before a step: a trained
// controller (gru_scores.h), or in tests anything. Knows token embeddings, no attention. The same
// scores on every rank: they depend on token ids alone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/ids.h"

namespace ebb::worker {

/// Of one sequence. What it keeps is a function of the tokens that it was told, so that a step that
/// is run again finds the same scores. Engine thread.
class TokenScores {
 public:
  virtual ~TokenScores() = default;
  /// Tokens that it was told: [0, length).
  virtual uint32_t length() const = 0;
  /// The next tokens: their ids, and their embeddings [ids, width].
  virtual void append(std::span<const TokenId> ids, std::span<const float> embeddings) = 0;
  /// Scores of tokens [0, position) for the token at `position`, which is at most length(). None is
  /// NaN. Valid until the next call.
  virtual std::span<const float> at(Position position) = 0;
};

/// Immutable: shared by all sequences.
class TokenScorer {
 public:
  virtual ~TokenScorer() = default;
  virtual uint32_t width() const = 0;  ///< elements of an embedding
  /// Must not outlive the scorer.
  virtual std::unique_ptr<TokenScores> begin() const = 0;
};

}  // namespace ebb::worker
