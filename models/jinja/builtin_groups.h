// The tables of builtins, and how builtins read their arguments. Internal to models/jinja/.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "models/jinja/builtins.h"
#include "models/jinja/members.h"

namespace ebb::models::jinja {

std::span<const Builtin> text_filters();
std::span<const Builtin> text_methods();
std::span<const Builtin> sequence_filters();
/// Those that apply another filter or test to each element, and those that put elements in order.
std::span<const Builtin> element_filters();
std::span<const Builtin> number_filters();
std::span<const Builtin> dict_methods();
std::span<const Builtin> list_methods();
std::span<const Builtin> tests();

/// "a list is no string".
Error wrong_type(const char* what, const Value& value);

using MaybeText = std::optional<std::string_view>;

/// An argument that must be text; none() and absence are both "not given".
Result<MaybeText> text_argument(const Arguments& arguments, size_t i);
Result<std::string_view> needed_text(const Arguments& arguments, size_t i);
/// none() and absence give `otherwise`; a boolean counts as 0 or 1.
Result<int64_t> integer_argument(const Arguments& arguments, size_t i, int64_t otherwise);
/// The argument must be given, and be an integer or boolean.
Result<int64_t> needed_integer(const Arguments& arguments, size_t i);
/// Whether the argument is given and true.
bool flag_argument(const Arguments& arguments, size_t i);
Value argument_or(const Arguments& arguments, size_t i, Value otherwise);

/// Pays for a new string.
Result<Value> built(std::string_view text, Budget& budget);
/// A string that was built already.
Result<Value> paid(std::string text, Budget& budget);

}  // namespace ebb::models::jinja
