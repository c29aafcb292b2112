// All that a worker sees of the KV store. Many granules in one request; the store gathers. Every record is verified
// here on arrival (head, checksum, identity): one that fails is counted and reported as missing, never delivered.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/units.h"
#include "kvstore/granule.h"
#include "transport/data/messenger.h"

namespace ebb::kvstore {

/// Who asks: told to the store in the handshake. A store refuses a second layout under one epoch, naming both.
struct ClientIdentity {
  std::string cluster_token;
  std::string node;      ///< "g0/rank1"
  std::string group;     ///< "g0"
  Epoch epoch;
  Digest layout;
  std::vector<uint32_t> record_bytes;  ///< payload bytes by band
};

/// A granule to be stored: `body` is its framed records (GranuleInfo::body_bytes()), valid until `done` ran.
struct PutItem {
  GranuleInfo info;
  std::span<const std::byte> body;
};
struct PutReply {
  uint32_t accepted = 0;       ///< granules now in a tier (or already there: first writer wins)
  uint32_t already_there = 0;
};

/// Records of one granule: bit i of `bitmap` asks for record i.
struct GetItem {
  GranuleKey key;
  Position first = 0;          ///< position of record 0
  uint32_t payload_bytes = 0;
  uint32_t bitmap = 0;
};
/// Per item, what arrived and passed every check. A bit that was asked for and is not in `present` is a miss.
struct GotItem {
  uint32_t present = 0;
  TierKind from = TierKind::kNone;
};
/// Frames lie in the destination in the order of the items and of their bits, each asked-for record at its own
/// place whether present or not.
struct GetReply {
  std::vector<GotItem> items;
  uint32_t corrupt = 0;        ///< records that failed a check (here or in the store)
};
uint64_t get_destination_bytes(std::span<const GetItem> items);

struct StatItem {
  TierKind tier = TierKind::kNone;
  bool durable = false;        ///< survives kill -9 of the store
};

/// All methods any thread; completions run on the messenger's thread and must not block. Errors: kTimeout,
/// kUnavailable (store gone; the client reconnects by itself and works again when the store is back), kExhausted
/// (put: no tier has room for a granule that may not be evicted), kInvalid (a request over a limit: names it).
class Client {
 public:
  static Result<std::unique_ptr<Client>> connect(data::Messenger& messenger, const HostPort& store,
                                                 ClientIdentity identity, Metrics& metrics, Deadline by);
  virtual ~Client() = default;
  /// Stores granules on behalf of `holder`: they are not evicted while a holder has not dropped them.
  virtual void put(SeqId holder, std::vector<PutItem> items, Deadline by,
                   std::function<void(Result<PutReply>)> done) = 0;
  virtual void get(std::vector<GetItem> items, std::span<std::byte> destination, Deadline by,
                   std::function<void(Result<GetReply>)> done) = 0;
  /// Ends all holds of `holder`. Private granules go, content granules stay as cache until evicted.
  virtual void drop(SeqId holder, Deadline by, std::function<void(Result<void>)> done) = 0;
  virtual void stat(std::vector<GranuleKey> keys, Deadline by,
                    std::function<void(Result<std::vector<StatItem>>)> done) = 0;
  /// Waits until everything accepted so far is durable (flushed to the SSD tier) or reports that it cannot.
  virtual void flush(Deadline by, std::function<void(Result<void>)> done) = 0;
  virtual bool connected() const = 0;
};

}  // namespace ebb::kvstore
