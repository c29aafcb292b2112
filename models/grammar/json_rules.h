// JSON itself as rules of a grammar: layout, strings, numbers, any value. RFC 8259, less what no
// reader needs: numbers have a bounded number of digits, layout is at most one line end with its
// indentation, or one space. Must not know schemas.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

/// Digits of a number before and after the point, and of its exponent: any reader's range.
constexpr uint32_t kWholeDigitsMax = 18, kFractionDigitsMax = 17, kExponentDigitsMax = 2;
/// Spaces after a line end.
constexpr uint32_t kIndentMax = 64;

/// Each rule is made when it is first asked for.
class JsonRules {
 public:
  explicit JsonRules(GrammarBuilder& builder) : builder_(builder) {}

  Rule any();
  Rule object();
  Rule array();
  Rule string();
  Rule number();
  Rule integer();
  Rule boolean();
  Rule null();
  /// One character of a string's content, escapes included.
  Rule character();

  /// What may stand after { [ and , and before } and ].
  void add_layout(State from, State to);
  /// The colon behind a name, and the value.
  void add_value(State from, Rule value, State to);
  /// A name, in quotes, that is none of `names`: printable characters that stand for themselves.
  void add_other_name(State from, const std::vector<std::string>& names, State to);

 private:
  enum Which : uint8_t {
    kAny,
    kObject,
    kArray,
    kString,
    kNumber,
    kInteger,
    kBoolean,
    kNull,
    kCharacter,
    kLayout,
    kRules,
  };
  /// The rule, and whether it has still to be filled.
  std::pair<Rule, bool> rule(Which which);
  Rule layout();

  GrammarBuilder& builder_;
  std::array<std::optional<Rule>, kRules> rules_;
};

/// At least `min` and at most `max` decimal digits.
void add_digits(GrammarBuilder& builder, State from, uint32_t min, uint32_t max, State to);

}  // namespace ebb::models::grammar
