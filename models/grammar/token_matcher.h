// Which tokens may come next: a grammar's automaton walked along the trie of a vocabulary. One
// matcher serves all sequences that obey the same grammar.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/grammar/automaton.h"
#include "models/grammar/token_table.h"

namespace ebb::models::grammar {

/// Bits by token id.
class TokenSet {
 public:
  explicit TokenSet(uint32_t size = 0) : words_((size + 63) / 64) {}
  void add(TokenId id) { words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); }
  bool contains(TokenId id) const {
    const auto word = static_cast<size_t>(id) / 64;
    return word < words_.size() && ((words_[word] >> (id % 64)) & 1) != 0;
  }
  const std::vector<uint64_t>& words() const { return words_; }
  bool empty() const {
    return std::all_of(words_.begin(), words_.end(), [](uint64_t word) { return word == 0; });
  }

 private:
  std::vector<uint64_t> words_;
};

struct MatcherLimits {
  uint64_t automaton_bytes = 16 << 20;  ///< states beyond this are forgotten between tokens
  uint64_t mask_bytes = 8 << 20;        ///< of kept sets; the least recently used go first
  uint64_t places_per_token = 1 << 20;  ///< of one set: bounds its time to some 100 ms
};

/// One thread.
class TokenMatcher {
 public:
  TokenMatcher(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie,
               MatcherLimits limits = {});

  /// How far one sequence is. Ends before the matcher.
  class Cursor {
   public:
    explicit Cursor(TokenMatcher& matcher);
    ~Cursor();
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    /// The tokens that may come next; those without bytes are not among them. Valid until the next
    /// call on any cursor of the matcher. Errors: kUnsupported: the vocabulary cannot spell what
    /// must come, or finding out takes more work than one token may.
    Result<const TokenSet*> allowed();
    /// Takes a token that was allowed. Tokens without bytes change nothing.
    void advance(TokenId token);
    /// The text may end here; and: it must.
    bool accepts() const { return matcher_.automaton_.accepts(state_); }
    bool ends() const { return matcher_.automaton_.ends(state_); }

   private:
    friend class TokenMatcher;
    TokenMatcher& matcher_;
    Automaton::StateId state_;
  };

  uint64_t bytes() const { return automaton_.bytes() + kept_bytes_; }
  uint64_t sets_made() const { return sets_made_; }

 private:
  struct Kept {
    Automaton::StateId state;
    TokenSet tokens;
  };
  Result<const TokenSet*> allowed_in(Automaton::StateId state);
  TokenSet walk(Automaton::StateId state);
  void trim();

  Automaton automaton_;
  std::shared_ptr<const TokenTrie> trie_;
  MatcherLimits limits_;
  std::set<Cursor*> cursors_;
  std::list<Kept> kept_;  ///< most recently used first
  std::unordered_map<Automaton::StateId, std::list<Kept>::iterator> kept_by_state_;
  uint64_t kept_bytes_ = 0;
  uint64_t sets_made_ = 0;
  std::vector<Automaton::StateId> path_;  ///< by depth, during a walk
};

}  // namespace ebb::models::grammar
