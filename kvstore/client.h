// All that a worker sees of the KV store. Many granules in one request; the store gathers. Every
// record is verified here on arrival (head, checksum, identity): one that fails is counted and
// reported as missing, never delivered. Or it is left to a device to verify (Arrival).
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
#include "kvstore/requests.h"
#include "transport/data/messenger.h"

namespace ebb::kvstore {

/// Who asks: told to the store in the handshake. A store refuses a second layout under one epoch,
/// naming both.
struct ClientIdentity {
  std::string cluster_token;
  std::string node;   ///< "g0/rank1"
  std::string group;  ///< "g0"
  Epoch epoch;
  Digest layout;
  std::vector<uint32_t> record_bytes;  ///< payload bytes by band
};

/// Who reads the records that a get brings.
enum class Arrival {
  kChecked,  ///< the client verifies each: one that fails is counted and is a miss
  /// Nobody before the completion: the client does not touch the destination, and whoever takes the
  /// records verifies them. They lie as GotItem::at says.
  kUnread,
  /// The same, and the destination is memory of a device: only where the messenger takes that.
  kOnDevice,
};

/// All methods any thread; completions run on the messenger's thread (of a request that is refused
/// before it is sent: on the caller's) and must not block. Big requests travel as several messages.
/// Errors: kTimeout, kUnavailable (store gone; the client reconnects by itself and works again when
/// the store is back), kExhausted (put: no tier has room for a granule that may not be evicted),
/// kInvalid (a request over a limit: names it).
class Client {
 public:
  static Result<std::unique_ptr<Client>> connect(data::Messenger& messenger, const HostPort& store,
                                                 ClientIdentity identity, Metrics& metrics,
                                                 Deadline by);
  virtual ~Client() = default;
  /// Stores granules on behalf of `holder`: they are not evicted while a holder has not dropped
  /// them.
  virtual void put(SeqId holder, std::vector<PutItem> items, Deadline by,
                   std::function<void(Result<PutReply>)> done) = 0;
  virtual void get(std::vector<GetItem> items, std::span<std::byte> destination, Arrival arrival,
                   Deadline by, std::function<void(Result<GetReply>)> done) = 0;
  /// Ends all holds of `holder`. Private granules go, content granules stay as cache until evicted.
  virtual void drop(SeqId holder, Deadline by, std::function<void(Result<void>)> done) = 0;
  virtual void stat(std::vector<GranuleKey> keys, Deadline by,
                    std::function<void(Result<std::vector<StatItem>>)> done) = 0;
  /// One page of the granules that the store keeps, whoever put them. Errors: also kInvalid for a
  /// limit or a cursor that the store refuses.
  virtual void list(ListQuery query, Deadline by, std::function<void(Result<ListPage>)> done) = 0;
  /// Waits until everything accepted so far is durable (flushed to the SSD tier) or reports that it
  /// cannot.
  virtual void flush(Deadline by, std::function<void(Result<void>)> done) = 0;
  virtual bool connected() const = 0;
};

}  // namespace ebb::kvstore
