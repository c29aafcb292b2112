#include "coordinator/choice.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace ebb::coordinator {

void Piece::append(Piece other) {
  text += other.text;
  std::move(other.tokens.begin(), other.tokens.end(), std::back_inserter(tokens));
}

Choice::Choice(const models::Tokenizer& tokenizer, ChoiceSetup setup)
    : tokenizer_(tokenizer),
      setup_(std::move(setup)),
      detokenizer_(tokenizer, models::Detokenizer::Begin::kText),
      text_(setup_.stop,
            setup_.include_stop ? TextStream::StopText::kKept : TextStream::StopText::kLeftOut) {}

Result<Piece> Choice::scored(std::vector<control::TokenLogprob> tokens) {
  for (control::TokenLogprob& token : tokens) {
    const size_t index = setup_.scored_from + scores_.size();
    if (prompt_done_ || index >= setup_.prompt->size() || (*setup_.prompt)[index] != token.token) {
      return internal_error("the score of prompt token " + std::to_string(index) +
                            " is of another token");
    }
    scores_.push_back(std::move(token));
  }
  if (setup_.scored_from + scores_.size() < setup_.prompt->size()) return Piece{};
  return prompt_part();
}

/// Once: the prompt's text and tokens, as far as they are shown.
Result<Piece> Choice::prompt_part() {
  if (prompt_done_) return Piece{};
  prompt_done_ = true;
  const std::vector<TokenId>& prompt = *setup_.prompt;
  const size_t scores_due = prompt.size() - setup_.scored_from;
  if (setup_.show_prompt && scores_.size() < scores_due) {
    return internal_error("only " + std::to_string(scores_.size()) + " of " +
                          std::to_string(scores_due) + " prompt tokens were scored");
  }
  Piece piece;
  if (!setup_.echo && !setup_.show_prompt) {
    // The text goes on where the prompt's ends: only behind a prompt without text does it begin.
    const auto is_text = [&](TokenId id) { return !tokenizer_.is_special(id); };
    const auto text = std::find_if(prompt.begin(), prompt.end(), is_text);
    if (text != prompt.end()) detokenizer_.push(*text);
    return piece;
  }
  std::string bytes;
  for (size_t i = setup_.added_bos; i < prompt.size(); ++i) {
    const std::string_view token = detokenizer_.push(prompt[i]);
    if (setup_.show_prompt) piece.tokens.push_back(prompt_token(i, offset_));
    offset_ += code_points(token);
    bytes += token;
  }
  if (setup_.echo) piece.text = valid_utf8(bytes);
  return piece;
}

ShownToken Choice::prompt_token(size_t index, uint32_t offset) {
  ShownToken shown;
  shown.of_prompt = true;
  shown.text_offset = offset;
  shown.scored = index >= setup_.scored_from;
  if (shown.scored) {
    shown.token = std::move(scores_[index - setup_.scored_from]);
  } else {
    shown.token.token = (*setup_.prompt)[index];
  }
  return shown;
}

Result<Piece> Choice::token(const control::TokenLogprob& token,
                            std::vector<control::SelectionTrace> trace) {
  Piece piece = EBB_TRY(prompt_part());
  if (stopped()) return piece;
  ++generated_;
  // Special tokens are not text: they appear among the tokens only.
  const std::string_view bytes =
      tokenizer_.is_special(token.token) ? std::string_view() : detokenizer_.push(token.token);
  Pending pending;
  pending.begin = pushed_;
  pending.shown.token = token;
  pending.shown.scored = setup_.logprobs;
  pending.shown.text_offset = offset_;
  pending.shown.trace = std::move(trace);
  pending_.push_back(std::move(pending));
  pushed_ += bytes.size();
  offset_ += code_points(bytes);
  piece.text += generated_ <= setup_.min_tokens ? text_.pass(bytes) : text_.push(bytes);
  release(piece, false);
  return piece;
}

Result<Piece> Choice::finish() {
  Piece piece = EBB_TRY(prompt_part());
  if (!stopped()) piece.text += text_.finish();
  release(piece, !stopped());
  return piece;
}

/// A token goes out with its first byte; those that lie in a stop string never do.
void Choice::release(Piece& piece, bool all) {
  while (!pending_.empty() && (all || pending_.front().begin < text_.released())) {
    piece.tokens.push_back(std::move(pending_.front().shown));
    pending_.pop_front();
  }
}

}  // namespace ebb::coordinator
