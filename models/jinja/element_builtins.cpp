// Filters that apply another filter or test to each element, and those that put elements in order.
#include <algorithm>
#include <array>

#include "models/jinja/arithmetic.h"
#include "models/jinja/builtin_groups.h"
#include "models/jinja/text.h"
#include "models/jinja/unicode.h"

namespace ebb::models::jinja {
namespace {

// --- map, select, reject ---

Error missing(const char* what) { return invalid(std::string("needs ") + what); }

/// Takes the first unnamed argument.
std::optional<Value> take_first(GivenValues& given) {
  if (given.positional.empty()) return std::nullopt;
  Value first = std::move(given.positional.front());
  given.positional.erase(given.positional.begin());
  return first;
}

std::optional<Value> take_named(GivenValues& given, std::string_view name) {
  const auto it = std::find_if(given.by_name.begin(), given.by_name.end(),
                               [&](const auto& entry) { return entry.first == name; });
  if (it == given.by_name.end()) return std::nullopt;
  Value value = std::move(it->second);
  given.by_name.erase(it);
  return value;
}

Result<Value> map_attribute(const Value& subject, GivenValues given, const Value& attribute,
                            CallContext& context) {
  const Value otherwise = take_named(given, "default").value_or(Value());
  if (!given.by_name.empty()) {
    return invalid("map: unexpected argument '" + given.by_name[0].first + "'");
  }
  const Path path = EBB_TRY(Path::read(attribute));
  List mapped;
  for (Value& element : EBB_TRY(elements_of(subject, context.budget))) {
    mapped.push_back(EBB_TRY(path.follow(std::move(element), otherwise, context.budget)));
    EBB_TRY_VOID(check_content(mapped.back()));
  }
  return Value::iterator(std::move(mapped));
}

/// map('filter', arguments...) or map(attribute='name').
Result<Value> run_map(const Value& subject, GivenValues given, CallContext& context) {
  if (!subject.truthy()) return Value::iterator({});  // also of what is no sequence at all
  if (given.positional.empty()) {
    const auto attribute = take_named(given, "attribute");
    if (!attribute) return missing("a filter's name, or attribute='...'");
    return map_attribute(subject, std::move(given), *attribute, context);
  }
  const Value name = *take_first(given);
  const Builtin* filter = name.string() == nullptr ? nullptr : find_filter(*name.string());
  if (filter == nullptr) {
    return unsupported("map: the filter " +
                       (name.string() ? "'" + *name.string() + "'" : "that is no name"));
  }
  List mapped;
  for (const Value& element : EBB_TRY(elements_of(subject, context.budget))) {
    EBB_TRY_VOID(context.budget.step());
    mapped.push_back(EBB_TRY(call_builtin(*filter, element, given, context)));
    EBB_TRY_VOID(check_content(mapped.back()));
  }
  return Value::iterator(std::move(mapped));
}

/// select and reject, of elements or of their attributes; without a test what is true counts.
template <bool keeps, bool by_attribute>
Result<Value> run_select(const Value& subject, GivenValues given, CallContext& context) {
  if (!subject.truthy()) return Value::iterator({});
  Path path;
  if (by_attribute) {
    const auto attribute = take_first(given);
    if (!attribute) return missing("an attribute's name");
    path = EBB_TRY(Path::read(*attribute));
  }
  const auto name = take_first(given);
  const Builtin* test = nullptr;
  if (name) {
    if (name->string() != nullptr) test = find_test(*name->string());
    if (test == nullptr) {
      return unsupported("the test " +
                         (name->string() ? "'" + *name->string() + "'" : "that is no name"));
    }
  }
  List kept;
  for (Value& element : EBB_TRY(elements_of(subject, context.budget))) {
    EBB_TRY_VOID(context.budget.step());
    Value looked_at = EBB_TRY(path.follow(element, Value(), context.budget));
    if (test != nullptr) looked_at = EBB_TRY(call_builtin(*test, looked_at, given, context));
    if (looked_at.truthy() == keeps) kept.push_back(std::move(element));
  }
  return Value::iterator(std::move(kept));
}

// --- Order ---

/// What elements are compared by.
struct Key {
  std::vector<Path> paths;
  bool ignores_case = true;

  /// `attribute` may be a list of several, separated by commas, when `several`.
  Result<void> read_attribute(const Value& attribute, bool several) {
    if (!several || attribute.string() == nullptr) {
      paths.push_back(EBB_TRY(Path::read(attribute)));
      return {};
    }
    constexpr size_t kNamesMax = 64;
    const auto names = split(*attribute.string(), ",", -1);
    if (names.size() > kNamesMax) {
      return invalid("sort: at most " + std::to_string(kNamesMax) + " attributes");
    }
    for (std::string_view part : names) {
      paths.push_back(EBB_TRY(Path::read(Value(std::string(part)))));
    }
    return {};
  }

  Result<Value> plain(const Value& value, Budget& budget) const {
    if (!ignores_case || value.string() == nullptr) return value;
    EBB_TRY_VOID(budget.build(value.string()->size()));
    return Value(EBB_TRY(to_lower(*value.string())));
  }

  Result<Value> first_of(const Value& element, Budget& budget) const {
    return plain(EBB_TRY(paths[0].follow(element, Value(), budget)), budget);
  }

  /// A list, as Jinja's own: of lists, elements that are equal need not have an order.
  Result<Value> of(const Value& element, Budget& budget) const {
    List keys;
    for (const Path& path : paths) {
      const Value part = EBB_TRY(path.follow(element, Value(), budget));
      keys.push_back(EBB_TRY(plain(part, budget)));
    }
    return Value(std::move(keys));
  }
};

struct Keyed {
  Value key;
  Value element;
};

Result<bool> is_less(const Value& a, const Value& b, Budget& budget) {
  EBB_TRY_VOID(budget.step());
  return in_order(CompareOperator::kLess, a, b, budget);
}

/// Python's `reverse`: an integer or boolean, but no other value for its truth.
Result<bool> backwards_argument(const Arguments& arguments, size_t i) {
  return EBB_TRY(needed_integer(arguments, i)) != 0;
}

/// Stable, also backwards.
Result<List> sorted(std::vector<Keyed> keyed, bool backwards, Budget& budget) {
  std::optional<Error> error;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    if (error) return false;
    auto less = backwards ? is_less(b.key, a.key, budget) : is_less(a.key, b.key, budget);
    if (!less) error = std::move(less).error();
    return less && *less;
  });
  if (error) return *std::move(error);
  List elements;
  elements.reserve(keyed.size());
  for (Keyed& entry : keyed) elements.push_back(std::move(entry.element));
  return elements;
}

Result<Value> run_sort(const Value& subject, const Arguments& arguments, CallContext& context) {
  Key key;
  key.ignores_case = !flag_argument(arguments, 1);
  EBB_TRY_VOID(key.read_attribute(argument_or(arguments, 2, Value()), true));
  List elements = EBB_TRY(elements_of(subject, context.budget));
  std::vector<Keyed> keyed;
  keyed.reserve(elements.size());
  for (Value& element : elements) {
    Value own = EBB_TRY(key.of(element, context.budget));
    keyed.push_back({std::move(own), std::move(element)});
  }
  const bool backwards = EBB_TRY(backwards_argument(arguments, 0));
  return Value(EBB_TRY(sorted(std::move(keyed), backwards, context.budget)));
}

Result<Value> run_dict_sort(const Value& subject, const Arguments& arguments,
                            CallContext& context) {
  const Dict* dict = subject.dict();
  if (dict == nullptr) return wrong_type("mapping", subject);
  EBB_TRY_VOID(context.budget.step(dict->entries.size()));
  const std::string_view by = EBB_TRY(text_argument(arguments, 1)).value_or("key");
  if (by != "key" && by != "value") return invalid("dictsort: by is \"key\" or \"value\"");
  Key key;
  key.ignores_case = !flag_argument(arguments, 0);
  std::vector<Keyed> keyed;
  for (const auto& [name, value] : dict->entries) {
    const Value looked_at = by == "key" ? Value(name) : value;
    Value own = EBB_TRY(key.plain(looked_at, context.budget));
    keyed.push_back({std::move(own), Value::tuple({Value(name), value})});
  }
  const bool backwards = EBB_TRY(backwards_argument(arguments, 2));
  return Value(EBB_TRY(sorted(std::move(keyed), backwards, context.budget)));
}

/// The first of each set of equal ones.
Result<Value> run_unique(const Value& subject, const Arguments& arguments, CallContext& context) {
  Key key;
  key.ignores_case = !flag_argument(arguments, 0);
  EBB_TRY_VOID(key.read_attribute(argument_or(arguments, 1, Value()), false));
  List seen, kept;
  for (Value& element : EBB_TRY(elements_of(subject, context.budget))) {
    Value own = EBB_TRY(key.first_of(element, context.budget));
    if (own.depth() > 0) return unsupported("unique: " + own.a_type() + " as an element");
    bool known = false;
    for (const Value& other : seen) {
      EBB_TRY_VOID(context.budget.step());
      known = known || EBB_TRY(equal(own, other, context.budget));
    }
    if (known) continue;
    seen.push_back(std::move(own));
    kept.push_back(std::move(element));
  }
  return Value::iterator(std::move(kept));
}

template <bool wants_most>
Result<Value> run_extreme(const Value& subject, const Arguments& arguments, CallContext& context) {
  Key key;
  key.ignores_case = !flag_argument(arguments, 0);
  EBB_TRY_VOID(key.read_attribute(argument_or(arguments, 1, Value()), false));
  List elements = EBB_TRY(elements_of(subject, context.budget));
  if (elements.empty()) return Value::undefined("the extreme of nothing");
  size_t best = 0;
  Value best_key = EBB_TRY(key.first_of(elements[0], context.budget));
  for (size_t i = 1; i < elements.size(); ++i) {
    Value own = EBB_TRY(key.first_of(elements[i], context.budget));
    const bool better = wants_most ? EBB_TRY(is_less(best_key, own, context.budget))
                                   : EBB_TRY(is_less(own, best_key, context.budget));
    if (!better) continue;
    best = i;
    best_key = std::move(own);
  }
  return elements[best];
}

}  // namespace

std::span<const Builtin> element_filters() {
  static const std::array kTable = {
      Builtin{"map", {}, 0, nullptr, run_map},
      Builtin{"select", {}, 0, nullptr, run_select<true, false>},
      Builtin{"reject", {}, 0, nullptr, run_select<false, false>},
      Builtin{"selectattr", {}, 0, nullptr, run_select<true, true>},
      Builtin{"rejectattr", {}, 0, nullptr, run_select<false, true>},
      Builtin{"sort", {"reverse", "case_sensitive", "attribute"}, 0, run_sort},
      Builtin{"dictsort", {"case_sensitive", "by", "reverse"}, 0, run_dict_sort},
      Builtin{"unique", {"case_sensitive", "attribute"}, 0, run_unique},
      Builtin{"min", {"case_sensitive", "attribute"}, 0, run_extreme<false>},
      Builtin{"max", {"case_sensitive", "attribute"}, 0, run_extreme<true>},
  };
  return kTable;
}

}  // namespace ebb::models::jinja
