// Which collective a group uses: NCCL where every rank has a GPU to itself and the library, else
// Gloo. All ranks come to the same answer, because all read the same offers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/plugin.h"
#include "transport/collective/collective.h"

namespace ebb::worker {

/// What one rank leaves in the rendezvous: "nccl <identity of its GPU>", or "gloo <why>".
std::string collective_offer(const kernels::DeviceInfo& device, const std::string& why_no_nccl);

/// Why the ranks with these offers cannot use NCCL; empty: they can.
std::string why_no_nccl(const std::vector<std::string>& offers);

/// `plugin`: of the backend that owns `device`; null: the CPU. Errors: those of make_collective.
Result<std::unique_ptr<collective::Collective>> make_group_collective(
    const collective::CollectiveOptions& options, collective::Rendezvous rendezvous,
    const kernels::CudaPlugin* plugin, kernels::Device& device);

}  // namespace ebb::worker
