// One token for each sequence of a batch: plan, fetch, run. Sequences may have different policies,
// lengths and residencies; the layers run for all of them together. Internal to worker/: step.h has
// the way in.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "worker/step.h"

namespace ebb::worker {

class DecodeStep {
 public:
  DecodeStep(StepContext& context, UnitId unit, std::span<Sequence* const> sequences);
  Result<void> run(control::UnitResult& out);
  /// Of a part of the step (a layer, or all of it), for Ops::replayable. How many rows there are
  /// enters up to the next power of two: kernels for few rows are made for those.
  uint64_t key(uint32_t part) const;
  static constexpr uint32_t kWhole = 0xfff;

 private:
  static constexpr uint32_t kEverything = 0xffffffffu;

  /// What one released band of one sequence reads in this step, up to the next set.
  struct Reading {
    bool ready = false;            ///< rows are on the device (or on their way: see pending_)
    uint32_t owner = kEverything;  ///< whose set it is
    /// Ascending; what the band's layers read, windows aside. Bands may share it.
    std::shared_ptr<const std::vector<Position>> positions;
    const uint32_t* d_slots = nullptr;      ///< of the positions, in device memory
    const Position* d_positions = nullptr;  ///< and these, where estimates want them
  };

  /// A list that several layers read in this step: of a set, where slots are positions.
  struct SetList {
    uint32_t owner = 0;
    bool adds_self = false;
    const uint32_t* d_slots = nullptr;
    uint32_t count = 0;  ///< of each of its lists
    kernels::ListScope scope = kernels::ListScope::kLayer;
  };
  /// Of a set, as layers read it: [lists, count], by scope.
  struct SetEntries {
    std::vector<uint32_t> own;          ///< where they are not simply the set's
    std::span<const uint32_t> entries;  ///< the set's or `own`
    uint32_t count = 0;
    kernels::ListScope scope = kernels::ListScope::kLayer;
  };

  struct Member {
    Sequence* sequence = nullptr;
    StepInfo step;
    LayerPlan plan;                  ///< of the layer that runs
    std::vector<uint32_t> new_slot;  ///< by band: where this step's row goes
    std::vector<Reading> readings;   ///< by band
    std::vector<SetList> set_lists;
    std::optional<PatternRead> pattern;
    const uint32_t* d_pattern = nullptr;  ///< its slots, in device memory
    TokenPlan tokens;                     ///< of policies that score tokens
    SelectionHistory made;                ///< in this step
    uint32_t dense_layers = 0;            ///< layers, from 0 on, that read everything
    uint32_t scored_layers = 0;           ///< whose logits one choice may need, at most
    uint64_t logits_at = 0;  ///< offset of [scored_layers * heads_q, length] in logits_
    uint64_t lse_at = 0;     ///< and of [scored_layers * heads_q], where digests are scanned
    uint64_t scores_at = 0;  ///< offset of the scores of a choice in scores_
    std::span<const Position> read;    ///< positions of what the layer that runs reads, of a list
    const Position* d_read = nullptr;  ///< the same in device memory; null: not there
    control::SequenceResult result;
    uint64_t bytes_read = 0;   ///< of KV, or of what stands for it, as the kernels read it
    uint64_t bytes_dense = 0;  ///< what dense attention would read
    bool failed = false;
    uint32_t length() const { return step.length; }  ///< the new token included
    /// This step's set of a layer, or the last one.
    const TokenSet& set_of(uint32_t layer) const;
    /// Attends to a set that this layer has yet to choose.
    bool scores_first(uint32_t layer) const {
      return plan.selects && plan.reads == LayerPlan::Reads::kSet && plan.owner == layer;
    }
    bool scans() const { return plan.selects && plan.scans.size() > 0; }
    /// Tokens that are scored. Layers above the one that runs have not got the newest one yet.
    uint32_t scored() const { return plan.scans.size() > 1 ? length() - 1 : length(); }
  };

  /// A token whose KV is computed again in this step: a row behind the members' rows.
  struct Rebuilt {
    size_t member = 0;
    Position position = 0;
    uint32_t dense_layers = 0;
    uint32_t slot = 0;  ///< in the band of the layer that runs
  };

  // decode_step.cpp: the run
  void place_rows();
  Result<void> reserve_scratch();
  Result<uint32_t> run_layers();
  Result<uint32_t> run_layer(uint32_t layer);
  Result<void> decide(uint32_t layer);
  void append(uint32_t layer);
  void append_digests(uint32_t layer);
  kernels::AppendArgs new_row(const kernels::KvRows& kv, size_t row, const uint32_t& slot) const;
  void attend(uint32_t layer);
  void scan(uint32_t layer);
  void scan_layer(uint32_t layer, uint32_t scanned);
  void attend_chosen(uint32_t layer);
  void attend_items(uint32_t layer, std::span<const kernels::AttendArgs> items,
                    std::span<const Member* const> members);
  kernels::AttendArgs args_of(const Member& member, uint32_t layer) const;
  kernels::AttendArgs args_of_row(const Sequence& sequence, uint32_t layer, uint64_t row) const;
  void select(uint32_t layer);
  Result<void> finish(control::UnitResult& out);
  void add_sums();
  Result<void> correct(Sequence& sequence);
  void fail(Member& member, Error why);
  uint32_t errors() const { return failures_.empty() ? 0 : 1; }

  // decode_reading.cpp: which rows a layer reads, and where they are
  bool read(Member& member, uint32_t layer, kernels::AttendArgs& args);
  void read_set(Member& member, uint32_t layer, kernels::AttendArgs& args);
  void read_pattern_of(Member& member, uint32_t layer, kernels::AttendArgs& args);
  SetEntries set_entries(const Member& member) const;
  uint32_t unseen_of_set(const Member& member, uint32_t layer) const;
  void read_released(Member& member, uint32_t layer, kernels::AttendArgs& args);
  void prepare(uint32_t owner, std::span<Member* const> chosen);
  bool next_set_is(const Member& member, uint32_t band, uint32_t owner) const;
  using SharedSet = std::shared_ptr<const std::vector<Position>>;
  void want_rows(Member& member, uint32_t band, uint32_t owner, SharedSet set,
                 std::vector<RestoreWant>& wants);
  void list_slots(Member& member, uint32_t band);
  void await_rows();
  void take_landed(bool wait);
  void fail_all(const std::vector<KvMover::Failure>& failed);
  void count_read(Member& member, uint32_t layer, const kernels::AttendArgs& args) const;
  /// For everything that a step reads of a sequence's past: rows, digests, sums of blocks.
  static void count_bytes(Member& member, uint64_t bytes) { member.bytes_read += bytes; }

  // decode_observe.cpp: what somebody outside may see
  Result<void> observe(uint32_t layer);

  // decode_tokens.cpp: policies that score tokens
  Result<void> score_tokens();
  Result<uint32_t> plan_tokens();
  Result<uint32_t> check_same_plans();
  void place_tokens();
  void place_tokens_of(Member& member, std::vector<RestoreWant>& wants);
  void read_tokens_of(const Member& member, uint32_t layer, Position position,
                      kernels::AttendArgs& args) const;
  void append_rebuilt(uint32_t layer, std::vector<kernels::AppendArgs>& rows);
  void attend_rebuilt(uint32_t layer);
  void record_tokens(Member& member);

  StepContext& c_;
  UnitId unit_;
  uint64_t clock_;
  std::vector<Member> members_;
  std::vector<control::UnitFailure> failures_;
  std::unique_ptr<Restore> pending_;
  std::vector<Rebuilt> rebuilt_;
  std::vector<Position> positions_;  ///< of all rows
  std::vector<Position> second_;     ///< where second queries stand; empty: nobody wants any
  kernels::Buffer logits_;           ///< logits and lse of the members that may choose
  kernels::Buffer scores_;
};

}  // namespace ebb::worker
