// The interpreter's inside: scopes, output, and one function for each kind of node. Statements are
// in interpreter.cpp, expressions in evaluator.cpp, calls in calls.cpp.
#pragma once

#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/jinja/ast.h"
#include "models/jinja/budget.h"
#include "models/jinja/builtins.h"
#include "models/jinja/callable.h"

namespace ebb::models::jinja {

/// The names of a loop's iteration, a macro's run, a block; `parent` is where it stands in the
/// source. Keys belong to the tree.
struct Scope {
  std::map<std::string_view, Value> names;
  Scope* parent = nullptr;
};

enum class Flow { kOn, kBreak, kContinue };

class Machine {
 public:
  /// `variables`, `budget` and `local_time` outlive the machine.
  Machine(const Dict& variables, Budget& budget, const std::optional<std::tm>& local_time,
          uint64_t output_max);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Result<Flow> run(const Body& body);
  std::string take_output() { return std::move(output_); }

 private:
  /// Makes `scope` the innermost for as long as it lives. What the scope holds goes with it.
  class Enter {
   public:
    Enter(Machine& machine, Scope* parent) : machine_(machine), outer_(machine.scope_) {
      own_.parent = parent;
      machine_.scope_ = &own_;
    }
    ~Enter() { machine_.scope_ = outer_; }
    Enter(const Enter&) = delete;
    Enter& operator=(const Enter&) = delete;

   private:
    Machine& machine_;
    Scope* outer_;
    Scope own_;
  };
  /// Counts a level of recursion for as long as it lives.
  class Level {
   public:
    explicit Level(uint32_t& depth) : depth_(depth) { ++depth_; }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    uint32_t& depth_;
  };

  // --- Statements ---
  Result<Flow> execute(const Text& node, Place place);
  Result<Flow> execute(const Output& node, Place place);
  Result<Flow> execute(const If& node, Place place);
  Result<Flow> execute(const For& node, Place place);
  Result<Flow> execute(const Set& node, Place place);
  Result<Flow> execute(const SetBlock& node, Place place);
  Result<Flow> execute(const FilterBlock& node, Place place);
  Result<Flow> execute(const With& node, Place place);
  Result<Flow> execute(const Macro& node, Place place);
  Result<Flow> execute(const CallBlock& node, Place place);
  Result<Flow> execute(const Generation& node, Place place);
  Result<Flow> execute(const Break&, Place) { return Flow::kBreak; }
  Result<Flow> execute(const Continue&, Place) { return Flow::kContinue; }

  Result<void> write(std::string_view text, Place place);
  Result<Flow> write_value(const Value& value, Place place);
  /// What the body writes, instead of writing it.
  Result<Flow> capture(const Body& body, std::string& text);
  Result<Flow> run_loop(const For& node, Place place, const std::shared_ptr<LoopState>& loop);
  Result<List> filtered(const For& node, Place place, List elements);
  Result<void> assign(const Target& target, const Value& value, Place place);
  Result<void> assign_name(const Target& target, const Value& value, Place place);

  // --- Expressions ---
  Result<Value> evaluate(const ExpressionPtr& expression);
  /// Evaluates, and refuses undefined values.
  Result<Value> evaluate_defined(const ExpressionPtr& expression);
  /// For the inside of lists and mappings.
  Result<Value> evaluate_content(const ExpressionPtr& expression);
  Result<Value> evaluate(const Literal& node, Place place);
  Result<Value> evaluate(const Name& node, Place place);
  Result<Value> evaluate(const Attribute& node, Place place);
  Result<Value> evaluate(const Subscript& node, Place place);
  Result<Value> evaluate(const Slice& node, Place place);
  Result<Value> evaluate(const Unary& node, Place place);
  Result<Value> evaluate(const Binary& node, Place place);
  Result<Value> evaluate(const Concat& node, Place place);
  Result<Value> evaluate(const Logical& node, Place place);
  Result<Value> evaluate(const Compare& node, Place place);
  Result<Value> evaluate(const Conditional& node, Place place);
  Result<Value> evaluate(const FilterCall& node, Place place);
  Result<Value> evaluate(const TestCall& node, Place place);
  Result<Value> evaluate(const Call& node, Place place);
  Result<Value> evaluate(const ListDisplay& node, Place place);
  Result<Value> evaluate(const DictDisplay& node, Place place);

  Value find_name(std::string_view name) const;
  Result<bool> compare(CompareOperator op, const Value& left, const Value& right);
  Result<std::optional<int64_t>> slice_bound(const ExpressionPtr& expression);
  Result<Value> apply(const Filter& filter, const Value& subject);

  // --- Calls ---
  Result<GivenValues> evaluate_given(const Given& given);
  Result<Value> call_value(const Value& callee, GivenValues given, Place place);
  Result<Value> call_macro(const Callable& callee, GivenValues given, Place place);
  Result<void> bind_parameters(const MacroDefinition& macro, GivenValues& given);
  Result<void> bind_further(const MacroDefinition& macro, GivenValues given);
  Result<Value> make_namespace(GivenValues given);
  Result<Value> make_dict(GivenValues given);
  Result<Value> cycle(const LoopState& loop, const GivenValues& given);
  Result<void> check_depth(Place place) const;

  Budget& budget_;
  CallContext context_;
  uint64_t output_max_;
  std::string output_;
  uint32_t captures_ = 0;  ///< bodies whose output is being kept
  uint32_t depth_ = 0;     ///< levels of recursion
  Scope globals_;
  Scope* scope_ = &globals_;
};

/// Puts the place in front of an error.
inline Result<void> placed(Place place, Result<void> result) {
  if (!result) return at_place(place, std::move(result).error());
  return {};
}
template <class T>
Result<T> placed(Place place, Result<T> result) {
  if (!result) return at_place(place, std::move(result).error());
  return result;
}

}  // namespace ebb::models::jinja
