#include "models/jinja/interpreter.h"

#include <cmath>
#include <map>

#include "models/jinja/arithmetic.h"
#include "models/jinja/builtins.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

using Names = std::map<std::string, Value, std::less<>>;

/// Values are printed, compared and freed by recursion.
constexpr uint32_t kDepthMax = 64;

enum class Flow { kOn, kBreak, kContinue };

class Interpreter {
 public:
  Interpreter(Dict variables, Budget budget, uint64_t output_max)
      : budget_(budget), output_max_(output_max) {
    scopes_.emplace_back();
    for (auto& [name, value] : variables.entries) scopes_[0][name] = std::move(value);
  }

  Result<Flow> run(const Body& body) {
    for (const Statement& statement : body) {
      EBB_TRY_VOID(paid(statement.place, budget_.step()));
      const Flow flow = EBB_TRY(std::visit(
          [&](const auto& node) { return execute(node, statement.place); }, statement.node));
      if (flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  std::string take_output() { return std::move(output_); }

 private:
  // --- Statements ---

  Result<Flow> write(std::string_view text, Place place) {
    if (text.size() > output_max_ - output_.size()) {
      return at_place(place, exhausted("the template's output limit of " +
                                       std::to_string(output_max_) + " bytes"));
    }
    output_ += text;
    return Flow::kOn;
  }

  Result<Flow> execute(const Text& node, Place place) { return write(*node.text.string(), place); }

  Result<Flow> execute(const Output& node, Place place) {
    const Value value = EBB_TRY(evaluate(node.value));
    if (const std::string* text = value.string()) return write(*text, place);
    auto text = to_text(value);
    if (!text) return at_place(place, std::move(text).error());
    return write(*text, place);
  }

  Result<Flow> execute(const If& node, Place) {
    for (const auto& [condition, body] : node.branches) {
      const bool holds = condition == nullptr || EBB_TRY(evaluate(condition)).truthy();
      if (holds) return run(body);
    }
    return Flow::kOn;
  }

  Result<Flow> execute(const For& node, Place place) {
    const Value sequence = EBB_TRY(evaluate(node.sequence));
    List elements = EBB_TRY(placed(place, elements_of(sequence, budget_)));
    if (node.filter != nullptr) elements = EBB_TRY(filtered(node, place, std::move(elements)));
    if (elements.empty()) return run(node.otherwise);
    for (size_t i = 0; i < elements.size(); ++i) {
      const Scope scope(scopes_);
      EBB_TRY_VOID(paid(place, budget_.step()));
      EBB_TRY_VOID(paid(place, assign_targets(node.targets, elements[i])));
      scopes_.back()["loop"] = describe_iteration(elements, i);
      const Flow flow = EBB_TRY(run(node.body));
      if (flow == Flow::kBreak) break;
    }
    return Flow::kOn;
  }

  Result<Flow> execute(const Set& node, Place place) {
    Value value = EBB_TRY(evaluate(node.value));
    // Only what has a name can grow without end; one expression is bounded by its length.
    if (value.depth() > kDepthMax) {
      return at_place(place, invalid("lists and mappings nest deeper than the limit of " +
                                     std::to_string(kDepthMax)));
    }
    if (node.attribute.empty()) {
      scopes_.back()[node.name] = std::move(value);
      return Flow::kOn;
    }
    Namespace* space = find_name(node.name).name_space();
    if (space == nullptr) return at_place(place, invalid("'" + node.name + "' is no namespace"));
    EBB_TRY_VOID(check_content(value, place));
    space->attributes.set(node.attribute, std::move(value));
    return Flow::kOn;
  }

  Result<Flow> execute(const Break&, Place) { return Flow::kBreak; }
  Result<Flow> execute(const Continue&, Place) { return Flow::kContinue; }

  /// The names of one iteration, gone with it.
  class Scope {
   public:
    explicit Scope(std::vector<Names>& scopes) : scopes_(scopes) { scopes_.emplace_back(); }
    ~Scope() { scopes_.pop_back(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    std::vector<Names>& scopes_;
  };

  Result<void> assign_targets(const std::vector<std::string>& targets, const Value& element) {
    if (targets.size() == 1) {
      scopes_.back()[targets[0]] = element;
      return {};
    }
    const List* parts = element.list();
    if (parts == nullptr || parts->size() != targets.size()) {
      return invalid("the loop needs elements of " + std::to_string(targets.size()) + " parts");
    }
    for (size_t i = 0; i < targets.size(); ++i) scopes_.back()[targets[i]] = (*parts)[i];
    return {};
  }

  Result<List> filtered(const For& node, Place place, List elements) {
    List kept;
    for (Value& element : elements) {
      const Scope scope(scopes_);
      EBB_TRY_VOID(paid(place, budget_.step()));
      EBB_TRY_VOID(paid(place, assign_targets(node.targets, element)));
      if (EBB_TRY(evaluate(node.filter)).truthy()) kept.push_back(std::move(element));
    }
    return kept;
  }

  static Value describe_iteration(const List& elements, size_t i) {
    const auto index = static_cast<int64_t>(i);
    const auto length = static_cast<int64_t>(elements.size());
    Dict loop;
    loop.entries = {
        {"index", index + 1},
        {"index0", index},
        {"revindex", length - index},
        {"revindex0", length - index - 1},
        {"first", i == 0},
        {"last", i + 1 == elements.size()},
        {"length", length},
        {"previtem", i == 0 ? Value::undefined("loop.previtem") : elements[i - 1]},
        {"nextitem",
         i + 1 == elements.size() ? Value::undefined("loop.nextitem") : elements[i + 1]},
    };
    return loop;
  }

  // --- Expressions ---

  Result<Value> evaluate(const ExpressionPtr& expression) {
    EBB_TRY_VOID(paid(expression->place, budget_.step()));
    return std::visit([&](const auto& node) { return evaluate(node, expression->place); },
                      expression->node);
  }

  /// Evaluates, and refuses undefined values.
  Result<Value> evaluate_defined(const ExpressionPtr& expression) {
    Value value = EBB_TRY(evaluate(expression));
    if (value.is_undefined()) return at_place(expression->place, invalid(value.undefined_text()));
    return value;
  }

  /// A namespace inside anything else could come to hold itself, and would never be freed.
  static Result<void> check_content(const Value& value, Place place) {
    if (value.name_space() == nullptr) return {};
    return at_place(place, unsupported("a namespace inside another value"));
  }

  Result<Value> evaluate_content(const ExpressionPtr& expression) {
    Value value = EBB_TRY(evaluate_defined(expression));
    EBB_TRY_VOID(check_content(value, expression->place));
    return value;
  }

  Result<Value> evaluate(const Literal& node, Place) { return node.value; }
  Result<Value> evaluate(const Name& node, Place) { return find_name(node.name); }

  Result<Value> evaluate(const Attribute& node, Place) {
    const Value subject = EBB_TRY(evaluate_defined(node.subject));
    return member(subject, node.name);
  }

  Result<Value> evaluate(const Subscript& node, Place place) {
    const Value subject = EBB_TRY(evaluate_defined(node.subject));
    const Value index = EBB_TRY(evaluate_defined(node.index));
    if (const std::string* key = index.string()) return member(subject, *key);
    if (const int64_t* at = index.integer()) return element(subject, *at, place);
    return Value::undefined(std::string("element by ") + index.type_name());
  }

  Result<Value> evaluate(const Slice& node, Place place) {
    const Value subject = EBB_TRY(evaluate_defined(node.subject));
    const auto begin = EBB_TRY(slice_bound(node.begin));
    const auto end = EBB_TRY(slice_bound(node.end));
    const int64_t step = EBB_TRY(slice_bound(node.step)).value_or(1);
    if (step == 0) return at_place(place, invalid("a slice with a step of 0"));
    if (subject.dict() != nullptr) return at_place(place, invalid("a slice of a mapping"));
    if (const std::string* whole = subject.string(); whole != nullptr && step == 1) {
      EBB_TRY_VOID(paid(place, budget_.build(whole->size())));
      return Value(std::string(slice(*whole, begin, end)));
    }
    const List elements = EBB_TRY(placed(place, elements_of(subject, budget_)));
    List taken;
    std::string text;
    for (size_t i : slice_places(elements.size(), begin, end, step)) {
      if (subject.list() != nullptr) {
        taken.push_back(elements[i]);
      } else {
        text += *elements[i].string();
      }
    }
    return subject.list() != nullptr ? Value(std::move(taken)) : Value(std::move(text));
  }

  Result<Value> evaluate(const Unary& node, Place place) {
    if (node.op == UnaryOperator::kNot) return Value(!EBB_TRY(evaluate(node.operand)).truthy());
    const Value operand = EBB_TRY(evaluate_defined(node.operand));
    return placed(place, with_sign(operand, node.op));
  }

  Result<Value> evaluate(const Binary& node, Place place) {
    // `~` takes any value as text, also what an `if` without `else` leaves.
    const bool as_text = node.op == BinaryOperator::kConcat;
    const Value left = EBB_TRY(as_text ? evaluate(node.left) : evaluate_defined(node.left));
    const Value right = EBB_TRY(as_text ? evaluate(node.right) : evaluate_defined(node.right));
    return placed(place, compute(node.op, left, right, budget_));
  }

  Result<Value> evaluate(const Logical& node, Place) {
    Value left = EBB_TRY(evaluate(node.left));
    if (left.truthy() != node.is_and) return left;
    return evaluate(node.right);
  }

  Result<Value> evaluate(const Compare& node, Place place) {
    Value left = EBB_TRY(evaluate(node.first));
    for (const auto& [op, operand] : node.rest) {
      Value right = EBB_TRY(evaluate(operand));
      if (!EBB_TRY(placed(place, compare(op, left, right)))) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  Result<Value> evaluate(const Conditional& node, Place) {
    if (EBB_TRY(evaluate(node.condition)).truthy()) return evaluate(node.then);
    if (node.otherwise != nullptr) return evaluate(node.otherwise);
    return Value::nothing();
  }

  Result<Value> evaluate(const Call& node, Place place) {
    Value subject;
    if (node.subject != nullptr) {
      subject = EBB_TRY(node.builtin->takes_undefined ? evaluate(node.subject)
                                                      : evaluate_defined(node.subject));
    }
    Arguments arguments(node.arguments.size());
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (node.arguments[i] != nullptr) arguments[i] = EBB_TRY(evaluate(node.arguments[i]));
    }
    Value value = EBB_TRY(placed(place, node.builtin->run(subject, arguments, budget_)));
    return node.negated ? Value(!value.truthy()) : value;
  }

  Result<Value> evaluate(const NamespaceCall& node, Place) {
    auto space = std::make_shared<Namespace>();
    for (const auto& [name, expression] : node.attributes) {
      space->attributes.set(name, EBB_TRY(evaluate_content(expression)));
    }
    return Value(std::move(space));
  }

  Result<Value> evaluate(const UnknownCall& node, Place place) {
    return at_place(place, invalid("'" + node.name + "' is no function here"));
  }

  Result<Value> evaluate(const ListDisplay& node, Place) {
    List list;
    for (const ExpressionPtr& expression : node.elements) {
      list.push_back(EBB_TRY(evaluate_content(expression)));
    }
    return Value(std::move(list));
  }

  Result<Value> evaluate(const DictDisplay& node, Place) {
    Dict dict;
    for (const auto& [key_expression, expression] : node.entries) {
      const Value key = EBB_TRY(evaluate_defined(key_expression));
      if (key.string() == nullptr) {
        return at_place(key_expression->place, unsupported("a mapping's key that is no string"));
      }
      dict.set(*key.string(), EBB_TRY(evaluate_content(expression)));
    }
    return Value(std::move(dict));
  }

  // --- Helpers ---

  Value find_name(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto it = scope->find(name); it != scope->end()) return it->second;
    }
    return Value::undefined(name);
  }

  static Value member(const Value& subject, std::string_view name) {
    const Value* found = nullptr;
    if (const Dict* dict = subject.dict()) found = dict->find(name);
    if (Namespace* space = subject.name_space()) found = space->attributes.find(name);
    return found != nullptr ? *found : Value::undefined(name);
  }

  /// Past either end is undefined, not an error, as in Jinja.
  Result<Value> element(const Value& subject, int64_t at, Place place) {
    const std::string name = "element " + std::to_string(at);
    if (const List* list = subject.list()) {
      const auto size = static_cast<int64_t>(list->size());
      const bool is_inside = at >= -size && at < size;
      return is_inside ? (*list)[static_cast<size_t>(at < 0 ? at + size : at)]
                       : Value::undefined(name);
    }
    const std::string* text = subject.string();
    if (text == nullptr) return Value::undefined(name);
    EBB_TRY_VOID(paid(place, budget_.read(text->size())));
    const std::string_view character = character_at(*text, at);
    return character.empty() ? Value::undefined(name) : Value(std::string(character));
  }

  Result<std::optional<int64_t>> slice_bound(const ExpressionPtr& expression) {
    if (expression == nullptr) return std::optional<int64_t>();
    const Value value = EBB_TRY(evaluate_defined(expression));
    if (value.is_none()) return std::optional<int64_t>();
    if (const int64_t* integer = value.integer()) return std::optional(*integer);
    return at_place(expression->place, invalid("a slice's bounds are integers"));
  }

  Result<bool> compare(CompareOperator op, const Value& left, const Value& right) {
    switch (op) {
      case CompareOperator::kEqual:
        return equal(left, right);
      case CompareOperator::kNotEqual:
        return !equal(left, right);
      case CompareOperator::kIn:
        return contains(right, left, budget_);
      case CompareOperator::kNotIn:
        return !EBB_TRY(contains(right, left, budget_));
      default:
        return in_order(op, left, right);
    }
  }

  static Result<void> paid(Place place, Result<void> result) {
    if (!result) return at_place(place, std::move(result).error());
    return {};
  }
  template <class T>
  static Result<T> placed(Place place, Result<T> result) {
    if (!result) return at_place(place, std::move(result).error());
    return result;
  }

  Budget budget_;
  uint64_t output_max_;
  std::string output_;
  std::vector<Names> scopes_;
};

}  // namespace

Result<std::string> render(const Body& body, Dict variables, Budget budget, uint64_t output_max) {
  Interpreter interpreter(std::move(variables), budget, output_max);
  EBB_TRY(interpreter.run(body));
  return interpreter.take_output();
}

}  // namespace ebb::models::jinja
