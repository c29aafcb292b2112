// What values consist of: elements, attributes, methods.
#pragma once

#include <string_view>

#include "models/jinja/budget.h"
#include "models/jinja/value.h"

namespace ebb::models::jinja {

/// What iterating over a value gives: elements, keys, characters; nothing for an undefined one. Of
/// an iterator, what is left, which nobody else then gets. Errors: kInvalid for other types.
Result<List> elements_of(const Value& value, Budget& budget);

/// subject[key] as Jinja looks it up: an element, then a method. Undefined when there is none.
/// Errors: kInvalid: subject is undefined.
Result<Value> item_of(const Value& subject, const Value& key, Budget& budget);

/// subject.name as Jinja looks it up: a method, then an element of that key. The same errors.
Result<Value> attribute_of(const Value& subject, std::string_view name, Budget& budget);

/// dict.find() and dict.set(), paid for: keys are looked at one by one.
Result<const Value*> look_up(const Dict& dict, std::string_view key, Budget& budget);
Result<void> store(Dict& dict, std::string_view key, Value value, Budget& budget);

/// Python's `needle in haystack`. Errors: kInvalid where Python has a TypeError.
Result<bool> contains(const Value& haystack, const Value& needle, Budget& budget);

/// Namespaces, loops and functions must not get into other values: one could come to hold itself.
/// Errors: kUnsupported.
Result<void> check_content(const Value& value);

/// "a.b.0", as arguments called `attribute` are written: each part is looked up in what the part
/// before gave. An empty path gives the value itself.
class Path {
 public:
  /// none() gives the empty path. Errors: kInvalid: neither a string nor an integer.
  static Result<Path> read(const Value& attribute);
  /// `otherwise`, unless none, stands for what is undefined.
  Result<Value> follow(Value value, const Value& otherwise, Budget& budget) const;

 private:
  List parts_;
};

}  // namespace ebb::models::jinja
