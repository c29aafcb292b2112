// Puts the CPU backend together.
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/isa.h"
#include "kernels/ops.h"

namespace ebb::kernels {

Result<Backend> make_cpu_backend(const CpuOptions& options) {
  if (options.decode_threads == 0 || options.bulk_threads == 0) {
    return invalid("cpu backend: decode_threads and bulk_threads must be at least 1");
  }
  const cpu::InnerKernels* inner = EBB_TRY(cpu::choose_kernels(options.isa_max));
  return Backend{std::make_unique<cpu::CpuDevice>(inner->isa),
                 std::make_unique<cpu::CpuOps>(options, *inner)};
}

}  // namespace ebb::kernels
