// See backend_choice.h.
#include "worker/backend_choice.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/cuda_plugin_loader.h"
#include "transport/data/ucx_context.h"
#include "worker/allowed_cpus.h"

namespace ebb::worker {
namespace {

Result<ChosenBackend> on_cpu(const WorkerConfig& config, uint32_t ranks) {
  const uint32_t cpus = allowed_cpus();
  kernels::CpuOptions options;
  options.decode_threads =
      config.decode_threads > 0 ? config.decode_threads : std::max(1u, cpus / ranks);
  options.bulk_threads = config.bulk_threads > 0 ? config.bulk_threads : cpus;
  ChosenBackend chosen;
  chosen.backend = EBB_TRY(kernels::make_cpu_backend(options));
  return chosen;
}

Result<ChosenBackend> on_cuda(const WorkerConfig& config, uint32_t rank) {
  kernels::CudaOptions options;
  options.device = EBB_TRY(cuda_device_of(config, rank));
  ChosenBackend chosen;
  chosen.plugin = EBB_TRY(kernels::load_cuda_plugin());
  chosen.backend = EBB_TRY(chosen.plugin->make_backend(options));
  return chosen;
}

}  // namespace

Result<ChosenBackend> choose_backend(const WorkerConfig& config, uint32_t ranks, uint32_t rank) {
  if (config.backend == "cpu") return on_cpu(config, ranks);
  auto cuda = on_cuda(config, rank);
  if (cuda) return cuda;
  if (config.backend == "cuda") return with_context("worker.backend is cuda", cuda.error());
  auto cpu = EBB_TRY(on_cpu(config, ranks));
  cpu.note = cuda.error().message;
  return cpu;
}

namespace {

/// What the network can reach, of all this.
nlohmann::json ucx_report() {
  const auto found = data::find_ucx();
  if (!found) return {{"why_not", found.error().message}};
  return {{"version", found->version}, {"memory", found->memory.text()}};
}

}  // namespace

std::string devices_report() {
  nlohmann::json report{{"plugin", kernels::cuda_plugin_paths().front()}, {"usable", false}};
  const auto plugin = kernels::load_cuda_plugin();
  if (!plugin) {
    report["why_not"] = plugin.error().message;
  } else {
    const kernels::CudaFound found = (*plugin)->probe();
    report["driver"] = found.driver;
    report["runtime"] = found.runtime;
    report["architectures"] = found.architectures;
    report["devices"] = found.devices;
    report["usable"] = found.why_none.empty();
    report["why_not"] = found.why_none;
  }
  report["ucx"] = ucx_report();
  return report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace ebb::worker
