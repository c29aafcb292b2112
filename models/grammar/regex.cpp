#include "models/grammar/regex.h"

#include <string>

#include "models/grammar/regex_syntax.h"

namespace ebb::models::grammar {
namespace {

using Kind = RegexNode::Kind;

/// Adds edges between given states. Nothing is ever added that enters `from` or leaves `to`, so
/// that a loop may use one state for both.
class RegexBuilder {
 public:
  RegexBuilder(GrammarBuilder& builder, Spelling spelling)
      : builder_(builder), spelling_(spelling) {}

  Result<void> add_anchored(State from, const RegexNode& node, Anchoring anchoring, State to);

 private:
  Result<void> add(State from, const RegexNode& node, State to);
  Result<void> add_sequence(State from, std::span<const RegexNode> parts, State to);
  Result<void> add_repeat(State from, const RegexNode& node, State to);
  Result<void> add_counted(State from, const RegexNode& node, State to);
  Result<void> add_once(State from, const RegexNode& body, std::optional<Rule> rule, State to);
  State add_anything(State from);

  GrammarBuilder& builder_;
  Spelling spelling_;
};

bool is(const RegexNode& node, Kind kind) { return node.kind == kind; }

/// Cheaper copied than called.
bool is_one_byte(const RegexNode& node) {
  return is(node, Kind::kSet) && node.set.ranges().back().high < 0x80;
}

State RegexBuilder::add_anything(State from) {
  const State loop = builder_.add_state();
  builder_.add_skip(from, loop);
  add_code_points(builder_, loop, CodePointSet().complement(), spelling_, loop);
  return loop;
}

/// Each alternative has anchors of its own: ^a|b$.
Result<void> RegexBuilder::add_anchored(State from, const RegexNode& node, Anchoring anchoring,
                                        State to) {
  if (is(node, Kind::kChoice)) {
    for (const RegexNode& part : node.parts) {
      EBB_TRY_VOID(add_anchored(from, part, anchoring, to));
    }
    return {};
  }
  std::span<const RegexNode> parts(&node, 1);
  if (is(node, Kind::kSequence)) parts = node.parts;
  const bool group =
      parts.size() == 1 && (is(parts[0], Kind::kChoice) || is(parts[0], Kind::kSequence));
  if (group && &parts[0] != &node) {
    return add_anchored(from, parts[0], anchoring, to);
  }
  const bool begins = !parts.empty() && is(parts.front(), Kind::kTextBegin);
  if (begins) parts = parts.subspan(1);
  const bool ends = !parts.empty() && is(parts.back(), Kind::kTextEnd);
  if (ends) parts = parts.first(parts.size() - 1);
  if (anchoring == Anchoring::kWhole) return add_sequence(from, parts, to);
  const State begin = begins ? from : add_anything(from);
  if (ends) return add_sequence(begin, parts, to);
  const State end = builder_.add_state();
  EBB_TRY_VOID(add_sequence(begin, parts, end));
  builder_.add_skip(add_anything(end), to);
  return {};
}

Result<void> RegexBuilder::add(State from, const RegexNode& node, State to) {
  switch (node.kind) {
    case Kind::kSet:
      add_code_points(builder_, from, node.set, spelling_, to);
      return {};
    case Kind::kSequence:
      return add_sequence(from, node.parts, to);
    case Kind::kChoice:
      for (const RegexNode& part : node.parts) EBB_TRY_VOID(add(from, part, to));
      return {};
    case Kind::kRepeat:
      return add_repeat(from, node, to);
    case Kind::kTextBegin:
    case Kind::kTextEnd:
      break;
  }
  return invalid("^ and $ are supported at the beginning and the end of an alternative only");
}

Result<void> RegexBuilder::add_sequence(State from, std::span<const RegexNode> parts, State to) {
  if (parts.empty()) builder_.add_skip(from, to);
  for (size_t i = 0; i < parts.size(); ++i) {
    const State next = i + 1 == parts.size() ? to : builder_.add_state();
    EBB_TRY_VOID(add(from, parts[i], next));
    from = next;
  }
  return {};
}

Result<void> RegexBuilder::add_repeat(State from, const RegexNode& node, State to) {
  const RegexNode& body = node.parts[0];
  if (node.max || node.min > 1) return add_counted(from, node, to);
  const State begin = builder_.add_state();
  const State end = node.min == 0 ? begin : builder_.add_state();
  builder_.add_skip(from, begin);
  EBB_TRY_VOID(add(begin, body, end));
  builder_.add_skip(end, begin);
  builder_.add_skip(end, to);
  return {};
}

Result<void> RegexBuilder::add_once(State from, const RegexNode& body, std::optional<Rule> rule,
                                    State to) {
  if (!rule) return add(from, body, to);
  builder_.add_call(from, *rule, to);
  return {};
}

/// The body becomes a rule that is called again and again: counts within counts add up, they do
/// not multiply.
Result<void> RegexBuilder::add_counted(State from, const RegexNode& node, State to) {
  const RegexNode& body = node.parts[0];
  std::optional<Rule> rule;
  if (node.max != 1u && !is_one_byte(body)) {
    rule = builder_.add_rule();
    EBB_TRY_VOID(add(builder_.start(*rule), body, builder_.accept(*rule)));
  }
  State at = builder_.add_state();
  builder_.add_skip(from, at);
  const uint32_t copies = node.max.value_or(node.min);
  for (uint32_t i = 0; i < copies && !builder_.full(); ++i) {
    if (i >= node.min) builder_.add_skip(at, to);
    const State next = builder_.add_state();
    EBB_TRY_VOID(add_once(at, body, rule, next));
    at = next;
  }
  builder_.add_skip(at, to);
  if (node.max) return {};
  const State loop = builder_.add_state();
  builder_.add_skip(at, loop);
  EBB_TRY_VOID(add_once(loop, body, rule, loop));
  builder_.add_skip(loop, to);
  return {};
}

}  // namespace

Result<void> add_regex(GrammarBuilder& builder, State from, std::string_view pattern,
                       Spelling spelling, Anchoring anchoring, State to) {
  const RegexNode node = EBB_TRY(parse_regex(pattern));
  // States of its own, so that a caller's may have other edges.
  const State begin = builder.add_state();
  const State end = builder.add_state();
  builder.add_skip(from, begin);
  EBB_TRY_VOID(RegexBuilder(builder, spelling).add_anchored(begin, node, anchoring, end));
  builder.add_skip(end, to);
  return {};
}

}  // namespace ebb::models::grammar
