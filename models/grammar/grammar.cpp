#include "models/grammar/grammar.h"

#include <algorithm>

namespace ebb::models::grammar {

Rule GrammarBuilder::add_rule() {
  Ends ends;
  ends.start = add_state();
  ends.accept = add_state();
  rules_.push_back(ends);
  return static_cast<Rule>(rules_.size() - 1);
}

State GrammarBuilder::add_state() {
  if (!full()) edges_.emplace_back();
  return static_cast<State>(edges_.size() - 1);
}

void GrammarBuilder::add_bytes(State from, uint8_t low, uint8_t high, State to) {
  if (!full()) edges_[from].bytes.push_back({low, high, to});
}

void GrammarBuilder::add_text(State from, std::string_view text, State to) {
  if (text.empty()) return add_skip(from, to);
  for (size_t i = 0; i < text.size(); ++i) {
    const State next = i + 1 == text.size() ? to : add_state();
    const auto byte = static_cast<uint8_t>(text[i]);
    add_bytes(from, byte, byte, next);
    from = next;
  }
}

void GrammarBuilder::add_skip(State from, State to) {
  if (!full() && from != to) edges_[from].skips.push_back(to);
}

void GrammarBuilder::add_call(State from, Rule rule, State to, Nesting nesting) {
  if (!full()) edges_[from].calls.push_back({rule, to, nesting, false});
}

Result<Grammar> GrammarBuilder::finish(Rule root) const {
  if (full()) {
    return invalid("is too large: it needs more than " + std::to_string(kStatesMax - 1) +
                   " states");
  }
  Grammar grammar;
  grammar.root_ = root;
  for (const Ends& ends : rules_) grammar.starts_.push_back(ends.start);
  grammar.nodes_.resize(edges_.size() + 1);
  for (State state = 0; state < edges_.size(); ++state) {
    const Edges& edges = edges_[state];
    grammar.bytes_.insert(grammar.bytes_.end(), edges.bytes.begin(), edges.bytes.end());
    grammar.skips_.insert(grammar.skips_.end(), edges.skips.begin(), edges.skips.end());
    grammar.calls_.insert(grammar.calls_.end(), edges.calls.begin(), edges.calls.end());
    Grammar::Node& next = grammar.nodes_[state + 1];
    next.bytes = static_cast<uint32_t>(grammar.bytes_.size());
    next.skips = static_cast<uint32_t>(grammar.skips_.size());
    next.calls = static_cast<uint32_t>(grammar.calls_.size());
  }
  for (const Ends& ends : rules_) grammar.nodes_[ends.accept].accepts = true;
  grammar.mark_tails();
  grammar.find_least_nesting();
  const uint8_t least = grammar.least_nesting(grammar.start(root));
  if (least == kNever) return invalid("admits no text at all");
  if (least > kNestingMax) {
    return invalid("admits only values that nest deeper than " + std::to_string(kNestingMax) +
                   " levels");
  }
  return grammar;
}

bool Grammar::only_returns(State state) const {
  // Chains are as long as a builder's nested constructs; a cycle of skips returns nothing.
  for (int steps = 0; steps < 64; ++steps) {
    if (!bytes(state).empty() || !calls(state).empty()) return false;
    if (accepts(state)) return skips(state).empty();
    if (skips(state).size() != 1) return false;
    state = skips(state)[0];
  }
  return false;
}

void Grammar::mark_tails() {
  for (CallEdge& call : calls_) {
    call.tail = call.nesting == Nesting::kSame && only_returns(call.to);
  }
}

std::vector<std::vector<State>> Grammar::predecessors() const {
  std::vector<std::vector<State>> before(states());
  for (State state = 0; state < states(); ++state) {
    for (const ByteEdge& edge : bytes(state)) before[edge.to].push_back(state);
    for (const State to : skips(state)) before[to].push_back(state);
    for (const CallEdge& call : calls(state)) {
      before[call.to].push_back(state);
      before[start(call.rule)].push_back(state);
    }
  }
  return before;
}

uint8_t Grammar::least_of_edges(State state) const {
  uint8_t least = accepts(state) ? uint8_t{0} : kNever;
  for (const ByteEdge& edge : bytes(state)) least = std::min(least, least_nesting(edge.to));
  for (const State to : skips(state)) least = std::min(least, least_nesting(to));
  for (const CallEdge& call : calls(state)) {
    const uint8_t inside = least_nesting(start(call.rule));
    if (inside == kNever) continue;
    // Saturates below kNever: deeper than any bound is all that matters then.
    const int deeper = inside + (call.nesting == Nesting::kDeeper ? 1 : 0);
    const auto through = static_cast<uint8_t>(std::min(deeper, int{kNever} - 1));
    least = std::min(least, std::max(through, least_nesting(call.to)));
  }
  return least;
}

/// A fixed point from above: values only sink, and each has at most kNever steps to go.
void Grammar::find_least_nesting() {
  const auto before = predecessors();
  std::vector<State> due;
  for (State state = 0; state < states(); ++state) {
    if (accepts(state)) due.push_back(state);
  }
  for (const State state : due) nodes_[state].least = 0;
  while (!due.empty()) {
    const State state = due.back();
    due.pop_back();
    for (const State earlier : before[state]) {
      const uint8_t least = least_of_edges(earlier);
      if (least >= nodes_[earlier].least) continue;
      nodes_[earlier].least = least;
      due.push_back(earlier);
    }
  }
}

}  // namespace ebb::models::grammar
