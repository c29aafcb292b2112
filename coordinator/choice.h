// One sequence of an answer: its tokens become text piece by piece. Single-threaded; knows no
// engine, no JSON.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/engine.h"
#include "coordinator/text_stream.h"
#include "models/tokenizer.h"

namespace ebb::coordinator {

/// A token as an answer shows it.
struct ShownToken {
  control::TokenLogprob token;
  bool scored = false;  ///< token.logprob and token.top mean something
  bool of_prompt = false;
  uint32_t text_offset = 0;                    ///< code points before it
  std::vector<control::SelectionTrace> trace;  ///< of the step that made it
};

/// What became certain with one step.
struct Piece {
  std::string text;
  std::vector<ShownToken> tokens;
  bool empty() const { return text.empty() && tokens.empty(); }
  void append(Piece other);
};

struct ChoiceSetup {
  std::shared_ptr<const std::vector<TokenId>> prompt;  ///< shared by the choices of one prompt
  uint32_t added_bos = 0;
  bool echo = false;         ///< the text begins with the prompt's
  bool show_prompt = false;  ///< the tokens begin with the prompt's
  uint32_t scored_from = 0;  ///< the engine scores prompt tokens from here on; prompt size: none
  bool logprobs = false;     ///< generated tokens are scored
  std::vector<std::string> stop;
  bool include_stop = false;
  uint32_t min_tokens = 0;  ///< stop strings count behind these
};

class Choice {
 public:
  Choice(const models::Tokenizer& tokenizer, ChoiceSetup setup);

  /// Scores of prompt tokens, in order. Errors: kInternal when they are not this prompt's.
  Result<Piece> scored(std::vector<control::TokenLogprob> tokens);
  /// The prompt's part comes with the first call of token() or finish(), unless scored() gave it
  /// before.
  Result<Piece> token(const control::TokenLogprob& token,
                      std::vector<control::SelectionTrace> trace);
  Result<Piece> finish();

  bool stopped() const { return text_.stopped(); }
  uint32_t generated() const { return generated_; }

 private:
  struct Pending {
    ShownToken shown;
    uint64_t begin = 0;  ///< its first byte in the generated text
  };
  Result<Piece> prompt_part();
  ShownToken prompt_token(size_t index, uint32_t offset);
  void release(Piece& piece, bool all);

  const models::Tokenizer& tokenizer_;
  ChoiceSetup setup_;
  models::Detokenizer detokenizer_;  ///< of the prompt's text, then of the answer's
  TextStream text_;
  std::vector<control::TokenLogprob> scores_;
  bool prompt_done_ = false;
  std::deque<Pending> pending_;
  uint64_t pushed_ = 0;     ///< bytes given to text_
  uint32_t offset_ = 0;     ///< code points of all shown text so far
  uint32_t generated_ = 0;  ///< tokens until a stop string was complete
};

}  // namespace ebb::coordinator
