// What must stand in the environment before libgomp and UCX are loaded. Called first in main.
#pragma once

namespace ebb::kernels {

/// Compute threads that wait must sleep, not spin: several processes share the cores, and a
/// spinning barrier costs its neighbours whole scheduler slices. libgomp reads its settings when it
/// is loaded, before main: so this sets OMP_WAIT_POLICY=passive and runs the program again (once).
/// Does nothing when the user has set a policy. If the program cannot be run again, it goes on as
/// it is: slower under contention, not wrong.
void prepare_process_environment(char** argv);

}  // namespace ebb::kernels
