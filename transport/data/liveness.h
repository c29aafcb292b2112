// How long a peer may be silent. One rule for both sides.
#pragma once

#include "base/clock.h"

namespace ebb::data {

constexpr int kHeartbeatsMissedMax = 4;
/// While a large body is under way its bytes are not seen, and heartbeats queue behind it: 64 MiB
/// in 15 s is the slowest transfer (4.5 MB/s) that is still taken for one.
constexpr Millis kTransferPatience{15000};

inline Millis silence_allowed(Millis heartbeat, bool transfer_under_way) {
  const Millis quiet = heartbeat * kHeartbeatsMissedMax;
  return transfer_under_way && quiet < kTransferPatience ? kTransferPatience : quiet;
}

}  // namespace ebb::data
