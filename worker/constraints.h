// Constraints of sequences as this rank applies them: compiled once for all sequences that have the
// same one, over the vocabulary that the coordinator sent. Rank 0 only.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "models/grammar/token_matcher.h"
#include "transport/control/messages.h"

namespace ebb::worker {

/// Engine thread.
class Constraints {
 public:
  /// Takes over the vocabulary of a new epoch. Errors: kInvalid (broken, another digest, or none
  /// when this rank does not have it yet).
  Result<void> set_vocabulary(const Digest& digest, const std::string& packed);

  /// Compiles, or takes it from the last few. Errors: kInvalid (the constraint is wrong),
  /// kUnavailable (no vocabulary).
  Result<std::shared_ptr<models::grammar::TokenMatcher>> matcher(
      const control::Constraint& constraint);

 private:
  struct Entry {
    control::Constraint constraint;
    // Shared with the sequences that use it.
    std::shared_ptr<models::grammar::TokenMatcher> matcher;
  };
  Digest digest_;
  bool has_vocabulary_ = false;
  models::grammar::TokenTable table_;  ///< until the trie is made
  std::shared_ptr<const models::grammar::TokenTrie> trie_;  ///< with the first constraint
  std::list<Entry> recent_;                                 ///< most recently used first
};

}  // namespace ebb::worker
