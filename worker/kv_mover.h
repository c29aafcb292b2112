// Release and restore: carries records between a sequence's device rows and the KV store. Release
// is lossless: rows leave the device only after the store has accepted them. Restore delivers only
// records that passed every check.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "kernels/records.h"
#include "kvstore/client.h"
#include "models/kv_layout.h"
#include "worker/sequence.h"
#include "worker/staging_pool.h"

namespace ebb::worker {

/// Rows that must be on the device before a band is attended. Slots were given by
/// BandResidency::admit.
struct RestoreWant {
  Sequence* sequence = nullptr;
  uint32_t band = 0;
  std::vector<Position> positions;  ///< ascending
};

/// A restore under way: made by KvMover::begin, ended by KvMover::finish. One that is dropped in
/// between waits for its answer.
struct Restore {
  Restore() = default;
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore();
  std::vector<RestoreWant> wants;
  std::vector<kvstore::GetItem> items;  ///< of all wants, one after the other
  Staging frames;                       ///< in the same order
  std::future<Result<kvstore::GetReply>> reply;
};

/// Engine thread only. One store for now; the client may be null (no store configured or
/// reachable).
class KvMover {
 public:
  struct Options {
    Epoch epoch;
    uint32_t rank = 0;
    Millis deadline{3000};
    /// Where restored records land: kDevice only where the client's messenger takes device memory.
    /// With no room for that they land in the host's.
    kernels::MemoryKind landing = kernels::MemoryKind::kHost;
  };
  KvMover(const models::KvLayout& layout, const kernels::KvShape& shape, kernels::Backend& backend,
          Options options);
  /// The client has ended before, so that nothing of this is read or written any more.
  ~KvMover();

  void set_client(kvstore::Client* client) { client_ = client; }
  /// Why there is no client: part of every error that follows from it.
  void set_problem(std::string why) { problem_ = std::move(why); }

  /// Key of the granule that begins at `first`: by content while all its tokens are exact in
  /// `band`, else private.
  kvstore::GranuleKey key(Sequence& sequence, uint32_t band, Position first) const;

  /// Seals every whole granule of `band` that the store has not got and puts it; waits until all
  /// are accepted. Errors: kUnavailable, kTimeout, kExhausted (the store is full): the rows stay
  /// where they are.
  Result<void> seal_all(Sequence& sequence, uint32_t band);
  /// seal_all, then turns the band into a hot pool of `hot_tokens` rows (the last set first, then
  /// the most recent).
  Result<void> release(Sequence& sequence, uint32_t band, uint32_t hot_tokens, uint64_t step);

  /// Seals what became whole since the last call in hot bands, without waiting: packing may go on
  /// behind the next step. collect_puts sends what is packed by then, and takes in answers.
  void seal_tail(Sequence& sequence);
  void collect_puts(Sequence& sequence);

  /// One request for all wants; the answer is awaited by finish(). `wants` slots are already
  /// admitted.
  std::unique_ptr<Restore> begin(std::vector<RestoreWant> wants);
  /// A sequence may be named more than once.
  using Failure = std::pair<Sequence*, Error>;
  /// Waits for the answer and brings the rows to their slots: operations after this see them.
  /// Errors by sequence: what was missing, and where it should have been.
  std::vector<Failure> finish(Restore& restore);
  /// Rows that finish() brought and the device has checked since: errors, by sequence, of those
  /// that were not good. `wait`: of all.
  std::vector<Failure> landed(bool wait);

  /// Where every token is, by band. One question to the store for all of them; a store that does
  /// not answer soon leaves released tokens `missing`.
  std::vector<control::BandMap> describe(Sequence& sequence);
  /// Before the sequence gives its rows away: ends its holds in the store, without waiting for the
  /// answer.
  void drop(Sequence& sequence);

 private:
  using Places = std::vector<std::vector<control::Place>>;  ///< by band, by position
  struct Put;
  struct BandRecords;
  /// Restored rows on their way from their frames to their slots.
  struct Landing {
    struct Part {
      RestoreWant want;
      std::unique_ptr<kernels::Transfer> unpacking;
      uint64_t from_host = 0;
      uint64_t from_ssd = 0;
    };
    std::vector<Part> parts;
    Staging frames;
  };
  void find_released(Sequence& sequence, Places& places) const;
  Error no_store() const;
  void damage(const Staging& frames);
  BandRecords records_of(const Sequence& sequence, uint32_t band,
                         std::span<const Position> positions,
                         std::vector<kernels::RecordName> names) const;
  Result<std::unique_ptr<Put>> pack(Sequence& sequence, uint32_t band, Position begin,
                                    Position end);
  Result<void> send(Put& put);
  Result<void> accepted(Put& put);
  bool advance(Put& put);
  Result<void> put_all(Sequence& sequence, uint32_t band, Position end);
  void land(const RestoreWant& want, std::span<const kvstore::GetItem> asked,
            std::span<const kvstore::GotItem> got, Landing& landing);
  static Failure failed(const RestoreWant& want, const Error& why);
  std::optional<Failure> outcome(Landing::Part& part);

  const models::KvLayout& layout_;
  kernels::KvShape shape_;
  kernels::Backend& backend_;
  Options options_;
  Digest layout_digest_;
  kvstore::Client* client_ = nullptr;
  std::string problem_ = "none is configured";
  const bool device_checks_;  ///< restored records: else the client does
  StagingPool staging_;
  std::vector<std::unique_ptr<Put>> puts_;  ///< of sequences that decode, or that are closed
  std::vector<Landing> landings_;
};

}  // namespace ebb::worker
