// Puts the CPU backend together.
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/isa.h"
#include "kernels/ops.h"

namespace ebb::kernels {
namespace {

constexpr uint32_t kThreadsMax = 1024;

}  // namespace

Result<Backend> make_cpu_backend(const CpuOptions& options) {
  for (const uint32_t threads : {options.decode_threads, options.bulk_threads}) {
    if (threads == 0 || threads > kThreadsMax) {
      return invalid("cpu backend threads " + std::to_string(threads) + ": must be 1 to " +
                     std::to_string(kThreadsMax));
    }
  }
  const cpu::InnerKernels* inner = EBB_TRY(cpu::choose_kernels(options.isa_max));
  return Backend{std::make_unique<cpu::CpuDevice>(inner->isa),
                 std::make_unique<cpu::CpuOps>(options, *inner)};
}

}  // namespace ebb::kernels
