#include "coordinator/cluster.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/log.h"
#include "models/grammar/token_table.h"

namespace ebb::coordinator {
namespace {

constexpr Millis kFirstPause{200};
constexpr Millis kLongestPause{10000};

Millis pause_after(uint32_t failures) {
  return std::min(kLongestPause, kFirstPause * (1 << std::min(failures, 10u)));
}

std::string join(const std::vector<uint32_t>& numbers) {
  std::string text;
  for (const uint32_t number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

}  // namespace

std::string link_name(const control::WorkerHello& hello) {
  return hello.node + " (pid " + std::to_string(hello.pid) + ")";
}

Cluster::Cluster(TaskLoop& loop, ClusterPlan plan, StateFile& state, SelectionBoard& board,
                 RendezvousBoard& rendezvous, Callbacks callbacks)
    : loop_(loop),
      plan_(std::move(plan)),
      vocabulary_digest_(models::grammar::token_table_digest(plan_.vocabulary)),
      state_(state),
      board_(board),
      rendezvous_(rendezvous),
      callbacks_(std::move(callbacks)) {
  for (const GroupPlan& group : plan_.groups) {
    groups_.emplace_back().links.resize(group.layout.ranks);
    admitted_.emplace_back(group.layout.ranks);
  }
}

std::optional<size_t> Cluster::group_named(const std::string& name) const {
  for (size_t group = 0; group < plan_.groups.size(); ++group) {
    if (plan_.groups[group].name == name) return group;
  }
  return std::nullopt;
}

// --- From the control server's thread ---------------------------------------------------------

Result<void> Cluster::admit(std::shared_ptr<control::WorkerLink> link) {
  const control::WorkerHello& hello = link->hello();
  const auto group = group_named(hello.group);
  if (!group) {
    std::string known;
    for (const auto& plan : plan_.groups) known += (known.empty() ? "" : ", ") + plan.name;
    return invalid("group: \"" + hello.group + "\" is not one of this cluster's: " + known);
  }
  const uint32_t ranks = plan_.groups[*group].layout.ranks;
  if (hello.rank >= ranks) {
    return invalid("rank: " + std::to_string(hello.rank) + " is not in [0, " +
                   std::to_string(ranks) + ") of group " + hello.group);
  }
  if (hello.model_digest != plan_.model_digest) {
    return invalid("model_digest: the worker has " + to_hex(hello.model_digest) +
                   ", the coordinator " + to_hex(plan_.model_digest) + ": not the same model file");
  }
  {
    const std::lock_guard lock(mutex_);
    Link& place = admitted_[*group][hello.rank];
    if (place != nullptr) {
      // Not for good: the one that has it may be dead, and only not have missed enough pings yet.
      return unavailable("rank: " + std::to_string(hello.rank) + " of group " + hello.group +
                         " is taken by " + link_name(place->hello()));
    }
    place = link;
  }
  loop_.post([this, group = *group, link] { joined(group, link); });
  return {};
}

void Cluster::gone(const std::shared_ptr<control::WorkerLink>& link, const std::string& why) {
  const auto group = group_named(link->hello().group);
  if (!group) return;
  {
    const std::lock_guard lock(mutex_);
    Link& place = admitted_[*group][link->hello().rank];
    if (place != link) return;
    place = nullptr;
  }
  loop_.post([this, group = *group, link, why] { left(group, link, why); });
}

// --- On the loop ------------------------------------------------------------------------------

void Cluster::joined(size_t index, const Link& link) {
  const auto& hello = link->hello();
  log_info("coordinator", "worker joined",
           {{"worker", link_name(hello)}, {"backend", hello.backend}});
  groups_[index].links[hello.rank] = link;
  if (hello.rank == 0) groups_[index].vocabulary_sent = false;
  try_form(index);
}

void Cluster::left(size_t index, const Link& link, const std::string& why) {
  Group& group = groups_[index];
  const uint32_t rank = link->hello().rank;
  log_warn("coordinator", "worker gone", {{"worker", link_name(link->hello())}, {"why", why}});
  if (group.links[rank] != link) return;
  group.links[rank] = nullptr;
  lose(index,
       "rank " + std::to_string(rank) + " is gone, " + link_name(link->hello()) + ": " + why);
}

std::vector<uint32_t> Cluster::missing(const Group& group) const {
  std::vector<uint32_t> ranks;
  for (uint32_t rank = 0; rank < group.links.size(); ++rank) {
    if (group.links[rank] == nullptr) ranks.push_back(rank);
  }
  return ranks;
}

void Cluster::try_form(size_t index) {
  Group& group = groups_[index];
  if (group.state != State::kWaiting || group.pausing || !missing(group).empty()) return;
  const auto epoch = state_.mint_epoch();
  if (!epoch) {
    group.lost_because = "no epoch: " + epoch.error().message;
    log_error("coordinator", "epoch not persisted", {{"error", epoch.error().message}});
    return retry_later(index);
  }
  group.state = State::kForming;
  group.epoch = *epoch;
  group.formed.assign(group.links.size(), false);
  board_.begin(*epoch, static_cast<uint32_t>(group.links.size()));
  log_info("coordinator", "group forming",
           {{"group", plan_.groups[index].name}, {"epoch", epoch->value}});
  const Deadline by = Deadline::after(plan_.form_time);
  for (uint32_t rank = 0; rank < group.links.size(); ++rank) {
    auto answer = [this, index, epoch = *epoch, rank](Result<control::FormReply> reply) {
      loop_.post([this, index, epoch, rank, reply = std::move(reply)] {
        formed(index, epoch, rank, reply);
      });
    };
    group.links[rank]->form(form_request(index, rank), by, std::move(answer));
  }
}

control::FormGroup Cluster::form_request(size_t index, uint32_t rank) const {
  const GroupPlan& plan = plan_.groups[index];
  control::FormGroup form;
  form.epoch = groups_[index].epoch;
  form.rank = rank;
  form.ranks = plan.layout.ranks;
  form.profile_yaml = plan_.profile_yaml;
  form.granule_tokens = plan.layout.granule_tokens;
  form.device_kv_bytes = plan.device_kv_bytes;
  form.max_model_len = plan_.max_model_len;
  form.stores = plan_.stores;
  if (plan_.vocabulary.empty()) return form;
  form.vocabulary_digest = vocabulary_digest_;
  if (rank == 0 && !groups_[index].vocabulary_sent) form.vocabulary = plan_.vocabulary;
  return form;
}

void Cluster::formed(size_t index, Epoch epoch, uint32_t rank,
                     const Result<control::FormReply>& reply) {
  Group& group = groups_[index];
  if (group.state != State::kForming || group.epoch != epoch) return;
  const std::string who = "rank " + std::to_string(rank) + " did not form: ";
  if (!reply) {
    const bool late = reply.error().code == Code::kTimeout;
    return lose(index, who + reply.error().message,
                late ? std::vector<uint32_t>{rank} : std::vector<uint32_t>{});
  }
  if (const auto agrees = check_reply(index, *reply); !agrees) {
    return lose(index, who + agrees.error().message);
  }
  group.formed[rank] = true;
  if (rank == 0) group.vocabulary_sent = true;
  if (std::count(group.formed.begin(), group.formed.end(), false) != 0) return;
  group.state = State::kReady;
  group.failures = 0;
  group.lost_because.clear();
  log_info("coordinator", "group ready",
           {{"group", plan_.groups[index].name}, {"epoch", epoch.value}});
  callbacks_.on_ready(index);
}

Result<void> Cluster::check_reply(size_t index, const control::FormReply& reply) const {
  const GroupPlan& plan = plan_.groups[index];
  if (reply.layout != plan.layout.digest()) {
    return invalid("layout: the worker has " + to_hex(reply.layout) + ", the coordinator " +
                   to_hex(plan.layout.digest()));
  }
  if (reply.arena_blocks != plan.arena_blocks) {
    return invalid("arena: the worker has " + std::to_string(reply.arena_blocks) +
                   " blocks, the coordinator counts " + std::to_string(plan.arena_blocks));
  }
  return {};
}

void Cluster::lose(size_t index, const std::string& why,
                   const std::vector<uint32_t>& unresponsive) {
  Group& group = groups_[index];
  if (group.state == State::kWaiting) return;
  const bool was_ready = group.state == State::kReady;
  const std::string sentence = "group " + plan_.groups[index].name + " lost: " + why;
  log_error("coordinator", "group lost",
            {{"group", plan_.groups[index].name}, {"epoch", group.epoch.value}, {"why", why}});
  group.state = State::kWaiting;
  group.lost_because = why;
  // Whatever went wrong: the next incarnation does not count on what this one had.
  if (!was_ready) group.vocabulary_sent = false;
  ++group.failures;
  board_.end(group.epoch, sentence);
  rendezvous_.end(group.epoch, sentence);
  for (uint32_t rank = 0; rank < group.links.size(); ++rank) {
    if (group.links[rank] == nullptr) continue;
    group.links[rank]->disband(group.epoch, sentence);
    if (std::count(unresponsive.begin(), unresponsive.end(), rank) != 0) group.links[rank]->close();
  }
  retry_later(index);
  if (was_ready) callbacks_.on_lost(index, sentence);
}

void Cluster::retry_later(size_t index) {
  Group& group = groups_[index];
  if (group.pausing) return;
  group.pausing = true;
  loop_.post_after(pause_after(group.failures), [this, index] {
    groups_[index].pausing = false;
    try_form(index);
  });
}

GroupState Cluster::describe(size_t index) const {
  const Group& group = groups_[index];
  const GroupPlan& plan = plan_.groups[index];
  GroupState state;
  state.name = plan.name;
  state.epoch = group.epoch.value;
  state.ready = group.state == State::kReady;
  const auto absent = missing(group);
  if (state.ready) {
    state.state = "ready";
  } else if (group.state == State::kForming) {
    state.state = "forming";
  } else {
    state.state = absent.empty() ? "about to form" : "waiting for ranks " + join(absent);
  }
  if (!state.ready && !group.lost_because.empty()) {
    state.state = "lost: " + group.lost_because + "; " + state.state;
  }
  for (uint32_t rank = 0; rank < group.links.size(); ++rank) {
    RankState of_rank;
    of_rank.rank = rank;
    of_rank.joined = group.links[rank] != nullptr;
    if (of_rank.joined) {
      const auto& hello = group.links[rank]->hello();
      of_rank.node = hello.node;
      of_rank.pid = hello.pid;
      of_rank.backend = hello.backend;
    }
    state.ranks.push_back(std::move(of_rank));
  }
  state.arena_blocks = plan.arena_blocks;
  state.block_bytes_all = uint64_t{plan.layout.granule_tokens} * plan.layout.row_bytes_all();
  return state;
}

}  // namespace ebb::coordinator
