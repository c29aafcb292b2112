// Filters, tests, methods and functions: what each is called, which arguments it takes, what it
// does. Must not know syntax or scopes.
#pragma once

#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/jinja/budget.h"
#include "models/jinja/value.h"

namespace ebb::models::jinja {

/// In the order of the builtin's parameters; nothing for those that were left out.
using Arguments = std::vector<std::optional<Value>>;

/// Arguments as a call gives them.
struct GivenValues {
  List positional;
  std::vector<std::pair<std::string, Value>> by_name;
};

/// What a builtin may use beside its arguments.
struct CallContext {
  Budget& budget;
  const std::optional<std::tm>& local_time;
};

struct Builtin {
  std::string_view name;
  std::vector<std::string_view> parameters;
  size_t required = 0;  ///< the first so many parameters must be given
  /// `subject` is what the filter, test or method is applied to, none for functions.
  Result<Value> (*run)(const Value& subject, const Arguments& arguments,
                       CallContext& context) = nullptr;
  /// Instead of `run`, for filters that hand arguments on to another filter or test.
  Result<Value> (*run_given)(const Value& subject, GivenValues given,
                             CallContext& context) = nullptr;
};

/// Null: not known.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
/// A method of `subject`; null: values of its kind have none of this name.
const Builtin* find_method(const Value& subject, std::string_view name);
/// A method of any kind of value.
bool is_method_name(std::string_view name);

/// Whether `builtin` can be called with so many unnamed arguments and these names. Errors:
/// kInvalid.
Result<void> check_arguments(const Builtin& builtin, size_t positional,
                             std::span<const std::string_view> names);

/// Errors: kInvalid (arguments, types), kUnsupported, kExhausted.
Result<Value> call_builtin(const Builtin& builtin, const Value& subject, GivenValues given,
                           CallContext& context);

}  // namespace ebb::models::jinja
