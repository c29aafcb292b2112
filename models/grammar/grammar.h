// A language of byte strings as a recursive transition network: each rule is a small automaton over
// bytes, and an edge may call another rule. Regular expressions need one rule, nested JSON a few
// that call each other. Must not know regular expressions, JSON or tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ebb::models::grammar {

using State = uint32_t;
using Rule = uint32_t;

/// Bounds memory and time of everything that is made from text of a request.
constexpr uint32_t kStatesMax = 1u << 16;
/// Calls that nest (a value inside an object or array) may lie this deep.
constexpr uint8_t kNestingMax = 32;
/// No way to the end.
constexpr uint8_t kNever = 255;

enum class Nesting : uint8_t { kSame, kDeeper };

struct ByteEdge {
  uint8_t low = 0, high = 0;  ///< both included
  State to = 0;
};
struct CallEdge {
  Rule rule = 0;
  State to = 0;  ///< where the rule returns to
  Nesting nesting = Nesting::kSame;
  bool tail = false;  ///< nothing but a return follows `to`
};

/// Immutable; any thread.
class Grammar {
 public:
  Rule root() const { return root_; }
  State start(Rule rule) const { return starts_[rule]; }
  bool accepts(State state) const { return nodes_[state].accepts; }
  /// Least number of further nesting levels on any way from `state` to the end of its rule;
  /// kNever: there is none.
  uint8_t least_nesting(State state) const { return nodes_[state].least; }
  std::span<const ByteEdge> bytes(State state) const {
    const Node& node = nodes_[state];
    return std::span(bytes_).subspan(node.bytes, nodes_[state + 1].bytes - node.bytes);
  }
  std::span<const State> skips(State state) const {
    const Node& node = nodes_[state];
    return std::span(skips_).subspan(node.skips, nodes_[state + 1].skips - node.skips);
  }
  std::span<const CallEdge> calls(State state) const {
    const Node& node = nodes_[state];
    return std::span(calls_).subspan(node.calls, nodes_[state + 1].calls - node.calls);
  }
  uint32_t states() const { return static_cast<uint32_t>(nodes_.size() - 1); }

 private:
  friend class GrammarBuilder;
  struct Node {
    uint32_t bytes = 0, skips = 0, calls = 0;  ///< where this state's edges begin
    uint8_t least = kNever;
    bool accepts = false;
  };
  bool only_returns(State state) const;
  void mark_tails();
  void find_least_nesting();
  std::vector<std::vector<State>> predecessors() const;
  uint8_t least_of_edges(State state) const;

  Rule root_ = 0;
  std::vector<State> starts_;  ///< by rule
  std::vector<Node> nodes_;    ///< one more than states
  std::vector<ByteEdge> bytes_;
  std::vector<State> skips_;
  std::vector<CallEdge> calls_;
};

/// Rules are built state by state. Beyond kStatesMax nothing more is added, and finish() says so.
class GrammarBuilder {
 public:
  Rule add_rule();
  State start(Rule rule) const { return rules_[rule].start; }
  State accept(Rule rule) const { return rules_[rule].accept; }
  State add_state();
  /// Both ends included.
  void add_bytes(State from, uint8_t low, uint8_t high, State to);
  void add_text(State from, std::string_view text, State to);
  void add_skip(State from, State to);
  /// A rule may be called before it has edges.
  void add_call(State from, Rule rule, State to, Nesting nesting = Nesting::kSame);
  bool full() const { return edges_.size() >= kStatesMax; }

  /// Errors: kInvalid: too many states; no string at all is in the language, or only ones that
  /// nest deeper than kNestingMax.
  Result<Grammar> finish(Rule root) const;

 private:
  struct Ends {
    State start = 0, accept = 0;
  };
  struct Edges {
    std::vector<ByteEdge> bytes;
    std::vector<State> skips;
    std::vector<CallEdge> calls;
  };
  std::vector<Ends> rules_;
  std::vector<Edges> edges_;  ///< by state
};

}  // namespace ebb::models::grammar
