// What sampling remembers of one sequence: which tokens have come, and how far the text is in its
// constraint. Rank 0 only; the engine's thread.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "worker/constraints.h"
#include "worker/sampler.h"

namespace ebb::worker {

/// Shared by the sequences of a rank.
struct SamplingTools {
  Sampler sampler;
  Constraints constraints;
  std::vector<float> logits;  ///< scratch: adjusted ones
};

class SamplingState {
 public:
  /// `open` and `tools` outlive the state. Errors: kInvalid (a token id out of `vocabulary`, a
  /// constraint that is wrong).
  static Result<std::unique_ptr<SamplingState>> make(const control::OpenUnit& open,
                                                     uint32_t vocabulary, SamplingTools& tools);

  /// The next token, from its logits [vocabulary]; it counts as come. Without penalties, biases and
  /// constraints it costs no copy. Errors: kUnsupported (the constraint cannot be met with this
  /// vocabulary, or takes too much work).
  Result<TokenId> sample(std::span<const float> logits, Position position);
  /// The same for a device that draws itself (Ops::draw): what it is told. Spans last until this
  /// state's next call. Where it finds no token that may come, sample() knows why.
  Result<kernels::Draw> draw(Position position);
  /// A token that was drawn so counts as come.
  void accept(TokenId token);
  bool is_stop(TokenId token) const;
  /// The constraint allows nothing more.
  bool complete() const { return cursor_ && cursor_->ends(); }

 private:
  SamplingState(const control::OpenUnit& open, uint32_t vocabulary, SamplingTools& tools)
      : open_(open), vocabulary_(vocabulary), tools_(tools) {}
  Result<void> check() const;
  const control::SamplingParams& params() const { return open_.sampling; }
  bool penalised() const;
  bool stops_banned() const { return generated_ < params().min_tokens; }
  Result<std::span<const float>> adjust(std::span<const float> logits);
  Result<void> mask(std::vector<float>& logits);
  void ban_stops(std::vector<float>& logits) const;
  Result<void> allow();
  void see(TokenId token, uint32_t times);

  const control::OpenUnit& open_;
  const uint32_t vocabulary_;
  SamplingTools& tools_;
  std::vector<TokenId> stops_;
  uint32_t generated_ = 0;
  std::vector<kernels::LogitBias> biases_;
  std::vector<uint64_t> allowed_;  ///< for draw()
  std::vector<SeenToken> seen_;
  std::unordered_map<TokenId, size_t> seen_at_;
  std::shared_ptr<models::grammar::TokenMatcher> matcher_;  ///< null: no constraint
  std::optional<models::grammar::TokenMatcher::Cursor> cursor_;
};

}  // namespace ebb::worker
