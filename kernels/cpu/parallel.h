// Threads of the CPU backend: a loop over independent tasks, dealt as threads become free.
#pragma once

#include <cstdint>

namespace ebb::kernels::cpu {

/// Calls body(task) once for each task in [0, tasks), on up to `threads` threads (this one among them), and returns
/// when all have run. The order is ascending, but any thread may take any task: results must not depend on it.
template <class Body>
void parallel_tasks(uint32_t threads, uint64_t tasks, const Body& body) {
  if (threads <= 1 || tasks <= 1) {
    for (uint64_t task = 0; task < tasks; ++task) body(task);
    return;
  }
  const int team = static_cast<int>(tasks < threads ? tasks : threads);
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
  for (uint64_t task = 0; task < tasks; ++task) body(task);
}

}  // namespace ebb::kernels::cpu
