#include "models/grammar/token_matcher.h"

#include "base/check.h"

namespace ebb::models::grammar {

TokenMatcher::TokenMatcher(std::shared_ptr<const Grammar> grammar,
                           std::shared_ptr<const TokenTrie> trie, MatcherLimits limits)
    : automaton_(std::move(grammar)),
      trie_(std::move(trie)),
      limits_(limits),
      path_(trie_->depth_max() + 1) {}

/// Forgets states, and the sets that are named by them.
void TokenMatcher::trim() {
  if (automaton_.bytes() <= limits_.automaton_bytes) return;
  std::vector<Automaton::StateId*> live;
  for (Cursor* cursor : cursors_) live.push_back(&cursor->state_);
  automaton_.set_budget(UINT64_MAX);
  automaton_.forget(live);
  kept_.clear();
  kept_by_state_.clear();
  kept_bytes_ = 0;
}

TokenSet TokenMatcher::walk(Automaton::StateId state) {
  TokenSet allowed(trie_->vocabulary());
  path_[0] = state;
  const uint32_t nodes = trie_->nodes();
  for (uint32_t node = 0; node < nodes;) {
    const uint32_t depth = trie_->depth(node);
    const auto next = automaton_.next(path_[depth - 1], trie_->byte(node));
    if (next == Automaton::kDead) {
      node = trie_->end(node);
      continue;
    }
    path_[depth] = next;
    const auto [begin, end] = trie_->tokens(node);
    for (const TokenId* id = begin; id != end; ++id) allowed.add(*id);
    ++node;
  }
  return allowed;
}

Result<const TokenSet*> TokenMatcher::allowed_in(Automaton::StateId state) {
  const auto found = kept_by_state_.find(state);
  if (found != kept_by_state_.end()) {
    kept_.splice(kept_.begin(), kept_, found->second);
    return const_cast<const TokenSet*>(&found->second->tokens);
  }
  automaton_.set_budget(limits_.places_per_token);
  TokenSet tokens = walk(state);
  ++sets_made_;
  if (automaton_.over_budget()) {
    return unsupported("the constraint is too ambiguous: finding the next token takes more than " +
                       std::to_string(limits_.places_per_token) + " steps");
  }
  if (tokens.empty() && !automaton_.accepts(state)) {
    return unsupported("no token of the vocabulary continues the text that the constraint wants");
  }
  const uint64_t size = tokens.words().size() * sizeof(uint64_t);
  while (!kept_.empty() && kept_bytes_ + size > limits_.mask_bytes) {
    kept_by_state_.erase(kept_.back().state);
    kept_.pop_back();
    kept_bytes_ -= size;
  }
  kept_.push_front({state, std::move(tokens)});
  kept_by_state_[state] = kept_.begin();
  kept_bytes_ += size;
  return const_cast<const TokenSet*>(&kept_.front().tokens);
}

TokenMatcher::Cursor::Cursor(TokenMatcher& matcher)
    : matcher_(matcher), state_(matcher.automaton_.start()) {
  matcher_.cursors_.insert(this);
}

TokenMatcher::Cursor::~Cursor() { matcher_.cursors_.erase(this); }

Result<const TokenSet*> TokenMatcher::Cursor::allowed() {
  matcher_.trim();
  return matcher_.allowed_in(state_);
}

void TokenMatcher::Cursor::advance(TokenId token) {
  matcher_.automaton_.set_budget(UINT64_MAX);
  for (const char c : matcher_.trie_->bytes(token)) {
    state_ = matcher_.automaton_.next(state_, static_cast<uint8_t>(c));
  }
  EBB_CHECK(state_ != Automaton::kDead);
}

}  // namespace ebb::models::grammar
