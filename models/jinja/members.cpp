#include "models/jinja/members.h"

#include <algorithm>

#include "models/jinja/arithmetic.h"
#include "models/jinja/builtin_groups.h"
#include "models/jinja/callable.h"
#include "models/jinja/text.h"

namespace ebb::models::jinja {
namespace {

/// Attributes of Python's dict, which go before keys in `x.name`. Those that change it are kept
/// from templates by Jinja's sandbox, and are undefined.
bool is_dict_attribute(std::string_view name) {
  constexpr std::string_view kNames[] = {"clear",      "copy",   "fromkeys", "get",
                                         "items",      "keys",   "pop",      "popitem",
                                         "setdefault", "update", "values"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

Value callable(Callable::Kind kind, const Builtin* builtin, const Value& subject) {
  auto made = std::make_shared<Callable>();
  made->kind = kind;
  made->builtin = builtin;
  made->subject = subject;
  return Value(std::shared_ptr<const Callable>(std::move(made)));
}

Value loop_attribute(const Value& subject, const LoopState& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.elements.size());
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(length - index);
  if (name == "revindex0") return Value(length - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == length);
  if (name == "length") return Value(length);
  // Only recursive loops have more levels in Jinja.
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  if (name == "cycle") return callable(Callable::Kind::kCycle, nullptr, subject);
  if (name == "previtem" && index > 0) return loop.elements[loop.index - 1];
  if (name == "nextitem" && index + 1 < length) return loop.elements[loop.index + 1];
  return Value::undefined("loop." + std::string(name));
}

/// What is no element: a method, an attribute of a namespace or loop.
Result<Value> own_attribute(const Value& subject, std::string_view name, Budget& budget) {
  if (Namespace* space = subject.name_space()) {
    const Value* found = EBB_TRY(look_up(space->attributes, name, budget));
    return found != nullptr ? *found : Value::undefined(name);
  }
  if (const LoopState* loop = subject.loop()) return loop_attribute(subject, *loop, name);
  const Builtin* method = find_method(subject, name);
  if (method == nullptr) return Value::undefined(name);
  return callable(Callable::Kind::kBuiltin, method, subject);
}

}  // namespace

Result<List> elements_of(const Value& value, Budget& budget) {
  List elements;
  if (value.is_undefined()) return elements;
  if (Sequence* s = value.sequence()) {
    const size_t from = std::exchange(
        s->taken, s->kind == SequenceKind::kIterator ? s->elements.size() : size_t{0});
    EBB_TRY_VOID(budget.step(s->elements.size() - from));
    elements.assign(s->elements.begin() + static_cast<std::ptrdiff_t>(from), s->elements.end());
    return elements;
  }
  if (const Dict* dict = value.dict()) {
    EBB_TRY_VOID(budget.step(dict->entries.size()));
    for (const auto& entry : dict->entries) elements.push_back(EBB_TRY(built(entry.first, budget)));
    return elements;
  }
  if (const std::string* text = value.string()) {
    constexpr uint64_t kCharacterBytes = 64;  // a string of its own
    EBB_TRY_VOID(budget.step(text->size()));
    EBB_TRY_VOID(budget.build(kCharacterBytes * text->size()));
    for (std::string_view character : characters(*text)) {
      elements.push_back(std::string(character));
    }
    return elements;
  }
  return wrong_type("sequence", value);
}

Result<Value> item_of(const Value& subject, const Value& key, Budget& budget) {
  if (subject.is_undefined()) return invalid(subject.undefined_text());
  if (const std::string* name = key.string()) {
    EBB_TRY_VOID(budget.read(name->size()));
    if (const Dict* dict = subject.dict()) {
      if (const Value* found = EBB_TRY(look_up(*dict, *name, budget))) return *found;
    }
    return own_attribute(subject, *name, budget);
  }
  const auto place = as_integer(key);
  if (!place) return Value::undefined(std::string("element by ") + key.type_name());
  // Past either end is undefined, not an error.
  const Value missing = Value::undefined("element " + std::to_string(*place));
  if (const std::string* text = subject.string()) {
    EBB_TRY_VOID(budget.read(text->size()));
    const std::string_view character = character_at(*text, *place);
    return character.empty() ? missing : Value(std::string(character));
  }
  const Sequence* s = subject.sequence();
  const bool indexed =
      s != nullptr && (subject.list() != nullptr || s->kind == SequenceKind::kRange);
  if (!indexed) return missing;
  const auto size = static_cast<int64_t>(s->elements.size());
  if (*place < -size || *place >= size) return missing;
  return s->elements[static_cast<size_t>(*place < 0 ? *place + size : *place)];
}

Result<Value> attribute_of(const Value& subject, std::string_view name, Budget& budget) {
  if (subject.is_undefined()) return invalid(subject.undefined_text());
  if (const Dict* dict = subject.dict(); dict != nullptr && !is_dict_attribute(name)) {
    const Value* found = EBB_TRY(look_up(*dict, name, budget));
    return found != nullptr ? *found : Value::undefined(name);
  }
  return own_attribute(subject, name, budget);
}

Result<const Value*> look_up(const Dict& dict, std::string_view key, Budget& budget) {
  EBB_TRY_VOID(budget.read(dict.entries.size() * (1 + key.size() / 8)));
  return dict.find(key);
}

Result<void> store(Dict& dict, std::string_view key, Value value, Budget& budget) {
  EBB_TRY_VOID(budget.read(dict.entries.size() * (1 + key.size() / 8)));
  dict.set(key, std::move(value));
  return {};
}

Result<bool> contains(const Value& haystack, const Value& needle, Budget& budget) {
  if (haystack.is_undefined()) return false;
  if (const std::string* text = haystack.string()) {
    if (needle.string() == nullptr) return wrong_type("string", needle);
    EBB_TRY_VOID(budget.read(text->size()));
    return find_text(*text, *needle.string()) != std::string::npos;
  }
  if (haystack.sequence() != nullptr) {
    for (const Value& element : EBB_TRY(elements_of(haystack, budget))) {
      if (EBB_TRY(equal(element, needle, budget))) return true;
    }
    return false;
  }
  const Dict* dict = haystack.dict();
  if (dict == nullptr) return wrong_type("container", haystack);
  const bool tuple = needle.sequence() && needle.sequence()->kind == SequenceKind::kTuple;
  if (needle.depth() > 0 && !tuple) return wrong_type("key of a mapping", needle);
  if (needle.string() == nullptr) return false;
  return EBB_TRY(look_up(*dict, *needle.string(), budget)) != nullptr;
}

Result<void> check_content(const Value& value) {
  if (!value.name_space() && !value.loop() && !value.callable()) return {};
  return unsupported(value.a_type() + " inside another value");
}

Result<Path> Path::read(const Value& attribute) {
  Path path;
  if (attribute.is_none()) return path;
  if (as_integer(attribute)) {
    path.parts_.push_back(attribute);
    return path;
  }
  if (attribute.string() == nullptr) return wrong_type("attribute's name", attribute);
  constexpr size_t kNameBytesMax = 1024;
  if (attribute.string()->size() > kNameBytesMax) {
    return invalid("an attribute's name has at most " + std::to_string(kNameBytesMax) + " bytes");
  }
  constexpr size_t kDigitsMax = 9;
  for (std::string_view part : split(*attribute.string(), ".", -1)) {
    const bool number =
        !part.empty() && part.size() <= kDigitsMax &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    path.parts_.push_back(number ? Value(int64_t{std::stol(std::string(part))})
                                 : Value(std::string(part)));
  }
  return path;
}

Result<Value> Path::follow(Value value, const Value& otherwise, Budget& budget) const {
  for (const Value& part : parts_) {
    EBB_TRY_VOID(budget.step());
    value = EBB_TRY(item_of(value, part, budget));
    if (value.is_undefined() && !otherwise.is_none()) value = otherwise;
  }
  return value;
}

}  // namespace ebb::models::jinja
