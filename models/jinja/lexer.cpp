#include "models/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>

#include "models/jinja/text.h"
#include "models/utf8.h"

namespace ebb::models::jinja {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

/// Newlines become "\n", and one at the very end goes, as Jinja does.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!pair) out += source[i] == '\r' ? '\n' : source[i];
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size()) {
      const size_t opening = find_opening();
      put_text(opening);
      if (opening == source_.size()) break;
      const char kind = source_[at_ + 1];
      if (kind == '#') {
        EBB_TRY_VOID(skip_comment());
      } else if (const auto raw = tag_alone(at_, "raw");
                 kind == '%' && raw.end != 0 && raw.closing_sign != '+') {
        EBB_TRY_VOID(read_raw(raw));
      } else {
        EBB_TRY_VOID(read_tag(kind == '%'));
      }
    }
    put(TokenKind::kEnd, "", place());
    return std::move(tokens_);
  }

 private:
  Place place() const { return place_; }

  void advance(size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      if (source_[at_ + i] == '\n') {
        ++place_.line;
        place_.column = 1;
      } else {
        ++place_.column;
      }
    }
    at_ += bytes;
  }

  bool sees(std::string_view text) const { return source_.substr(at_).starts_with(text); }

  void put(TokenKind kind, std::string text, Place where) {
    tokens_.push_back({kind, std::move(text), where});
  }

  Error fail(const std::string& what) const { return at_place(place_, invalid(what)); }

  size_t find_opening() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] != '{') continue;
      const char next = source_[i + 1];
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return source_.size();
  }

  /// Emits the text up to `opening`, cut at its end as the opening's sign and kind ask, and moves
  /// there.
  void put_text(size_t opening) {
    std::string_view text = source_.substr(at_, opening - at_);
    if (opening < source_.size()) {
      const char sign = opening + 2 < source_.size() ? source_[opening + 2] : '\0';
      if (sign == '-') {
        text = strip(text, std::nullopt, Sides::kRight);
      } else if (sign != '+' && source_[opening + 1] != '{') {
        text = without_indentation(text);
      }
    }
    if (!text.empty()) put(TokenKind::kText, std::string(text), place());
    advance(opening - at_);
  }

  /// lstrip_blocks: blanks between the line's start and a tag go.
  std::string_view without_indentation(std::string_view text) const {
    const size_t newline = text.rfind('\n');
    if (newline == text.npos && !line_starts_here_) return text;
    const size_t begin = newline == text.npos ? 0 : newline + 1;
    const std::string_view line = text.substr(begin);
    return strip(line, std::nullopt, Sides::kBoth).empty() ? text.substr(0, begin) : text;
  }

  /// Past white space of text, which is Unicode's.
  void skip_space() {
    const std::string_view rest = source_.substr(at_);
    advance(rest.size() - strip(rest, std::nullopt, Sides::kLeft).size());
  }

  /// Moves behind a closing `mark` that has `sign` before it; "-" eats white space, and otherwise
  /// trim_blocks eats one newline after a tag or comment.
  void close(std::string_view mark, char sign, bool trims_newline) {
    advance(mark.size() + (sign == '\0' ? 0 : 1));
    if (sign == '-') {
      skip_space();
    } else if (sign == '\0' && trims_newline && sees("\n")) {
      advance(1);
    }
    line_starts_here_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  Result<void> skip_comment() {
    const bool opens_with_sign = sees("{#-") || sees("{#+");
    const size_t body = at_ + (opens_with_sign ? 3 : 2);
    const size_t end = source_.find("#}", body);
    if (end == source_.npos) return fail("this comment is not closed");
    const char before = source_[end - 1];
    const bool has_sign = (before == '-' || before == '+') && end > body;
    advance(end - at_ - (has_sign ? 1 : 0));
    close("#}", has_sign ? before : '\0', /*trims_newline=*/true);
    return {};
  }

  /// A tag of one word, as `{%- raw %}`.
  struct LoneTag {
    size_t end = 0;  ///< behind "%}"; 0: there is no such tag
    char closing_sign = '\0';
  };
  LoneTag tag_alone(size_t at, std::string_view word) const {
    if (!source_.substr(at).starts_with("{%")) return {};
    at += 2;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    while (at < source_.size() && is_space(source_[at])) ++at;
    if (!source_.substr(at).starts_with(word)) return {};
    at += word.size();
    while (at < source_.size() && is_space(source_[at])) ++at;
    LoneTag tag;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) {
      tag.closing_sign = source_[at++];
    }
    if (!source_.substr(at).starts_with("%}")) return {};
    tag.end = at + 2;
    return tag;
  }

  /// `{% raw %}` to `{% endraw %}`: text as it is. Behind the first tag no newline goes.
  Result<void> read_raw(LoneTag begin) {
    const Place place = place_;
    advance(begin.end - at_);
    if (begin.closing_sign == '-') skip_space();
    line_starts_here_ = source_[at_ - 1] == '\n';
    for (size_t i = at_; (i = source_.find("{%", i)) != source_.npos; ++i) {
      const LoneTag end = tag_alone(i, "endraw");
      if (end.end == 0) continue;
      put_text(i);
      advance(end.end - at_ - 2);
      // close() counts the sign as not yet passed.
      close("%}", '\0', end.closing_sign == '\0');
      if (end.closing_sign == '-') skip_space();
      return {};
    }
    return at_place(place, invalid("this raw block has no 'endraw'"));
  }

  /// The sign of the closing `mark` that stands here: '\0' for none; nothing when it does not stand
  /// here.
  std::optional<char> closing_here(std::string_view mark, bool is_tag) const {
    if (sees(mark)) return '\0';
    const std::string_view rest = source_.substr(at_);
    if (rest.size() < 3 || rest.substr(1, 2) != mark) return std::nullopt;
    if (rest[0] == '-' || (rest[0] == '+' && is_tag)) return rest[0];
    return std::nullopt;
  }

  Result<void> read_tag(bool is_tag) {
    const Place begin = place();
    const std::string_view mark = is_tag ? "%}" : "}}";
    put(is_tag ? TokenKind::kTagBegin : TokenKind::kOutputBegin, "", begin);
    advance(2);
    if (sees("-") || (is_tag && sees("+"))) advance(1);
    std::string open;  // brackets: "}}" inside a mapping closes the mapping
    for (;;) {
      while (at_ < source_.size() && is_space(source_[at_])) advance(1);
      if (at_ == source_.size()) {
        return at_place(begin, invalid(is_tag ? "this tag is not closed by '%}'"
                                              : "this expression is not closed by '}}'"));
      }
      if (const auto sign = closing_here(mark, is_tag); open.empty() && sign) {
        put(is_tag ? TokenKind::kTagEnd : TokenKind::kOutputEnd, "", place());
        close(mark, *sign, is_tag);
        return {};
      }
      EBB_TRY_VOID(read_token(open));
    }
  }

  Result<void> read_token(std::string& open) {
    const char c = source_[at_];
    if (is_name_start(c)) return read_name();
    if (is_digit(c)) return read_number();
    if (c == '\'' || c == '"') return read_string();
    return read_operator(open);
  }

  Result<void> read_name() {
    size_t end = at_;
    while (end < source_.size() && is_name_part(source_[end])) ++end;
    put(TokenKind::kName, std::string(source_.substr(at_, end - at_)), place());
    advance(end - at_);
    return {};
  }

  /// Digits may have underscores between them.
  size_t digits_end(size_t from) const {
    const size_t begin = from;
    while (from < source_.size() && (is_digit(source_[from]) ||
                                     (source_[from] == '_' && from > begin &&
                                      from + 1 < source_.size() && is_digit(source_[from + 1])))) {
      ++from;
    }
    return from;
  }

  /// Behind "e", "e+" or "e-"; `from` when no exponent stands there.
  size_t exponent_end(size_t from) const {
    if (from >= source_.size() || (source_[from] | 0x20) != 'e') return from;
    size_t digits = from + 1;
    if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-')) ++digits;
    const size_t end = digits_end(digits);
    return end == digits ? from : end;
  }

  /// Not a fraction right after a dot: in `a.0.1` both are indices.
  Result<void> read_number() {
    const bool after_dot = !tokens_.empty() && tokens_.back().kind == TokenKind::kOperator &&
                           tokens_.back().text == ".";
    size_t end = digits_end(at_);
    TokenKind kind = TokenKind::kInteger;
    if (!after_dot && end + 1 < source_.size() && source_[end] == '.' &&
        is_digit(source_[end + 1])) {
      kind = TokenKind::kReal;
      end = digits_end(end + 1);
    }
    if (const size_t exponent = exponent_end(end); !after_dot && exponent != end) {
      kind = TokenKind::kReal;
      end = exponent;
    }
    const bool leading_zero = kind == TokenKind::kInteger && source_[at_] == '0' &&
                              source_.substr(at_, end - at_).find_first_not_of("0_") < end - at_;
    if (leading_zero || (end < source_.size() && is_name_part(source_[end]))) {
      return fail("numbers are decimal, without zeros in front");
    }
    std::string digits(source_.substr(at_, end - at_));
    std::erase(digits, '_');
    put(kind, std::move(digits), place());
    advance(end - at_);
    return {};
  }

  Result<void> read_string() {
    const Place begin = place();
    const char quote = source_[at_];
    advance(1);
    std::string value;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\') {
        EBB_TRY_VOID(read_escape(value));
      } else {
        value += source_[at_];
        advance(1);
      }
    }
    if (at_ == source_.size()) return at_place(begin, invalid("this string is not closed"));
    advance(1);
    put(TokenKind::kString, std::move(value), begin);
    return {};
  }

  Result<void> read_escape(std::string& value) {
    const char kind = at_ + 1 < source_.size() ? source_[at_ + 1] : '\0';
    constexpr std::string_view kLetters = "ntrbfva\\'\"";
    constexpr std::string_view kMeanings = "\n\t\r\b\f\v\a\\'\"";
    if (const size_t i = kLetters.find(kind); kind != '\0' && i != kLetters.npos) {
      value += kMeanings[i];
      advance(2);
      return {};
    }
    if (kind == '\n') {  // a continued line
      advance(2);
      return {};
    }
    const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    if (digits != 0) return read_code_point(digits, value);
    if (kind >= '0' && kind <= '7') return read_octal(value);
    if (kind == 'N' || kind == '\0' || static_cast<unsigned char>(kind) >= 0x80) {
      return fail("this escape in a string is not known");
    }
    value += '\\';  // Python leaves others as they are
    advance(1);
    return {};
  }

  Result<void> read_octal(std::string& value) {
    char32_t code_point = 0;
    size_t digits = 0;
    for (; digits < 3 && at_ + 1 + digits < source_.size(); ++digits) {
      const char c = source_[at_ + 1 + digits];
      if (c < '0' || c > '7') break;
      code_point = code_point * 8 + static_cast<char32_t>(c - '0');
    }
    utf8_append(value, code_point);
    advance(1 + digits);
    return {};
  }

  Result<void> read_code_point(size_t digits, std::string& value) {
    const std::string_view hex = source_.substr(std::min(at_ + 2, source_.size()), digits);
    char32_t code_point = 0;
    for (char c : hex) {
      const size_t digit = std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
      const bool is_hex = is_digit(c) || (digit >= 10 && digit < 16);
      if (!is_hex) return fail("this escape in a string needs more hexadecimal digits");
      code_point = code_point * 16 +
                   (is_digit(c) ? static_cast<char32_t>(c - '0') : static_cast<char32_t>(digit));
    }
    if (hex.size() < digits || code_point > 0x10FFFF ||
        (code_point >= 0xD800 && code_point <= 0xDFFF)) {
      return fail("this escape in a string is not a code point");
    }
    utf8_append(value, code_point);
    advance(2 + digits);
    return {};
  }

  Result<void> read_operator(std::string& open) {
    // Longer ones first. "**" is here so that the parser can say that it is not supported.
    constexpr std::array<std::string_view, 25> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};
    const auto* found = std::find_if(kOperators.begin(), kOperators.end(),
                                     [&](std::string_view candidate) { return sees(candidate); });
    if (found == kOperators.end()) return fail("unexpected character in a tag");
    const char c = found->front();
    if (c == '(' || c == '[' || c == '{') open += c;
    if (c == ')' || c == ']' || c == '}') {
      const char opener = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != opener) {
        return fail("'" + std::string(*found) + "' closes nothing");
      }
      open.pop_back();
    }
    put(TokenKind::kOperator, std::string(*found), place());
    advance(found->size());
    return {};
  }

  std::string_view source_;
  size_t at_ = 0;
  Place place_;
  bool line_starts_here_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Error at_place(Place place, Error error) {
  return with_context(
      "line " + std::to_string(place.line) + ", column " + std::to_string(place.column),
      std::move(error));
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  const std::string normalized = normalize(source);
  return Lexer(normalized).run();
}

}  // namespace ebb::models::jinja
