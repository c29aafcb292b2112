// spdlog behind a small face. `log_info("kvstore", "block restored", {{"seq", "12"}, {"ms",
// "3"}})`: module, event in the past tense, fields. Never prompt text, at any level.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace ebb {

enum class LogFormat { kText, kJson };

/// One field of a log line; numbers are formatted by the constructor.
struct LogField {
  std::string_view name;
  std::string value;
  LogField(std::string_view n, std::string v) : name(n), value(std::move(v)) {}
  LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
  LogField(std::string_view n, const char* v) : name(n), value(v) {}
  template <class T>
  requires std::is_arithmetic_v<T> LogField(std::string_view n, T v)
      : name(n), value(std::to_string(v)) {}
};
using LogFields = std::initializer_list<LogField>;

/// Call once in main. `process` ("worker-0") stands in every line. `level`: trace, debug, info,
/// warn, error. Writes to stderr. Errors: kInvalid for an unknown level.
Result<void> log_start(std::string process, std::string_view level, LogFormat format);

void log_debug(std::string_view module, std::string_view event, LogFields fields = {});
void log_info(std::string_view module, std::string_view event, LogFields fields = {});
void log_warn(std::string_view module, std::string_view event, LogFields fields = {});
void log_error(std::string_view module, std::string_view event, LogFields fields = {});

}  // namespace ebb
