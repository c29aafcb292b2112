// Whatever comes, from many seeds: the arena is never exceeded, neither by promises nor by what a
// simulated worker really holds; every request ends exactly once; nobody is overtaken; the
// scheduler comes to rest.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "coordinator/scheduler.h"
#include "tests/coordinator/engine_samples.h"

namespace ebb::coordinator::test {
namespace {

using control::PolicyKind;
using control::Unit;
using control::UnitKind;

/// Counts the blocks that a worker holds, layer by layer, for each sequence.
class SimulatedWorker {
 public:
  explicit SimulatedWorker(const ArenaModel& arena) : arena_(arena) {}

  struct Sequence {
    uint32_t prompt = 0;
    uint32_t max_tokens = 0;
    uint32_t bulk = 0;  ///< tokens of the bulk pass
    uint32_t steps = 0;
    std::vector<uint32_t> rows;  ///< by layer
    std::vector<uint64_t> pool;  ///< by layer: blocks when released; 0: all rows
    bool keeps_activations = false;
  };

  UnitOutcome run(const Unit& unit) {
    UnitOutcome outcome;
    switch (unit.kind) {
      case UnitKind::kOpen:
        open(unit.open);
        answer(outcome, unit.open.seq, false);
        break;
      case UnitKind::kBulk:
        answer(outcome, unit.bulk.seq, bulk(unit.bulk));
        break;
      case UnitKind::kRelease:
        release(unit.release);
        answer(outcome, unit.release.seq, false);
        break;
      case UnitKind::kDecode:
        for (const SeqId seq : unit.decode.seqs) {
          step(sequences.at(seq));
          answer(outcome, seq, true);
        }
        break;
      case UnitKind::kClose:
        EXPECT_EQ(sequences.erase(unit.close.seq), 1u) << "closed what was not open";
        break;
    }
    EXPECT_LE(used(), arena_.blocks) << "the worker ran out of blocks";
    return outcome;
  }

  std::map<SeqId, Sequence> sequences;

 private:
  void open(const control::OpenUnit& unit) {
    Sequence sequence;
    sequence.prompt = static_cast<uint32_t>(unit.prompt.size());
    sequence.max_tokens = unit.max_tokens;
    sequence.bulk = unit.decode_from;
    sequence.rows.assign(arena_.layers(), 0);
    sequence.pool.assign(arena_.layers(), 0);
    EXPECT_TRUE(sequences.emplace(unit.seq, std::move(sequence)).second);
  }

  bool bulk(const control::BulkUnit& unit) {
    Sequence& sequence = sequences.at(unit.seq);
    if (unit.layers.end - unit.layers.begin < arena_.layers()) sequence.keeps_activations = true;
    for (uint16_t layer = unit.layers.begin; layer < unit.layers.end; ++layer) {
      EXPECT_EQ(sequence.rows[layer], unit.tokens.begin) << "chunks out of order";
      sequence.rows[layer] = unit.tokens.end;
    }
    const bool last = unit.layers.end == arena_.layers() && unit.tokens.end == sequence.bulk;
    if (last) sequence.keeps_activations = false;
    return last;
  }

  void release(const control::ReleaseUnit& unit) {
    Sequence& sequence = sequences.at(unit.seq);
    for (const uint16_t band : unit.bands) {
      EXPECT_TRUE(arena_.bands[band].follower);
      const LayerRange layers = arena_.bands[band].layers;
      for (uint16_t layer = layers.begin; layer < layers.end; ++layer) {
        EXPECT_GE(sequence.rows[layer], sequence.bulk) << "released before its rows exist";
        sequence.pool[layer] = arena_.blocks_of(unit.hot_tokens + 2 * arena_.granule_tokens);
      }
    }
  }

  void step(Sequence& sequence) {
    ++sequence.steps;
    for (uint32_t& rows : sequence.rows) {
      EXPECT_GE(rows, sequence.bulk) << "a step before the bulk pass is done";
      ++rows;
    }
  }

  void answer(UnitOutcome& outcome, SeqId seq, bool logits) {
    const Sequence& sequence = sequences.at(seq);
    SequenceOutcome of_sequence;
    of_sequence.result.seq = seq;
    const uint32_t next = sequence.bulk + sequence.steps;
    if (logits && next < sequence.prompt) of_sequence.result.prompt.push_back({7, -1, {}});
    of_sequence.result.has_token = logits && next >= sequence.prompt && sequence.max_tokens > 0;
    outcome.sequences.push_back(std::move(of_sequence));
  }

  uint64_t used() const {
    uint64_t sum = 0;
    for (const auto& [seq, sequence] : sequences) {
      for (size_t layer = 0; layer < sequence.rows.size(); ++layer) {
        const uint64_t all = arena_.blocks_of(sequence.rows[layer]);
        sum += sequence.pool[layer] == 0 ? all : std::min(all, sequence.pool[layer]);
      }
      if (!sequence.keeps_activations) continue;
      const uint64_t bytes = (uint64_t{sequence.bulk} + 2) / 3 * 3 * arena_.width * 4;  // 3 heads
      sum += (bytes + arena_.block_bytes - 1) / arena_.block_bytes;
    }
    return sum;
  }

  const ArenaModel& arena_;
};

class World {
 public:
  explicit World(uint32_t seed)
      : random_(seed),
        rules_(small_rules(below(2) == 0 ? ReleaseWhen::kPressure : ReleaseWhen::kAlways)),
        arena_(small_arena(100 + below(600))),
        limits_{1 + below(4), 4 + below(20), 8 + below(100)},
        scheduler_(arena_, limits_),
        worker_(arena_) {}

  void run() {
    for (int round = 0; round < 300; ++round) {
      if (below(4) == 0) submit();
      if (below(30) == 0) take(scheduler_.cancel(some(), FinishReason::kAbort, now_));
      if (below(200) == 0) {
        take(scheduler_.lose_all(unavailable("lost")));
        worker_.sequences.clear();
      }
      step();
    }
    // What is there comes to its end, without new events from outside.
    for (int round = 0; round < 200000 && !scheduler_.idle(); ++round) step();
    EXPECT_TRUE(scheduler_.idle()) << "something hangs";
    EXPECT_EQ(scheduler_.reserved_blocks(), 0u);
    EXPECT_TRUE(worker_.sequences.empty());
    EXPECT_EQ(ended_, submitted_);
    EXPECT_EQ(closed_, submitted_);
  }

 private:
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  SeqId some() { return {1 + below(static_cast<uint32_t>(next_seq_) + 1)}; }

  void submit() {
    auto request = request_of(1 + below(400), below(60),
                              below(2) == 0 ? PolicyKind::kDense : PolicyKind::kTidal);
    if (below(3) == 0)
      request.decode_from = 1 + below(static_cast<uint32_t>(request.prompt.size()));
    if (below(4) == 0) request.budget = 11 + below(300);
    const uint32_t asked = request.max_tokens;
    auto checked = check_request(rules_, arena_, std::move(request));
    if (!checked) {
      EXPECT_EQ(checked.error().code, Code::kInvalid);
      return;
    }
    const SeqId seq{next_seq_};
    if (!scheduler_.submit(seq, *std::move(checked), now_)) {
      EXPECT_EQ(scheduler_.waiting(), limits_.queue_max);
      return;
    }
    submitted_.insert(seq);
    max_tokens_[seq] = asked;
    ++next_seq_;
  }

  void step() {
    now_ += std::chrono::milliseconds(1);
    const auto unit = scheduler_.next(now_);
    EXPECT_LE(scheduler_.reserved_blocks(), arena_.blocks);
    EXPECT_LE(scheduler_.running(), limits_.max_num_seqs);
    if (!unit) {
      EXPECT_TRUE(scheduler_.idle()) << "work waits but nothing runs";
      return;
    }
    if (unit->kind == UnitKind::kOpen) {
      EXPECT_GT(unit->open.seq, last_opened_) << "overtaken";
      last_opened_ = unit->open.seq;
    }
    UnitOutcome outcome = worker_.run(*unit);
    if (below(40) == 0) take(scheduler_.cancel(some(), FinishReason::kStop, now_));
    const bool may_fail = unit->kind != UnitKind::kClose && !outcome.sequences.empty();
    if (may_fail && below(60) == 0) {
      outcome.failures.push_back({outcome.sequences.back().result.seq, unavailable("store")});
      outcome.sequences.pop_back();
    }
    take(scheduler_.finish(outcome, now_));
  }

  void take(Events events) {
    for (const auto& event : events) {
      if (const auto* token = std::get_if<TokenMade>(&event)) {
        EXPECT_FALSE(ended_.contains(token->seq)) << "a token after the end";
        EXPECT_LE(++tokens_[token->seq], max_tokens_[token->seq]);
      } else if (const auto* finished = std::get_if<Finished>(&event)) {
        EXPECT_TRUE(ended_.insert(finished->seq).second) << "ended twice";
        if (finished->reason == FinishReason::kLength) {
          EXPECT_EQ(tokens_[finished->seq], max_tokens_[finished->seq]);
        }
      } else if (const auto* failed = std::get_if<Failed>(&event)) {
        EXPECT_TRUE(ended_.insert(failed->seq).second) << "ended twice";
      } else if (const auto* closed = std::get_if<Closed>(&event)) {
        EXPECT_TRUE(ended_.contains(closed->seq)) << "closed before its last word";
        EXPECT_TRUE(closed_.insert(closed->seq).second);
      }
    }
  }

  std::mt19937 random_;
  const RequestRules rules_;
  const ArenaModel arena_;
  const SchedulerLimits limits_;
  Scheduler scheduler_;
  SimulatedWorker worker_;
  TimePoint now_ = TimePoint(std::chrono::seconds(1000));
  uint64_t next_seq_ = 1;
  SeqId last_opened_;
  std::set<SeqId> submitted_, ended_, closed_;
  std::map<SeqId, uint32_t> tokens_, max_tokens_;
};

TEST(SchedulerProperty, HoldsForRequestsCancelsAndFailuresNobodyChose) {
  for (uint32_t seed = 1; seed <= 300 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World(seed).run();
  }
}

}  // namespace
}  // namespace ebb::coordinator::test
