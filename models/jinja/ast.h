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

/// The arguments of one call.
struct Given {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> by_name;
};

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
enum class BinaryOperator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo };
struct Binary {
  BinaryOperator op;
  ExpressionPtr left;
  ExpressionPtr right;
};
struct Concat {  ///< a ~ b ~ c
  std::vector<ExpressionPtr> parts;
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
struct Filter {
  const Builtin* builtin;
  Place place;
  Given given;
};
struct FilterCall {  ///< subject | filter
  ExpressionPtr subject;
  Filter filter;
};
struct TestCall {  ///< subject is test
  ExpressionPtr subject;
  const Builtin* builtin;
  Given given;
  bool negated;
};
struct Call {
  ExpressionPtr callee;
  Given given;
};
struct ListDisplay {
  SequenceKind kind;
  std::vector<ExpressionPtr> elements;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};

struct Expression {
  Place place;
  std::variant<Literal, Name, Attribute, Subscript, Slice, Unary, Binary, Concat, Logical, Compare,
               Conditional, FilterCall, TestCall, Call, ListDisplay, DictDisplay>
      node;
};

struct Statement;
using Body = std::vector<Statement>;

/// What is assigned to: a name, an attribute of the namespace `name`, or several of them.
struct Target {
  std::string name;
  std::string attribute;
  std::vector<Target> parts;  ///< when the name is empty
};

/// A macro, and what `call` hands to one.
struct MacroDefinition {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  ///< of the last parameters
  Body body;
  // Whether the body names these: only then may a call bring them.
  bool takes_caller = false;
  bool takes_further = false;  ///< varargs
  bool takes_named = false;    ///< kwargs
};

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
  Target target;
  ExpressionPtr sequence;
  ExpressionPtr filter;  ///< may be null
  Body body;
  Body otherwise;  ///< when there was no element
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {  ///< the body's output, filtered
  Target target;
  std::vector<Filter> filters;
  Body body;
};
struct FilterBlock {
  std::vector<Filter> filters;
  Body body;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> bindings;
  Body body;
};
struct Macro {
  std::unique_ptr<MacroDefinition> definition;
};
struct CallBlock {  ///< calls a macro that may call the block
  ExpressionPtr call;
  std::unique_ptr<MacroDefinition> caller;
};
/// `{% generation %}` marks what the model wrote, for training; here it is its content, in a scope
/// of its own.
struct Generation {
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  Place place;
  std::variant<Text, Output, If, For, Set, SetBlock, FilterBlock, With, Macro, CallBlock,
               Generation, Break, Continue>
      node;
};

}  // namespace ebb::models::jinja
