// Filters, tests, methods and functions: what each is called, which arguments it takes, what it
// does. Must not know syntax or scopes.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "models/jinja/budget.h"
#include "models/jinja/value.h"

namespace ebb::models::jinja {

/// In the order of the builtin's parameters; nothing for those that were left out.
using Arguments = std::vector<std::optional<Value>>;

struct Builtin {
  std::string_view name;
  std::vector<std::string_view> parameters;
  size_t required = 0;  ///< the first so many parameters must be given
  /// `subject` is what the filter, test or method is applied to; none() for functions.
  /// Never undefined unless `takes_undefined`.
  Result<Value> (*run)(const Value& subject, const Arguments& arguments, Budget& budget) = nullptr;
  bool takes_undefined = false;
};

/// Null: not known. Aliases find the same builtin.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_method(std::string_view name);
const Builtin* find_function(std::string_view name);

/// What iterating over a value gives: elements, keys, characters. Errors: kInvalid for other types.
Result<List> elements_of(const Value& value, Budget& budget);

/// Python's `needle in haystack`. Errors: kInvalid where Python has a TypeError.
Result<bool> contains(const Value& haystack, const Value& needle, Budget& budget);

/// to_text(), paid for from the budget.
Result<std::string> text_of(const Value& value, Budget& budget);

}  // namespace ebb::models::jinja
