// A helper program as a child of a test: lines in, lines out, signals. Killed and reaped with the
// object.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/clock.h"

namespace ebb::test {

class ChildProcess {
 public:
  /// Starts `program` with `arguments`; its stdin and stdout are pipes to us.
  ChildProcess(const std::string& program, const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void write_line(const std::string& line);
  /// Without the newline; empty when the child ended or `by` passed.
  std::string read_line(Deadline by);
  /// Returns only when the signal has taken effect: the process is gone (SIGKILL) or stands still
  /// (SIGSTOP).
  void signal(int number);

 private:
  pid_t pid_ = -1;
  int to_child_ = -1;
  int from_child_ = -1;
  std::string pending_;
};

}  // namespace ebb::test
