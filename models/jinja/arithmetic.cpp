#include "models/jinja/arithmetic.h"

#include <cmath>
#include <optional>

#include "models/jinja/builtins.h"

namespace ebb::models::jinja {
namespace {

/// A bool is 0 or 1, as in Python.
std::optional<int64_t> as_integer(const Value& value) {
  if (const bool* b = value.boolean()) return *b;
  if (const int64_t* i = value.integer()) return *i;
  return std::nullopt;
}

std::optional<double> as_real(const Value& value) {
  if (const auto i = as_integer(value)) return static_cast<double>(*i);
  if (const double* d = value.real()) return *d;
  return std::nullopt;
}

const char* symbol(BinaryOperator op) {
  constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "~"};
  return kSymbols[static_cast<size_t>(op)];
}

Error wrong_types(const char* op, const Value& left, const Value& right) {
  return invalid(std::string("'") + op + "' between a " + left.type_name() + " and a " +
                 right.type_name());
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
  if (op == BinaryOperator::kFloorDivide) return Value(std::floor(a / b));
  const double remainder = std::fmod(a, b);
  return Value(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder);
}

Result<Value> concatenate(const Value& left, const Value& right, Budget& budget) {
  std::string text = EBB_TRY(text_of(left, budget));
  text += EBB_TRY(text_of(right, budget));
  return Value(std::move(text));
}

Result<Value> add_lists(const List& left, const List& right, Budget& budget) {
  EBB_TRY_VOID(budget.step(left.size() + right.size()));
  List both = left;
  both.insert(both.end(), right.begin(), right.end());
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

}  // namespace

Result<Value> compute(BinaryOperator op, const Value& left, const Value& right, Budget& budget) {
  if (op == BinaryOperator::kConcat) return concatenate(left, right, budget);
  const auto a = as_integer(left);
  const auto b = as_integer(right);
  if (a && b && op != BinaryOperator::kDivide) return compute_integers(op, *a, *b);
  if (const auto x = as_real(left), y = as_real(right); x && y) return compute_reals(op, *x, *y);
  if (op == BinaryOperator::kAdd) {
    if (left.string() && right.string()) return concatenate(left, right, budget);
    if (left.list() && right.list()) return add_lists(*left.list(), *right.list(), budget);
  }
  if (op == BinaryOperator::kMultiply) {
    if (left.string() && b) return repeat(*left.string(), *b, budget);
    if (a && right.string()) return repeat(*right.string(), *a, budget);
  }
  return wrong_types(symbol(op), left, right);
}

Result<Value> with_sign(const Value& operand, UnaryOperator op) {
  const bool minus = op == UnaryOperator::kMinus;
  if (const auto integer = as_integer(operand)) {
    return minus ? compute_integers(BinaryOperator::kSubtract, 0, *integer) : Value(*integer);
  }
  if (const double* real = operand.real()) return Value(minus ? -*real : *real);
  return invalid(std::string("a sign before a ") + operand.type_name());
}

Result<bool> in_order(CompareOperator op, const Value& left, const Value& right) {
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
  // Bytes of UTF-8 sort as their code points do.
  if (left.string() && right.string()) return holds(*left.string(), *right.string());
  if (left.is_undefined()) return invalid(left.undefined_text());
  if (right.is_undefined()) return invalid(right.undefined_text());
  return wrong_types("<", left, right);
}

}  // namespace ebb::models::jinja
