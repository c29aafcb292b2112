// What command-line tools write to, and the words they share: exit codes, tables, colours. Knows no
// tool and no command.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "base/result.h"

namespace ebb::cli {

/// What a tool's exit status means; scripts rely on it.
enum Exit : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,    ///< the caller's fault
  kPartial = 3,  ///< some of the work was done
  kCannotConnect = 4,
  kUnhealthy = 5,
  kNotThere = 6,
  kInterrupted = 130,
};

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool err_is_tty = false;
  bool colour = false;  ///< on `out`
  bool utf8 = false;
  unsigned width = 80;  ///< columns of `out`
  std::string program;  ///< goes before errors
};
/// std::cout and std::cerr as they are: tty, NO_COLOR, locale, window size (COLUMNS).
Terminal real_terminal(const std::string& program);

enum class Format { kTable, kJson };

/// The exit code that fits an error.
Exit exit_code(const Error& error);
/// "PROGRAM: message" on `err`; returns exit_code(error).
Exit report(const Terminal& terminal, const Error& error);

/// Columns padded to their widest cell, two spaces between them. The first row is the heading.
std::string format_table(const std::vector<std::vector<std::string>>& rows);
/// Columns that `text` takes when every code point takes one.
size_t text_width(const std::string& text);
/// Control characters (escape sequences from a server or a file) as "?".
std::string printable(const std::string& text);

}  // namespace ebb::cli
