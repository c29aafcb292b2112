#include "models/jinja/builtins.h"

#include <algorithm>
#include <array>
#include <span>

#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

using MaybeText = std::optional<std::string_view>;

Error wrong_type(const char* what, const Value& value) {
  return invalid(std::string("a ") + value.type_name() + " is no " + what);
}

/// An argument that must be text; none() and absence are both "not given".
Result<MaybeText> text_argument(const Arguments& arguments, size_t i) {
  if (!arguments[i] || arguments[i]->is_none()) return MaybeText();
  if (arguments[i]->is_undefined()) return invalid(arguments[i]->undefined_text());
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
  if (const int64_t* integer = arguments[i]->integer()) return *integer;
  if (arguments[i]->is_undefined()) return invalid(arguments[i]->undefined_text());
  return wrong_type("integer", *arguments[i]);
}

/// The text that a filter works on: filters take any value, as its text.
Result<std::string> filtered_text(const Value& subject, Budget& budget) {
  std::string text = EBB_TRY(text_of(subject, budget));
  EBB_TRY_VOID(budget.read(text.size()));
  return text;
}

/// The text that a method works on: only strings have it.
Result<std::string_view> method_text(const Value& subject, Budget& budget) {
  const std::string* text = subject.string();
  if (text == nullptr) return wrong_type("string", subject);
  EBB_TRY_VOID(budget.read(text->size()));
  return std::string_view(*text);
}

Result<Value> built(std::string_view text, Budget& budget) {
  EBB_TRY_VOID(budget.build(text.size()));
  return Value(std::string(text));
}

Result<Value> built_list(std::span<const std::string_view> parts, Budget& budget) {
  EBB_TRY_VOID(budget.step(parts.size()));
  List list;
  list.reserve(parts.size());
  for (std::string_view part : parts) list.push_back(EBB_TRY(built(part, budget)));
  return Value(std::move(list));
}

// --- Text
// ---------------------------------------------------------------------------------------------

template <Sides sides>
Result<Value> run_strip(const Value& subject, const Arguments& arguments, Budget& budget) {
  const std::string_view text = EBB_TRY(method_text(subject, budget));
  const MaybeText set = EBB_TRY(text_argument(arguments, 0));
  if (set) EBB_TRY_VOID(budget.read(text.size() * set->size()));
  return built(strip(text, set, sides), budget);
}

Result<Value> run_trim(const Value& subject, const Arguments& arguments, Budget& budget) {
  return run_strip<Sides::kBoth>(EBB_TRY(filtered_text(subject, budget)), arguments, budget);
}

enum class Case { kUpper, kLower, kCapitalized };

/// Letters beyond ASCII need tables that are not here; a prompt that silently differs would be
/// worse than an error.
template <Case letters>
Result<Value> run_case(const Value& subject, const Arguments&, Budget& budget) {
  const std::string text = EBB_TRY(filtered_text(subject, budget));
  if (!is_ascii(text)) return unsupported("changing the case of letters beyond ASCII");
  if (letters == Case::kUpper) return built(ascii_upper(text), budget);
  std::string lower = ascii_lower(text);
  if (letters == Case::kCapitalized && !lower.empty()) {
    lower.replace(0, 1, ascii_upper(lower.substr(0, 1)));
  }
  return built(lower, budget);
}

template <Case letters>
Result<Value> run_case_method(const Value& subject, const Arguments& arguments, Budget& budget) {
  EBB_TRY(method_text(subject, budget));
  return run_case<letters>(subject, arguments, budget);
}

Result<Value> run_starts_with(const Value& subject, const Arguments& arguments, Budget& budget) {
  const std::string_view text = EBB_TRY(method_text(subject, budget));
  return Value(text.starts_with(EBB_TRY(needed_text(arguments, 0))));
}

Result<Value> run_ends_with(const Value& subject, const Arguments& arguments, Budget& budget) {
  const std::string_view text = EBB_TRY(method_text(subject, budget));
  return Value(text.ends_with(EBB_TRY(needed_text(arguments, 0))));
}

Result<Value> run_remove_prefix(const Value& subject, const Arguments& arguments, Budget& budget) {
  std::string_view text = EBB_TRY(method_text(subject, budget));
  const std::string_view prefix = EBB_TRY(needed_text(arguments, 0));
  if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  return built(text, budget);
}

Result<Value> run_remove_suffix(const Value& subject, const Arguments& arguments, Budget& budget) {
  std::string_view text = EBB_TRY(method_text(subject, budget));
  const std::string_view suffix = EBB_TRY(needed_text(arguments, 0));
  if (text.ends_with(suffix)) text.remove_suffix(suffix.size());
  return built(text, budget);
}

Result<Value> run_split(const Value& subject, const Arguments& arguments, Budget& budget) {
  const std::string_view text = EBB_TRY(method_text(subject, budget));
  const MaybeText separator = EBB_TRY(text_argument(arguments, 0));
  const int64_t splits_max = EBB_TRY(integer_argument(arguments, 1, -1));
  if (!separator) return built_list(split_at_space(text, splits_max), budget);
  if (separator->empty()) return invalid("split() by an empty separator");
  EBB_TRY_VOID(budget.step(count_occurrences(text, *separator)));
  return built_list(split(text, *separator, splits_max), budget);
}

Result<Value> run_replace_text(std::string_view text, const Arguments& arguments, Budget& budget) {
  const std::string_view what = EBB_TRY(needed_text(arguments, 0));
  const std::string_view with = EBB_TRY(needed_text(arguments, 1));
  const int64_t count = EBB_TRY(integer_argument(arguments, 2, -1));
  if (what.empty()) return unsupported("replacing the empty string");
  EBB_TRY_VOID(budget.build(text.size()));
  EBB_TRY_VOID(budget.build(count_occurrences(text, what) * with.size()));
  return Value(replace(text, what, with, count));
}

Result<Value> run_replace(const Value& subject, const Arguments& arguments, Budget& budget) {
  return run_replace_text(EBB_TRY(filtered_text(subject, budget)), arguments, budget);
}

Result<Value> run_replace_method(const Value& subject, const Arguments& arguments, Budget& budget) {
  return run_replace_text(EBB_TRY(method_text(subject, budget)), arguments, budget);
}

Result<Value> run_string(const Value& subject, const Arguments&, Budget& budget) {
  return Value(EBB_TRY(text_of(subject, budget)));
}

Result<Value> run_to_json(const Value& subject, const Arguments& arguments, Budget& budget) {
  constexpr int64_t kIndentMax = 16;
  if (arguments[0] && arguments[0]->truthy()) return unsupported("tojson with ensure_ascii");
  const int64_t indent = EBB_TRY(integer_argument(arguments, 1, -1));
  if (indent > kIndentMax)
    return invalid("tojson: indent is at most " + std::to_string(kIndentMax));
  std::string json = EBB_TRY(to_json(subject, indent));
  EBB_TRY_VOID(budget.build(json.size()));
  return Value(std::move(json));
}

Result<Value> join_values(const List& elements, std::string_view separator, Budget& budget) {
  std::string joined;
  for (size_t i = 0; i < elements.size(); ++i) {
    EBB_TRY_VOID(budget.step());
    EBB_TRY_VOID(budget.build(separator.size()));
    if (i > 0) joined += separator;
    joined += EBB_TRY(text_of(elements[i], budget));
  }
  return Value(std::move(joined));
}

Result<Value> run_join(const Value& subject, const Arguments& arguments, Budget& budget) {
  const MaybeText separator = EBB_TRY(text_argument(arguments, 0));
  const List elements = EBB_TRY(elements_of(subject, budget));
  return join_values(elements, separator.value_or(""), budget);
}

/// Unlike the filter, Python's method takes strings only.
Result<Value> run_join_method(const Value& subject, const Arguments& arguments, Budget& budget) {
  const std::string_view separator = EBB_TRY(method_text(subject, budget));
  const List elements = EBB_TRY(elements_of(*arguments[0], budget));
  for (const Value& element : elements) {
    if (element.string() == nullptr) return wrong_type("string", element);
  }
  return join_values(elements, separator, budget);
}

// --- Sequences and mappings
// ---------------------------------------------------------------------------

Result<Value> run_length(const Value& subject, const Arguments&, Budget& budget) {
  if (const std::string* text = subject.string()) {
    EBB_TRY_VOID(budget.read(text->size()));
    return Value(static_cast<int64_t>(count_characters(*text)));
  }
  if (const List* list = subject.list()) return Value(static_cast<int64_t>(list->size()));
  if (const Dict* dict = subject.dict()) return Value(static_cast<int64_t>(dict->entries.size()));
  return wrong_type("sequence", subject);
}

Result<Value> run_list(const Value& subject, const Arguments&, Budget& budget) {
  return Value(EBB_TRY(elements_of(subject, budget)));
}

Result<Value> run_first(const Value& subject, const Arguments&, Budget& budget) {
  const List elements = EBB_TRY(elements_of(subject, budget));
  return elements.empty() ? Value::undefined("first of nothing") : elements.front();
}

Result<Value> run_last(const Value& subject, const Arguments&, Budget& budget) {
  const List elements = EBB_TRY(elements_of(subject, budget));
  return elements.empty() ? Value::undefined("last of nothing") : elements.back();
}

Result<Value> run_reverse(const Value& subject, const Arguments&, Budget& budget) {
  List elements = EBB_TRY(elements_of(subject, budget));
  std::reverse(elements.begin(), elements.end());
  if (subject.string() != nullptr) return join_values(elements, "", budget);
  return Value(std::move(elements));
}

Result<const Dict*> mapping(const Value& subject, Budget& budget) {
  const Dict* dict = subject.dict();
  if (dict == nullptr) return wrong_type("mapping", subject);
  EBB_TRY_VOID(budget.step(dict->entries.size()));
  return dict;
}

Result<Value> run_items(const Value& subject, const Arguments&, Budget& budget) {
  List items;
  for (const auto& [key, value] : EBB_TRY(mapping(subject, budget))->entries) {
    items.push_back(List{key, value});
  }
  return Value(std::move(items));
}

Result<Value> run_keys(const Value& subject, const Arguments&, Budget& budget) {
  EBB_TRY(mapping(subject, budget));
  return Value(EBB_TRY(elements_of(subject, budget)));
}

Result<Value> run_values(const Value& subject, const Arguments&, Budget& budget) {
  List values;
  for (const auto& entry : EBB_TRY(mapping(subject, budget))->entries) {
    values.push_back(entry.second);
  }
  return Value(std::move(values));
}

Result<Value> run_get(const Value& subject, const Arguments& arguments, Budget& budget) {
  const Dict* dict = EBB_TRY(mapping(subject, budget));
  const Value* found = dict->find(EBB_TRY(needed_text(arguments, 0)));
  return found != nullptr ? *found : arguments[1].value_or(Value());
}

Result<Value> run_default(const Value& subject, const Arguments& arguments, Budget&) {
  const bool also_false = arguments[1] && arguments[1]->truthy();
  const bool keeps = !subject.is_undefined() && (!also_false || subject.truthy());
  return keeps ? subject : arguments[0].value_or(Value(""));
}

// --- Tests
// --------------------------------------------------------------------------------------------

/// A test that needs no more than a look at the value.
template <bool (*holds)(const Value&)>
Result<Value> run_look(const Value& subject, const Arguments&, Budget&) {
  return Value(holds(subject));
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_string(const Value& v) { return v.string() != nullptr; }
bool is_integer(const Value& v) { return v.integer() != nullptr; }
bool is_real(const Value& v) { return v.real() != nullptr; }
bool is_boolean(const Value& v) { return v.boolean() != nullptr; }
bool is_number(const Value& v) { return is_integer(v) || is_real(v) || is_boolean(v); }
bool is_true(const Value& v) { return is_boolean(v) && *v.boolean(); }
bool is_false(const Value& v) { return is_boolean(v) && !*v.boolean(); }
bool is_mapping(const Value& v) { return v.dict() != nullptr; }
/// Text and mappings have a length and can be indexed and walked, so both hold for them too, as in
/// Jinja.
bool is_sequence(const Value& v) { return v.string() || v.list() || v.dict(); }

template <bool wants_odd>
Result<Value> run_parity(const Value& subject, const Arguments&, Budget&) {
  const int64_t* integer = subject.integer();
  if (integer == nullptr) return wrong_type("integer", subject);
  return Value((*integer % 2 != 0) == wants_odd);
}

template <bool wants_equal>
Result<Value> run_equal(const Value& subject, const Arguments& arguments, Budget&) {
  return Value(equal(subject, *arguments[0]) == wants_equal);
}

Result<Value> run_in(const Value& subject, const Arguments& arguments, Budget& budget) {
  return Value(EBB_TRY(contains(*arguments[0], subject, budget)));
}

// --- Functions
// ----------------------------------------------------------------------------------------

Result<Value> run_raise(const Value&, const Arguments& arguments, Budget& budget) {
  return invalid("the chat template refuses: " + EBB_TRY(text_of(*arguments[0], budget)));
}

Result<Value> run_range(const Value&, const Arguments& arguments, Budget& budget) {
  const int64_t first = EBB_TRY(integer_argument(arguments, 0, 0));
  const int64_t second = EBB_TRY(integer_argument(arguments, 1, 0));
  const int64_t step = EBB_TRY(integer_argument(arguments, 2, 1));
  const int64_t begin = arguments[1] ? first : 0;
  const int64_t end = arguments[1] ? second : first;
  if (step == 0) return invalid("range() with a step of 0");
  List numbers;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    EBB_TRY_VOID(budget.step());
    numbers.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value(std::move(numbers));
}

// --- The tables
// ---------------------------------------------------------------------------------------

const Builtin* find(std::span<const Builtin> table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const Builtin& builtin) { return builtin.name == name; });
  return it == table.end() ? nullptr : &*it;
}

}  // namespace

const Builtin* find_filter(std::string_view name) {
  static const std::array kFilters = {
      Builtin{"trim", {"chars"}, 0, run_trim},
      Builtin{"length", {}, 0, run_length},
      Builtin{"count", {}, 0, run_length},
      Builtin{"upper", {}, 0, run_case<Case::kUpper>},
      Builtin{"lower", {}, 0, run_case<Case::kLower>},
      Builtin{"capitalize", {}, 0, run_case<Case::kCapitalized>},
      Builtin{"default", {"default_value", "boolean"}, 0, run_default, true},
      Builtin{"d", {"default_value", "boolean"}, 0, run_default, true},
      Builtin{"tojson", {"ensure_ascii", "indent"}, 0, run_to_json},
      Builtin{"join", {"d"}, 0, run_join},
      Builtin{"list", {}, 0, run_list},
      Builtin{"string", {}, 0, run_string},
      Builtin{"first", {}, 0, run_first},
      Builtin{"last", {}, 0, run_last},
      Builtin{"reverse", {}, 0, run_reverse},
      Builtin{"replace", {"old", "new", "count"}, 2, run_replace},
      Builtin{"items", {}, 0, run_items},
  };
  return find(kFilters, name);
}

const Builtin* find_test(std::string_view name) {
  static const std::array kTests = {
      Builtin{"defined", {}, 0, run_look<is_defined>, true},
      Builtin{"undefined", {}, 0, run_look<is_undefined>, true},
      Builtin{"none", {}, 0, run_look<is_none>, true},
      Builtin{"string", {}, 0, run_look<is_string>, true},
      Builtin{"integer", {}, 0, run_look<is_integer>, true},
      Builtin{"float", {}, 0, run_look<is_real>, true},
      Builtin{"number", {}, 0, run_look<is_number>, true},
      Builtin{"boolean", {}, 0, run_look<is_boolean>, true},
      Builtin{"true", {}, 0, run_look<is_true>, true},
      Builtin{"false", {}, 0, run_look<is_false>, true},
      Builtin{"mapping", {}, 0, run_look<is_mapping>, true},
      Builtin{"sequence", {}, 0, run_look<is_sequence>},
      Builtin{"iterable", {}, 0, run_look<is_sequence>},
      Builtin{"odd", {}, 0, run_parity<true>},
      Builtin{"even", {}, 0, run_parity<false>},
      Builtin{"eq", {"other"}, 1, run_equal<true>, true},
      Builtin{"equalto", {"other"}, 1, run_equal<true>, true},
      Builtin{"ne", {"other"}, 1, run_equal<false>, true},
      Builtin{"in", {"seq"}, 1, run_in},
  };
  return find(kTests, name);
}

const Builtin* find_method(std::string_view name) {
  static const std::array kMethods = {
      Builtin{"strip", {"chars"}, 0, run_strip<Sides::kBoth>},
      Builtin{"lstrip", {"chars"}, 0, run_strip<Sides::kLeft>},
      Builtin{"rstrip", {"chars"}, 0, run_strip<Sides::kRight>},
      Builtin{"startswith", {"prefix"}, 1, run_starts_with},
      Builtin{"endswith", {"suffix"}, 1, run_ends_with},
      Builtin{"removeprefix", {"prefix"}, 1, run_remove_prefix},
      Builtin{"removesuffix", {"suffix"}, 1, run_remove_suffix},
      Builtin{"split", {"sep", "maxsplit"}, 0, run_split},
      Builtin{"replace", {"old", "new", "count"}, 2, run_replace_method},
      Builtin{"upper", {}, 0, run_case_method<Case::kUpper>},
      Builtin{"lower", {}, 0, run_case_method<Case::kLower>},
      Builtin{"capitalize", {}, 0, run_case_method<Case::kCapitalized>},
      Builtin{"join", {"iterable"}, 1, run_join_method},
      Builtin{"items", {}, 0, run_items},
      Builtin{"keys", {}, 0, run_keys},
      Builtin{"values", {}, 0, run_values},
      Builtin{"get", {"key", "default"}, 1, run_get},
  };
  return find(kMethods, name);
}

const Builtin* find_function(std::string_view name) {
  static const std::array kFunctions = {
      Builtin{"raise_exception", {"message"}, 1, run_raise},
      Builtin{"range", {"start", "stop", "step"}, 1, run_range},
  };
  return find(kFunctions, name);
}

Result<List> elements_of(const Value& value, Budget& budget) {
  if (value.is_undefined()) return invalid(value.undefined_text());
  List elements;
  if (const List* list = value.list()) {
    EBB_TRY_VOID(budget.step(list->size()));
    elements = *list;
  } else if (const Dict* dict = value.dict()) {
    EBB_TRY_VOID(budget.step(dict->entries.size()));
    for (const auto& entry : dict->entries) elements.push_back(entry.first);
  } else if (const std::string* text = value.string()) {
    EBB_TRY_VOID(budget.step(text->size()));
    for (std::string_view character : characters(*text)) {
      elements.push_back(std::string(character));
    }
  } else {
    return wrong_type("sequence", value);
  }
  return elements;
}

Result<bool> contains(const Value& haystack, const Value& needle, Budget& budget) {
  if (haystack.is_undefined()) return invalid(haystack.undefined_text());
  if (const std::string* text = haystack.string()) {
    if (needle.is_undefined()) return invalid(needle.undefined_text());
    if (needle.string() == nullptr) return wrong_type("string", needle);
    EBB_TRY_VOID(budget.read(text->size()));
    return text->find(*needle.string()) != std::string::npos;
  }
  if (const List* list = haystack.list()) {
    EBB_TRY_VOID(budget.step(list->size()));
    return std::any_of(list->begin(), list->end(),
                       [&](const Value& element) { return equal(element, needle); });
  }
  if (const Dict* dict = haystack.dict()) {
    EBB_TRY_VOID(budget.step(dict->entries.size()));
    return needle.string() != nullptr && dict->find(*needle.string()) != nullptr;
  }
  return wrong_type("container", haystack);
}

Result<std::string> text_of(const Value& value, Budget& budget) {
  if (const std::string* text = value.string()) EBB_TRY_VOID(budget.build(text->size()));
  return to_text(value);
}

}  // namespace ebb::models::jinja
