// Statements: what is written, assigned, repeated.
#include "models/jinja/interpreter.h"

#include "models/jinja/machine.h"
#include "models/jinja/members.h"
#include "models/jinja/print.h"

namespace ebb::models::jinja {
namespace {

/// Values are printed, compared and freed by recursion.
constexpr uint32_t kValueDepthMax = 128;

}  // namespace

Machine::Machine(const Dict& variables, Budget& budget, const std::optional<std::tm>& local_time,
                 uint64_t output_max)
    : budget_(budget), context_{budget, local_time}, output_max_(output_max) {
  for (const auto& [name, value] : variables.entries) globals_.names[name] = value;
}

Result<Flow> Machine::run(const Body& body) {
  const Level level(depth_);
  for (const Statement& statement : body) {
    EBB_TRY_VOID(check_depth(statement.place));
    EBB_TRY_VOID(placed(statement.place, budget_.step()));
    const Flow flow = EBB_TRY(std::visit(
        [&](const auto& node) { return execute(node, statement.place); }, statement.node));
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Result<void> Machine::write(std::string_view text, Place place) {
  if (text.size() > output_max_ - output_.size()) {
    return at_place(place, exhausted("the template's output limit of " +
                                     std::to_string(output_max_) + " bytes"));
  }
  if (captures_ > 0) EBB_TRY_VOID(placed(place, budget_.build(text.size())));
  output_ += text;
  return {};
}

Result<Flow> Machine::write_value(const Value& value, Place place) {
  if (const std::string* text = value.string()) {
    EBB_TRY_VOID(write(*text, place));
  } else {
    const std::string spelled = EBB_TRY(placed(place, to_text(value, budget_)));
    EBB_TRY_VOID(write(spelled, place));
  }
  return Flow::kOn;
}

Result<Flow> Machine::capture(const Body& body, std::string& text) {
  std::string outer = std::exchange(output_, std::string());
  ++captures_;
  auto flow = run(body);
  --captures_;
  text = std::exchange(output_, std::move(outer));
  return flow;
}

Result<Flow> Machine::execute(const Text& node, Place place) {
  EBB_TRY_VOID(write(*node.text.string(), place));
  return Flow::kOn;
}

Result<Flow> Machine::execute(const Output& node, Place place) {
  return write_value(EBB_TRY(evaluate(node.value)), place);
}

Result<Flow> Machine::execute(const If& node, Place) {
  for (const auto& [condition, body] : node.branches) {
    const bool holds = condition == nullptr || EBB_TRY(evaluate(condition)).truthy();
    if (holds) return run(body);
  }
  return Flow::kOn;
}

Result<Flow> Machine::execute(const For& node, Place place) {
  const Value sequence = EBB_TRY(evaluate(node.sequence));
  List elements = EBB_TRY(placed(place, elements_of(sequence, budget_)));
  if (node.filter != nullptr) elements = EBB_TRY(filtered(node, place, std::move(elements)));
  if (elements.empty()) {
    const Enter scope(*this, scope_);
    return run(node.otherwise);
  }
  auto loop = std::make_shared<LoopState>();
  loop->elements = std::move(elements);
  auto flow = run_loop(node, place, loop);
  // What a loop that was left has not seen stays in its iterator.
  Sequence* source = sequence.sequence();
  const bool rewinds = source != nullptr && source->kind == SequenceKind::kIterator &&
                       node.filter == nullptr && loop->index + 1 < loop->elements.size();
  if (rewinds) source->taken -= loop->elements.size() - loop->index - 1;
  return flow;
}

Result<Flow> Machine::run_loop(const For& node, Place place,
                               const std::shared_ptr<LoopState>& loop) {
  for (loop->index = 0; loop->index < loop->elements.size(); ++loop->index) {
    EBB_TRY_VOID(placed(place, budget_.step()));
    const Enter scope(*this, scope_);
    EBB_TRY_VOID(assign(node.target, loop->elements[loop->index], place));
    scope_->names["loop"] = Value(loop);
    if (EBB_TRY(run(node.body)) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Result<List> Machine::filtered(const For& node, Place place, List elements) {
  List kept;
  for (Value& element : elements) {
    const Enter scope(*this, scope_);
    EBB_TRY_VOID(placed(place, budget_.step()));
    EBB_TRY_VOID(assign(node.target, element, place));
    if (EBB_TRY(evaluate(node.filter)).truthy()) kept.push_back(std::move(element));
  }
  return kept;
}

Result<Flow> Machine::execute(const Set& node, Place place) {
  const Value value = EBB_TRY(evaluate(node.value));
  EBB_TRY_VOID(assign(node.target, value, place));
  return Flow::kOn;
}

Result<Flow> Machine::execute(const SetBlock& node, Place place) {
  std::string text;
  {
    const Enter scope(*this, scope_);
    const Flow flow = EBB_TRY(capture(node.body, text));
    if (flow != Flow::kOn) return flow;
  }
  Value value = std::move(text);
  for (const Filter& filter : node.filters) value = EBB_TRY(apply(filter, value));
  EBB_TRY_VOID(assign(node.target, value, place));
  return Flow::kOn;
}

Result<Flow> Machine::execute(const FilterBlock& node, Place place) {
  std::string text;
  const Enter scope(*this, scope_);
  const Flow flow = EBB_TRY(capture(node.body, text));
  if (flow != Flow::kOn) return flow;
  Value value = std::move(text);
  for (const Filter& filter : node.filters) value = EBB_TRY(apply(filter, value));
  if (value.string() != nullptr) return write_value(value, place);
  return at_place(place, invalid("a filter's block gives " + value.a_type() + ", not a string"));
}

/// All values belong to the scope outside.
Result<Flow> Machine::execute(const With& node, Place place) {
  List values;
  for (const auto& binding : node.bindings) values.push_back(EBB_TRY(evaluate(binding.second)));
  const Enter scope(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) {
    EBB_TRY_VOID(assign(node.bindings[i].first, values[i], place));
  }
  return run(node.body);
}

Result<Flow> Machine::execute(const Macro& node, Place) {
  auto callable = std::make_shared<Callable>();
  callable->kind = Callable::Kind::kMacro;
  callable->macro = node.definition.get();
  callable->scope = scope_;
  scope_->names[node.definition->name] = Value(std::shared_ptr<const Callable>(callable));
  return Flow::kOn;
}

Result<Flow> Machine::execute(const CallBlock& node, Place place) {
  const Call& call = std::get<Call>(node.call->node);
  const Value callee = EBB_TRY(evaluate(call.callee));
  GivenValues given = EBB_TRY(evaluate_given(call.given));
  auto caller = std::make_shared<Callable>();
  caller->kind = Callable::Kind::kMacro;
  caller->macro = node.caller.get();
  caller->scope = scope_;
  given.by_name.emplace_back("caller", Value(std::shared_ptr<const Callable>(caller)));
  return write_value(EBB_TRY(call_value(callee, std::move(given), node.call->place)), place);
}

Result<Flow> Machine::execute(const Generation& node, Place) {
  const Enter scope(*this, scope_);
  return run(node.body);
}

// --- Assignment ---

Result<void> Machine::assign(const Target& target, const Value& value, Place place) {
  if (target.parts.empty()) return assign_name(target, value, place);
  const List parts = EBB_TRY(placed(place, elements_of(value, budget_)));
  if (parts.size() != target.parts.size()) {
    return at_place(place, invalid("needs a value of " + std::to_string(target.parts.size()) +
                                   " parts, not " + std::to_string(parts.size())));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    EBB_TRY_VOID(assign(target.parts[i], parts[i], place));
  }
  return {};
}

Result<void> Machine::assign_name(const Target& target, const Value& value, Place place) {
  // Only what has a name can grow without end; one expression is bounded by its length.
  if (value.depth() > kValueDepthMax) {
    return at_place(place, invalid("lists and mappings nest deeper than the limit of " +
                                   std::to_string(kValueDepthMax)));
  }
  if (target.attribute.empty()) {
    scope_->names[target.name] = value;
    return {};
  }
  Namespace* space = find_name(target.name).name_space();
  if (space == nullptr) return at_place(place, invalid("'" + target.name + "' is no namespace"));
  EBB_TRY_VOID(placed(place, check_content(value)));
  return placed(place, store(space->attributes, target.attribute, value, budget_));
}

Result<std::string> render(const Body& body, const Dict& variables, const RenderOptions& options) {
  Budget budget(options.steps_max, options.output_max);
  Machine machine(variables, budget, options.local_time, options.output_max);
  EBB_TRY(machine.run(body));
  return machine.take_output();
}

}  // namespace ebb::models::jinja
