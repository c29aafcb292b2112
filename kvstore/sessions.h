// Who talks to the store: node, group, epoch and layout of every connection. Fences: a group's
// newer epoch ends the older ones. Pure bookkeeping; the caller serialises.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "kvstore/requests.h"
#include "kvstore/wire.h"

namespace ebb::kvstore {

/// One node in one incarnation of its group. A node that reconnects finds its session again.
struct Session {
  uint64_t id = 0;
  std::string node;
  std::string group;
  Epoch epoch;
  Digest layout;
  std::vector<uint32_t> record_bytes;  ///< payload bytes by band
  bool ended = false;                  ///< a newer epoch of the group has said hello
};

class Sessions {
 public:
  static constexpr size_t kGroupsMax = 1024;
  static constexpr size_t kNodesMax = 4096;  ///< of one group's epoch

  /// Returns the sessions that end because this one begins. Errors: kInvalid, naming both sides:
  /// another layout under the same epoch, an epoch that is over, other record sizes of the same
  /// node; kExhausted (too many groups or nodes).
  Result<std::vector<uint64_t>> hello(uint64_t connection, const std::string& node, Epoch epoch,
                                      const wire::Hello& hello);
  /// Errors: kInvalid (no hello, another epoch than the hello's, an epoch that is over).
  Result<std::shared_ptr<const Session>> session_of(uint64_t connection, Epoch epoch) const;
  void disconnect(uint64_t connection) { connections_.erase(connection); }
  size_t connections() const { return connections_.size(); }

 private:
  struct Group {
    Epoch epoch;
    Digest layout;
    std::map<std::string, std::shared_ptr<Session>> nodes;
  };
  std::map<std::string, Group> groups_;
  std::unordered_map<uint64_t, std::shared_ptr<Session>> connections_;
  uint64_t ids_ = 0;
};

/// Every item's band is one of the session's and has its record size. Errors: kInvalid.
Result<void> check_bands(const Session& session, const std::vector<PutItem>& items);

}  // namespace ebb::kvstore
