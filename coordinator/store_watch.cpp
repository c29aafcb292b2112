#include "coordinator/store_watch.h"

#include <algorithm>

namespace ebb::coordinator {
namespace {

constexpr Millis kInterval{1000};
constexpr Millis kListTime{5000};
constexpr Millis kImpatient{100};  ///< while a store has not answered yet

}  // namespace

StoreWatch::StoreWatch(TaskLoop& loop, const ClusterConfig& config) : loop_(loop) {
  for (const StoreConfig& store : config.stores) {
    Watched watched;
    watched.config = store;
    watched.link = control::StoreLink::start(store.control_address, config.cluster_token,
                                             config.coordinator.heartbeat);
    stores_.push_back(std::move(watched));
  }
}

void StoreWatch::start() { ask(); }

void StoreWatch::ask() {
  for (size_t i = 0; i < stores_.size(); ++i) {
    auto answer = [this, i](Result<control::StoreStatus> status) {
      loop_.post([this, i, status = std::move(status)] {
        stores_[i].status = status ? std::optional(*status) : std::nullopt;
      });
    };
    stores_[i].link->status(Deadline::after(kInterval), std::move(answer));
  }
  const bool all_answered = std::all_of(stores_.begin(), stores_.end(), [](const Watched& store) {
    return store.status.has_value();
  });
  loop_.post_after(all_answered ? kInterval : kImpatient, [this] { ask(); });
}

std::vector<StoreState> StoreWatch::states() const {
  std::vector<StoreState> states;
  for (const auto& store : stores_) {
    StoreState state;
    state.name = store.config.name;
    state.address = store.config.data_address.text();
    state.connected = store.link->connected();
    state.problem = store.link->problem();
    if (state.connected) state.status = store.status;
    states.push_back(std::move(state));
  }
  return states;
}

void StoreWatch::list(const std::string& name, control::GranuleQuery query,
                      control::Answer<control::GranulePage> answer) {
  if (stores_.empty()) return answer(not_found("no store is configured"));
  std::string names;
  for (const Watched& store : stores_) {
    if (store.config.name == name || (name.empty() && stores_.size() == 1))
      return store.link->list(std::move(query), Deadline::after(kListTime), std::move(answer));
    names += (names.empty() ? "" : ", ") + store.config.name;
  }
  if (name.empty()) return answer(invalid("store: there are several, say which: " + names));
  answer(not_found("store: there is no " + name + "; stores: " + names));
}

bool StoreWatch::writable() const {
  if (stores_.empty()) return true;
  return std::any_of(stores_.begin(), stores_.end(), [](const Watched& store) {
    if (!store.link->connected() || !store.status) return false;
    const auto& tiers = store.status->tiers;
    return std::any_of(tiers.begin(), tiers.end(), [](const auto& tier) { return tier.writable; });
  });
}

}  // namespace ebb::coordinator
