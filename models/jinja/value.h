// The values a template computes with, as Python's. Immutable and cheap to copy, except a
// namespace, which is the one thing that a template can change, and what is passed once: iterators
// and loops. Must not know syntax.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "models/jinja/budget.h"

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
/// A name or attribute that does not exist: empty as text and as a sequence, false, and an error
/// that names it where anything else is done with it.
struct Undefined {
  std::shared_ptr<const std::string> name;
};
struct Namespace {
  Dict attributes;
};

/// What Python has several types for. A view is what dict.items() gives: neither indexed nor
/// printed. An iterator is what most filters on sequences give: gone through once.
enum class SequenceKind : uint8_t { kList, kTuple, kRange, kView, kIterator };

struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  List elements;
  size_t taken = 0;  ///< of an iterator: elements that somebody has had
};

/// The object `loop` of a running loop.
struct LoopState {
  List elements;
  size_t index = 0;
};

struct Callable;  // models/jinja/callable.h

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
  Value(List l) : Value(Sequence{SequenceKind::kList, std::move(l)}) {}                // NOLINT
  Value(Sequence s);                                                                   // NOLINT
  Value(Dict d);                                                                       // NOLINT
  Value(std::shared_ptr<Namespace> n) : state_(std::move(n)) {}                        // NOLINT
  Value(std::shared_ptr<LoopState> l);                                                 // NOLINT
  Value(std::shared_ptr<const Callable> c) : state_(std::move(c)) {}                   // NOLINT
  static Value undefined(std::string_view name);
  /// What `x if false` is.
  static Value nothing() { return undefined(""); }
  static Value tuple(List l) { return Sequence{SequenceKind::kTuple, std::move(l)}; }
  static Value iterator(List l) { return Sequence{SequenceKind::kIterator, std::move(l)}; }
  /// Text that Python's Markup would hold: adding other text to it escapes that text there.
  static Value markup(std::string s);

  /// Each is null when the value is of another kind. A bool is no integer here.
  const std::string* string() const { return pointee<const std::string>(); }
  /// Of a list or tuple.
  const List* list() const;
  Sequence* sequence() const { return pointee<Sequence>(); }
  const Dict* dict() const { return pointee<const Dict>(); }
  const bool* boolean() const { return std::get_if<bool>(&state_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&state_); }
  const double* real() const { return std::get_if<double>(&state_); }
  Namespace* name_space() const { return pointee<Namespace>(); }
  LoopState* loop() const { return pointee<LoopState>(); }
  const Callable* callable() const { return pointee<const Callable>(); }
  std::shared_ptr<LoopState> share_loop() const;
  bool is_none() const { return std::holds_alternative<None>(state_); }
  bool is_undefined() const { return std::holds_alternative<Undefined>(state_); }
  bool is_markup() const { return is_markup_; }
  /// "'x' is undefined"; only for undefined values.
  std::string undefined_text() const;

  /// Levels of lists and mappings: 0 for others, 1 for a list of plain values.
  uint32_t depth() const { return depth_; }
  bool truthy() const;
  const char* type_name() const;
  /// "a list", "an integer": for messages.
  std::string a_type() const;

 private:
  template <class T>
  T* pointee() const {
    const auto* p = std::get_if<std::shared_ptr<T>>(&state_);
    return p == nullptr ? nullptr : p->get();
  }
  std::variant<None, Undefined, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<Sequence>, std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<LoopState>, std::shared_ptr<const Callable>>
      state_;
  uint32_t depth_ = 0;
  bool is_markup_ = false;
};

/// Python's ==: numbers by value, containers by content. Errors: kExhausted.
Result<bool> equal(const Value& a, const Value& b, Budget& budget);

}  // namespace ebb::models::jinja
