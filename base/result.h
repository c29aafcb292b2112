// Errors are values. Result<T> holds a T or an Error; nothing of ours throws.
// Third-party exceptions are caught in the one file that calls the library and become an Error
// there.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace ebb {

/// A code exists only because some caller acts differently on it.
enum class Code {
  kInvalid,      ///< the caller's fault: names the field and the limit
  kNotFound,     ///< no such thing (a KV miss, an unknown model)
  kExhausted,    ///< a bounded resource is full
  kUnavailable,  ///< a peer is gone or not ready: try again, or elsewhere
  kTimeout,      ///< a deadline passed
  kCorrupt,      ///< bytes failed identity or checksum
  kUnsupported,  ///< this build, or this version, cannot
  kCancelled,    ///< the asker went away
  kInternal,     ///< ours to fix
};

const char* code_name(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;  ///< a sentence for a person

  /// "kTimeout: restore of 12 granules: no answer in 2000 ms"
  std::string text() const { return std::string(code_name(code)) + ": " + message; }
};

inline Error invalid(std::string m) { return {Code::kInvalid, std::move(m)}; }
inline Error not_found(std::string m) { return {Code::kNotFound, std::move(m)}; }
inline Error exhausted(std::string m) { return {Code::kExhausted, std::move(m)}; }
inline Error unavailable(std::string m) { return {Code::kUnavailable, std::move(m)}; }
inline Error timed_out(std::string m) { return {Code::kTimeout, std::move(m)}; }
inline Error corrupt(std::string m) { return {Code::kCorrupt, std::move(m)}; }
inline Error unsupported(std::string m) { return {Code::kUnsupported, std::move(m)}; }
inline Error cancelled(std::string m) { return {Code::kCancelled, std::move(m)}; }
inline Error internal_error(std::string m) { return {Code::kInternal, std::move(m)}; }

/// Same member names as std::expected, which GCC 12 has only in C++23.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & {
    EBB_CHECK(has_value());
    return std::get<0>(state_);
  }
  const T& value() const& {
    EBB_CHECK(has_value());
    return std::get<0>(state_);
  }
  T&& value() && {
    EBB_CHECK(has_value());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const& {
    EBB_CHECK(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    EBB_CHECK(!has_value());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit

  bool has_value() const { return !failed_; }
  explicit operator bool() const { return has_value(); }
  void value() const { EBB_CHECK(!failed_); }
  void operator*() const { value(); }
  const Error& error() const& {
    EBB_CHECK(failed_);
    return error_;
  }
  Error&& error() && {
    EBB_CHECK(failed_);
    return std::move(error_);
  }

 private:
  bool failed_ = false;
  Error error_;
};

/// Puts what we were doing in front of an error: "restore from 127.0.0.1:7500: connection reset".
inline Error with_context(const std::string& context, Error error) {
  error.message = context + ": " + error.message;
  return error;
}

}  // namespace ebb

/// `auto x = EBB_TRY(f());` leaves the function with the error, or yields the value.
/// Not inside coroutines (GCC 12.2 crashes on co_return in a statement expression).
#define EBB_TRY(expr)                                              \
  ({                                                               \
    auto ebb_try_result = (expr);                                  \
    if (!ebb_try_result) return std::move(ebb_try_result).error(); \
    *std::move(ebb_try_result);                                    \
  })
/// The same for Result<void>, as a statement.
#define EBB_TRY_VOID(expr)                                         \
  do {                                                             \
    auto ebb_try_result = (expr);                                  \
    if (!ebb_try_result) return std::move(ebb_try_result).error(); \
  } while (false)
