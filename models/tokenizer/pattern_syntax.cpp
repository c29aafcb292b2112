#include "models/tokenizer/pattern_syntax.h"

#include <array>
#include <cctype>
#include <cstdint>
#include <optional>
#include <vector>

#include "models/tokenizer/unicode_additions.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

// Unicode's property and not PCRE2's \s, which also takes U+180E.
constexpr std::string_view kSpace = "\\p{White_Space}";
constexpr std::string_view kNotSpace = "\\P{White_Space}";
constexpr std::string_view kHexDigit = "0-9a-fA-F";

constexpr std::string_view kMeaning = "\\^$.|?*+()[]{}-&~#:=<>!";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Letters that Oniguruma, in patterns that ignore case, also finds as one ligature.
bool begins_ligature(std::string_view text) {
  if (text.size() < 2) return false;
  const char a = static_cast<char>(text[0] | 0x20), b = static_cast<char>(text[1] | 0x20);
  return (a == 's' && (b == 's' || b == 't')) || (a == 'f' && (b == 'f' || b == 'i' || b == 'l'));
}

std::string by_number(uint32_t code_point) {
  static const char* kDigits = "0123456789ABCDEF";
  std::string hex;
  for (int shift = 20; shift >= 0; shift -= 4) {
    if (!hex.empty() || code_point >> shift != 0) hex += kDigits[(code_point >> shift) & 15];
  }
  return "\\x{" + (hex.empty() ? "0" : hex) + "}";
}

/// The members of a set that the property `name` needs beside \p{name} itself: what Unicode has
/// added to it since PCRE2's tables were made.
std::string additions_to(std::string_view name) {
  std::string members;
  uint32_t first = 0;
  uint32_t last = 0;
  const auto end_range = [&] {
    if (first != 0) members += by_number(first) + (last > first ? "-" + by_number(last) : "");
  };
  for (const UnicodeAddition& added : unicode_additions()) {
    const bool is_category = added.category == name || added.category.substr(0, 1) == name;
    if (!is_category && (name.empty() || added.script != name)) continue;
    if (first != 0 && added.first == last + 1) {
      last = added.last;
      continue;
    }
    end_range();
    first = added.first;
    last = added.last;
  }
  end_range();
  return members;
}

/// Members of a set that are Oniguruma's \w: letters, marks, all numbers and connectors.
std::string word_members() {
  return "\\p{Alphabetic}\\p{M}\\p{N}\\p{Pc}" + additions_to("L") + additions_to("M") +
         additions_to("N");
}

/// One spelling for each character, so that patterns can be compared.
std::string spelled(std::string_view character) {
  if (character == "\r") return "\\r";
  if (character == "\n") return "\\n";
  if (character == "\t") return "\\t";
  if (character.size() == 1) return std::string(character);
  return by_number(utf8_decode(character));
}

class Rewriter {
 public:
  explicit Rewriter(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    if (pattern_.starts_with("(?i)")) {
      // At the very beginning it holds for everything; elsewhere the two syntaxes differ.
      out_ = "(?i)";
      at_ = 4;
      ignores_case_ = true;
    }
    while (at_ < pattern_.size()) EBB_TRY_VOID(item());
    if (!groups_.empty()) return bad("has a group that does not end");
    return std::move(out_);
  }

 private:
  struct Group {
    size_t begin = 0;  ///< in out_
    bool ignored_case = false;
  };
  enum class Quantifiable { kNo, kYes };

  std::string place() const { return " (byte " + std::to_string(at_) + ")"; }
  Error bad(const std::string& what) const { return invalid(what + place()); }
  Error refuse(const std::string& what) const {
    return unsupported("has " + what + place() + ", which is not supported");
  }

  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  /// `text` is one atom: what a quantifier behind it repeats.
  void atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
    may_repeat_ = Quantifiable::kYes;
  }
  void not_an_atom(std::string_view text) {
    out_ += text;
    may_repeat_ = Quantifiable::kNo;
  }

  Result<void> item() {
    switch (pattern_[at_]) {
      case '\\':
        return escape();
      case '[':
        return set();
      case '(':
        return open_group();
      case ')':
        return close_group();
      case '|':
      case '^':
      case '$':
        not_an_atom(pattern_.substr(at_++, 1));
        return {};
      case '.':
        atom(".");
        ++at_;
        return {};
      case '*':
      case '+':
      case '?':
        return quantifier(std::string(1, pattern_[at_++]));
      case '{':
        return interval();
      default:
        return literal();
    }
  }

  Result<void> literal() {
    const std::string_view rest = pattern_.substr(at_);
    const size_t length = utf8_sequence_length(rest);
    if (length == 0 || rest[0] == '\0') return bad("is not a pattern");
    if (ignores_case_ && begins_ligature(rest)) {
      return refuse("'" + std::string(rest.substr(0, 2)) + "' where case is ignored");
    }
    if (ignores_case_ && length > 1) return refuse("other than ASCII where case is ignored");
    std::string text = spelled(rest.substr(0, length));
    if (kMeaning.find(text) != kMeaning.npos) text = "\\" + text;
    atom(text);
    at_ += length;
    return {};
  }

  // --- Groups -----------------------------------------------------------------------------------

  Result<void> open_group() {
    static constexpr std::array<std::string_view, 8> kKinds = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?>", "("};
    if (next_is("(?") || next_is("(*")) {
      bool known = false;
      for (const std::string_view kind : kKinds) known |= kind.size() > 1 && next_is(kind);
      if (!known) return refuse("'" + std::string(pattern_.substr(at_, 3)) + "'");
    }
    if (groups_.size() >= kGroupsMax) return refuse("groups nested this deep");
    for (const std::string_view kind : kKinds) {
      if (!next_is(kind)) continue;
      groups_.push_back({out_.size(), ignores_case_});
      if (kind == "(?i:") ignores_case_ = true;
      not_an_atom(kind == "(" ? "(?:" : kind);  // nothing refers to what a group caught
      at_ += kind.size();
      break;
    }
    return {};
  }

  Result<void> close_group() {
    if (groups_.empty()) return bad("has a ')' without its '('");
    out_ += ")";
    ++at_;
    atom_ = groups_.back().begin;
    ignores_case_ = groups_.back().ignored_case;
    may_repeat_ = Quantifiable::kYes;
    groups_.pop_back();
    return {};
  }

  // --- Repeats ----------------------------------------------------------------------------------

  Result<void> quantifier(const std::string& times) {
    if (may_repeat_ == Quantifiable::kNo) return refuse("a repeat of nothing");
    out_ += times;
    if (at_ < pattern_.size() && (pattern_[at_] == '?' || pattern_[at_] == '+')) {
      out_ += pattern_[at_++];
    }
    may_repeat_ = Quantifiable::kNo;
    return {};
  }

  std::optional<uint32_t> number() {
    uint32_t value = 0;
    const size_t begin = at_;
    while (at_ < pattern_.size() && is_digit(pattern_[at_])) {
      value = value * 10 + static_cast<uint32_t>(pattern_[at_++] - '0');
      if (value > kRepeatsMax) return std::nullopt;
    }
    return at_ == begin ? std::nullopt : std::optional(value);
  }

  Result<void> interval() {
    const size_t begin = at_++;
    const auto least = number();
    std::optional<uint32_t> most = least;
    const bool has_comma = next_is(",");
    if (has_comma) {
      ++at_;
      most = number();
    }
    if (!next_is("}") || (!least && !most)) {
      at_ = begin;
      return refuse("a '{' that begins no repeat of at most " + std::to_string(kRepeatsMax));
    }
    ++at_;
    std::string times = "{" + std::to_string(least.value_or(0));
    if (has_comma) times += "," + (most ? std::to_string(*most) : "");
    times += "}";
    if (next_is("?")) return refuse("'" + times + "?'");
    if (!next_is("+")) return quantifier(times);
    // Possessive in PCRE2; in Oniguruma a repeat of the repeat.
    if (may_repeat_ == Quantifiable::kNo) return refuse("a repeat of nothing");
    ++at_;
    out_.insert(atom_, "(?:");
    not_an_atom(times + ")+");
    return {};
  }

  // --- Escapes ----------------------------------------------------------------------------------

  Result<void> escape() {
    if (at_ + 1 >= pattern_.size()) return bad("ends in a backslash");
    switch (pattern_[at_ + 1]) {
      case 'w':
        atom("[" + word_members() + "]");
        break;
      case 'W':
        atom("[^" + word_members() + "]");
        break;
      case 'h':
        atom("[" + std::string(kHexDigit) + "]");
        break;
      case 'A':
      case 'z':
        not_an_atom(pattern_.substr(at_, 2));
        break;
      case 'd':
      case 'D':
      case 'p':
      case 'P': {
        const Property property = EBB_TRY(read_property());
        const std::string members = property.name + property.additions;
        atom(property.additions.empty() && !property.negated
                 ? members
                 : (property.negated ? "[^" : "[") + members + "]");
        return {};
      }
      default:
        atom(EBB_TRY(member_escape()));
        return {};
    }
    at_ += 2;
    return {};
  }

  /// An escape that means the same inside and outside of a set, and no property. Moves behind it.
  Result<std::string> member_escape() {
    if (at_ + 1 >= pattern_.size()) return bad("ends in a backslash");
    const char c = pattern_[at_ + 1];
    if (c == 'x' || c == 'u') return code_point();
    static constexpr std::array<std::pair<char, std::string_view>, 9> kSame = {{
        {'s', kSpace},
        {'S', kNotSpace},
        {'n', "\\n"},
        {'r', "\\r"},
        {'t', "\\t"},
        {'f', "\\f"},
        {'v', "\\x0B"},
        {'a', "\\x07"},
        {'e', "\\x1B"},
    }};
    for (const auto& [name, meaning] : kSame) {
      if (name != c) continue;
      at_ += 2;
      return std::string(meaning);
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && std::ispunct(byte) != 0) {
      at_ += 2;
      return std::string("\\") + c;
    }
    if (byte == ' ') {
      at_ += 2;
      return std::string(" ");
    }
    return refuse("'\\" + (byte < 0x80 ? std::string(1, c) : std::string("?")) + "'");
  }

  struct Property {
    std::string name;  ///< "\p{L}"
    std::string additions;
    bool negated = false;
  };

  /// \d, \D, \p{..} or \P{..}. Moves behind it.
  Result<Property> read_property() {
    const char c = pattern_[at_ + 1];
    if (c == 'd' || c == 'D') {
      at_ += 2;
      return Property{"\\p{Nd}", additions_to("Nd"), c == 'D'};
    }
    const size_t begin = at_ + 2;
    const size_t end = pattern_.find('}', begin);
    if (begin >= pattern_.size() || pattern_[begin] != '{' || end == pattern_.npos) {
      return bad("has a \\p without its {name}");
    }
    std::string_view name = pattern_.substr(begin + 1, end - begin - 1);
    bool negated = c == 'P';
    if (name.starts_with("^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    for (const char letter : name) {
      if (std::isalpha(static_cast<unsigned char>(letter)) == 0 && letter != '_') name = "";
    }
    if (name.empty()) return refuse("a property that is no plain name");
    // What these hold is not the sum of categories, and has changed for old characters, too.
    if (name == "Alphabetic" || name == "C" || name == "Cn") {
      return refuse("the property '" + std::string(name) + "'");
    }
    const bool cased = name == "Lu" || name == "Ll" || name == "Lt";
    if (cased && ignores_case_) return refuse("a property of case where case is ignored");
    const bool is_category = name.size() <= 2;
    const bool is_binary = name == "White_Space" || name == "Any";
    // PCRE2 takes a bare script's name for the scripts that a character is used with.
    const std::string full = (is_category || is_binary ? "" : "sc:") + std::string(name);
    at_ = end + 1;
    return Property{"\\p{" + full + "}", additions_to(name), negated};
  }

  Result<std::string> code_point() {
    const bool braces = pattern_.substr(at_ + 2).starts_with("{");
    const size_t digits_at = at_ + (braces ? 3 : 2);
    const size_t digits_max = braces ? 6 : pattern_[at_ + 1] == 'x' ? 2 : 4;
    uint32_t value = 0;
    size_t digits = 0;
    while (digits < digits_max && digits_at + digits < pattern_.size() &&
           std::isxdigit(static_cast<unsigned char>(pattern_[digits_at + digits])) != 0) {
      const char c = pattern_[digits_at + digits++];
      value = value * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    const size_t end = digits_at + digits;
    const bool closed = !braces || pattern_.substr(end).starts_with("}");
    const bool full = braces ? digits > 0 : digits == digits_max;
    const bool is_byte = !braces && digits_max == 2 && value >= 0x80;  // of a sequence, there
    if (!closed || !full || is_byte || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000) ||
        (braces && pattern_[at_ + 1] == 'u')) {
      return refuse("'\\" + std::string(1, pattern_[at_ + 1]) + "' in this form");
    }
    at_ = end + (braces ? 1 : 0);
    return by_number(value);
  }

  // --- Sets -------------------------------------------------------------------------------------

  Result<void> set() {
    std::string text = "[";
    ++at_;
    if (next_is("^")) {
      text += "^";
      ++at_;
    }
    if (next_is("]")) return refuse("an empty set, or a ']' at the beginning of one");
    while (!next_is("]")) {
      if (at_ >= pattern_.size()) return bad("has a set that does not end");
      text += EBB_TRY(set_member());
    }
    ++at_;
    atom(text + "]");
    return {};
  }

  Result<std::string> set_member() {
    if (next_is("[")) return refuse("a set inside a set");
    if (next_is("&&")) return refuse("'&&' in a set");
    if (next_is("\\w")) return skip_two(word_members());
    if (next_is("\\h")) return skip_two(std::string(kHexDigit));
    if (next_is("\\p") || next_is("\\P") || next_is("\\d") || next_is("\\D")) {
      const Property property = EBB_TRY(read_property());
      if (!property.negated) return property.name + property.additions;
      if (!property.additions.empty()) return refuse("a negated property in a set");
      return "\\P" + property.name.substr(2);
    }
    if (next_is("\\")) return member_escape();
    const std::string_view rest = pattern_.substr(at_);
    const size_t length = utf8_sequence_length(rest);
    if (length == 0 || rest[0] == '\0') return bad("is not a pattern");
    if (ignores_case_ && length > 1) return refuse("other than ASCII where case is ignored");
    at_ += length;
    const std::string text = spelled(rest.substr(0, length));
    // A bare '-' keeps its meaning; between two members it is a range in both syntaxes.
    const bool plain = rest[0] == '-' || kMeaning.find(rest[0]) == kMeaning.npos;
    return plain ? text : "\\" + text;
  }

  std::string skip_two(std::string meaning) {
    at_ += 2;
    return meaning;
  }

  static constexpr size_t kGroupsMax = 32;
  static constexpr uint32_t kRepeatsMax = 1000;

  std::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
  std::vector<Group> groups_;
  size_t atom_ = 0;  ///< where the last atom begins in out_
  Quantifiable may_repeat_ = Quantifiable::kNo;
  bool ignores_case_ = false;
};

}  // namespace

Result<std::string> pcre2_syntax(std::string_view pattern) {
  Rewriter rewriter(pattern);
  return rewriter.run();
}

}  // namespace ebb::models
