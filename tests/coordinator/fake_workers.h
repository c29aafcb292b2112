// Workers without tensors: real control connections, canned tokens. Rank 0 answers token i for the
// i-th position.
#pragma once

#include <map>
#include <mutex>

#include "coordinator/engine_impl.h"
#include "tests/coordinator/engine_samples.h"
#include "transport/control/worker_side.h"

namespace ebb::coordinator::test {

class FakeWorker {
 public:
  struct Options {
    uint32_t rank = 0;
    uint32_t arena_blocks = 0;
    Digest model_digest = small_shape().digest;
    std::string group = "g0";
  };

  FakeWorker(uint16_t port, const std::string& token, Options options)
      : options_(std::move(options)), loop_("fake-worker") {
    control::WorkerHello hello;
    hello.cluster_token = token;
    hello.group = options_.group;
    hello.rank = options_.rank;
    hello.node = hello.group + "/rank" + std::to_string(hello.rank);
    hello.pid = 100 + options_.rank;
    hello.model_digest = options_.model_digest;
    hello.backend = "fake";
    control::WorkerHandlers handlers;
    handlers.on_form = [this](control::FormGroup form, control::Answer<control::FormReply> answer) {
      loop_.post([this, form = std::move(form), answer] { answer(formed(form)); });
    };
    handlers.on_disband = [this](Epoch, const std::string& why) {
      const std::lock_guard lock(mutex_);
      disbanded_because_ = why;
    };
    handlers.on_unit = [this](control::Unit unit, control::Answer<control::UnitResult> answer) {
      loop_.post([this, unit = std::move(unit), answer] { run(unit, answer); });
    };
    handlers.on_describe = [this](SeqId seq, control::Answer<control::SequenceMap> answer) {
      loop_.post([this, seq, answer] { answer(map(seq)); });
    };
    handlers.on_disconnect = [](const std::string&) {};
    auto linked = control::CoordinatorLink::connect({"127.0.0.1", port}, std::move(hello), handlers,
                                                    Deadline::after(Millis(5000)));
    if (linked) {
      link_ = std::move(*linked);
    } else {
      refused_ = linked.error().message;
    }
  }
  ~FakeWorker() {
    leave();
    loop_.stop();
  }

  /// The connection ends, as when the process is killed.
  void leave() { link_.reset(); }
  const std::string& refused() const { return refused_; }
  control::CoordinatorLink& link() { return *link_; }

  /// The next unit of this kind is not answered at all.
  void swallow(control::UnitKind kind) { set(kind, Mood::kSilent); }
  /// The next unit of this kind is answered when let_go() is called.
  void hold(control::UnitKind kind) { set(kind, Mood::kHold); }
  void let_go() {
    loop_.post([this] {
      auto answers = std::exchange(held_, {});
      for (const auto& answer : answers) answer();
    });
  }
  /// The next unit of this kind fails, for one sequence or (seq 0) as a whole.
  void fail(control::UnitKind kind, SeqId seq) {
    set(kind, Mood::kFail);
    const std::lock_guard lock(mutex_);
    failing_seq_ = seq;
  }
  std::vector<Epoch> epochs() const {
    const std::lock_guard lock(mutex_);
    return epochs_;
  }
  std::string disbanded_because() const {
    const std::lock_guard lock(mutex_);
    return disbanded_because_;
  }
  uint64_t units_of(control::UnitKind kind) const {
    const std::lock_guard lock(mutex_);
    const auto found = units_.find(kind);
    return found == units_.end() ? 0 : found->second;
  }

 private:
  enum class Mood { kFine, kSilent, kHold, kFail };
  struct Sequence {
    control::OpenUnit open;
    uint32_t length = 0;
  };

  void set(control::UnitKind kind, Mood mood) {
    const std::lock_guard lock(mutex_);
    moods_[kind] = mood;
  }

  Result<control::FormReply> formed(const control::FormGroup& form) {
    const auto profile = models::parse_selection_profile(form.profile_yaml, "the form");
    if (!profile) return profile.error();
    const auto layout =
        models::make_layout(small_shape(), profile->bands(), form.ranks, form.granule_tokens);
    if (!layout) return layout.error();
    sequences_.clear();
    {
      const std::lock_guard lock(mutex_);
      epochs_.push_back(form.epoch);
    }
    const auto blocks =
        form.device_kv_bytes / (uint64_t{form.granule_tokens} * layout->row_bytes_all());
    return control::FormReply{
        layout->digest(),
        options_.arena_blocks != 0 ? options_.arena_blocks : static_cast<uint32_t>(blocks), true};
  }

  void run(const control::Unit& unit, const control::Answer<control::UnitResult>& answer) {
    Mood mood = Mood::kFine;
    control::UnitResult result;
    result.id = unit.id;
    result.rank = options_.rank;
    {
      const std::lock_guard lock(mutex_);
      ++units_[unit.kind];
      mood = std::exchange(moods_[unit.kind], Mood::kFine);
      if (mood == Mood::kFail)
        result.failures.push_back({failing_seq_, unavailable("store s0 is gone")});
    }
    if (mood == Mood::kSilent) return;
    if (mood == Mood::kFail && failing_seq_.value == 0) return answer(result);
    apply(unit, result);
    if (mood == Mood::kHold) {
      held_.push_back([result, answer] { answer(result); });
    } else {
      answer(result);
    }
  }

  void apply(const control::Unit& unit, control::UnitResult& result) {
    switch (unit.kind) {
      case control::UnitKind::kOpen:
        sequences_[unit.open.seq].open = unit.open;
        return;
      case control::UnitKind::kBulk: {
        Sequence& sequence = sequences_.at(unit.bulk.seq);
        sequence.length = unit.bulk.tokens.end;
        const bool last = unit.bulk.layers.end == small_shape().layers &&
                          unit.bulk.tokens.end == sequence.open.decode_from;
        result.sequences.push_back(next_of(unit.bulk.seq, sequence, last));
        return;
      }
      case control::UnitKind::kRelease:
        return;
      case control::UnitKind::kDecode:
        for (const SeqId seq : unit.decode.seqs) {
          Sequence& sequence = sequences_.at(seq);
          ++sequence.length;
          result.sequences.push_back(next_of(seq, sequence, true));
        }
        return;
      case control::UnitKind::kClose:
        if (auto last = map(unit.close.seq)) result.maps.push_back(*last);
        sequences_.erase(unit.close.seq);
        return;
    }
  }

  control::SequenceResult next_of(SeqId seq, const Sequence& sequence, bool logits) const {
    control::SequenceResult result;
    result.seq = seq;
    result.counters.selected_tokens = sequence.length;
    result.counters.device_blocks_max = 3;
    if (!logits || options_.rank != 0) return result;
    if (sequence.length < sequence.open.prompt.size()) {
      result.prompt.push_back({sequence.open.prompt[sequence.length], -1, {}});
    } else if (sequence.open.max_tokens > 0) {
      result.has_token = true;
      result.token.token = static_cast<TokenId>(sequence.length);
    }
    return result;
  }

  Result<control::SequenceMap> map(SeqId seq) const {
    const auto found = sequences_.find(seq);
    if (found == sequences_.end()) return not_found("no such sequence");
    control::SequenceMap map;
    map.seq = seq;
    map.length = found->second.length;
    map.counters.hot_hits = 1;
    map.bands = {{0, {0, 8}, false, 96, {{0, map.length, control::Place::kDevice}}}};
    return map;
  }

  const Options options_;
  std::string refused_;
  mutable std::mutex mutex_;
  std::map<control::UnitKind, Mood> moods_;
  std::map<control::UnitKind, uint64_t> units_;
  SeqId failing_seq_;
  std::vector<Epoch> epochs_;
  std::string disbanded_because_;
  std::map<SeqId, Sequence> sequences_;      ///< the loop's
  std::vector<std::function<void()>> held_;  ///< the loop's
  TaskLoop loop_;
  std::unique_ptr<control::CoordinatorLink> link_;
};

}  // namespace ebb::coordinator::test
