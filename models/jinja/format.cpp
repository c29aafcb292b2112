#include "models/jinja/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "models/jinja/arithmetic.h"
#include "models/jinja/members.h"
#include "models/jinja/print.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

constexpr size_t kWidthMax = 1 << 16;
/// Digits of a number; more than any double has in its shortest form, and than a template needs.
constexpr size_t kDigitsMax = 128;

/// %[(key)][flags][width][.precision]kind
struct Conversion {
  std::optional<std::string_view> key;
  bool left = false, zeros = false;
  std::string plus;  ///< what stands before positive numbers: "", " " or "+"
  size_t width = 0;
  std::optional<size_t> precision;
  char kind = 0;
};

/// A number's text in parts, since zeros go between them.
struct Spelled {
  std::string sign;
  std::string text;
};

class Formatter {
 public:
  Formatter(std::string_view format, const Value& arguments, Budget& budget)
      : left_(format), arguments_(arguments), budget_(budget) {
    const Sequence* s = arguments.sequence();
    tuple_ = s != nullptr && s->kind == SequenceKind::kTuple;
  }

  Result<std::string> run() {
    while (!left_.empty()) {
      const size_t plain = std::min(left_.find('%'), left_.size());
      EBB_TRY_VOID(append(left_.substr(0, plain)));
      left_.remove_prefix(plain);
      if (left_.empty()) break;
      left_.remove_prefix(1);
      EBB_TRY_VOID(budget_.step());
      const Conversion conversion = EBB_TRY(read());
      EBB_TRY_VOID(conversion.kind == '%' ? append("%") : write(conversion));
    }
    // Python looks for arguments that are left only where it cannot index what it was given.
    const bool indexed = !tuple_ && (arguments_.dict() || arguments_.sequence());
    const size_t given = tuple_ ? arguments_.list()->size() : 1;
    if (!indexed && taken_ < given) return invalid("more values than the format has places");
    return std::move(out_);
  }

 private:
  Result<void> append(std::string_view text) {
    EBB_TRY_VOID(budget_.build(text.size()));
    out_ += text;
    return {};
  }
  char take() {
    const char c = left_[0];
    left_.remove_prefix(1);
    return c;
  }
  bool sees_digit() const { return !left_.empty() && left_[0] >= '0' && left_[0] <= '9'; }

  Result<size_t> read_number(size_t limit) {
    size_t number = 0;
    while (sees_digit()) {
      number = number * 10 + static_cast<size_t>(take() - '0');
      if (number > limit) return invalid("format: a number over " + std::to_string(limit));
    }
    return number;
  }

  Result<Conversion> read() {
    Conversion c;
    if (left_.starts_with('(')) {
      const size_t end = left_.find(')');
      if (end == left_.npos) return invalid("format: a key without its ')'");
      c.key = left_.substr(1, end - 1);
      left_.remove_prefix(end + 1);
    }
    for (constexpr std::string_view kFlags = "-0+ #"; !left_.empty();) {
      if (kFlags.find(left_[0]) == kFlags.npos) break;
      const char flag = take();
      if (flag == '#') return unsupported("format: the flag '#'");
      if (flag == '-') c.left = true;
      if (flag == '0') c.zeros = true;
      if (flag == '+' || (flag == ' ' && c.plus.empty())) c.plus = flag;
    }
    if (left_.starts_with('*')) return unsupported("format: '*'");
    c.width = EBB_TRY(read_number(kWidthMax));
    if (left_.starts_with('.')) {
      left_.remove_prefix(1);
      if (left_.starts_with('*')) return unsupported("format: '*'");
      c.precision = EBB_TRY(read_number(kWidthMax));
    }
    const std::string_view sizes = "hlL";  // C's; Python skips one
    if (!left_.empty() && sizes.find(left_[0]) != sizes.npos) left_.remove_prefix(1);
    if (left_.empty()) return invalid("format: ends within a '%'");
    c.kind = take();
    return c;
  }

  Result<Value> argument(const Conversion& c) {
    if (c.key) {
      const Dict* dict = arguments_.dict();
      if (dict == nullptr) return invalid("format: '%(key)' needs a mapping");
      const Value* found = EBB_TRY(look_up(*dict, *c.key, budget_));
      if (found == nullptr) return invalid("format: no key '" + std::string(*c.key) + "'");
      return *found;
    }
    const size_t place = taken_++;
    if (!tuple_ && place == 0) return arguments_;
    if (tuple_ && place < arguments_.list()->size()) return (*arguments_.list())[place];
    return invalid("fewer values than the format has places");
  }

  Result<void> write(const Conversion& c) {
    const Value value = EBB_TRY(argument(c));
    switch (c.kind) {
      case 's':
      case 'r': {
        std::string text =
            c.kind == 's' ? EBB_TRY(to_text(value, budget_)) : EBB_TRY(to_repr(value, budget_));
        if (c.precision) text = slice(text, 0, static_cast<int64_t>(*c.precision));
        return pad({"", std::move(text)}, c, ' ');
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return pad(EBB_TRY(spell_integer(c, value)), c, c.zeros ? '0' : ' ');
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return pad(EBB_TRY(spell_real(c, value)), c, c.zeros ? '0' : ' ');
      default:
        return unsupported(std::string("format: '%") + c.kind + "'");
    }
  }

  Result<void> pad(Spelled spelled, const Conversion& c, char fill) {
    const size_t size = spelled.sign.size() + count_characters(spelled.text);
    const std::string missing(c.width > size ? c.width - size : 0, c.left ? ' ' : fill);
    if (c.left) return append(spelled.sign + spelled.text + missing);
    if (fill == '0') return append(spelled.sign + missing + spelled.text);
    return append(missing + spelled.sign + spelled.text);
  }

  Result<Spelled> spell_integer(const Conversion& c, const Value& value) const {
    auto integer = as_integer(value);
    const bool decimal = c.kind == 'd' || c.kind == 'i' || c.kind == 'u';
    if (const double* real = value.real(); real != nullptr && decimal) {
      constexpr double kBeyond = 9223372036854775808.0;
      if (!(*real >= -kBeyond && *real < kBeyond)) return invalid("an integer beyond 64 bits");
      integer = static_cast<int64_t>(*real);
    }
    if (!integer) return wrong_kind(c, value);
    const uint64_t size =
        *integer < 0 ? ~static_cast<uint64_t>(*integer) + 1 : static_cast<uint64_t>(*integer);
    char digits[32];
    const char* shape = decimal ? "%lu" : c.kind == 'x' ? "%lx" : c.kind == 'X' ? "%lX" : "%lo";
    std::snprintf(digits, sizeof digits, shape, static_cast<unsigned long>(size));
    Spelled spelled{*integer < 0 ? "-" : c.plus, digits};
    const size_t wanted = c.precision.value_or(1);
    if (wanted > kDigitsMax) return too_precise();
    if (wanted > spelled.text.size()) spelled.text.insert(0, wanted - spelled.text.size(), '0');
    return spelled;
  }

  Result<Spelled> spell_real(const Conversion& c, const Value& value) const {
    const auto real = as_real(value);
    if (!real) return wrong_kind(c, value);
    if (c.precision.value_or(0) > kDigitsMax) return too_precise();
    const char shape[] = {'%', '.', '*', c.kind, '\0'};
    char digits[512];  // 309 before the point, and kDigitsMax behind it
    const int precision = static_cast<int>(c.precision.value_or(6));
    std::snprintf(digits, sizeof digits, shape, precision, std::fabs(*real));
    const bool minus = std::signbit(*real) && !std::isnan(*real);
    return Spelled{minus ? "-" : c.plus, digits};
  }

  static Error too_precise() {
    return invalid("format: more than " + std::to_string(kDigitsMax) + " digits");
  }
  static Error wrong_kind(const Conversion& c, const Value& value) {
    if (value.is_undefined()) return invalid(value.undefined_text());
    return invalid(std::string("format: '%") + c.kind + "' takes a number, not " + value.a_type());
  }

  std::string_view left_;
  const Value& arguments_;
  Budget& budget_;
  bool tuple_ = false;
  size_t taken_ = 0;  ///< arguments, of those without a key
  std::string out_;
};

}  // namespace

Result<std::string> format_text(std::string_view format, const Value& arguments, Budget& budget) {
  EBB_TRY_VOID(budget.read(format.size()));
  return Formatter(format, arguments, budget).run();
}

}  // namespace ebb::models::jinja
