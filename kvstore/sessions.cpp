#include "kvstore/sessions.h"

namespace ebb::kvstore {
namespace {

std::string epoch_text(Epoch epoch) { return std::to_string(epoch.value); }

}  // namespace

Result<std::vector<uint64_t>> Sessions::hello(uint64_t connection, const std::string& node,
                                              Epoch epoch, const wire::Hello& hello) {
  auto known = groups_.find(hello.group);
  if (known != groups_.end() && epoch < known->second.epoch) {
    return invalid("epoch " + epoch_text(epoch) + " of group " + hello.group + " is over: epoch " +
                   epoch_text(known->second.epoch) + " has said hello");
  }
  std::vector<uint64_t> ended;
  if (known == groups_.end()) {
    if (groups_.size() >= kGroupsMax)
      return exhausted("more than " + std::to_string(kGroupsMax) + " groups");
    known = groups_.emplace(hello.group, Group{epoch, hello.layout, {}}).first;
  } else if (epoch > known->second.epoch) {
    for (auto& [name, session] : known->second.nodes) {
      session->ended = true;
      ended.push_back(session->id);
    }
    known->second = Group{epoch, hello.layout, {}};
  }
  Group& group = known->second;
  if (group.layout != hello.layout) {
    return invalid("layout " + to_hex(hello.layout) + " of node " + node + ": group " +
                   hello.group + " uses layout " + to_hex(group.layout) + " in epoch " +
                   epoch_text(epoch));
  }
  auto& session = group.nodes[node];
  if (!session) {
    if (group.nodes.size() > kNodesMax) {
      group.nodes.erase(node);
      return exhausted("more than " + std::to_string(kNodesMax) + " nodes in group " + hello.group);
    }
    session = std::make_shared<Session>(
        Session{++ids_, node, hello.group, epoch, hello.layout, hello.record_bytes, false});
  } else if (session->record_bytes != hello.record_bytes) {
    return invalid("record_bytes of node " + node +
                   " differ from those of its earlier hello in epoch " + epoch_text(epoch));
  }
  connections_[connection] = session;
  return ended;
}

Result<std::shared_ptr<const Session>> Sessions::session_of(uint64_t connection,
                                                            Epoch epoch) const {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return invalid("request before hello");
  const Session& session = *found->second;
  if (epoch != session.epoch) {
    return invalid("request of epoch " + epoch_text(epoch) + " on a connection of epoch " +
                   epoch_text(session.epoch));
  }
  if (session.ended) {
    return invalid("epoch " + epoch_text(epoch) + " of group " + session.group + " is over");
  }
  return std::shared_ptr<const Session>(found->second);
}

Result<void> check_bands(const Session& session, const std::vector<PutItem>& items) {
  for (const PutItem& item : items) {
    const GranuleInfo& info = item.info;
    if (info.key.band >= session.record_bytes.size()) {
      return invalid(to_text(info.key) + ": band " + std::to_string(info.key.band) +
                     ", the hello named " + std::to_string(session.record_bytes.size()) + " bands");
    }
    if (info.payload_bytes != session.record_bytes[info.key.band]) {
      return invalid(to_text(info.key) + ": payload_bytes " + std::to_string(info.payload_bytes) +
                     ", the hello named " + std::to_string(session.record_bytes[info.key.band]));
    }
  }
  return {};
}

}  // namespace ebb::kvstore
