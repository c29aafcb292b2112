#include "models/jinja/arithmetic.h"

#include <algorithm>
#include <cmath>

#include "models/jinja/format.h"

namespace ebb::models::jinja {
namespace {

const char* symbol(BinaryOperator op) {
  constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%"};
  return kSymbols[static_cast<size_t>(op)];
}

Error wrong_types(const char* op, const Value& left, const Value& right) {
  return invalid(std::string("'") + op + "' between " + left.a_type() + " and " + right.a_type());
}

Error overflow() { return invalid("an integer beyond 64 bits"); }

Result<Value> compute_integers(BinaryOperator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  switch (op) {
    case BinaryOperator::kAdd:
      overflows = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOperator::kSubtract:
      overflows = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOperator::kMultiply:
      overflows = __builtin_mul_overflow(a, b, &result);
      break;
    default: {
      if (b == 0) return invalid("division by zero");
      if (a == INT64_MIN && b == -1) return overflow();
      const int64_t remainder = a % b;
      const bool rounds_down = remainder != 0 && (remainder < 0) != (b < 0);
      if (op == BinaryOperator::kModulo) return Value(rounds_down ? remainder + b : remainder);
      return Value(a / b - (rounds_down ? 1 : 0));
    }
  }
  if (overflows) return overflow();
  return Value(result);
}

Result<Value> compute_reals(BinaryOperator op, double a, double b) {
  switch (op) {
    case BinaryOperator::kAdd:
      return Value(a + b);
    case BinaryOperator::kSubtract:
      return Value(a - b);
    case BinaryOperator::kMultiply:
      return Value(a * b);
    default:
      break;
  }
  if (b == 0) return invalid("division by zero");
  if (op == BinaryOperator::kDivide) return Value(a / b);
  // As CPython's float_divmod(): the remainder has the divisor's sign, also when it is 0.
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder == 0) {
    remainder = std::copysign(0.0, b);
  } else if ((remainder < 0) != (b < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (op == BinaryOperator::kModulo) return Value(remainder);
  if (quotient == 0) return Value(std::copysign(0.0, a / b));
  const double whole = std::floor(quotient);
  return Value(quotient - whole > 0.5 ? whole + 1 : whole);
}

/// Python's Markup escapes what is added to it.
Result<Value> concatenate(const Value& left, const Value& right, Budget& budget) {
  const bool marked = left.is_markup() || right.is_markup();
  if (marked && left.is_markup() != right.is_markup()) {
    const std::string& plain = left.is_markup() ? *right.string() : *left.string();
    EBB_TRY_VOID(budget.read(plain.size()));
    if (plain.find_first_of("&<>'\"") != std::string::npos) {
      return unsupported("'+' of text and text marked safe, which would be escaped: use '~'");
    }
  }
  EBB_TRY_VOID(budget.build(left.string()->size() + right.string()->size()));
  std::string text = *left.string() + *right.string();
  return marked ? Value::markup(std::move(text)) : Value(std::move(text));
}

Result<Value> add_lists(const Sequence& left, const List& right, Budget& budget) {
  EBB_TRY_VOID(budget.step(left.elements.size() + right.size()));
  Sequence both{left.kind, left.elements};
  both.elements.insert(both.elements.end(), right.begin(), right.end());
  return Value(std::move(both));
}

Result<Value> repeat(const std::string& text, int64_t count, Budget& budget) {
  if (count <= 0 || text.empty()) return Value("");
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(uint64_t{text.size()}, static_cast<uint64_t>(count), &bytes)) {
    bytes = UINT64_MAX;
  }
  EBB_TRY_VOID(budget.build(bytes));
  std::string repeated;
  repeated.reserve(bytes);
  for (int64_t i = 0; i < count; ++i) repeated += text;
  return Value(std::move(repeated));
}

Result<Value> repeat_list(const Sequence& list, int64_t count, Budget& budget) {
  Sequence repeated{list.kind, {}};
  for (int64_t i = 0; i < count && !list.elements.empty(); ++i) {
    EBB_TRY_VOID(budget.step(list.elements.size()));
    repeated.elements.insert(repeated.elements.end(), list.elements.begin(), list.elements.end());
  }
  return Value(std::move(repeated));
}

/// Operators on text and lists; nothing when the operands are of other kinds.
Result<std::optional<Value>> compute_sequences(BinaryOperator op, const Value& left,
                                               const Value& right, Budget& budget) {
  using Maybe = std::optional<Value>;
  const auto a = as_integer(left);
  const auto b = as_integer(right);
  if (op == BinaryOperator::kAdd) {
    if (left.string() && right.string()) return Maybe(EBB_TRY(concatenate(left, right, budget)));
    const bool alike =
        left.list() && right.list() && left.sequence()->kind == right.sequence()->kind;
    if (alike) return Maybe(EBB_TRY(add_lists(*left.sequence(), *right.list(), budget)));
  }
  if (op == BinaryOperator::kMultiply) {
    if (left.string() && b) return Maybe(EBB_TRY(repeat(*left.string(), *b, budget)));
    if (a && right.string()) return Maybe(EBB_TRY(repeat(*right.string(), *a, budget)));
    if (left.list() && b) return Maybe(EBB_TRY(repeat_list(*left.sequence(), *b, budget)));
    if (a && right.list()) return Maybe(EBB_TRY(repeat_list(*right.sequence(), *a, budget)));
  }
  if (op == BinaryOperator::kModulo && left.is_markup()) {
    return unsupported("'%' on text marked safe, which would escape");
  }
  if (op == BinaryOperator::kModulo && left.string()) {
    return Maybe(Value(EBB_TRY(format_text(*left.string(), right, budget))));
  }
  return Maybe();
}

}  // namespace

std::optional<int64_t> as_integer(const Value& value) {
  if (const bool* b = value.boolean()) return *b ? 1 : 0;
  if (const int64_t* i = value.integer()) return *i;
  return std::nullopt;
}

std::optional<double> as_real(const Value& value) {
  if (const auto i = as_integer(value)) return static_cast<double>(*i);
  if (const double* d = value.real()) return *d;
  return std::nullopt;
}

Result<Value> compute(BinaryOperator op, const Value& left, const Value& right, Budget& budget) {
  const auto a = as_integer(left);
  const auto b = as_integer(right);
  if (a && b && op != BinaryOperator::kDivide) return compute_integers(op, *a, *b);
  if (const auto x = as_real(left), y = as_real(right); x && y) return compute_reals(op, *x, *y);
  if (auto value = EBB_TRY(compute_sequences(op, left, right, budget))) return *std::move(value);
  return wrong_types(symbol(op), left, right);
}

Result<Value> with_sign(const Value& operand, UnaryOperator op) {
  const bool minus = op == UnaryOperator::kMinus;
  if (const auto integer = as_integer(operand)) {
    return minus ? compute_integers(BinaryOperator::kSubtract, 0, *integer) : Value(*integer);
  }
  if (const double* real = operand.real()) return Value(minus ? -*real : *real);
  return invalid("a sign before " + operand.a_type());
}

Result<bool> in_order(CompareOperator op, const Value& left, const Value& right, Budget& budget) {
  const auto holds = [op](const auto& a, const auto& b) {
    switch (op) {
      case CompareOperator::kLess:
        return a < b;
      case CompareOperator::kLessEqual:
        return a <= b;
      case CompareOperator::kGreater:
        return a > b;
      default:
        return a >= b;
    }
  };
  if (const auto a = as_integer(left), b = as_integer(right); a && b) return holds(*a, *b);
  if (const auto a = as_real(left), b = as_real(right); a && b) return holds(*a, *b);
  if (left.string() && right.string()) {
    // Bytes of UTF-8 sort as their code points do.
    EBB_TRY_VOID(budget.read(std::min(left.string()->size(), right.string()->size())));
    return holds(*left.string(), *right.string());
  }
  if (left.is_undefined()) return invalid(left.undefined_text());
  if (right.is_undefined()) return invalid(right.undefined_text());
  const List *a = left.list(), *b = right.list();
  if (a == nullptr || b == nullptr || left.sequence()->kind != right.sequence()->kind) {
    return wrong_types("<", left, right);
  }
  // The first elements that differ decide.
  for (size_t i = 0; i < std::min(a->size(), b->size()); ++i) {
    EBB_TRY_VOID(budget.step());
    if (EBB_TRY(equal((*a)[i], (*b)[i], budget))) continue;
    return in_order(op, (*a)[i], (*b)[i], budget);
  }
  return holds(a->size(), b->size());
}

}  // namespace ebb::models::jinja
