// Expressions.
#include "models/jinja/arithmetic.h"
#include "models/jinja/machine.h"
#include "models/jinja/members.h"
#include "models/jinja/print.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {

Result<Value> Machine::evaluate(const ExpressionPtr& expression) {
  const Level level(depth_);
  EBB_TRY_VOID(check_depth(expression->place));
  EBB_TRY_VOID(placed(expression->place, budget_.step()));
  return std::visit([&](const auto& node) { return evaluate(node, expression->place); },
                    expression->node);
}

Result<Value> Machine::evaluate_defined(const ExpressionPtr& expression) {
  Value value = EBB_TRY(evaluate(expression));
  if (value.is_undefined()) return at_place(expression->place, invalid(value.undefined_text()));
  return value;
}

Result<Value> Machine::evaluate_content(const ExpressionPtr& expression) {
  Value value = EBB_TRY(evaluate(expression));
  EBB_TRY_VOID(placed(expression->place, check_content(value)));
  return value;
}

Result<Value> Machine::evaluate(const Literal& node, Place) { return node.value; }
Result<Value> Machine::evaluate(const Name& node, Place) { return find_name(node.name); }

Result<Value> Machine::evaluate(const Attribute& node, Place place) {
  const Value subject = EBB_TRY(evaluate(node.subject));
  return placed(place, attribute_of(subject, node.name, budget_));
}

Result<Value> Machine::evaluate(const Subscript& node, Place place) {
  const Value subject = EBB_TRY(evaluate(node.subject));
  const Value index = EBB_TRY(evaluate(node.index));
  return placed(place, item_of(subject, index, budget_));
}

Result<Value> Machine::evaluate(const Slice& node, Place place) {
  const Value subject = EBB_TRY(evaluate_defined(node.subject));
  const auto begin = EBB_TRY(slice_bound(node.begin));
  const auto end = EBB_TRY(slice_bound(node.end));
  const int64_t step = EBB_TRY(slice_bound(node.step)).value_or(1);
  if (step == 0) return at_place(place, invalid("a slice with a step of 0"));
  if (const std::string* whole = subject.string(); whole != nullptr && step == 1) {
    EBB_TRY_VOID(placed(place, budget_.build(whole->size())));
    return Value(std::string(slice(*whole, begin, end)));
  }
  const Sequence* s = subject.sequence();
  const bool sliced = subject.string() != nullptr || subject.list() != nullptr ||
                      (s != nullptr && s->kind == SequenceKind::kRange);
  if (!sliced) return at_place(place, invalid("a slice of " + subject.a_type()));
  const List elements = EBB_TRY(placed(place, elements_of(subject, budget_)));
  List taken;
  for (size_t i : slice_places(elements.size(), begin, end, step)) taken.push_back(elements[i]);
  if (s != nullptr) return Value(Sequence{s->kind, std::move(taken)});
  std::string text;
  for (const Value& character : taken) text += *character.string();
  return Value(std::move(text));
}

Result<Value> Machine::evaluate(const Unary& node, Place place) {
  if (node.op == UnaryOperator::kNot) return Value(!EBB_TRY(evaluate(node.operand)).truthy());
  const Value operand = EBB_TRY(evaluate_defined(node.operand));
  return placed(place, with_sign(operand, node.op));
}

Result<Value> Machine::evaluate(const Binary& node, Place place) {
  const Value left = EBB_TRY(evaluate_defined(node.left));
  const Value right = EBB_TRY(evaluate_defined(node.right));
  return placed(place, compute(node.op, left, right, budget_));
}

Result<Value> Machine::evaluate(const Concat& node, Place place) {
  std::string text;
  for (const ExpressionPtr& part : node.parts) {
    const Value value = EBB_TRY(evaluate(part));
    text += EBB_TRY(placed(place, to_text(value, budget_)));
  }
  return Value(std::move(text));
}

Result<Value> Machine::evaluate(const Logical& node, Place) {
  Value left = EBB_TRY(evaluate(node.left));
  if (left.truthy() != node.is_and) return left;
  return evaluate(node.right);
}

Result<Value> Machine::evaluate(const Compare& node, Place place) {
  Value left = EBB_TRY(evaluate(node.first));
  for (const auto& [op, operand] : node.rest) {
    Value right = EBB_TRY(evaluate(operand));
    if (!EBB_TRY(placed(place, compare(op, left, right)))) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Machine::evaluate(const Conditional& node, Place) {
  if (EBB_TRY(evaluate(node.condition)).truthy()) return evaluate(node.then);
  if (node.otherwise != nullptr) return evaluate(node.otherwise);
  return Value::nothing();
}

Result<Value> Machine::evaluate(const FilterCall& node, Place) {
  return apply(node.filter, EBB_TRY(evaluate(node.subject)));
}

Result<Value> Machine::apply(const Filter& filter, const Value& subject) {
  GivenValues given = EBB_TRY(evaluate_given(filter.given));
  return placed(filter.place, call_builtin(*filter.builtin, subject, std::move(given), context_));
}

Result<Value> Machine::evaluate(const TestCall& node, Place place) {
  const Value subject = EBB_TRY(evaluate(node.subject));
  GivenValues given = EBB_TRY(evaluate_given(node.given));
  const Value holds =
      EBB_TRY(placed(place, call_builtin(*node.builtin, subject, std::move(given), context_)));
  return Value(holds.truthy() != node.negated);
}

Result<Value> Machine::evaluate(const ListDisplay& node, Place) {
  Sequence list{node.kind, {}};
  list.elements.reserve(node.elements.size());
  for (const ExpressionPtr& expression : node.elements) {
    list.elements.push_back(EBB_TRY(evaluate_content(expression)));
  }
  return Value(std::move(list));
}

Result<Value> Machine::evaluate(const DictDisplay& node, Place place) {
  Dict dict;
  for (const auto& [key_expression, expression] : node.entries) {
    const Value key = EBB_TRY(evaluate(key_expression));
    if (key.string() == nullptr) {
      return at_place(key_expression->place, unsupported("a mapping's key that is no string"));
    }
    Value value = EBB_TRY(evaluate_content(expression));
    EBB_TRY_VOID(placed(place, store(dict, *key.string(), std::move(value), budget_)));
  }
  return Value(std::move(dict));
}

// --- Helpers ---

Value Machine::find_name(std::string_view name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const auto it = scope->names.find(name); it != scope->names.end()) return it->second;
  }
  auto callable = std::make_shared<Callable>();
  callable->builtin = find_function(name);
  if (name == "namespace") callable->kind = Callable::Kind::kNamespace;
  if (name == "dict") callable->kind = Callable::Kind::kDict;
  const bool known = callable->builtin != nullptr || callable->kind != Callable::Kind::kBuiltin;
  if (!known) return Value::undefined(name);
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

Result<std::optional<int64_t>> Machine::slice_bound(const ExpressionPtr& expression) {
  if (expression == nullptr) return std::optional<int64_t>();
  const Value value = EBB_TRY(evaluate_defined(expression));
  if (value.is_none()) return std::optional<int64_t>();
  if (const auto integer = as_integer(value)) return integer;
  return at_place(expression->place, invalid("a slice's bounds are integers"));
}

Result<bool> Machine::compare(CompareOperator op, const Value& left, const Value& right) {
  switch (op) {
    case CompareOperator::kEqual:
      return equal(left, right, budget_);
    case CompareOperator::kNotEqual:
      return !EBB_TRY(equal(left, right, budget_));
    case CompareOperator::kIn:
      return contains(right, left, budget_);
    case CompareOperator::kNotIn:
      return !EBB_TRY(contains(right, left, budget_));
    default:
      return in_order(op, left, right, budget_);
  }
}

}  // namespace ebb::models::jinja
