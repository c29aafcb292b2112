#include "kernels/cpu/process_environment.h"

#include <unistd.h>

#include <cstdlib>

namespace ebb::kernels {

void prepare_process_environment(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 1);
  // Read at library load as well: memory hooks that a CPU-only process has no use for, and fault
  // handlers of UCX's own.
  setenv("UCX_MEM_EVENTS", "n", 0);
  setenv("UCX_HANDLE_ERRORS", "none", 0);
  setenv("UCX_WARN_UNUSED_ENV_VARS", "n", 0);
  execv("/proc/self/exe", argv);
}

}  // namespace ebb::kernels
