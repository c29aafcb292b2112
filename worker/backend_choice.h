// What a worker computes with: the CPU, or a GPU by way of the CUDA plugin. Decided once, at start.
#pragma once

#include <string>

#include "base/cluster_config.h"
#include "kernels/cuda/plugin.h"
#include "kernels/ops.h"

namespace ebb::worker {

struct ChosenBackend {
  kernels::Backend backend;
  const kernels::CudaPlugin* plugin = nullptr;  ///< null: the CPU
  std::string note;  ///< with `auto`: why it is the CPU; empty: it is what was asked for
};

/// worker.backend of the config, for one of `ranks` ranks on this machine: cpu; cuda, or an error;
/// auto: cuda, or the CPU and a note that says why. Errors: kUnsupported (no plugin, no driver, an
/// old one, no such device, an architecture that the build has no code for), kExhausted.
Result<ChosenBackend> choose_backend(const WorkerConfig& config, uint32_t ranks, uint32_t rank);

/// What the plugin finds on this machine, as one line of JSON: {"plugin": path, "driver",
/// "runtime", "architectures", "devices": [...], "usable": bool, "why_not": sentence,
/// "ucx": {"version", "memory": "host, cuda"}}. What ebbctl doctor asks for.
std::string devices_report();

}  // namespace ebb::worker
