// Filters on lists and mappings as wholes, and the methods of both.
#include <algorithm>
#include <array>

#include "models/jinja/arithmetic.h"
#include "models/jinja/builtin_groups.h"
#include "models/jinja/print.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

bool is_iterator(const Value& value) {
  const Sequence* s = value.sequence();
  return s != nullptr && s->kind == SequenceKind::kIterator;
}

Value view(List elements) { return Sequence{SequenceKind::kView, std::move(elements)}; }

Result<Value> run_length(const Value& subject, const Arguments&, CallContext& context) {
  if (const std::string* text = subject.string()) {
    EBB_TRY_VOID(context.budget.read(text->size()));
    return Value(static_cast<int64_t>(count_characters(*text)));
  }
  if (subject.is_undefined()) return Value(int64_t{0});
  if (const Sequence* s = subject.sequence(); s != nullptr && !is_iterator(subject)) {
    return Value(static_cast<int64_t>(s->elements.size()));
  }
  if (const Dict* dict = subject.dict()) return Value(static_cast<int64_t>(dict->entries.size()));
  if (const LoopState* loop = subject.loop()) {
    return Value(static_cast<int64_t>(loop->elements.size()));
  }
  return wrong_type("sequence", subject);
}

Result<Value> run_list(const Value& subject, const Arguments&, CallContext& context) {
  return Value(EBB_TRY(elements_of(subject, context.budget)));
}

Result<Value> run_first(const Value& subject, const Arguments&, CallContext& context) {
  if (is_iterator(subject)) {  // takes one and leaves the others
    Sequence& s = *subject.sequence();
    return s.taken < s.elements.size() ? s.elements[s.taken++] : Value::undefined("first");
  }
  const List elements = EBB_TRY(elements_of(subject, context.budget));
  return elements.empty() ? Value::undefined("first of nothing") : elements.front();
}

Result<Value> run_last(const Value& subject, const Arguments&, CallContext& context) {
  if (is_iterator(subject)) return wrong_type("sequence", subject);
  const List elements = EBB_TRY(elements_of(subject, context.budget));
  return elements.empty() ? Value::undefined("last of nothing") : elements.back();
}

/// Text gives text, what has a length an iterator, and an iterator a list.
Result<Value> run_reverse(const Value& subject, const Arguments&, CallContext& context) {
  List elements = EBB_TRY(elements_of(subject, context.budget));
  std::reverse(elements.begin(), elements.end());
  if (is_iterator(subject)) return Value(std::move(elements));
  if (subject.string() == nullptr) return Value::iterator(std::move(elements));
  std::string text;
  for (const Value& character : elements) text += *character.string();
  return paid(std::move(text), context.budget);
}

Result<Value> run_join(const Value& subject, const Arguments& arguments, CallContext& context) {
  Budget& budget = context.budget;
  const std::string separator =
      arguments[0] ? EBB_TRY(to_text(*arguments[0], budget)) : std::string();
  const Path path = EBB_TRY(Path::read(argument_or(arguments, 1, Value())));
  const List elements = EBB_TRY(elements_of(subject, budget));
  std::string joined;
  for (size_t i = 0; i < elements.size(); ++i) {
    const Value element = EBB_TRY(path.follow(elements[i], Value(), budget));
    EBB_TRY_VOID(budget.build(separator.size()));
    if (i > 0) joined += separator;
    joined += EBB_TRY(to_text(element, budget));
  }
  return Value(std::move(joined));
}

Result<Value> run_sum(const Value& subject, const Arguments& arguments, CallContext& context) {
  Value sum = argument_or(arguments, 1, Value(int64_t{0}));
  if (sum.string() != nullptr) return wrong_type("number", sum);
  const Path path = EBB_TRY(Path::read(argument_or(arguments, 0, Value())));
  for (const Value& element : EBB_TRY(elements_of(subject, context.budget))) {
    const Value term = EBB_TRY(path.follow(element, Value(), context.budget));
    if (term.is_undefined()) return invalid(term.undefined_text());
    if (sum.string() || term.string()) return wrong_type("number", term);
    sum = EBB_TRY(compute(BinaryOperator::kAdd, sum, term, context.budget));
  }
  return sum;
}

/// Lists of so many elements; the last may be filled up.
Result<Value> run_batch(const Value& subject, const Arguments& arguments, CallContext& context) {
  const int64_t size = EBB_TRY(integer_argument(arguments, 0, 0));
  if (size < 1) return invalid("batch: the size must be at least 1");
  const Value fill = argument_or(arguments, 1, Value());
  List batches, batch;
  for (Value& element : EBB_TRY(elements_of(subject, context.budget))) {
    if (static_cast<int64_t>(batch.size()) == size) batches.push_back(std::exchange(batch, {}));
    batch.push_back(std::move(element));
  }
  while (!batch.empty() && !fill.is_none() && static_cast<int64_t>(batch.size()) < size) {
    EBB_TRY_VOID(context.budget.step());
    batch.push_back(fill);
  }
  if (!batch.empty()) batches.push_back(std::move(batch));
  return Value::iterator(std::move(batches));
}

/// So many lists, the first ones longer by one.
Result<Value> run_slice(const Value& subject, const Arguments& arguments, CallContext& context) {
  const int64_t slices = EBB_TRY(integer_argument(arguments, 0, 0));
  if (slices < 1) return invalid("slice: there must be at least 1");
  EBB_TRY_VOID(context.budget.step(static_cast<uint64_t>(slices)));
  const Value fill = argument_or(arguments, 1, Value());
  const List elements = EBB_TRY(elements_of(subject, context.budget));
  const auto size = static_cast<int64_t>(elements.size());
  List all;
  auto at = elements.begin();
  for (int64_t i = 0; i < slices; ++i) {
    const bool longer = i < size % slices;
    const auto end = at + size / slices + (longer ? 1 : 0);
    List part(at, end);
    if (!longer && !fill.is_none()) part.push_back(fill);
    all.push_back(std::move(part));
    at = end;
  }
  return Value::iterator(std::move(all));
}

Result<Value> run_default(const Value& subject, const Arguments& arguments, CallContext&) {
  const bool also_false = flag_argument(arguments, 1);
  const bool keeps = !subject.is_undefined() && (!also_false || subject.truthy());
  return keeps ? subject : argument_or(arguments, 0, Value(""));
}

// --- Mappings ---

Result<const Dict*> mapping(const Value& subject, Budget& budget) {
  const Dict* dict = subject.dict();
  if (dict == nullptr) return wrong_type("mapping", subject);
  EBB_TRY_VOID(budget.step(dict->entries.size()));
  return dict;
}

List pairs_of(const Dict& dict) {
  List pairs;
  pairs.reserve(dict.entries.size());
  for (const auto& [key, value] : dict.entries) {
    pairs.push_back(Value::tuple({Value(key), value}));
  }
  return pairs;
}

Result<Value> run_items_filter(const Value& subject, const Arguments&, CallContext& context) {
  if (subject.is_undefined()) return Value::iterator({});
  return Value::iterator(pairs_of(*EBB_TRY(mapping(subject, context.budget))));
}

Result<Value> run_items(const Value& subject, const Arguments&, CallContext& context) {
  return view(pairs_of(*EBB_TRY(mapping(subject, context.budget))));
}

Result<Value> run_keys(const Value& subject, const Arguments&, CallContext& context) {
  EBB_TRY(mapping(subject, context.budget));
  return view(EBB_TRY(elements_of(subject, context.budget)));
}

Result<Value> run_values(const Value& subject, const Arguments&, CallContext& context) {
  List values;
  for (const auto& entry : EBB_TRY(mapping(subject, context.budget))->entries) {
    values.push_back(entry.second);
  }
  return view(std::move(values));
}

Result<Value> run_get(const Value& subject, const Arguments& arguments, CallContext& context) {
  const Dict* dict = EBB_TRY(mapping(subject, context.budget));
  const bool known = EBB_TRY(contains(subject, *arguments[0], context.budget));
  return known ? *EBB_TRY(look_up(*dict, *arguments[0]->string(), context.budget))
               : argument_or(arguments, 1, Value());
}

Result<Value> run_copy(const Value& subject, const Arguments&, CallContext&) { return subject; }

// --- Lists ---

Result<Value> run_index(const Value& subject, const Arguments& arguments, CallContext& context) {
  const List& list = *subject.list();
  for (size_t i = 0; i < list.size(); ++i) {
    EBB_TRY_VOID(context.budget.step());
    if (EBB_TRY(equal(list[i], *arguments[0], context.budget))) {
      return Value(static_cast<int64_t>(i));
    }
  }
  return invalid("the list does not hold what is looked for");
}

Result<Value> run_count_of(const Value& subject, const Arguments& arguments, CallContext& context) {
  int64_t count = 0;
  for (const Value& element : *subject.list()) {
    EBB_TRY_VOID(context.budget.step());
    if (EBB_TRY(equal(element, *arguments[0], context.budget))) ++count;
  }
  return Value(count);
}

}  // namespace

std::span<const Builtin> sequence_filters() {
  static const std::array kTable = {
      Builtin{"length", {}, 0, run_length},
      Builtin{"count", {}, 0, run_length},
      Builtin{"list", {}, 0, run_list},
      Builtin{"first", {}, 0, run_first},
      Builtin{"last", {}, 0, run_last},
      Builtin{"reverse", {}, 0, run_reverse},
      Builtin{"join", {"d", "attribute"}, 0, run_join},
      Builtin{"sum", {"attribute", "start"}, 0, run_sum},
      Builtin{"batch", {"linecount", "fill_with"}, 1, run_batch},
      Builtin{"slice", {"slices", "fill_with"}, 1, run_slice},
      Builtin{"default", {"default_value", "boolean"}, 0, run_default},
      Builtin{"d", {"default_value", "boolean"}, 0, run_default},
      Builtin{"items", {}, 0, run_items_filter},
  };
  return kTable;
}

std::span<const Builtin> dict_methods() {
  static const std::array kTable = {
      Builtin{"get", {"key", "default"}, 1, run_get},
      Builtin{"items", {}, 0, run_items},
      Builtin{"keys", {}, 0, run_keys},
      Builtin{"values", {}, 0, run_values},
      Builtin{"copy", {}, 0, run_copy},
  };
  return kTable;
}

std::span<const Builtin> list_methods() {
  static const std::array kTable = {
      Builtin{"index", {"value"}, 1, run_index},
      Builtin{"count", {"value"}, 1, run_count_of},
      Builtin{"copy", {}, 0, run_copy},
  };
  return kTable;
}

}  // namespace ebb::models::jinja
