// Finding builtins, giving them their arguments, and what several of them share; and the functions.
#include "models/jinja/builtins.h"

#include <algorithm>
#include <array>

#include "models/jinja/arithmetic.h"
#include "models/jinja/builtin_groups.h"
#include "models/jinja/print.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

const Builtin* find(std::span<const Builtin> table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const Builtin& builtin) { return builtin.name == name; });
  return it == table.end() ? nullptr : &*it;
}

Error refuse(const Builtin& builtin, const std::string& what) {
  return invalid("'" + std::string(builtin.name) + "' " + what);
}

// --- Functions ---

Result<Value> run_raise(const Value&, const Arguments& arguments, CallContext& context) {
  return invalid("the chat template refuses: " + EBB_TRY(to_text(*arguments[0], context.budget)));
}

/// A range has at most as many elements as Jinja's sandbox allows.
Result<Value> run_range(const Value&, const Arguments& arguments, CallContext& context) {
  constexpr size_t kElementsMax = 100'000;
  for (const auto& argument : arguments) {
    if (argument && !as_integer(*argument)) return wrong_type("integer", *argument);
  }
  const int64_t first = EBB_TRY(integer_argument(arguments, 0, 0));
  const int64_t second = EBB_TRY(integer_argument(arguments, 1, 0));
  const int64_t step = EBB_TRY(integer_argument(arguments, 2, 1));
  const int64_t begin = arguments[1] ? first : 0;
  const int64_t end = arguments[1] ? second : first;
  if (step == 0) return invalid("range() with a step of 0");
  Sequence numbers{SequenceKind::kRange, {}};
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (numbers.elements.size() == kElementsMax) {
      return invalid("range() has at most " + std::to_string(kElementsMax) + " elements");
    }
    EBB_TRY_VOID(context.budget.step());
    numbers.elements.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value(std::move(numbers));
}

/// What C's strftime() must not be asked: it knows the zone, which Python's naive time does not.
std::string without_zone(std::string_view format) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = i + 1 < format.size() ? format[i + 1] : '\0';
    if (format[i] != '%') {
      out += format[i];
    } else if (next == 'z' || next == 'Z') {
      ++i;
    } else if (next == 'f') {  // microseconds: the time is of whole seconds
      out += "000000";
      ++i;
    } else {
      out += '%';
      if (next != '\0') out += format[++i];
    }
  }
  return out;
}

Result<Value> run_strftime(const Value&, const Arguments& arguments, CallContext& context) {
  constexpr size_t kFormatMax = 256;
  const std::string_view format = EBB_TRY(needed_text(arguments, 0));
  if (format.size() > kFormatMax || format.find('\0') != format.npos) {
    return invalid("strftime_now() takes a format of at most " + std::to_string(kFormatMax) +
                   " bytes, without zeros");
  }
  if (!context.local_time) return invalid("strftime_now(): this caller tells no time");
  // A blank in front tells an empty result from one that does not fit.
  const std::string asked = " " + without_zone(format);
  std::string out(64 * (asked.size() + 1), '\0');
  const size_t bytes = std::strftime(out.data(), out.size(), asked.c_str(), &*context.local_time);
  if (bytes == 0) return invalid("strftime_now(): the result is too long");
  return built(std::string_view(out).substr(1, bytes - 1), context.budget);
}

}  // namespace

// --- Tables ---

const Builtin* find_filter(std::string_view name) {
  for (const auto table :
       {text_filters(), sequence_filters(), element_filters(), number_filters()}) {
    if (const Builtin* builtin = find(table, name)) return builtin;
  }
  return nullptr;
}

const Builtin* find_test(std::string_view name) { return find(tests(), name); }

const Builtin* find_function(std::string_view name) {
  static const std::array kFunctions = {
      Builtin{"raise_exception", {"message"}, 1, run_raise},
      Builtin{"range", {"start", "stop", "step"}, 1, run_range},
      Builtin{"strftime_now", {"format"}, 1, run_strftime},
  };
  return find(kFunctions, name);
}

const Builtin* find_method(const Value& subject, std::string_view name) {
  if (subject.string() != nullptr) return find(text_methods(), name);
  if (subject.dict() != nullptr) return find(dict_methods(), name);
  if (subject.list() == nullptr) return nullptr;
  const Builtin* method = find(list_methods(), name);
  const bool tuple = subject.sequence()->kind == SequenceKind::kTuple;
  return tuple && name == "copy" ? nullptr : method;
}

bool is_method_name(std::string_view name) {
  return find(text_methods(), name) || find(dict_methods(), name) || find(list_methods(), name);
}

// --- Calling ---

Result<void> check_arguments(const Builtin& builtin, size_t positional,
                             std::span<const std::string_view> names) {
  if (builtin.run == nullptr) return {};
  const auto& parameters = builtin.parameters;
  if (positional > parameters.size()) {
    return refuse(builtin, "takes at most " + std::to_string(parameters.size()) + " arguments");
  }
  std::vector<bool> given(parameters.size());
  std::fill_n(given.begin(), positional, true);
  for (std::string_view name : names) {
    const auto it = std::find(parameters.begin(), parameters.end(), name);
    if (it == parameters.end()) {
      return refuse(builtin, "has no parameter '" + std::string(name) + "' here");
    }
    const auto place = static_cast<size_t>(it - parameters.begin());
    if (given[place]) return refuse(builtin, "has '" + std::string(name) + "' twice");
    given[place] = true;
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if (!given[i])
      return refuse(builtin, "needs the argument '" + std::string(parameters[i]) + "'");
  }
  return {};
}

Result<Value> call_builtin(const Builtin& builtin, const Value& subject, GivenValues given,
                           CallContext& context) {
  if (builtin.run_given != nullptr) return builtin.run_given(subject, std::move(given), context);
  std::vector<std::string_view> names;
  for (const auto& entry : given.by_name) names.push_back(entry.first);
  EBB_TRY_VOID(check_arguments(builtin, given.positional.size(), names));
  const auto& parameters = builtin.parameters;
  Arguments arguments(parameters.size());
  std::move(given.positional.begin(), given.positional.end(), arguments.begin());
  for (auto& [name, value] : given.by_name) {
    const auto it = std::find(parameters.begin(), parameters.end(), name);
    arguments[static_cast<size_t>(it - parameters.begin())] = std::move(value);
  }
  return builtin.run(subject, arguments, context);
}

// --- Arguments ---

Error wrong_type(const char* what, const Value& value) {
  if (value.is_undefined()) return invalid(value.undefined_text());
  return invalid(value.a_type() + " is no " + what);
}

Result<MaybeText> text_argument(const Arguments& arguments, size_t i) {
  if (!arguments[i] || arguments[i]->is_none()) return MaybeText();
  if (const std::string* text = arguments[i]->string()) return MaybeText(*text);
  return wrong_type("string", *arguments[i]);
}

Result<std::string_view> needed_text(const Arguments& arguments, size_t i) {
  const MaybeText text = EBB_TRY(text_argument(arguments, i));
  if (!text) return invalid("a string is needed, not none");
  return *text;
}

Result<int64_t> integer_argument(const Arguments& arguments, size_t i, int64_t otherwise) {
  if (!arguments[i] || arguments[i]->is_none()) return otherwise;
  if (const auto integer = as_integer(*arguments[i])) return *integer;
  return wrong_type("integer", *arguments[i]);
}

Result<int64_t> needed_integer(const Arguments& arguments, size_t i) {
  if (arguments[i] && arguments[i]->is_none()) return wrong_type("integer", *arguments[i]);
  return integer_argument(arguments, i, 0);
}

bool flag_argument(const Arguments& arguments, size_t i) {
  return arguments[i] && arguments[i]->truthy();
}

Value argument_or(const Arguments& arguments, size_t i, Value otherwise) {
  return arguments[i] ? *arguments[i] : std::move(otherwise);
}

Result<Value> built(std::string_view text, Budget& budget) {
  EBB_TRY_VOID(budget.build(text.size()));
  return Value(std::string(text));
}

Result<Value> paid(std::string text, Budget& budget) {
  EBB_TRY_VOID(budget.build(text.size()));
  return Value(std::move(text));
}

}  // namespace ebb::models::jinja
