// Release and restore: carries records between a sequence's device rows and the KV store. Release
// is lossless: rows leave the device only after the store has accepted them. Restore delivers only
// records that passed every check.
#pragma once

#include <future>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "kvstore/client.h"
#include "models/kv_layout.h"
#include "worker/sequence.h"

namespace ebb::worker {

/// Rows that must be on the device before a band is attended. Slots were given by
/// BandResidency::admit.
struct RestoreWant {
  Sequence* sequence = nullptr;
  uint32_t band = 0;
  std::vector<Position> positions;  ///< ascending
};

/// A restore under way: made by KvMover::begin, ended by KvMover::finish, never dropped in between.
struct Restore {
  std::vector<RestoreWant> wants;
  std::vector<kvstore::GetItem> items;  ///< of all wants, one after the other
  std::vector<std::byte> bytes;         ///< the frames, in the same order
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
  };
  KvMover(const models::KvLayout& layout, const kernels::KvShape& shape, kernels::Backend& backend,
          Options options);
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

  /// Seals what became whole since the last call in hot bands, without waiting; and takes in
  /// finished puts.
  void seal_tail(Sequence& sequence);
  void collect_puts(Sequence& sequence);

  /// One request for all wants; the answer is awaited by finish(). `wants` slots are already
  /// admitted.
  std::unique_ptr<Restore> begin(std::vector<RestoreWant> wants);
  /// Waits, brings the rows to their slots. Errors by sequence: what was missing, and where it
  /// should have been.
  std::vector<std::pair<Sequence*, Error>> finish(Restore& restore);

  /// Where every token is, by band. One question to the store for all of them; a store that does
  /// not answer soon leaves released tokens `missing`.
  std::vector<control::BandMap> describe(Sequence& sequence);
  /// Ends the sequence's holds in the store, without waiting for the answer.
  void drop(const Sequence& sequence);

 private:
  using Places = std::vector<std::vector<control::Place>>;  ///< by band, by position
  void find_released(Sequence& sequence, Places& places) const;
  Error no_store() const;
  Result<void> put_range(Sequence& sequence, uint32_t band, Position begin, Position end);
  /// Errors: those of a device that is lost: its rows must not be sealed as if they were good.
  Result<std::vector<std::byte>> seal_granules(Sequence& sequence, uint32_t band, Position begin,
                                               Position end,
                                               std::vector<kvstore::GranuleInfo>& infos);

  const models::KvLayout& layout_;
  kernels::KvShape shape_;
  kernels::Backend& backend_;
  Options options_;
  Digest layout_digest_;
  kvstore::Client* client_ = nullptr;
  std::string problem_ = "none is configured";
};

}  // namespace ebb::worker
