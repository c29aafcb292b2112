#include "models/grammar/regex_syntax.h"

#include <algorithm>
#include <string>

#include "models/grammar/regex.h"
#include "models/utf8.h"

namespace ebb::models::grammar {
namespace {

using Kind = RegexNode::Kind;
using Ranges = std::vector<CodePointSet::Range>;

const CodePointSet& digits() {
  static const CodePointSet kSet({{'0', '9'}});
  return kSet;
}
const CodePointSet& word_characters() {
  static const CodePointSet kSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  return kSet;
}
/// ECMA-262, WhiteSpace and LineTerminator.
const CodePointSet& spaces() {
  static const CodePointSet kSet({{0x09, 0x0D},
                                  {0x20, 0x20},
                                  {0xA0, 0xA0},
                                  {0x1680, 0x1680},
                                  {0x2000, 0x200A},
                                  {0x2028, 0x2029},
                                  {0x202F, 0x202F},
                                  {0x205F, 0x205F},
                                  {0x3000, 0x3000},
                                  {0xFEFF, 0xFEFF}});
  return kSet;
}
const CodePointSet& line_ends() {
  static const CodePointSet kSet({{0x0A, 0x0A}, {0x0D, 0x0D}, {0x2028, 0x2029}});
  return kSet;
}

RegexNode set_node(CodePointSet set) {
  RegexNode node;
  node.kind = Kind::kSet;
  node.set = std::move(set);
  return node;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Recursive descent; the depth of groups is bounded.
class Parser {
 public:
  explicit Parser(std::string_view pattern) : text_(pattern) {}

  Result<RegexNode> parse() {
    RegexNode node = EBB_TRY(choice(0));
    if (!at_end()) return wrong("unmatched )");
    return node;
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(std::string_view wanted) {
    if (!text_.substr(at_).starts_with(wanted)) return false;
    at_ += wanted.size();
    return true;
  }
  Error wrong(const std::string& what) const {
    return invalid("at byte " + std::to_string(at_) + ": " + what);
  }

  Result<RegexNode> choice(uint32_t depth);
  Result<RegexNode> sequence(uint32_t depth);
  Result<RegexNode> repeated(uint32_t depth);
  Result<RegexNode> atom(uint32_t depth);
  Result<RegexNode> group(uint32_t depth);
  Result<bool> quantifier(RegexNode& repeat);
  Result<bool> counted(RegexNode& repeat);
  std::optional<uint32_t> number();
  std::optional<CodePointSet> shorthand();
  Result<CodePointSet> escape();
  Result<uint32_t> escaped_code_point();
  Result<uint32_t> hex(size_t count);
  Result<uint32_t> unicode_escape();
  Result<CodePointSet> character_class();
  Result<CodePointSet> class_item();
  Result<uint32_t> code_point();

  std::string_view text_;
  size_t at_ = 0;
};

Result<RegexNode> Parser::choice(uint32_t depth) {
  RegexNode node;
  node.kind = Kind::kChoice;
  do {
    node.parts.push_back(EBB_TRY(sequence(depth)));
  } while (take("|"));
  if (node.parts.size() > 1) return node;
  RegexNode only = std::move(node.parts[0]);
  return only;
}

Result<RegexNode> Parser::sequence(uint32_t depth) {
  RegexNode node;
  while (!at_end() && peek() != '|' && peek() != ')') {
    node.parts.push_back(EBB_TRY(repeated(depth)));
  }
  return node;
}

Result<RegexNode> Parser::repeated(uint32_t depth) {
  RegexNode node = EBB_TRY(atom(depth));
  RegexNode repeat;
  repeat.kind = Kind::kRepeat;
  const bool again = EBB_TRY(quantifier(repeat));
  if (!again) return node;
  if (node.kind == Kind::kTextBegin || node.kind == Kind::kTextEnd) {
    return wrong("^ and $ cannot be repeated");
  }
  // A lazy quantifier prefers another match, but allows the same ones.
  take("?");
  if (peek() == '+') return wrong("possessive quantifiers are not supported");
  RegexNode more;
  if (EBB_TRY(quantifier(more))) return wrong("nothing to repeat");
  repeat.parts.push_back(std::move(node));
  return repeat;
}

/// False: none is there.
Result<bool> Parser::quantifier(RegexNode& repeat) {
  if (take("*")) return true;
  if (take("+")) {
    repeat.min = 1;
    return true;
  }
  if (take("?")) {
    repeat.max = 1;
    return true;
  }
  return peek() == '{' ? counted(repeat) : Result<bool>(false);
}

Result<bool> Parser::counted(RegexNode& repeat) {
  take("{");
  const auto min = number();
  if (!min) return wrong("{ must be followed by a count; a literal { is written \\{");
  repeat.min = *min;
  repeat.max = *min;
  if (take(",")) repeat.max = number();
  if (!take("}")) return wrong("a count ends in }, as in {2,5}");
  if (repeat.min > kRepeatMax || repeat.max.value_or(0) > kRepeatMax) {
    return wrong("repeats at most " + std::to_string(kRepeatMax) + " times");
  }
  if (repeat.max && *repeat.max < repeat.min) return wrong("a count must not run backwards");
  return true;
}

std::optional<uint32_t> Parser::number() {
  if (peek() < '0' || peek() > '9') return {};
  uint32_t value = 0;
  while (peek() >= '0' && peek() <= '9') {
    value = std::min(value * 10 + static_cast<uint32_t>(peek() - '0'), kRepeatMax + 1);
    ++at_;
  }
  return value;
}

Result<RegexNode> Parser::atom(uint32_t depth) {
  if (take("(")) return group(depth + 1);
  if (take("[")) return set_node(EBB_TRY(character_class()));
  if (take(".")) return set_node(line_ends().complement());
  if (take("\\")) return set_node(EBB_TRY(escape()));
  RegexNode anchor;
  anchor.kind = peek() == '^' ? Kind::kTextBegin : Kind::kTextEnd;
  if (take("^") || take("$")) return anchor;
  const char c = peek();
  if (c == '*' || c == '+' || c == '?') return wrong("nothing to repeat");
  if (c == '{' || c == '}' || c == ']') {
    return wrong(std::string("a literal ") + c + " is written \\" + c);
  }
  const uint32_t literal = EBB_TRY(code_point());
  return set_node(CodePointSet({{literal, literal}}));
}

Result<RegexNode> Parser::group(uint32_t depth) {
  if (depth > kGroupDepthMax) {
    return wrong("groups nest deeper than " + std::to_string(kGroupDepthMax));
  }
  if (peek() == '?' && !take("?:")) {
    return wrong("of groups, (...) and (?:...) are supported: no look-around, names or flags");
  }
  RegexNode node = EBB_TRY(choice(depth));
  if (!take(")")) return wrong("missing )");
  return node;
}

/// \d and its like.
std::optional<CodePointSet> Parser::shorthand() {
  const char c = peek();
  const CodePointSet* set = nullptr;
  if (c == 'd' || c == 'D') set = &digits();
  if (c == 'w' || c == 'W') set = &word_characters();
  if (c == 's' || c == 'S') set = &spaces();
  if (set == nullptr) return {};
  ++at_;
  return c >= 'a' ? *set : set->complement();
}

Result<CodePointSet> Parser::escape() {
  if (auto set = shorthand()) return *std::move(set);
  const uint32_t literal = EBB_TRY(escaped_code_point());
  return CodePointSet({{literal, literal}});
}

Result<uint32_t> Parser::escaped_code_point() {
  static constexpr std::string_view kLetters = "tnvfr";
  static constexpr std::string_view kMeanings = "\t\n\v\f\r";
  static constexpr std::string_view kPunctuation = "^$\\.*+?()[]{}|/-\"'#%&,:;<=>@_`~! ";
  if (at_end()) return wrong("the expression ends in \\");
  const char c = peek();
  if (const size_t letter = kLetters.find(c); letter != std::string_view::npos) {
    ++at_;
    return static_cast<uint32_t>(kMeanings[letter]);
  }
  if (kPunctuation.find(c) != std::string_view::npos) {
    ++at_;
    return static_cast<uint32_t>(static_cast<uint8_t>(c));
  }
  if (take("x")) return hex(2);
  if (take("u")) return unicode_escape();
  if (c >= '0' && c <= '9') return wrong("back-references and octal escapes are not supported");
  if (c == 'b' || c == 'B') return wrong("word boundaries are not supported");
  if (c == 'p' || c == 'P') return wrong("Unicode properties are not supported");
  return wrong("unknown escape");
}

Result<uint32_t> Parser::hex(size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    const int digit = hex_value(peek());
    if (digit < 0) return wrong(std::to_string(count) + " hexadecimal digits are due");
    value = value * 16 + static_cast<uint32_t>(digit);
    ++at_;
  }
  return value;
}

/// \uXXXX, a pair of them, or \u{X...}.
Result<uint32_t> Parser::unicode_escape() {
  uint32_t value = 0;
  if (take("{")) {
    do {
      value = value * 16 + EBB_TRY(hex(1));
      if (value > kCodePointMax) return wrong("code points end at 10FFFF");
    } while (!take("}"));
  } else {
    value = EBB_TRY(hex(4));
    if (value >= 0xD800 && value <= 0xDBFF && take("\\u")) {
      const uint32_t low = EBB_TRY(hex(4));
      if (low < 0xDC00 || low > 0xDFFF) return wrong("half of a surrogate pair");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
  }
  if (value >= 0xD800 && value <= 0xDFFF) return wrong("half of a surrogate pair");
  return value;
}

Result<uint32_t> Parser::code_point() {
  const std::string_view rest = text_.substr(at_);
  const size_t length = utf8_sequence_length(rest);
  if (length == 0) return wrong("not valid UTF-8");
  at_ += length;
  return static_cast<uint32_t>(utf8_decode(rest));
}

/// One code point, or the set of an escape like \d.
Result<CodePointSet> Parser::class_item() {
  if (take("\\")) {
    if (take("b")) return CodePointSet({{0x08, 0x08}});
    return escape();
  }
  const uint32_t literal = EBB_TRY(code_point());
  return CodePointSet({{literal, literal}});
}

Result<CodePointSet> Parser::character_class() {
  const bool negated = take("^");
  Ranges ranges;
  while (!take("]")) {
    if (at_end()) return wrong("missing ]");
    const CodePointSet item = EBB_TRY(class_item());
    const bool single = item.ranges().size() == 1 && item.ranges()[0].low == item.ranges()[0].high;
    const std::string_view rest = text_.substr(at_);
    if (!single || rest.size() < 2 || rest[0] != '-' || rest[1] == ']') {
      ranges.insert(ranges.end(), item.ranges().begin(), item.ranges().end());
      continue;
    }
    take("-");
    const CodePointSet last = EBB_TRY(class_item());
    if (last.ranges().size() != 1 || last.ranges()[0].low != last.ranges()[0].high) {
      return wrong("a range ends in one character");
    }
    const CodePointSet::Range range{item.ranges()[0].low, last.ranges()[0].low};
    if (range.high < range.low) return wrong("a range must not run backwards");
    ranges.push_back(range);
  }
  const CodePointSet set(std::move(ranges));
  CodePointSet wanted = negated ? set.complement() : set;
  if (wanted.empty()) return wrong("the class has no members");
  return wanted;
}

}  // namespace

Result<RegexNode> parse_regex(std::string_view pattern) {
  if (pattern.size() > kRegexBytesMax) {
    return invalid("must have at most " + std::to_string(kRegexBytesMax) + " bytes, not " +
                   std::to_string(pattern.size()));
  }
  return Parser(pattern).parse();
}

}  // namespace ebb::models::grammar
