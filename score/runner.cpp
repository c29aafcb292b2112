#include "score/runner.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"

namespace ebb::score {
namespace {

constexpr size_t kReasonsMax = 3;

/// A cell under way; the thread and the run hold it jointly.
struct Pending {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Result<std::string>> outcome;
};

class Run {
 public:
  Run(const Workplace& place, ResultDir& dir)
      : place_(place),
        dir_(dir),
        progress_(place.terminal.err, place.progress, place.terminal.err_is_tty, Clock::now(),
                  {"score", "ScoreProgress"}) {}

  Result<cli::Exit> all(const std::vector<Cell>& cells);

 private:
  /// Nothing: the run is to end.
  std::optional<Result<std::string>> wait_for(const Cell& cell);
  Result<cli::Exit> end();

  const Workplace& place_;
  ResultDir& dir_;
  cli::Progress progress_;
  cli::ProgressCounts counts_;
  std::vector<std::string> reasons_;
};

std::optional<Result<std::string>> Run::wait_for(const Cell& cell) {
  const auto pending = std::make_shared<Pending>();
  std::thread thread([pending, run = cell.run] {
    Result<std::string> outcome = run();
    const std::lock_guard lock(pending->mutex);
    pending->outcome = std::move(outcome);
    pending->changed.notify_all();
  });
  std::unique_lock lock(pending->mutex);
  // In slices: a signal sets `stop` without being able to notify, and the bar shows the time.
  while (!pending->outcome && !place_.stop->load()) {
    progress_.update(counts_, Clock::now());
    pending->changed.wait_for(lock, Millis(100));
  }
  if (!pending->outcome) {
    thread.detach();
    return std::nullopt;
  }
  auto outcome = std::move(pending->outcome);
  lock.unlock();
  thread.join();
  return outcome;
}

Result<cli::Exit> Run::all(const std::vector<Cell>& cells) {
  counts_.total = cells.size();
  for (const Cell& cell : cells) {
    if (dir_.records().contains(cell.key))
      ++counts_.skipped;
    else
      counts_.work_left += cell.work;
  }
  if (counts_.skipped > 0)
    progress_.note("goes on in " + dir_.path() + ": " + std::to_string(counts_.skipped) + " of " +
                   std::to_string(counts_.total) + " cells are there");
  counts_.in_flight = 1;
  for (const Cell& cell : cells) {
    if (dir_.records().contains(cell.key)) continue;
    auto outcome = wait_for(cell);
    if (!outcome) {
      progress_.finish(counts_, Clock::now());
      place_.terminal.err << "interrupted; the same command goes on in " << dir_.path()
                          << std::endl;
      return cli::kInterrupted;
    }
    counts_.work_left -= std::min(counts_.work_left, cell.work);
    counts_.work_done += cell.work;
    if (*outcome) {
      EBB_TRY_VOID(dir_.add(cell.key, **outcome));
      ++counts_.succeeded;
      continue;
    }
    const Error& error = outcome->error();
    if (error.code == Code::kUnavailable && !place_.backend->alive()) {
      progress_.finish(counts_, Clock::now());
      cli::report(place_.terminal, with_context(cell.key, error));
      place_.terminal.err << "the same command goes on in " << dir_.path() << std::endl;
      return cli::kCannotConnect;
    }
    EBB_TRY_VOID(dir_.add_failure(cell.key, error.message));
    ++counts_.failed;
    if (reasons_.size() < kReasonsMax) reasons_.push_back(cell.key + ": " + error.message);
  }
  return end();
}

Result<cli::Exit> Run::end() {
  counts_.in_flight = 0;
  progress_.finish(counts_, Clock::now());
  std::ostream& err = place_.terminal.err;
  for (const std::string& reason : reasons_) err << cli::printable(reason) << "\n";
  if (counts_.failed > reasons_.size())
    err << "and " << counts_.failed - reasons_.size() << " more; see " << dir_.path()
        << "/results.jsonl\n";
  err << std::flush;
  if (counts_.failed == 0) return cli::kOk;
  return counts_.succeeded + counts_.skipped > 0 ? cli::kPartial : cli::kFailed;
}

}  // namespace

Result<cli::Exit> run_cells(const Workplace& place, ResultDir& dir,
                            const std::vector<Cell>& cells) {
  return Run(place, dir).all(cells);
}

}  // namespace ebb::score
