#include "models/grammar/json_rules.h"

#include <map>

#include "models/grammar/code_points.h"
#include "models/utf8.h"

namespace ebb::models::grammar {
namespace {

void add_hex_digit(GrammarBuilder& builder, State from, State to) {
  builder.add_bytes(from, '0', '9', to);
  builder.add_bytes(from, 'A', 'F', to);
  builder.add_bytes(from, 'a', 'f', to);
}

void add_hex_digits(GrammarBuilder& builder, State from, uint32_t count, State to) {
  for (uint32_t i = 0; i < count; ++i) {
    const State next = i + 1 == count ? to : builder.add_state();
    add_hex_digit(builder, from, next);
    from = next;
  }
}

/// After \u: a code point that is no surrogate, or a pair of surrogates.
void add_unicode_escape(GrammarBuilder& builder, State from, State to) {
  const State three = builder.add_state();
  builder.add_bytes(from, '0', '9', three);
  for (const auto& [low, high] : {std::pair{'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}) {
    builder.add_bytes(from, static_cast<uint8_t>(low), static_cast<uint8_t>(high), three);
  }
  add_hex_digits(builder, three, 3, to);
  const State d = builder.add_state();
  const State two = builder.add_state();
  builder.add_bytes(from, 'D', 'D', d);
  builder.add_bytes(from, 'd', 'd', d);
  builder.add_bytes(d, '0', '7', two);
  add_hex_digits(builder, two, 2, to);
  const State high = builder.add_state();
  const State high_done = builder.add_state();
  const State low = builder.add_state();
  const State low_d = builder.add_state();
  const State low_two = builder.add_state();
  for (const auto& [first, last] : {std::pair{'8', '9'}, {'A', 'B'}, {'a', 'b'}}) {
    builder.add_bytes(d, static_cast<uint8_t>(first), static_cast<uint8_t>(last), high);
  }
  add_hex_digits(builder, high, 2, high_done);
  builder.add_text(high_done, "\\u", low);
  builder.add_bytes(low, 'D', 'D', low_d);
  builder.add_bytes(low, 'd', 'd', low_d);
  builder.add_bytes(low_d, 'C', 'F', low_two);
  builder.add_bytes(low_d, 'c', 'f', low_two);
  add_hex_digits(builder, low_two, 2, to);
}

void add_character(GrammarBuilder& builder, State from, State to) {
  const CodePointSet special({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  add_code_points(builder, from, special.complement(), Spelling::kPlain, to);
  const State escape = builder.add_state();
  const State unicode = builder.add_state();
  builder.add_bytes(from, '\\', '\\', escape);
  for (const char c : std::string_view("\"\\/bfnrt")) {
    builder.add_bytes(escape, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
  }
  builder.add_bytes(escape, 'u', 'u', unicode);
  add_unicode_escape(builder, unicode, to);
}

/// -?(0|[1-9][0-9]*)
void add_whole(GrammarBuilder& builder, State from, State to) {
  const State unsigned_part = builder.add_state();
  const State rest = builder.add_state();
  builder.add_skip(from, unsigned_part);
  builder.add_bytes(from, '-', '-', unsigned_part);
  builder.add_bytes(unsigned_part, '0', '0', to);
  builder.add_bytes(unsigned_part, '1', '9', rest);
  add_digits(builder, rest, 0, kWholeDigitsMax - 1, to);
}

void add_exponent(GrammarBuilder& builder, State from, State to) {
  const State sign = builder.add_state();
  const State digits = builder.add_state();
  builder.add_bytes(from, 'E', 'E', sign);
  builder.add_bytes(from, 'e', 'e', sign);
  builder.add_bytes(sign, '+', '+', digits);
  builder.add_bytes(sign, '-', '-', digits);
  builder.add_skip(sign, digits);
  add_digits(builder, digits, 1, kExponentDigitsMax, to);
}

/// Names as a trie of code points.
struct NameTree {
  struct Node {
    std::map<uint32_t, size_t> next;
    bool whole = false;
  };
  std::vector<Node> nodes{1};
  void add(std::string_view name) {
    size_t node = 0;
    while (!name.empty()) {
      const uint32_t c = utf8_decode(name);
      name.remove_prefix(utf8_sequence_length(name));
      const auto [found, fresh] = nodes[node].next.try_emplace(c, nodes.size());
      node = found->second;
      if (fresh) nodes.emplace_back();
    }
    nodes[node].whole = true;
  }
};

}  // namespace

void add_digits(GrammarBuilder& builder, State from, uint32_t min, uint32_t max, State to) {
  State at = builder.add_state();
  builder.add_skip(from, at);
  for (uint32_t i = 0; i < max; ++i) {
    if (i >= min) builder.add_skip(at, to);
    const State next = builder.add_state();
    builder.add_bytes(at, '0', '9', next);
    at = next;
  }
  builder.add_skip(at, to);
}

std::pair<Rule, bool> JsonRules::rule(Which which) {
  if (rules_[which]) return {*rules_[which], false};
  rules_[which] = builder_.add_rule();
  return {*rules_[which], true};
}

Rule JsonRules::layout() {
  const auto [rule, fresh] = this->rule(kLayout);
  if (!fresh) return rule;
  const State from = builder_.start(rule), to = builder_.accept(rule);
  builder_.add_skip(from, to);
  builder_.add_bytes(from, ' ', ' ', to);
  State at = builder_.add_state();
  builder_.add_bytes(from, '\n', '\n', at);
  for (uint32_t i = 0; i < kIndentMax; ++i) {
    builder_.add_skip(at, to);
    const State next = builder_.add_state();
    builder_.add_bytes(at, ' ', ' ', next);
    at = next;
  }
  builder_.add_skip(at, to);
  return rule;
}

void JsonRules::add_layout(State from, State to) { builder_.add_call(from, layout(), to); }

void JsonRules::add_value(State from, Rule value, State to) {
  const State colon = builder_.add_state();
  const State spaced = builder_.add_state();
  builder_.add_bytes(from, ':', ':', colon);
  builder_.add_skip(colon, spaced);
  builder_.add_bytes(colon, ' ', ' ', spaced);
  builder_.add_call(spaced, value, to, Nesting::kDeeper);
}

Rule JsonRules::character() {
  const auto [rule, fresh] = this->rule(kCharacter);
  if (fresh) add_character(builder_, builder_.start(rule), builder_.accept(rule));
  return rule;
}

Rule JsonRules::string() {
  const auto [rule, fresh] = this->rule(kString);
  if (!fresh) return rule;
  const State content = builder_.add_state();
  builder_.add_bytes(builder_.start(rule), '"', '"', content);
  add_character(builder_, content, content);
  builder_.add_bytes(content, '"', '"', builder_.accept(rule));
  return rule;
}

Rule JsonRules::integer() {
  const auto [rule, fresh] = this->rule(kInteger);
  if (fresh) add_whole(builder_, builder_.start(rule), builder_.accept(rule));
  return rule;
}

Rule JsonRules::number() {
  const auto [rule, fresh] = this->rule(kNumber);
  if (!fresh) return rule;
  const State to = builder_.accept(rule);
  const State whole = builder_.add_state();
  const State point = builder_.add_state();
  const State fraction = builder_.add_state();
  add_whole(builder_, builder_.start(rule), whole);
  builder_.add_bytes(whole, '.', '.', point);
  add_digits(builder_, point, 1, kFractionDigitsMax, fraction);
  for (const State end : {whole, fraction}) {
    add_exponent(builder_, end, to);
    builder_.add_skip(end, to);
  }
  return rule;
}

Rule JsonRules::boolean() {
  const auto [rule, fresh] = this->rule(kBoolean);
  if (!fresh) return rule;
  builder_.add_text(builder_.start(rule), "true", builder_.accept(rule));
  builder_.add_text(builder_.start(rule), "false", builder_.accept(rule));
  return rule;
}

Rule JsonRules::null() {
  const auto [rule, fresh] = this->rule(kNull);
  if (fresh) builder_.add_text(builder_.start(rule), "null", builder_.accept(rule));
  return rule;
}

Rule JsonRules::array() {
  const auto [rule, fresh] = this->rule(kArray);
  if (!fresh) return rule;
  const State to = builder_.accept(rule);
  const State open = builder_.add_state(), item = builder_.add_state();
  const State done = builder_.add_state(), comma = builder_.add_state();
  const State close = builder_.add_state();
  builder_.add_bytes(builder_.start(rule), '[', '[', open);
  add_layout(open, item);
  builder_.add_bytes(item, ']', ']', to);
  const State value = builder_.add_state();
  builder_.add_skip(item, value);
  builder_.add_call(value, any(), done, Nesting::kDeeper);
  builder_.add_bytes(done, ',', ',', comma);
  add_layout(comma, value);
  add_layout(done, close);
  builder_.add_bytes(close, ']', ']', to);
  return rule;
}

Rule JsonRules::object() {
  const auto [rule, fresh] = this->rule(kObject);
  if (!fresh) return rule;
  const State to = builder_.accept(rule);
  const State open = builder_.add_state(), first = builder_.add_state();
  const State name = builder_.add_state(), named = builder_.add_state();
  const State done = builder_.add_state(), comma = builder_.add_state();
  const State close = builder_.add_state();
  builder_.add_bytes(builder_.start(rule), '{', '{', open);
  add_layout(open, first);
  builder_.add_bytes(first, '}', '}', to);
  builder_.add_skip(first, name);
  builder_.add_call(name, string(), named);
  add_value(named, any(), done);
  builder_.add_bytes(done, ',', ',', comma);
  add_layout(comma, name);
  add_layout(done, close);
  builder_.add_bytes(close, '}', '}', to);
  return rule;
}

Rule JsonRules::any() {
  const auto [rule, fresh] = this->rule(kAny);
  if (!fresh) return rule;
  for (const Rule kind : {string(), number(), boolean(), null(), object(), array()}) {
    builder_.add_call(builder_.start(rule), kind, builder_.accept(rule));
  }
  return rule;
}

void JsonRules::add_other_name(State from, const std::vector<std::string>& names, State to) {
  const CodePointSet plain =
      CodePointSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0x7F, 0x9F}}).complement();
  NameTree tree;
  for (const std::string& name : names) tree.add(name);
  const State free = builder_.add_state();
  const State end = builder_.add_state();
  std::vector<State> states;
  for (size_t i = 0; i < tree.nodes.size(); ++i) states.push_back(builder_.add_state());
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    std::vector<CodePointSet::Range> begun;
    for (const auto& [c, next] : tree.nodes[i].next) {
      if (!plain.contains(c)) continue;
      begun.push_back({c, c});
      add_code_points(builder_, states[i], CodePointSet({{c, c}}), Spelling::kPlain, states[next]);
    }
    const CodePointSet others = plain.without(CodePointSet(std::move(begun)));
    add_code_points(builder_, states[i], others, Spelling::kPlain, free);
    if (i > 0 && !tree.nodes[i].whole) builder_.add_skip(states[i], end);
  }
  add_code_points(builder_, free, plain, Spelling::kPlain, free);
  builder_.add_skip(free, end);
  builder_.add_bytes(from, '"', '"', states[0]);
  builder_.add_bytes(end, '"', '"', to);
}

}  // namespace ebb::models::grammar
