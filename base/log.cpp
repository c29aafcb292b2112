// The only file that includes spdlog. A line is: time, level, process, module, event, fields; as
// text "… info worker-0 engine: group formed epoch=3", or one JSON object a line.
#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <memory>

namespace ebb {
namespace {

struct Log {
  std::string process;
  LogFormat format = LogFormat::kText;
  std::unique_ptr<spdlog::logger> logger;
};

std::shared_ptr<const Log> make_log(std::string process, spdlog::level::level_enum level,
                                    LogFormat format) {
  auto log = std::make_shared<Log>();
  log->process = std::move(process);
  log->format = format;
  log->logger =
      std::make_unique<spdlog::logger>("ebb", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  const char* pattern = format == LogFormat::kJson
                            ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",\"level\":\"%l\",%v}"
                            : "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
  log->logger->set_formatter(
      std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc, "\n"));
  log->logger->set_level(level);
  log->logger->flush_on(spdlog::level::trace);
  return log;
}

/// The one log of the process. Before log_start (tests, tools): warnings and errors, as text.
std::atomic<std::shared_ptr<const Log>>& current() {
  static std::atomic<std::shared_ptr<const Log>> log{
      make_log("ebb", spdlog::level::warn, LogFormat::kText)};
  return log;
}

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 127) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += c;
    }
  }
}

/// Quoted when a reader could not see where the value ends; control characters are always escaped,
/// so that one call is one line.
void append_text_value(std::string& out, std::string_view value) {
  const bool plain = !value.empty() && [&] {
    for (const char c : value)
      if (static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == 127) return false;
    return true;
  }();
  if (plain) {
    out += value;
    return;
  }
  out += '"';
  append_escaped(out, value);
  out += '"';
}

void append_json_member(std::string& out, std::string_view name, std::string_view value) {
  if (!out.empty()) out += ',';
  out += '"';
  append_escaped(out, name);
  out += "\":\"";
  append_escaped(out, value);
  out += '"';
}

void write(spdlog::level::level_enum level, std::string_view module, std::string_view event,
           LogFields fields) {
  const std::shared_ptr<const Log> log = current().load(std::memory_order_acquire);
  if (!log->logger->should_log(level)) return;
  std::string line;
  if (log->format == LogFormat::kJson) {
    append_json_member(line, "process", log->process);
    append_json_member(line, "module", module);
    append_json_member(line, "event", event);
    for (const LogField& field : fields) append_json_member(line, field.name, field.value);
  } else {
    line += log->process;
    line += ' ';
    line += module;
    line += ": ";
    append_escaped(line, event);
    for (const LogField& field : fields) {
      line += ' ';
      line += field.name;
      line += '=';
      append_text_value(line, field.value);
    }
  }
  log->logger->log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

Result<void> log_start(std::string process, std::string_view level, LogFormat format) {
  constexpr std::array<std::pair<std::string_view, spdlog::level::level_enum>, 5> kLevels{
      {{"trace", spdlog::level::trace},
       {"debug", spdlog::level::debug},
       {"info", spdlog::level::info},
       {"warn", spdlog::level::warn},
       {"error", spdlog::level::err}}};
  for (const auto& [name, value] : kLevels) {
    if (name != level) continue;
    current().store(make_log(std::move(process), value, format), std::memory_order_release);
    return {};
  }
  return invalid("log level \"" + std::string(level) +
                 "\" is not one of trace, debug, info, warn, error");
}

void log_debug(std::string_view module, std::string_view event, LogFields fields) {
  write(spdlog::level::debug, module, event, fields);
}
void log_info(std::string_view module, std::string_view event, LogFields fields) {
  write(spdlog::level::info, module, event, fields);
}
void log_warn(std::string_view module, std::string_view event, LogFields fields) {
  write(spdlog::level::warn, module, event, fields);
}
void log_error(std::string_view module, std::string_view event, LogFields fields) {
  write(spdlog::level::err, module, event, fields);
}

}  // namespace ebb
