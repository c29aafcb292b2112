// Groups and their ranks: who has joined, when a group forms, which epoch it has, when it is lost.
// Must not know requests or units.
//
//            all ranks joined                     every rank formed, layouts agree
//   waiting ------------------> forming(epoch) ------------------------------------> ready(epoch)
//      ^                            |                                                   |
//      +---------- lost: a rank went, a form failed, a unit failed or was late ---------+
//
// An epoch is minted, and on disk, before any rank hears of it. After a loss the ranks that stay
// are disbanded; when all ranks are there again the group forms anew, after a pause that grows
// while forming fails.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/cluster_config.h"
#include "base/task_loop.h"
#include "coordinator/board.h"
#include "coordinator/engine.h"
#include "coordinator/rendezvous.h"
#include "coordinator/state_file.h"
#include "models/kv_layout.h"
#include "transport/control/coordinator_side.h"

namespace ebb::coordinator {

/// What a group shall be.
struct GroupPlan {
  std::string name;
  uint64_t device_kv_bytes = 0;
  models::KvLayout layout;  ///< of this group's ranks
  uint64_t arena_blocks = 0;
};

struct ClusterPlan {
  std::vector<GroupPlan> groups;
  Digest model_digest;
  std::string profile_yaml;
  uint32_t max_model_len = 0;
  std::vector<control::StoreAddress> stores;
  std::string vocabulary;  ///< packed token table, for constraints; empty: none
  Millis form_time{30000};
};

class Cluster {
 public:
  /// On the loop.
  struct Callbacks {
    std::function<void(size_t group)> on_ready;
    /// A group that was ready is not any more; `why` is a sentence that names the group and the
    /// cause.
    std::function<void(size_t group, const std::string& why)> on_lost;
  };

  /// What is passed by reference outlives this; this outlives the loop's last task.
  Cluster(TaskLoop& loop, ClusterPlan plan, StateFile& state, SelectionBoard& board,
          RendezvousBoard& rendezvous, Callbacks callbacks);

  /// Any thread. Refuses an unknown group, a rank out of range or taken, another model: names both
  /// values.
  Result<void> admit(std::shared_ptr<control::WorkerLink> link);
  /// Any thread. Of links that were admitted; others are ignored.
  void gone(const std::shared_ptr<control::WorkerLink>& link, const std::string& why);

  // On the loop from here on.
  bool ready(size_t group) const { return groups_[group].state == State::kReady; }
  Epoch epoch(size_t group) const { return groups_[group].epoch; }
  /// By rank; all there while the group is ready.
  const std::vector<std::shared_ptr<control::WorkerLink>>& links(size_t group) const {
    return groups_[group].links;
  }
  /// Ends the incarnation, if there is one. Ranks in `unresponsive` lose their connection too.
  void lose(size_t group, const std::string& why, const std::vector<uint32_t>& unresponsive = {});
  /// All but the arena's use.
  GroupState describe(size_t group) const;
  const ClusterPlan& plan() const { return plan_; }

 private:
  // Shared: links come from the control server, which keeps them as long as their connections.
  using Link = std::shared_ptr<control::WorkerLink>;
  enum class State { kWaiting, kForming, kReady };
  struct Group {
    State state = State::kWaiting;
    Epoch epoch;
    std::vector<Link> links;
    std::vector<bool> formed;
    bool vocabulary_sent = false;  ///< over the connection that rank 0 has now
    std::string lost_because;
    uint32_t failures = 0;  ///< in a row
    bool pausing = false;   ///< a retry is due later
  };

  std::optional<size_t> group_named(const std::string& name) const;
  void joined(size_t group, const Link& link);
  void left(size_t group, const Link& link, const std::string& why);
  void try_form(size_t group);
  void formed(size_t group, Epoch epoch, uint32_t rank, const Result<control::FormReply>& reply);
  Result<void> check_reply(size_t group, const control::FormReply& reply) const;
  control::FormGroup form_request(size_t group, uint32_t rank) const;
  void retry_later(size_t group);
  std::vector<uint32_t> missing(const Group& group) const;

  TaskLoop& loop_;
  const ClusterPlan plan_;
  const Digest vocabulary_digest_;
  StateFile& state_;
  SelectionBoard& board_;
  RendezvousBoard& rendezvous_;
  const Callbacks callbacks_;
  std::vector<Group> groups_;

  std::mutex mutex_;
  std::vector<std::vector<Link>> admitted_;  ///< by group and rank; runs ahead of Group::links
};

/// "g0/rank1 (pid 4711)"
std::string link_name(const control::WorkerHello& hello);

}  // namespace ebb::coordinator
