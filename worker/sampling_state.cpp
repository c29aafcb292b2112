#include "worker/sampling_state.h"

#include <algorithm>
#include <limits>

namespace ebb::worker {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

}  // namespace

Result<std::unique_ptr<SamplingState>> SamplingState::make(const control::OpenUnit& open,
                                                           uint32_t vocabulary,
                                                           SamplingTools& tools) {
  std::unique_ptr<SamplingState> state(new SamplingState(open, vocabulary, tools));
  EBB_TRY_VOID(state->check());
  // A tokenizer may know more tokens than the model has logits: those never come.
  for (const TokenId token : open.sampling.stop_tokens) {
    if (token >= 0 && static_cast<uint32_t>(token) < vocabulary) state->stops_.push_back(token);
  }
  for (const control::TokenBias& bias : open.sampling.logit_bias) {
    state->biases_.push_back({bias.token, bias.bias});
  }
  // Presence and frequency count what was generated; only repetition counts the prompt.
  if (open.sampling.repetition_penalty != 1) {
    for (const TokenId token : open.prompt) state->see(token, 0);
  }
  if (open.constraint.kind != control::ConstraintKind::kNone) {
    state->matcher_ = EBB_TRY(tools.constraints.matcher(open.constraint));
    state->cursor_.emplace(*state->matcher_);
  }
  return state;
}

Result<void> SamplingState::check() const {
  const auto in_range = [&](TokenId token) {
    return token >= 0 && static_cast<uint32_t>(token) < vocabulary_;
  };
  for (const control::TokenBias& bias : params().logit_bias) {
    if (!in_range(bias.token)) {
      return invalid("logit_bias: token " + std::to_string(bias.token) +
                     " is not in the vocabulary of " + std::to_string(vocabulary_));
    }
  }
  if (!(params().repetition_penalty > 0)) return invalid("repetition_penalty: must be over 0");
  return {};
}

bool SamplingState::penalised() const {
  return params().repetition_penalty != 1 || params().presence_penalty != 0 ||
         params().frequency_penalty != 0;
}

bool SamplingState::is_stop(TokenId token) const {
  return std::find(stops_.begin(), stops_.end(), token) != stops_.end();
}

void SamplingState::see(TokenId token, uint32_t times) {
  const auto [at, fresh] = seen_at_.try_emplace(token, seen_.size());
  if (fresh) seen_.push_back({token, 0});
  seen_[at->second].generated += times;
}

Result<TokenId> SamplingState::sample(std::span<const float> logits, Position position) {
  const bool banned = stops_banned() && !stops_.empty();
  std::span<const float> adjusted = logits;
  if (penalised() || banned || cursor_ || !params().logit_bias.empty()) {
    adjusted = EBB_TRY(adjust(logits));
  }
  const TokenId token = tools_.sampler.sample(adjusted, params(), position);
  accept(token);
  return token;
}

Result<kernels::Draw> SamplingState::draw(Position position) {
  EBB_TRY_VOID(allow());
  kernels::Draw draw;
  if (penalised()) {
    draw.repetition_penalty = params().repetition_penalty;
    draw.presence_penalty = params().presence_penalty;
    draw.frequency_penalty = params().frequency_penalty;
    draw.seen = seen_;
  }
  draw.biases = biases_;
  draw.allowed = allowed_;
  draw.temperature = params().temperature;
  draw.top_k = params().top_k;
  draw.typical_p = params().typical_p;
  draw.top_p = params().top_p;
  draw.min_p = params().min_p;
  draw.uniform = keyed_uniform(params().seed, position);
  return draw;
}

/// What mask() and ban_stops() leave, as bits; none where they leave all.
Result<void> SamplingState::allow() {
  allowed_.clear();
  const bool banned = stops_banned() && !stops_.empty();
  if (!cursor_ && !banned) return {};
  allowed_.assign((vocabulary_ + 63) / 64, cursor_ ? 0 : ~uint64_t{0});
  if (cursor_) {
    const std::vector<uint64_t>& words = EBB_TRY(cursor_->allowed())->words();
    std::copy_n(words.begin(), std::min(words.size(), allowed_.size()), allowed_.begin());
  }
  for (const TokenId stop : stops_) {
    const auto id = static_cast<size_t>(stop);
    if (cursor_ && cursor_->accepts()) allowed_[id / 64] |= uint64_t{1} << (id % 64);
    if (banned) allowed_[id / 64] &= ~(uint64_t{1} << (id % 64));
  }
  return {};
}

void SamplingState::accept(TokenId token) {
  ++generated_;
  if (penalised()) see(token, 1);
  // A stop token is no part of the text.
  if (cursor_ && !is_stop(token)) cursor_->advance(token);
}

Result<std::span<const float>> SamplingState::adjust(std::span<const float> logits) {
  std::vector<float>& adjusted = tools_.logits;
  adjusted.assign(logits.begin(), logits.end());
  adjust_logits(adjusted, params(), seen_);
  if (cursor_) EBB_TRY_VOID(mask(adjusted));
  if (stops_banned()) ban_stops(adjusted);
  return std::span<const float>(adjusted);
}

/// Leaves the tokens that the constraint allows, and stop tokens where the text may end.
Result<void> SamplingState::mask(std::vector<float>& logits) {
  const models::grammar::TokenSet& allowed = *EBB_TRY(cursor_->allowed());
  std::vector<std::pair<TokenId, float>> stops;
  for (const TokenId stop : stops_) {
    if (cursor_->accepts()) stops.emplace_back(stop, logits[static_cast<size_t>(stop)]);
  }
  const std::vector<uint64_t>& words = allowed.words();
  for (size_t id = 0; id < logits.size(); ++id) {
    const bool in = id / 64 < words.size() && ((words[id / 64] >> (id % 64)) & 1) != 0;
    if (!in) logits[id] = kImpossible;
  }
  for (const auto& [stop, logit] : stops) logits[static_cast<size_t>(stop)] = logit;
  const bool none =
      std::all_of(logits.begin(), logits.end(), [](float logit) { return logit == kImpossible; });
  if (none) return unsupported("no token of the vocabulary continues or ends the text");
  return {};
}

/// Unless there is nothing else to say.
void SamplingState::ban_stops(std::vector<float>& logits) const {
  std::vector<float> before;
  for (const TokenId stop : stops_) {
    before.push_back(logits[static_cast<size_t>(stop)]);
    logits[static_cast<size_t>(stop)] = kImpossible;
  }
  const bool none =
      std::all_of(logits.begin(), logits.end(), [](float logit) { return logit == kImpossible; });
  for (size_t i = before.size(); none && i-- > 0;) {
    logits[static_cast<size_t>(stops_[i])] = before[i];
  }
}

}  // namespace ebb::worker
