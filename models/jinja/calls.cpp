// Calls: of macros, of what has no table of its own, and the arguments of both.
#include <algorithm>

#include "models/jinja/machine.h"
#include "models/jinja/members.h"

namespace ebb::models::jinja {
namespace {

/// Each level of a template's nesting, and each of its macros that calls another, is a few levels
/// of ours.
constexpr uint32_t kDepthMax = 1000;

std::optional<Value> take_named(GivenValues& given, std::string_view name) {
  const auto it = std::find_if(given.by_name.begin(), given.by_name.end(),
                               [&](const auto& entry) { return entry.first == name; });
  if (it == given.by_name.end()) return std::nullopt;
  Value value = std::move(it->second);
  given.by_name.erase(it);
  return value;
}

}  // namespace

Result<void> Machine::check_depth(Place place) const {
  if (depth_ <= kDepthMax) [[likely]]
    return {};
  return at_place(place, exhausted("the template nests deeper than the limit of " +
                                   std::to_string(kDepthMax) + " levels"));
}

Result<GivenValues> Machine::evaluate_given(const Given& given) {
  GivenValues values;
  values.positional.reserve(given.positional.size());
  for (const ExpressionPtr& expression : given.positional) {
    values.positional.push_back(EBB_TRY(evaluate(expression)));
  }
  for (const auto& [name, expression] : given.by_name) {
    values.by_name.emplace_back(name, EBB_TRY(evaluate(expression)));
  }
  return values;
}

Result<Value> Machine::evaluate(const Call& node, Place place) {
  const Value callee = EBB_TRY(evaluate(node.callee));
  return call_value(callee, EBB_TRY(evaluate_given(node.given)), place);
}

Result<Value> Machine::call_value(const Value& callee, GivenValues given, Place place) {
  if (callee.is_undefined()) return at_place(place, invalid(callee.undefined_text()));
  const Callable* callable = callee.callable();
  if (callable == nullptr) return at_place(place, invalid(callee.a_type() + " is no function"));
  for (size_t i = 0; i < given.by_name.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (given.by_name[i].first != given.by_name[j].first) continue;
      return at_place(place,
                      invalid("the argument '" + given.by_name[i].first + "' is there twice"));
    }
  }
  switch (callable->kind) {
    case Callable::Kind::kBuiltin:
      return placed(
          place, call_builtin(*callable->builtin, callable->subject, std::move(given), context_));
    case Callable::Kind::kNamespace:
      return placed(place, make_namespace(std::move(given)));
    case Callable::Kind::kDict:
      return placed(place, make_dict(std::move(given)));
    case Callable::Kind::kCycle:
      return placed(place, cycle(*callable->subject.loop(), given));
    case Callable::Kind::kMacro:
      return call_macro(*callable, std::move(given), place);
  }
  return Value();
}

Result<Value> Machine::call_macro(const Callable& callee, GivenValues given, Place place) {
  const MacroDefinition& macro = *callee.macro;
  const Level level(depth_);
  EBB_TRY_VOID(check_depth(place));
  const Enter scope(*this, callee.scope);
  EBB_TRY_VOID(placed(place, bind_parameters(macro, given)));
  EBB_TRY_VOID(placed(place, bind_further(macro, std::move(given))));
  std::string text;
  EBB_TRY(capture(macro.body, text));
  return Value(std::move(text));
}

/// Defaults see the parameters before them.
Result<void> Machine::bind_parameters(const MacroDefinition& macro, GivenValues& given) {
  const size_t count = macro.parameters.size();
  const size_t without_default = count - macro.defaults.size();
  const size_t unnamed = std::min(count, given.positional.size());
  for (size_t i = 0; i < count; ++i) {
    Value& slot = scope_->names[macro.parameters[i]];
    slot = Value::undefined(macro.parameters[i]);
    if (i < unnamed) slot = std::move(given.positional[i]);
  }
  for (size_t i = unnamed; i < count; ++i) {
    auto named = take_named(given, macro.parameters[i]);
    const bool has_default = i >= without_default;
    if (!named && has_default) named = EBB_TRY(evaluate(macro.defaults[i - without_default]));
    if (named) scope_->names[macro.parameters[i]] = *std::move(named);
  }
  given.positional.erase(given.positional.begin(),
                         given.positional.begin() + static_cast<std::ptrdiff_t>(unnamed));
  return {};
}

/// caller, varargs and kwargs, for macros whose bodies name them.
Result<void> Machine::bind_further(const MacroDefinition& macro, GivenValues given) {
  const auto refuse = [&](const std::string& what) {
    return invalid("the macro '" + macro.name + "' takes " + what);
  };
  if (macro.takes_caller) {
    auto caller = take_named(given, "caller");
    scope_->names["caller"] = caller ? *std::move(caller) : Value::undefined("caller");
  }
  if (!macro.takes_further && !given.positional.empty()) {
    return refuse("at most " + std::to_string(macro.parameters.size()) + " arguments");
  }
  if (!macro.takes_named && !given.by_name.empty()) {
    return refuse("no argument '" + given.by_name[0].first + "'");
  }
  for (const Value& value : given.positional) EBB_TRY_VOID(check_content(value));
  if (macro.takes_further) {
    scope_->names["varargs"] = Value::tuple(std::move(given.positional));
  }
  if (!macro.takes_named) return {};
  scope_->names["kwargs"] = EBB_TRY(make_dict({{}, std::move(given.by_name)}));
  return {};
}

/// dict(a=1), dict({...}), dict([(key, value), ...]).
Result<Value> Machine::make_dict(GivenValues given) {
  Dict dict;
  if (given.positional.size() > 1) return invalid("takes at most one unnamed argument");
  if (!given.positional.empty()) {
    const Value& source = given.positional[0];
    if (source.dict() != nullptr) {
      dict = *source.dict();
      EBB_TRY_VOID(budget_.step(dict.entries.size()));
    } else {
      for (const Value& pair : EBB_TRY(elements_of(source, budget_))) {
        const List* parts = pair.list();
        if (parts == nullptr || parts->size() != 2 || (*parts)[0].string() == nullptr) {
          return invalid("needs pairs of a string and a value");
        }
        EBB_TRY_VOID(store(dict, *(*parts)[0].string(), (*parts)[1], budget_));
      }
    }
  }
  for (auto& [name, value] : given.by_name) {
    EBB_TRY_VOID(check_content(value));
    EBB_TRY_VOID(store(dict, name, std::move(value), budget_));
  }
  return Value(std::move(dict));
}

Result<Value> Machine::make_namespace(GivenValues given) {
  const Value attributes = EBB_TRY(make_dict(std::move(given)));
  auto space = std::make_shared<Namespace>();
  space->attributes = *attributes.dict();
  for (const auto& entry : space->attributes.entries) {
    if (entry.first.starts_with("_")) {
      return invalid("attributes of namespaces do not begin with '_'");
    }
  }
  return Value(std::move(space));
}

Result<Value> Machine::cycle(const LoopState& loop, const GivenValues& given) {
  if (given.positional.empty() || !given.by_name.empty()) {
    return invalid("loop.cycle() takes values to choose from");
  }
  return given.positional[loop.index % given.positional.size()];
}

}  // namespace ebb::models::jinja
