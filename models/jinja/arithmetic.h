// Operators on values, with Python's meaning: floor division, checked integers, text and lists that
// add.
#pragma once

#include "models/jinja/ast.h"
#include "models/jinja/budget.h"

namespace ebb::models::jinja {

/// Errors: kInvalid (types, division by zero, more than 64 bits), kExhausted. Neither operand is
/// undefined.
Result<Value> compute(BinaryOperator op, const Value& left, const Value& right, Budget& budget);

/// `op` is kMinus or kPlus.
Result<Value> with_sign(const Value& operand, UnaryOperator op);

/// <, <=, > and >= of two numbers or two strings.
Result<bool> in_order(CompareOperator op, const Value& left, const Value& right);

}  // namespace ebb::models::jinja
