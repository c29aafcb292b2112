// Carries out what is asked of a store: two tiers, an index, and the moves that placement decides.
// Its state belongs to one thread of its own; one more thread writes to the SSD and one reads from
// it. Knows nothing of messengers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "kvstore/index.h"
#include "kvstore/requests.h"
#include "kvstore/ssd_tier.h"
#include "kvstore/tier.h"

namespace ebb::kvstore {

struct StoreOptions {
  uint64_t host_bytes = 0;
  DiskLimits ssd;  ///< quota 0: no SSD tier
  std::string ssd_path;
};

/// Records gathered from many granules. `frames` are those present, in order, as few parts as
/// possible; they lie in `memory`, which frees them.
struct Gathered {
  GetReply reply;
  std::vector<std::span<const std::byte>> frames;
  std::shared_ptr<void> memory;
};

struct StoreSnapshot {
  TierUsage host, ssd;
  uint64_t host_held = 0, ssd_held = 0;
  uint64_t host_evictions = 0, ssd_evictions = 0;
  uint64_t puts = 0, gets = 0, misses = 0, corrupt = 0;  ///< granules, granules, records, records
  bool has_ssd = false;
};

/// All methods any thread; completions run on the store's thread, exactly once, and must not block.
class Store {
 public:
  /// Errors: those of the tiers. A file system that is too full for an SSD tier is no error: the
  /// store then runs on memory alone and says why in its snapshot.
  static Result<std::unique_ptr<Store>> open(const StoreOptions& options, Metrics& metrics);
  /// Answers what still waits with kCancelled. Does not flush.
  virtual ~Store() = default;

  /// Bodies must stay valid while `keep_alive` lives. Every record is verified first; nothing is
  /// stored when one fails (kCorrupt). Waits up to `by` while room is being made. Errors:
  /// kExhausted, kTimeout, kInvalid.
  virtual void put(Holder holder, std::vector<PutItem> items, std::shared_ptr<void> keep_alive,
                   Deadline by, std::function<void(Result<PutReply>)> done) = 0;
  virtual void get(std::vector<GetItem> items, Deadline by,
                   std::function<void(Result<Gathered>)> done) = 0;
  virtual void drop(Holder holder, std::function<void(Result<void>)> done) = 0;
  /// Ends all holds of a session.
  virtual void end_session(uint64_t session) = 0;
  virtual void stat(std::vector<GranuleKey> keys,
                    std::function<void(Result<std::vector<StatItem>>)> done) = 0;
  /// `query` has passed check_query(). The page is of one moment.
  virtual void list(ListQuery query, std::function<void(Result<ListPage>)> done) = 0;
  /// Everything accepted before is durable when `done` says so. Errors: kExhausted (names how much
  /// did not fit), kUnsupported (no SSD tier), kTimeout.
  virtual void flush(Deadline by, std::function<void(Result<void>)> done) = 0;

  virtual StoreSnapshot snapshot() const = 0;
  virtual const RestartReport& restart() const = 0;
  /// False when the store's thread has not come round for `within`.
  virtual bool alive(Millis within) const = 0;
};

}  // namespace ebb::kvstore
