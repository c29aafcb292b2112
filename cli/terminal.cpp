#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

namespace ebb::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = environment(name);
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

unsigned window_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const int columns = std::atoi(environment("COLUMNS").c_str());
  return columns > 0 && columns < 10000 ? static_cast<unsigned>(columns) : 100;
}

}  // namespace

Terminal real_terminal(const std::string& program) {
  const bool out_is_tty = isatty(STDOUT_FILENO) == 1;
  const bool dumb = environment("TERM") == "dumb";
  return {std::cout,
          std::cerr,
          isatty(STDERR_FILENO) == 1 && !dumb,
          out_is_tty && !dumb && environment("NO_COLOR").empty(),
          locale_is_utf8(),
          std::max(40u, window_width()),
          program};
}

Exit exit_code(const Error& error) {
  switch (error.code) {
    case Code::kInvalid:
    case Code::kUnsupported:
      return kUsage;
    case Code::kNotFound:
      return kNotThere;
    case Code::kUnavailable:
      return kCannotConnect;
    case Code::kCancelled:
      return kInterrupted;
    default:
      return kFailed;
  }
}

Exit report(const Terminal& terminal, const Error& error) {
  terminal.err << terminal.program << ": " << printable(error.message) << std::endl;
  return exit_code(error);
}

size_t text_width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;  // not a continuation byte
  }));
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], text_width(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += printable(row[i]);
      if (i + 1 < row.size()) line.append(widths[i] - text_width(row[i]) + 2, ' ');
    }
    out += line + "\n";
  }
  return out;
}

std::string printable(const std::string& text) {
  std::string out = text;
  for (char& c : out)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 127) c = '?';
  return out;
}

}  // namespace ebb::cli
