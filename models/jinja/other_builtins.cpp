// Filters on numbers, and tests.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "models/jinja/arithmetic.h"
#include "models/jinja/builtin_groups.h"
#include "models/jinja/print.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

// --- Numbers ---

/// The text of a number, without blanks around it and underscores between digits.
std::optional<std::string> number_text(std::string_view text) {
  text = strip(text, std::nullopt, Sides::kBoth);
  const auto is_digit = [&](size_t i) {
    return i < text.size() && text[i] >= '0' && text[i] <= '9';
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  if (out.starts_with('+') && out.size() > 1 && out[1] != '-' && out[1] != '+') out.erase(0, 1);
  return out;
}

/// Python's int(text); nothing when it is none. Errors: kInvalid: beyond 64 bits.
Result<std::optional<int64_t>> parse_integer(std::string_view text, int base) {
  const auto digits = number_text(text);
  if (!digits || digits->empty()) return std::optional<int64_t>();
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits->data(), digits->data() + digits->size(), value, base);
  if (error == std::errc::result_out_of_range) return invalid("an integer beyond 64 bits");
  const bool whole = error == std::errc() && end == digits->data() + digits->size();
  return whole ? std::optional(value) : std::nullopt;
}

/// Python's float(text).
std::optional<double> parse_real(std::string_view text) {
  const auto digits = number_text(text);
  if (!digits || digits->empty()) return std::nullopt;
  double value = 0;
  const char* begin = digits->data();
  const char* const last = begin + digits->size();
  const auto [end, error] = std::from_chars(begin, last, value);
  if (error == std::errc::result_out_of_range) return std::strtod(digits->c_str(), nullptr);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

/// Beyond 64 bits an error, since Python's integers have no end.
Result<std::optional<int64_t>> truncated(double real) {
  constexpr double kBeyond = 9223372036854775808.0;
  if (!std::isfinite(real)) return std::optional<int64_t>();
  if (real >= kBeyond || real < -kBeyond) return invalid("an integer beyond 64 bits");
  return std::optional<int64_t>(static_cast<int64_t>(real));
}

Result<Value> run_int(const Value& subject, const Arguments& arguments, CallContext& context) {
  const Value otherwise = argument_or(arguments, 0, Value(int64_t{0}));
  const int64_t base = EBB_TRY(integer_argument(arguments, 1, 10));
  if (subject.is_undefined()) return invalid(subject.undefined_text());
  if (const auto integer = as_integer(subject)) return Value(*integer);
  std::optional<double> real;
  if (subject.real() != nullptr) real = *subject.real();
  if (const std::string* text = subject.string()) {
    EBB_TRY_VOID(context.budget.read(text->size()));
    if (base != 10) return unsupported("int: a base other than 10");
    if (const auto integer = EBB_TRY(parse_integer(*text, 10))) return Value(*integer);
    real = parse_real(*text);
  }
  if (!real) return otherwise;
  const auto integer = EBB_TRY(truncated(*real));
  return integer ? Value(*integer) : otherwise;
}

Result<Value> run_float(const Value& subject, const Arguments& arguments, CallContext& context) {
  if (subject.is_undefined()) return invalid(subject.undefined_text());
  if (const auto real = as_real(subject)) return Value(*real);
  if (const std::string* text = subject.string()) {
    EBB_TRY_VOID(context.budget.read(text->size()));
    if (const auto real = parse_real(*text)) return Value(*real);
  }
  return argument_or(arguments, 0, Value(0.0));
}

Result<Value> run_abs(const Value& subject, const Arguments&, CallContext&) {
  if (const auto integer = as_integer(subject)) {
    return *integer < 0 ? with_sign(Value(*integer), UnaryOperator::kMinus) : Value(*integer);
  }
  if (const double* real = subject.real()) return Value(std::fabs(*real));
  return wrong_type("number", subject);
}

/// Correctly rounded in decimal, halves to even, as Python's round().
double rounded(double value, int64_t places) {
  if (places < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-places));
    return std::nearbyint(value / unit) * unit;
  }
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(places), value);
  return std::strtod(buffer, nullptr);
}

Result<Value> run_round(const Value& subject, const Arguments& arguments, CallContext&) {
  constexpr int64_t kPlacesMax = 64;
  const int64_t places = EBB_TRY(integer_argument(arguments, 0, 0));
  const std::string_view method = EBB_TRY(text_argument(arguments, 1)).value_or("common");
  if (places > kPlacesMax || places < -kPlacesMax) return invalid("round: too many places");
  const auto real = as_real(subject);
  if (!real) return wrong_type("number", subject);
  if (method == "common") {
    const auto integer = as_integer(subject);
    if (!integer) return std::isfinite(*real) ? Value(rounded(*real, places)) : Value(*real);
    if (places >= 0) return Value(*integer);
    return unsupported("round: an integer to tens");
  }
  if (method != "ceil" && method != "floor") {
    return invalid("round: the method is \"common\", \"ceil\" or \"floor\"");
  }
  const double scale = std::pow(10.0, static_cast<double>(places));
  const double scaled = *real * scale;
  if (!std::isfinite(scaled)) return invalid("round: the number is no finite one");
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

// --- Tests ---

/// A test that needs no more than a look at the value.
template <bool (*holds)(const Value&)>
Result<Value> run_look(const Value& subject, const Arguments&, CallContext&) {
  return Value(holds(subject));
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_string(const Value& v) { return v.string() != nullptr; }
bool is_integer(const Value& v) { return v.integer() != nullptr; }
bool is_real(const Value& v) { return v.real() != nullptr; }
bool is_boolean(const Value& v) { return v.boolean() != nullptr; }
bool is_number(const Value& v) { return is_integer(v) || is_real(v) || is_boolean(v); }
bool is_true(const Value& v) { return is_boolean(v) && *v.boolean(); }
bool is_false(const Value& v) { return is_boolean(v) && !*v.boolean(); }
bool is_mapping(const Value& v) { return v.dict() != nullptr; }
bool is_callable(const Value& v) { return v.callable() != nullptr || v.is_undefined(); }
bool is_escaped(const Value& v) { return v.is_markup(); }
/// What has a length and can be indexed: text and mappings too, and even what is undefined.
bool is_sequence(const Value& v) {
  const Sequence* s = v.sequence();
  const bool plain = s != nullptr && (v.list() != nullptr || s->kind == SequenceKind::kRange);
  return plain || v.string() || v.dict() || v.is_undefined();
}
bool is_iterable(const Value& v) { return is_sequence(v) || v.sequence() || v.loop(); }

Result<Value> run_remainder(const Value& subject, const Value& divisor, int64_t wanted,
                            Budget& budget) {
  if (subject.is_undefined()) return invalid(subject.undefined_text());
  if (divisor.is_undefined()) return invalid(divisor.undefined_text());
  const Value rest = EBB_TRY(compute(BinaryOperator::kModulo, subject, divisor, budget));
  return Value(EBB_TRY(equal(rest, Value(wanted), budget)));
}

template <int64_t wanted>
Result<Value> run_parity(const Value& subject, const Arguments&, CallContext& context) {
  return run_remainder(subject, Value(int64_t{2}), wanted, context.budget);
}

Result<Value> run_divisible(const Value& subject, const Arguments& arguments,
                            CallContext& context) {
  return run_remainder(subject, *arguments[0], 0, context.budget);
}

template <bool wants_equal>
Result<Value> run_equal(const Value& subject, const Arguments& arguments, CallContext& context) {
  return Value(EBB_TRY(equal(subject, *arguments[0], context.budget)) == wants_equal);
}

template <CompareOperator op>
Result<Value> run_order(const Value& subject, const Arguments& arguments, CallContext& context) {
  return Value(EBB_TRY(in_order(op, subject, *arguments[0], context.budget)));
}

Result<Value> run_in(const Value& subject, const Arguments& arguments, CallContext& context) {
  return Value(EBB_TRY(contains(*arguments[0], subject, context.budget)));
}

/// As Python's `is`, of what has one identity.
Result<Value> run_same(const Value& subject, const Arguments& arguments, CallContext&) {
  const Value& other = *arguments[0];
  if (subject.is_none() || other.is_none()) return Value(subject.is_none() && other.is_none());
  if (is_boolean(subject) || is_boolean(other)) {
    return Value(is_boolean(subject) && is_boolean(other) &&
                 *subject.boolean() == *other.boolean());
  }
  return unsupported("sameas with values other than none, true and false");
}

/// Of any value, as its text.
template <bool wants_upper>
Result<Value> run_is_case(const Value& subject, const Arguments&, CallContext& context) {
  const Value text = EBB_TRY(to_text(subject, context.budget));
  const Builtin* method = find_method(text, wants_upper ? "isupper" : "islower");
  return call_builtin(*method, text, {}, context);
}

Result<Value> run_knows_filter(const Value& subject, const Arguments&, CallContext&) {
  return Value(subject.string() != nullptr && find_filter(*subject.string()) != nullptr);
}
Result<Value> run_knows_test(const Value& subject, const Arguments&, CallContext&) {
  return Value(subject.string() != nullptr && find_test(*subject.string()) != nullptr);
}

}  // namespace

std::span<const Builtin> number_filters() {
  static const std::array kTable = {
      Builtin{"int", {"default", "base"}, 0, run_int},
      Builtin{"float", {"default"}, 0, run_float},
      Builtin{"abs", {}, 0, run_abs},
      Builtin{"round", {"precision", "method"}, 0, run_round},
  };
  return kTable;
}

std::span<const Builtin> tests() {
  using Op = CompareOperator;
  static const std::array kTable = {
      Builtin{"defined", {}, 0, run_look<is_defined>},
      Builtin{"undefined", {}, 0, run_look<is_undefined>},
      Builtin{"none", {}, 0, run_look<is_none>},
      Builtin{"string", {}, 0, run_look<is_string>},
      Builtin{"integer", {}, 0, run_look<is_integer>},
      Builtin{"float", {}, 0, run_look<is_real>},
      Builtin{"number", {}, 0, run_look<is_number>},
      Builtin{"boolean", {}, 0, run_look<is_boolean>},
      Builtin{"true", {}, 0, run_look<is_true>},
      Builtin{"false", {}, 0, run_look<is_false>},
      Builtin{"mapping", {}, 0, run_look<is_mapping>},
      Builtin{"sequence", {}, 0, run_look<is_sequence>},
      Builtin{"iterable", {}, 0, run_look<is_iterable>},
      Builtin{"callable", {}, 0, run_look<is_callable>},
      Builtin{"escaped", {}, 0, run_look<is_escaped>},
      Builtin{"odd", {}, 0, run_parity<1>},
      Builtin{"even", {}, 0, run_parity<0>},
      Builtin{"divisibleby", {"num"}, 1, run_divisible},
      Builtin{"eq", {"other"}, 1, run_equal<true>},
      Builtin{"equalto", {"other"}, 1, run_equal<true>},
      Builtin{"==", {"other"}, 1, run_equal<true>},
      Builtin{"ne", {"other"}, 1, run_equal<false>},
      Builtin{"!=", {"other"}, 1, run_equal<false>},
      Builtin{"lt", {"other"}, 1, run_order<Op::kLess>},
      Builtin{"lessthan", {"other"}, 1, run_order<Op::kLess>},
      Builtin{"<", {"other"}, 1, run_order<Op::kLess>},
      Builtin{"le", {"other"}, 1, run_order<Op::kLessEqual>},
      Builtin{"<=", {"other"}, 1, run_order<Op::kLessEqual>},
      Builtin{"gt", {"other"}, 1, run_order<Op::kGreater>},
      Builtin{"greaterthan", {"other"}, 1, run_order<Op::kGreater>},
      Builtin{">", {"other"}, 1, run_order<Op::kGreater>},
      Builtin{"ge", {"other"}, 1, run_order<Op::kGreaterEqual>},
      Builtin{">=", {"other"}, 1, run_order<Op::kGreaterEqual>},
      Builtin{"in", {"seq"}, 1, run_in},
      Builtin{"sameas", {"other"}, 1, run_same},
      Builtin{"upper", {}, 0, run_is_case<true>},
      Builtin{"lower", {}, 0, run_is_case<false>},
      Builtin{"filter", {}, 0, run_knows_filter},
      Builtin{"test", {}, 0, run_knows_test},
  };
  return kTable;
}

}  // namespace ebb::models::jinja
