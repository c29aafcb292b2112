#include "models/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace ebb::models::jinja {
namespace {

uint32_t depth_of(const List& elements) {
  uint32_t depth = 0;
  for (const Value& element : elements) depth = std::max(depth, element.depth());
  return depth + 1;
}

/// A bool counts as 0 or 1, as in Python.
std::optional<int64_t> as_integer(const Value& value) {
  if (const bool* b = value.boolean()) return *b ? 1 : 0;
  if (const int64_t* i = value.integer()) return *i;
  return std::nullopt;
}

/// Exactly, also where the integer has more digits than a double.
bool equal_number(int64_t integer, double real) {
  constexpr double kBeyond = 9223372036854775808.0;
  return real >= -kBeyond && real < kBeyond && std::floor(real) == real &&
         static_cast<int64_t>(real) == integer;
}

std::optional<bool> equal_numbers(const Value& a, const Value& b) {
  const auto i = as_integer(a);
  const auto j = as_integer(b);
  if (i && j) return *i == *j;
  if (i && b.real()) return equal_number(*i, *b.real());
  if (a.real() && j) return equal_number(*j, *a.real());
  if (a.real() && b.real()) return *a.real() == *b.real();
  return std::nullopt;
}

Result<bool> equal_lists(const List& a, const List& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  EBB_TRY_VOID(budget.step(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    if (!EBB_TRY(equal(a[i], b[i], budget))) return false;
  }
  return true;
}

Result<bool> equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  EBB_TRY_VOID(budget.step(a.entries.size()));
  for (const auto& [key, value] : a.entries) {
    EBB_TRY_VOID(budget.read(b.entries.size() * (1 + key.size() / 8)));
    const Value* other = b.find(key);
    if (other == nullptr || !EBB_TRY(equal(value, *other, budget))) return false;
  }
  return true;
}

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto& [name, old] : entries) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  entries.emplace_back(std::string(key), std::move(value));
}

Value::Value(Sequence s) : depth_(depth_of(s.elements)) {
  state_ = std::make_shared<Sequence>(std::move(s));
}

Value::Value(Dict d) {
  for (const auto& entry : d.entries) depth_ = std::max(depth_, entry.second.depth_);
  ++depth_;
  state_ = std::make_shared<const Dict>(std::move(d));
}

Value::Value(std::shared_ptr<LoopState> l) : state_(std::move(l)) {}

Value Value::undefined(std::string_view name) {
  constexpr size_t kShownMax = 64;  // it is only there to be named in an error
  std::string shown(name.substr(0, kShownMax));
  if (name.size() > kShownMax) shown += "...";
  Value value;
  value.state_ = Undefined{std::make_shared<const std::string>(std::move(shown))};
  return value;
}

Value Value::markup(std::string s) {
  Value value(std::move(s));
  value.is_markup_ = true;
  return value;
}

const List* Value::list() const {
  const Sequence* s = sequence();
  const bool is_plain =
      s != nullptr && (s->kind == SequenceKind::kList || s->kind == SequenceKind::kTuple);
  return is_plain ? &s->elements : nullptr;
}

std::shared_ptr<LoopState> Value::share_loop() const {
  const auto* p = std::get_if<std::shared_ptr<LoopState>>(&state_);
  return p == nullptr ? nullptr : *p;
}

std::string Value::undefined_text() const {
  const auto* p = std::get_if<Undefined>(&state_);
  const std::string name = p == nullptr ? std::string() : *p->name;
  if (name.empty()) return "the value of an 'if' without 'else' is undefined";
  return "'" + name + "' is undefined";
}

bool Value::truthy() const {
  if (is_none() || is_undefined()) return false;
  if (const std::string* text = string()) return !text->empty();
  if (const Sequence* s = sequence()) {
    return s->kind == SequenceKind::kIterator || !s->elements.empty();
  }
  if (const Dict* entries = dict()) return !entries->entries.empty();
  if (const auto number = as_integer(*this)) return *number != 0;
  if (const double* number = real()) return *number != 0;
  return true;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {
      "none", "undefined value", "boolean",   "integer", "float",   "string",
      "list", "mapping",         "namespace", "loop",    "function"};
  if (const Sequence* s = sequence()) {
    constexpr const char* kKinds[] = {"list", "tuple", "range", "view of a mapping", "iterator"};
    return kKinds[static_cast<size_t>(s->kind)];
  }
  return kNames[state_.index()];
}

std::string Value::a_type() const {
  const std::string name = type_name();
  if (is_none()) return name;
  const bool vowel = std::string_view("aeiou").find(name[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + name;
}

Result<bool> equal(const Value& a, const Value& b, Budget& budget) {
  if (const auto numbers = equal_numbers(a, b)) return *numbers;
  if (a.string() && b.string()) {
    if (a.string()->size() != b.string()->size()) return false;
    if (a.string() == b.string()) return true;
    EBB_TRY_VOID(budget.read(a.string()->size()));
    return *a.string() == *b.string();
  }
  if (a.dict() && b.dict()) {
    if (a.dict() == b.dict()) return true;
    return equal_dicts(*a.dict(), *b.dict(), budget);
  }
  if (const Sequence* x = a.sequence(), *y = b.sequence(); x && y) {
    if (x == y) return true;
    const bool by_content = x->kind == y->kind && x->kind != SequenceKind::kIterator;
    return by_content ? equal_lists(x->elements, y->elements, budget) : Result<bool>(false);
  }
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  if (a.loop() || b.loop()) return a.loop() == b.loop();
  if (a.callable() || b.callable()) return a.callable() == b.callable();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

}  // namespace ebb::models::jinja
