// Collectives among the ranks of one group incarnation. All ranks make the same calls in the same
// order, each on its engine thread. Gloo on CPUs (gloo_collective.cpp); NCCL joins behind the same
// interface with the CUDA plugin.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace ebb::collective {

/// Where the floats of all_reduce_sum live. Bytes are in host memory everywhere.
enum class FloatMemory { kHost, kDevice };

/// Every method waits until done or until the collective's deadline. After any error the collective
/// is dead: every later call fails the same way, and a new one must be made under a new epoch.
/// Errors: kUnavailable (a peer died), kTimeout, kCancelled (abort()).
class Collective {
 public:
  virtual ~Collective() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t size() const = 0;
  virtual FloatMemory float_memory() const { return FloatMemory::kHost; }
  /// Sums over ranks, in place; every rank gets the same bits. Floats, in float_memory(): kDevice
  /// is the memory of the backend that the collective was made for, and the sum comes after what
  /// was enqueued there before.
  virtual Result<void> all_reduce_sum(float* inout, uint64_t count) = 0;
  virtual Result<void> broadcast(std::span<std::byte> inout, uint32_t root) = 0;
  /// On rank 0 `all` [size * mine.size()] receives every rank's bytes in rank order; elsewhere it
  /// is ignored. All ranks pass the same mine.size().
  virtual Result<void> gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
  /// Any thread: ends a call in progress and all later ones.
  virtual void abort(const std::string& why) = 0;
};

/// Where ranks leave their addresses for each other: put by one, read by all. Implemented over the
/// coordinator's control connection (no shared files).
struct Rendezvous {
  std::function<Result<void>(const std::string& key, const std::string& value)> put;
  /// Waits until the key is there.
  std::function<Result<std::string>(const std::string& key, Deadline by)> get;
};

struct CollectiveOptions {
  uint32_t rank = 0;
  uint32_t size = 1;
  Epoch epoch;  ///< prefix of every rendezvous key
  std::string listen_host = "127.0.0.1";
  Millis call_deadline{15000};  ///< of each call
  Deadline form_by;             ///< of making the mesh
};

/// size == 1 gives a collective that does nothing. Errors: kTimeout, kUnavailable.
Result<std::unique_ptr<Collective>> make_collective(const CollectiveOptions& options,
                                                    Rendezvous rendezvous);

}  // namespace ebb::collective
