// The store's state, for store.cpp (requests) and store_moves.cpp (making room, copies, flush). Not
// for others.
//
// Threads: everything here runs on `loop_`, but the bodies of tasks given to `writer_` and
// `reader_`, which touch only the SSD tier and what the task owns. Invariant: an index entry is in
// at least one tier, and index and host tier agree at the end of each task; the SSD tier follows in
// the order in which `writer_` was told.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <type_traits>

#include "base/task_loop.h"
#include "base/units.h"
#include "kvstore/host_tier.h"
#include "kvstore/store.h"
#include "kvstore/store_metrics.h"

namespace ebb::kvstore {

constexpr uint64_t kCopyBatchBytes = 4 * kMiB;  ///< one write batch to the SSD
constexpr uint32_t kBatchesUnderWay = 2;        ///< one being written, one waiting
constexpr size_t kCandidates = 256;             ///< that one decision looks at, by list
constexpr size_t kPutsWaitingMax = 4096;
constexpr size_t kFlushesWaitingMax = 4096;
constexpr uint64_t kPromoteBytesMax = 8 * kMiB;   ///< of one get
constexpr uint64_t kGatherBytesMax = 512 * kMiB;  ///< of all answers not yet sent
constexpr Millis kSsdRetry{1000};                 ///< after it refused with nothing to drop
constexpr Millis kSweepEvery{50};                 ///< looks for waits whose deadline has passed
constexpr Millis kBeatEvery{500};

struct PutJob {
  Holder holder;
  std::vector<PutItem> items;
  std::shared_ptr<void> keep_alive;
  Deadline by;
  std::function<void(Result<PutReply>)> done;
  size_t next = 0;
  PutReply reply;
};

struct SsdRead {
  size_t item = 0;  ///< of the job
  uint64_t generation = 0;
  uint64_t previous_use = 0;  ///< before this one
  GranuleInfo info;
  std::vector<std::byte> whole_body;  ///< not empty: read all of it, to promote
  Result<ReadOutcome> outcome = ReadOutcome{};
};
struct GetJob {
  std::vector<GetItem> items;
  std::vector<uint64_t> offsets;
  std::shared_ptr<std::byte[]> memory;
  Deadline by;
  std::function<void(Result<Gathered>)> done;
  GetReply reply;
  std::vector<SsdRead> reads;
  bool too_late = false;
  std::span<std::byte> place_of(size_t item) const {
    return {memory.get() + offsets[item], items[item].asked_bytes()};
  }
};

/// Granules on their way from memory to the SSD; the bodies are copies.
struct CopyBatch {
  struct Part {
    GranuleInfo info;
    uint64_t generation = 0;
    bool forget = false;  ///< leaves memory when it has arrived
    std::vector<std::byte> body;
  };
  std::vector<Part> parts;
  uint64_t charge = 0;
};

struct FlushWait {
  Deadline by;
  std::function<void(Result<void>)> done;
};

class StoreImpl final : public Store {
 public:
  StoreImpl(std::unique_ptr<HostTier> host, std::unique_ptr<SsdTier> ssd, std::string ssd_note,
            Metrics& metrics);
  ~StoreImpl() override;

  void put(Holder holder, std::vector<PutItem> items, std::shared_ptr<void> keep_alive, Deadline by,
           std::function<void(Result<PutReply>)> done) override;
  void get(std::vector<GetItem> items, Deadline by,
           std::function<void(Result<Gathered>)> done) override;
  void drop(Holder holder, std::function<void(Result<void>)> done) override;
  void end_session(uint64_t session) override;
  void stat(std::vector<GranuleKey> keys,
            std::function<void(Result<std::vector<StatItem>>)> done) override;
  void list(ListQuery query, std::function<void(Result<ListPage>)> done) override;
  void flush(Deadline by, std::function<void(Result<void>)> done) override;
  StoreSnapshot snapshot() const override;
  const RestartReport& restart() const override { return restart_; }
  bool alive(Millis within) const override;

 private:
  // store.cpp: the frame, put, drop, stat, list
  bool run(std::function<void()> task);
  void run_after(Millis delay, std::function<void()> task);
  void turn(const std::function<void()>& task);
  void publish();
  /// Answers at the end of the task, when the state is whole and its snapshot is out.
  template <class T>
  void reply(const std::function<void(Result<T>)>& done, std::type_identity_t<Result<T>> result) {
    answers_.push_back([done, result = std::move(result)]() mutable { done(std::move(result)); });
  }
  void adopt_ssd();
  void start_put(const std::shared_ptr<PutJob>& job);
  Result<void> check_put(const PutJob& job);
  bool advance(PutJob& job);
  Result<void> store_one(PutJob& job, const PutItem& item);
  void start_get(const std::shared_ptr<GetJob>& job);
  bool get_from_host(GetJob& job, size_t item, IndexEntry& entry);
  void read_ssd(GetJob& job);
  void finish_get(GetJob& job);
  void finish_read(GetJob& job, SsdRead& read);
  std::shared_ptr<std::byte[]> gather_memory(uint64_t bytes);
  bool worth_promoting(const SsdRead& read) const;
  void promote(IndexEntry& entry, const SsdRead& read);
  ListPage page_of(const ListQuery& query) const;
  void let_go(const std::vector<GranuleKey>& unheld);
  void cancel_waiting(const std::function<bool(const Holder&)>& is_theirs);
  void sweep_later();
  void sweep();
  void beat();

  // store_moves.cpp: who goes where
  void make_room();
  bool make_room_for(const PutItem& item);
  void copy_ahead();
  PlacementState look(std::vector<Candidate> (&lists)[3]) const;
  void apply(const Decision& decision);
  void forget_on_host(IndexEntry& entry);
  void remove_from_ssd(IndexEntry& entry);
  void erase_if_nowhere(IndexEntry& entry);
  bool add_to_batch(CopyBatch& batch, IndexEntry& entry, bool forget);
  void send(std::shared_ptr<CopyBatch> batch);
  void batch_done(const CopyBatch& batch, const Result<void>& result);
  void ssd_refused(const CopyBatch& batch, const Error& error);
  void start_flush();
  void step_flush();
  void end_flush(const Result<void>& result);
  Error no_room(const std::string& what) const;
  bool ssd_usable() const { return ssd_ && !ssd_blocked_; }

  std::unique_ptr<HostTier> host_;
  std::unique_ptr<SsdTier> ssd_;  ///< null: none configured, or it could not be opened
  std::string ssd_note_;          ///< why not
  RestartReport restart_;
  StoreMetrics metrics_;
  Index index_;

  std::vector<std::function<void()>> answers_;
  std::deque<std::shared_ptr<PutJob>> waiting_puts_;
  uint32_t batches_ = 0;      ///< under way
  uint64_t batch_bytes_ = 0;  ///< their SSD charge
  bool ssd_blocked_ = false;
  std::string ssd_refusal_;
  bool making_room_ = false;
  bool sweeping_ = false;
  bool closing_ = false;

  std::vector<FlushWait> flush_next_;  ///< join the run after this one
  std::vector<FlushWait> flush_now_;
  std::deque<GranuleKey> flush_keys_;
  uint64_t flush_misfits_ = 0;  ///< bytes that no SSD tier of this size takes
  bool flush_running_ = false;
  bool flush_syncing_ = false;

  /// Shared with the answers under way, which may outlive the store.
  std::shared_ptr<std::atomic<uint64_t>> gathered_ = std::make_shared<std::atomic<uint64_t>>(0);

  uint64_t puts_ = 0, gets_ = 0, misses_ = 0, corrupt_ = 0, host_evictions_ = 0, ssd_evictions_ = 0;
  mutable std::mutex snapshot_mutex_;
  StoreSnapshot snapshot_;
  std::atomic<int64_t> beat_{0};  ///< steady milliseconds

  // Last: they stop first, and their tasks use all of the above.
  TaskLoop loop_;
  TaskLoop reader_;
  TaskLoop writer_;
};

}  // namespace ebb::kvstore
