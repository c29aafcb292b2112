#include "ctl/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <thread>

#include "base/log.h"

namespace ebb::ctl {
namespace {

constexpr Millis kRestartMax{10000};
/// A process that ran this long is well again: its next pause is the short one.
constexpr Millis kSteady{60000};

struct Child {
  const PlannedProcess* plan = nullptr;
  ProcessState state;
  Millis backoff{0};
  TimePoint started;
  std::optional<TimePoint> start_at;  ///< when it is to be started (again)
  std::optional<TimePoint> kill_at;   ///< after SIGTERM
};

std::string exit_text(int status) {
  if (WIFSIGNALED(status))
    return "signal " + std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")";
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

/// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void become(char* const* argv, int log_fd, pid_t parent) {
  // No orphans: when the supervisor is killed, the cluster ends too.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv(argv[0], argv);
  const char* why = std::strerror(errno);
  for (const char* part : {"cannot start ", static_cast<const char*>(argv[0]), ": ", why, "\n"})
    if (write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
  _exit(127);
}

class Supervisor {
 public:
  Supervisor(const RunDir& run_dir, const ClusterPlan& plan) : run_dir_(run_dir), plan_(plan) {
    for (const PlannedProcess& process : plan_.processes) {
      Child child;
      child.plan = &process;
      child.state.name = process.name;
      child.backoff = plan_.restart_base;
      child.start_at = Clock::now();
      children_.push_back(child);
    }
  }

  int run(int signal_fd) {
    for (;;) {
      step();
      publish();
      if (stopping_ && none_alive()) return 0;
      wait(signal_fd);
    }
  }

 private:
  /// Does what is due.
  void step() {
    const TimePoint now = Clock::now();
    for (Child& child : children_) {
      if (stopping_) child.start_at.reset();
      if (child.start_at && *child.start_at <= now) start(child);
    }
    if (stopping_) stop_next();
    for (Child& child : children_) {
      if (child.state.pid == 0 || !child.kill_at || *child.kill_at > now) continue;
      log_warn("supervisor", "process did not end in time, killed", {{"name", child.state.name}});
      kill(static_cast<pid_t>(child.state.pid), SIGKILL);
      child.kill_at.reset();
    }
  }

  void start(Child& child) {
    child.start_at.reset();
    const std::string log = run_dir_.log_path(child.state.name);
    const int log_fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    std::vector<char*> argv;
    for (const std::string& word : child.plan->argv)
      argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const pid_t self = getpid();
    const pid_t pid = log_fd < 0 ? -1 : fork();
    if (pid == 0) become(argv.data(), log_fd, self);
    if (log_fd >= 0) close(log_fd);
    if (pid < 0) {
      died(child, std::string("cannot be started: ") + std::strerror(errno));
      return;
    }
    child.state.pid = pid;
    child.started = Clock::now();
    changed_ = true;
    log_info("supervisor", "process started", {{"name", child.state.name}, {"pid", pid}});
  }

  void died(Child& child, const std::string& how) {
    child.state.pid = 0;
    child.state.last_exit = how;
    child.kill_at.reset();
    changed_ = true;
    if (stopping_) {
      log_info("supervisor", "process ended", {{"name", child.state.name}, {"how", how}});
      return;
    }
    ++child.state.deaths;
    log_warn("supervisor", "process died", {{"name", child.state.name}, {"how", how}});
    if (!plan_.restart) return;
    if (Clock::now() - child.started >= kSteady) child.backoff = plan_.restart_base;
    child.start_at = Clock::now() + child.backoff;
    child.backoff = std::min(kRestartMax, child.backoff * 2);
  }

  /// Sends SIGTERM to the lowest stop order that still runs; the next order waits for its end.
  void stop_next() {
    uint32_t order = UINT32_MAX;
    for (const Child& child : children_)
      if (child.state.pid != 0) order = std::min(order, child.plan->stop_order);
    for (Child& child : children_) {
      if (child.state.pid == 0 || child.plan->stop_order != order || child.kill_at) continue;
      if (terminated_.contains(child.state.pid)) continue;
      terminated_.insert(child.state.pid);
      kill(static_cast<pid_t>(child.state.pid), SIGTERM);
      child.kill_at = Clock::now() + child.plan->stop_timeout;
    }
  }

  void publish() {
    if (!changed_) return;
    changed_ = false;
    ClusterState state{getpid(), stopping_, {}};
    for (const Child& child : children_) state.processes.push_back(child.state);
    auto written = run_dir_.write_state(state);
    if (!written) log_error("supervisor", "state not written", {{"why", written.error().message}});
  }

  bool none_alive() const {
    return std::all_of(children_.begin(), children_.end(),
                       [](const Child& child) { return child.state.pid == 0; });
  }

  void wait(int signal_fd) {
    // Whatever is due next bounds the wait; at least a look every second.
    TimePoint until = Clock::now() + Millis(1000);
    for (const Child& child : children_) {
      if (child.start_at) until = std::min(until, *child.start_at);
      if (child.kill_at) until = std::min(until, *child.kill_at);
    }
    pollfd ready{signal_fd, POLLIN, 0};
    poll(&ready, 1, static_cast<int>(Deadline{until}.left().count()));
    signalfd_siginfo info;
    while (read(signal_fd, &info, sizeof info) == sizeof info)
      if (info.ssi_signo != SIGCHLD && !stopping_) stopping_ = changed_ = true;
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
      for (Child& child : children_)
        if (child.state.pid == pid) died(child, exit_text(status));
  }

  const RunDir& run_dir_;
  const ClusterPlan& plan_;
  std::vector<Child> children_;
  std::set<int64_t> terminated_;
  bool stopping_ = false;
  bool changed_ = true;
};

}  // namespace

int supervise(const RunDir& run_dir, int lock_fd) {
  fcntl(lock_fd, F_SETFD, FD_CLOEXEC);  // the lock is the supervisor's, not its children's
  (void)log_start("supervisor", "info", LogFormat::kText);
  const auto plan = run_dir.read_plan();
  if (!plan) {
    log_error("supervisor", "plan refused", {{"why", plan.error().message}});
    return 1;
  }
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&handled, signal);
  sigprocmask(SIG_BLOCK, &handled, nullptr);
  const int signal_fd = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signal_fd < 0) {
    log_error("supervisor", "no signalfd", {{"why", std::strerror(errno)}});
    return 1;
  }
  const int status = Supervisor(run_dir, *plan).run(signal_fd);
  run_dir.remove_state();
  log_info("supervisor", "cluster ended");
  return status;
}

Result<void> start_supervisor(const std::string& program, const RunDir& run_dir, int lock_fd) {
  const std::string log = run_dir.log_path("supervisor");
  const std::string lock_text = std::to_string(lock_fd);
  const char* argv[] = {program.c_str(), "_supervise", run_dir.path().c_str(), lock_text.c_str(),
                        nullptr};
  const int log_fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (log_fd < 0 || null_fd < 0) return internal_error(log + ": " + std::strerror(errno));
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    dup2(null_fd, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    fcntl(lock_fd, F_SETFD, 0);
    if (chdir(run_dir.path().c_str()) != 0) _exit(127);
    execv(program.c_str(), const_cast<char* const*>(argv));
    _exit(127);
  }
  close(log_fd);
  close(null_fd);
  if (pid < 0) return internal_error(std::string("fork: ") + std::strerror(errno));
  return {};
}

namespace {

bool wait_unlocked(const RunDir& run_dir, Deadline by) {
  while (run_dir.is_locked()) {
    if (by.passed()) return false;
    std::this_thread::sleep_for(Millis(20));
  }
  return true;
}

}  // namespace

bool stop_cluster(const RunDir& run_dir, Deadline by) {
  if (!run_dir.is_locked()) return true;
  // The lock is held, so the pids in the state file are alive and ours. Right after its start the
  // supervisor may not have written it yet.
  std::optional<ClusterState> state;
  while (!(state = run_dir.read_state()) && run_dir.is_locked() && !by.passed())
    std::this_thread::sleep_for(Millis(20));
  if (!state) return !run_dir.is_locked();
  kill(static_cast<pid_t>(state->supervisor_pid), SIGTERM);
  if (wait_unlocked(run_dir, by)) return true;
  // The children first: their deaths must not be taken for crashes by a supervisor that is stopping
  // anyway.
  state = run_dir.read_state();
  if (!state) return wait_unlocked(run_dir, Deadline::after(Millis(2000)));
  kill(static_cast<pid_t>(state->supervisor_pid), SIGKILL);
  for (const ProcessState& process : state->processes)
    if (process.pid > 0) kill(static_cast<pid_t>(process.pid), SIGKILL);
  run_dir.remove_state();
  return wait_unlocked(run_dir, Deadline::after(Millis(2000)));
}

}  // namespace ebb::ctl
