// What can be asked of the engine: status, sequences, maps.
#include <algorithm>
#include <future>

#include "coordinator/engine_impl.h"

namespace ebb::coordinator {
namespace {

constexpr Millis kPatience{2000};
constexpr Millis kMetricsInterval{1000};
/// On top of the longest deadline, after which a group is given up anyway.
constexpr Millis kProgressSlack{15000};

double seconds_since(TimePoint then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::kWaiting:
      return "waiting";
    case Phase::kOpening:
    case Phase::kBulk:
      return "prefill";
    case Phase::kDecode:
      return "decode";
    case Phase::kClosing:
      return "finished";
  }
  return "unknown";
}

}  // namespace

template <class T>
std::optional<T> EngineImpl::ask(Millis patience, std::function<T()> task) {
  if (loop_.on_this_thread()) return task();
  auto promise = std::make_shared<std::promise<T>>();  // shared: the asker may have given up
  auto future = promise->get_future();
  const bool posted = loop_.post([promise, task = std::move(task)] { promise->set_value(task()); });
  if (!posted || future.wait_for(patience) != std::future_status::ready) return std::nullopt;
  return future.get();
}
template std::optional<bool> EngineImpl::ask(Millis patience, std::function<bool()> task);

EngineStatus EngineImpl::status() {
  if (auto status = ask<EngineStatus>(kPatience, [this] { return status_here(); })) return *status;
  EngineStatus status;
  status.healthy = false;
  status.not_ready_because = "the engine does not answer";
  status.progress_age_seconds = std::chrono::duration<double>(kPatience).count();
  return status;
}

double EngineImpl::progress_age() const {
  const bool work = std::any_of(groups_.begin(), groups_.end(),
                                [](const Group& group) { return !group.scheduler->idle(); });
  return work ? seconds_since(progress_at_) : 0;
}

EngineStatus EngineImpl::status_here() {
  EngineStatus status;
  status.draining = draining_;
  status.progress_age_seconds = progress_age();
  const Millis limit =
      std::max(config_.coordinator.unit_deadline, config_.coordinator.step_deadline) +
      kProgressSlack;
  status.healthy = status.progress_age_seconds < std::chrono::duration<double>(limit).count();
  bool any_ready = false;
  for (size_t index = 0; index < groups_.size(); ++index) {
    const Group& group = groups_[index];
    status.running += group.scheduler->running();
    status.waiting += group.scheduler->waiting();
    GroupState state = cluster_.describe(index);
    state.arena_blocks_used = group.arena_used;
    state.arena_blocks_max = group.arena_max;
    if (state.ready) any_ready = true;
    if (!state.ready) status.not_ready_because = "group " + state.name + ": " + state.state;
    status.groups.push_back(std::move(state));
  }
  status.stores = stores_.states();
  status.ready = any_ready && stores_.writable() && !draining_;
  if (status.ready) status.not_ready_because.clear();
  if (any_ready && !stores_.writable()) {
    status.not_ready_because = "no store takes writes";
    for (const auto& store : status.stores) {
      if (!store.problem.empty())
        status.not_ready_because += "; " + store.name + ": " + store.problem;
    }
  }
  if (draining_) status.not_ready_because = "draining";
  return status;
}

std::vector<SequenceInfo> EngineImpl::sequences() {
  auto list = ask<std::vector<SequenceInfo>>(kPatience, [this] { return sequences_here(); });
  return list ? std::move(*list) : std::vector<SequenceInfo>{};
}

SequenceInfo EngineImpl::live_info(const Live& live) const {
  SequenceInfo info = live.info;
  info.age_seconds = seconds_since(live.submitted_at);
  if (live.ended) return info;
  if (const auto view = groups_[live.group].scheduler->view(info.seq)) {
    info.state = phase_name(view->phase);
    info.tokens = view->tokens;
    info.generated = view->generated;
  }
  return info;
}

std::vector<SequenceInfo> EngineImpl::sequences_here() {
  std::vector<SequenceInfo> list;
  for (const auto& [seq, live] : live_) list.push_back(live_info(live));
  for (const auto& kept : kept_.all()) {
    list.push_back(kept.info);
    list.back().age_seconds = seconds_since(kept.submitted_at);
  }
  std::sort(list.begin(), list.end(),
            [](const SequenceInfo& a, const SequenceInfo& b) { return a.seq > b.seq; });
  return list;
}

void EngineImpl::describe(std::optional<SeqId> seq, MapAnswer answer) {
  const bool posted = loop_.post([this, seq, answer] { describe_here(seq, answer); });
  if (!posted) answer(unavailable("the coordinator is shutting down"));
}

void EngineImpl::describe_here(std::optional<SeqId> seq, MapAnswer answer) {
  if (!seq) {
    // The newest that ever had KV.
    for (const SequenceInfo& info : sequences_here()) {
      const bool kept_with_map = kept_.find(info.seq) != nullptr && kept_.find(info.seq)->map;
      const bool live = live_.contains(info.seq) && info.state != "waiting";
      if (kept_with_map || live) {
        seq = info.seq;
        break;
      }
    }
    if (!seq) return answer(not_found("no sequence has been decoded yet"));
  }
  const std::string name = "sequence " + std::to_string(seq->value);
  if (const auto live = live_.find(*seq); live != live_.end()) {
    return describe_live(*seq, live->second.group, std::move(answer));
  }
  const KeptSequence* kept = kept_.find(*seq);
  if (kept == nullptr) return answer(not_found(name + " is not known (any more)"));
  if (!kept->map) return answer(not_found(name + " ended without a map: " + kept->info.error));
  answer(*kept->map);
}

void EngineImpl::describe_live(SeqId seq, size_t index, MapAnswer answer) {
  const std::string name = "sequence " + std::to_string(seq.value);
  const auto view = groups_[index].scheduler->view(seq);
  if (!cluster_.ready(index)) return answer(unavailable("the group of " + name + " is not ready"));
  if (view && view->phase == Phase::kWaiting) return answer(not_found(name + " still waits"));
  const auto& links = cluster_.links(index);
  // Shared by the answers of all ranks, of which the last one uses it; on the loop only.
  auto maps =
      std::make_shared<std::vector<std::optional<Result<control::SequenceMap>>>>(links.size());
  const Deadline by = Deadline::after(config_.coordinator.unit_deadline);
  for (uint32_t rank = 0; rank < links.size(); ++rank) {
    auto of_rank = [this, maps, rank, seq, answer](Result<control::SequenceMap> map) {
      loop_.post([this, maps, rank, seq, answer, map = std::move(map)] {
        (*maps)[rank] = map;
        if (std::count(maps->begin(), maps->end(), std::nullopt) != 0) return;
        // It may have ended while we asked.
        const KeptSequence* kept = kept_.find(seq);
        if (kept != nullptr && kept->map) return answer(*kept->map);
        std::vector<control::SequenceMap> good;
        for (const auto& one : *maps) {
          if (!*one) return answer((*one).error());
          good.push_back(**one);
        }
        answer(merge_maps(good));
      });
    };
    links[rank]->describe(seq, by, std::move(of_rank));
  }
}

void EngineImpl::granules(const std::string& store, control::GranuleQuery query,
                          std::function<void(Result<control::GranulePage>)> answer) {
  const bool posted = loop_.post(
      [this, store, query = std::move(query), answer] { stores_.list(store, query, answer); });
  if (!posted) answer(unavailable("the coordinator is shutting down"));
}

void EngineImpl::refresh_metrics() {
  for (size_t index = 0; index < groups_.size(); ++index) {
    GroupState state = cluster_.describe(index);
    state.arena_blocks_used = groups_[index].arena_used;
    state.arena_blocks_max = groups_[index].arena_max;
    metrics_.group_state(index, state, groups_[index].scheduler->reserved_blocks());
  }
  metrics_.published(board_.merged_total());
  loop_.post_after(kMetricsInterval, [this] { refresh_metrics(); });
}

}  // namespace ebb::coordinator
