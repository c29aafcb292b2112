// Long prompts around a question: filler text cut so that the whole has a wanted length in tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "score/backend.h"

namespace ebb::score {

/// One question about a long text, as the measures ask it.
struct Question {
  std::string haystack;               ///< first part of the user's message
  std::string question;               ///< the rest of it
  std::string begun;                  ///< the answer's first words, given to the model
  std::string answer;                 ///< what should follow `begun`, with its leading space
  std::vector<std::string> expected;  ///< strings that a right answer has
};

/// The prompt of a question: decode_from is the question's first token, so that a policy has to
/// find the answer in the haystack by its own decode path; the haystack is prefilled.
struct BuiltQuestion {
  Tokens prompt;             ///< up to where the answer begins
  uint64_t decode_from = 0;  ///< tokens of frame and haystack
  Tokens answer;             ///< of Question::answer
};
Result<BuiltQuestion> build_question(Backend& backend, const ChatFrame& frame,
                                     const Question& question);

/// The question that `make` gives for the largest amount of filler (in units of its own: sentences,
/// words, pairs) whose prompt has at most `length` tokens. `make` must be deterministic, and grow
/// with its argument. Errors: kInvalid: not even `make(1)` fits, names both lengths.
Result<BuiltQuestion> fit_question(Backend& backend, const ChatFrame& frame, uint64_t length,
                                   const std::function<Question(uint64_t)>& make,
                                   Question* fitted = nullptr);

/// Sentences of a text, each with its end mark; line breaks become spaces.
std::vector<std::string> sentences_of(const std::string& text);
/// `count` sentences from `from` on, around the end where there are not enough.
std::string filler(const std::vector<std::string>& sentences, uint64_t from, uint64_t count);

/// Deterministic numbers, the same on every machine (SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  /// 0 to bound - 1, with a bias below bound / 2^64; bound is 1 or more.
  uint64_t below(uint64_t bound) { return next() % bound; }
  /// `count` different items of `items`, in random order.
  std::vector<std::string> sample(const std::vector<std::string>& items, uint64_t count);

 private:
  uint64_t state_;
};
/// A seed of its own for each place in a run.
uint64_t seed_of(uint64_t seed, const std::string& place);

}  // namespace ebb::score
