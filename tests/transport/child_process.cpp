#include "tests/transport/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

extern char** environ;

namespace ebb::test {

ChildProcess::ChildProcess(const std::string& program, const std::vector<std::string>& arguments) {
  int in[2];
  int out[2];
  EBB_CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
  // posix_spawn and not fork: a test has threads, and between fork and exec almost nothing is
  // allowed then.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  std::vector<std::string> words{program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  EBB_CHECK(posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  to_child_ = in[1];
  from_child_ = out[0];
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) signal(SIGKILL);
  close(to_child_);
  close(from_child_);
}

void ChildProcess::write_line(const std::string& line) {
  const std::string text = line + "\n";
  [[maybe_unused]] const auto written = write(to_child_, text.data(), text.size());
}

std::string ChildProcess::read_line(Deadline by) {
  for (;;) {
    const size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    pollfd ready{from_child_, POLLIN, 0};
    if (poll(&ready, 1, static_cast<int>(by.left().count())) <= 0) return "";
    char bytes[4096];
    const ssize_t count = read(from_child_, bytes, sizeof bytes);
    if (count <= 0) return "";
    pending_.append(bytes, static_cast<size_t>(count));
  }
}

void ChildProcess::signal(int number) {
  if (pid_ <= 0) return;
  kill(pid_, number);
  if (number == SIGCONT) return;
  int status = 0;
  waitpid(pid_, &status, WUNTRACED);
  if (!WIFSTOPPED(status)) pid_ = -1;
}

}  // namespace ebb::test
