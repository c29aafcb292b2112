// The connections among the ranks of one group incarnation: made, checked, and ended from outside.
// Owns everything about Gloo that is not an algorithm. Its deadline is kept by whoever calls
// break_up().
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "transport/collective/collective.h"

namespace gloo {
class Context;
namespace transport {
class Pair;
}
}  // namespace gloo

namespace ebb::collective {

/// Every rank has one TCP connection to every other, in Gloo's synchronous mode: the calling thread
/// itself reads and writes, which is 3 to 50 times faster at our sizes than Gloo's own thread doing
/// so.
class GlooMesh {
 public:
  explicit GlooMesh(const CollectiveOptions& options);
  ~GlooMesh();
  GlooMesh(const GlooMesh&) = delete;
  GlooMesh& operator=(const GlooMesh&) = delete;

  /// Once. Publishes this rank's addresses, waits for the others', connects, and makes sure that
  /// each peer is the rank and epoch that it should be. Throws what Gloo throws; break_up() makes
  /// it end early.
  Result<void> form(const Rendezvous& rendezvous);

  /// Any thread, also during form() and during a blocked read or write: ends both within a
  /// scheduler's slice, here and at the peers.
  void break_up();

  const std::shared_ptr<gloo::Context>& context() const;
  gloo::transport::Pair& pair(uint32_t rank);
  /// Bytes of one message that every connection of the mesh takes without its peer reading; the
  /// same number on every rank. Two ranks may write to each other at the same time only up to this
  /// size.
  uint64_t message_max() const { return message_max_; }

 private:
  class OpenContext;
  struct Hello;

  Result<void> open_pairs();
  std::string own_addresses();
  Result<void> connect_pairs(const std::vector<std::string>& addresses);
  Result<void> greet();
  std::string key(uint32_t rank) const;

  const CollectiveOptions options_;
  std::shared_ptr<OpenContext> open_;
  std::shared_ptr<gloo::Context> context_;
  uint64_t message_max_ = 0;

  std::mutex mutex_;  ///< guards what break_up() touches
  bool broken_ = false;
  bool connected_ = false;  ///< from then on pairs may hold their lock while they block
  std::vector<gloo::transport::Pair*> pairs_;  ///< by rank; null at our own
  std::vector<int> sockets_;                   ///< our own duplicates of the pairs' descriptors
};

}  // namespace ebb::collective
