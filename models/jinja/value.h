// The values a template computes with, as Python's. Immutable and cheap to copy, except a
// namespace, which is the one thing that a template can change. Must not know syntax.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace ebb::models::jinja {

class Value;
using List = std::vector<Value>;

/// String keys in order of insertion. Few entries: looked up one by one.
struct Dict {
  std::vector<std::pair<std::string, Value>> entries;
  /// Null: no such key.
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};

struct None {};
/// A name or attribute that does not exist. It may be tested and compared; using it is an error
/// that names it.
struct Undefined {
  std::shared_ptr<const std::string> name;
};
struct Namespace {
  Dict attributes;
};

/// Text and containers are shared between all names that hold them, hence the shared_ptr; they
/// never change.
class Value {
 public:
  Value() : state_(None{}) {}
  Value(bool b) : state_(b) {}     // NOLINT: implicit, as are all below
  Value(int64_t i) : state_(i) {}  // NOLINT
  Value(double d) : state_(d) {}   // NOLINT
  Value(std::string s) : state_(std::make_shared<const std::string>(std::move(s))) {}  // NOLINT
  Value(const char* s) : Value(std::string(s)) {}                                      // NOLINT
  Value(List l);                                                                       // NOLINT
  Value(Dict d);                                                                       // NOLINT
  Value(std::shared_ptr<Namespace> n) : state_(std::move(n)) {}                        // NOLINT
  static Value undefined(std::string_view name);
  /// What `x if false` is: undefined, but empty as text.
  static Value nothing() { return undefined(""); }

  /// Each is null when the value is of another kind. A bool is no integer here.
  const std::string* string() const { return pointee<std::string>(); }
  const List* list() const { return pointee<List>(); }
  const Dict* dict() const { return pointee<Dict>(); }
  const bool* boolean() const { return std::get_if<bool>(&state_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&state_); }
  const double* real() const { return std::get_if<double>(&state_); }
  Namespace* name_space() const;
  bool is_none() const { return std::holds_alternative<None>(state_); }
  bool is_nothing() const;
  bool is_undefined() const { return std::holds_alternative<Undefined>(state_); }
  /// "'x' is undefined"; only for undefined values.
  std::string undefined_text() const;

  /// Levels of lists and mappings: 0 for others, 1 for a list of plain values.
  uint32_t depth() const { return depth_; }
  bool truthy() const;
  const char* type_name() const;

 private:
  template <class T>
  const T* pointee() const {
    const auto* p = std::get_if<std::shared_ptr<const T>>(&state_);
    return p == nullptr ? nullptr : p->get();
  }
  std::variant<None, Undefined, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>>
      state_;
  uint32_t depth_ = 0;
};

/// Python's ==: numbers by value, containers by content.
bool equal(const Value& a, const Value& b);

/// Python's str(). Errors: kInvalid (undefined), kUnsupported (containers: their Python spelling is
/// nobody's prompt; tojson is there for them).
Result<std::string> to_text(const Value& value);

/// JSON as Python's json.dumps(ensure_ascii=False) writes it. indent < 0: on one line.
Result<std::string> to_json(const Value& value, int64_t indent);

}  // namespace ebb::models::jinja
