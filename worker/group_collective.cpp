// See group_collective.h.
#include "worker/group_collective.h"

#include <set>

#include "base/log.h"

namespace ebb::worker {
namespace {

constexpr const char* kNccl = "nccl ";
constexpr const char* kGloo = "gloo ";

/// Every rank's offer, in rank order.
Result<std::vector<std::string>> exchange_offers(const collective::CollectiveOptions& options,
                                                 const collective::Rendezvous& rendezvous,
                                                 const std::string& mine) {
  const std::string prefix = "epoch" + std::to_string(options.epoch.value) + "/collective-kind/";
  EBB_TRY_VOID(rendezvous.put(prefix + std::to_string(options.rank), mine));
  std::vector<std::string> offers(options.size, mine);
  for (uint32_t rank = 0; rank < options.size; ++rank) {
    if (rank == options.rank) continue;
    offers[rank] = EBB_TRY(rendezvous.get(prefix + std::to_string(rank), options.form_by));
  }
  return offers;
}

}  // namespace

std::string collective_offer(const kernels::DeviceInfo& device, const std::string& why_no_nccl) {
  if (device.identity.empty()) return kGloo + ("the device is " + device.name);
  if (!why_no_nccl.empty()) return kGloo + why_no_nccl;
  return kNccl + device.identity;
}

std::string why_no_nccl(const std::vector<std::string>& offers) {
  std::set<std::string> devices;
  for (size_t rank = 0; rank < offers.size(); ++rank) {
    const std::string& offer = offers[rank];
    const std::string of_rank = "rank " + std::to_string(rank);
    if (!offer.starts_with(kNccl))
      return of_rank + ": " + offer.substr(std::min(offer.find(' ') + 1, offer.size()));
    if (!devices.insert(offer).second) return of_rank + " shares its GPU with another rank";
  }
  return "";
}

Result<std::unique_ptr<collective::Collective>> make_group_collective(
    const collective::CollectiveOptions& options, collective::Rendezvous rendezvous,
    const kernels::CudaPlugin* plugin, kernels::Device& device) {
  if (options.size == 1) return collective::make_collective(options, std::move(rendezvous));
  const std::string mine =
      collective_offer(device.info(), plugin == nullptr ? "no GPU" : plugin->why_no_collective());
  const std::string why = why_no_nccl(EBB_TRY(exchange_offers(options, rendezvous, mine)));
  if (why.empty()) {
    log_info("worker", "collective", {{"by", "NCCL"}});
    return plugin->make_collective(device, options, rendezvous);
  }
  if (plugin != nullptr) log_info("worker", "collective", {{"by", "Gloo"}, {"why", why}});
  return collective::make_collective(options, std::move(rendezvous));
}

}  // namespace ebb::worker
