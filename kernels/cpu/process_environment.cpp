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
  // By its real path: a process started through /proc/self/exe would be called "exe" in every list.
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return;
  path[length] = 0;
  execv(path, argv);
}

}  // namespace ebb::kernels
