// Operators on values, with Python's meaning: floor division, checked integers, text and lists that
// add.
#pragma once

#include <optional>

#include "models/jinja/ast.h"
#include "models/jinja/budget.h"

namespace ebb::models::jinja {

/// Errors: kInvalid (types, division by zero, more than 64 bits), kUnsupported, kExhausted. Neither
/// operand is undefined.
Result<Value> compute(BinaryOperator op, const Value& left, const Value& right, Budget& budget);

/// `op` is kMinus or kPlus.
Result<Value> with_sign(const Value& operand, UnaryOperator op);

/// <, <=, > and >= of two numbers, two strings, or two lists or tuples of such.
Result<bool> in_order(CompareOperator op, const Value& left, const Value& right, Budget& budget);

/// A bool is 0 or 1, as in Python; nothing for other kinds of value.
std::optional<int64_t> as_integer(const Value& value);
std::optional<double> as_real(const Value& value);

}  // namespace ebb::models::jinja
