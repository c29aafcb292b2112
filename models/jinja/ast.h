// The tree that the parser makes and the interpreter walks. Plain data.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "models/jinja/lexer.h"
#include "models/jinja/value.h"

namespace ebb::models::jinja {

struct Builtin;  // models/jinja/builtins.h
struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct Attribute {  ///< subject.name
  ExpressionPtr subject;
  std::string name;
};
struct Subscript {  ///< subject[index]
  ExpressionPtr subject;
  ExpressionPtr index;
};
struct Slice {  ///< subject[begin:end:step]; each may be null
  ExpressionPtr subject;
  ExpressionPtr begin;
  ExpressionPtr end;
  ExpressionPtr step;
};
enum class UnaryOperator { kNot, kMinus, kPlus };
struct Unary {
  UnaryOperator op;
  ExpressionPtr operand;
};
enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kConcat };
struct Binary {
  BinaryOperator op;
  ExpressionPtr left;
  ExpressionPtr right;
};
/// `and` and `or` give one of their operands and leave the right one alone when the left decides.
struct Logical {
  bool is_and;
  ExpressionPtr left;
  ExpressionPtr right;
};
enum class CompareOperator {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};
struct Compare {  ///< a < b < c: each neighbour pair, until one is false
  ExpressionPtr first;
  std::vector<std::pair<CompareOperator, ExpressionPtr>> rest;
};
struct Conditional {  ///< then if condition else otherwise (null: undefined)
  ExpressionPtr condition;
  ExpressionPtr then;
  ExpressionPtr otherwise;
};
/// A filter, test, method or function: arguments in the order of its parameters, null where left
/// out.
struct Call {
  const Builtin* builtin;
  ExpressionPtr subject;  ///< null for functions
  std::vector<ExpressionPtr> arguments;
  bool negated = false;  ///< is not
};
struct NamespaceCall {  ///< namespace(a=1, b=2)
  std::vector<std::pair<std::string, ExpressionPtr>> attributes;
};
/// A call of a name that is no function here. Templates guard such calls by `is defined`, so it is
/// an error only when reached.
struct UnknownCall {
  std::string name;
};
struct ListDisplay {
  std::vector<ExpressionPtr> elements;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};

struct Expression {
  Place place;
  std::variant<Literal, Name, Attribute, Subscript, Slice, Unary, Binary, Logical, Compare,
               Conditional, Call, NamespaceCall, UnknownCall, ListDisplay, DictDisplay>
      node;
};

struct Statement;
using Body = std::vector<Statement>;

struct Text {
  Value text;
};
struct Output {
  ExpressionPtr value;
};
struct If {  ///< the first branch whose condition holds; the last may have none (else)
  std::vector<std::pair<ExpressionPtr, Body>> branches;
};
struct For {
  std::vector<std::string> targets;  ///< more than one: each element is unpacked
  ExpressionPtr sequence;
  ExpressionPtr filter;  ///< may be null
  Body body;
  Body otherwise;  ///< when there was no element
};
struct Set {
  std::string name;
  std::string attribute;  ///< empty, or an attribute of the namespace `name`
  ExpressionPtr value;
};
struct Break {};
struct Continue {};

struct Statement {
  Place place;
  std::variant<Text, Output, If, For, Set, Break, Continue> node;
};

}  // namespace ebb::models::jinja
