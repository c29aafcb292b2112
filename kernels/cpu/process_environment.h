// What must stand in the environment before libgomp and UCX are loaded. Called first in main.
#pragma once

namespace ebb::kernels {

/// Both read their settings when they are loaded, before main: so this sets them and runs the
/// program again (once). UCX: no memory hooks, no fault handlers of its own. libgomp (it comes with
/// oneDNN; the compute threads are our own): should a team ever be started, its threads sleep when
/// they wait, since a spinning barrier costs its neighbours on shared cores whole scheduler slices.
/// Does nothing when the user has set OMP_WAIT_POLICY. If the program cannot be run again, it goes
/// on as it is: slower under contention, not wrong.
void prepare_process_environment(char** argv);

}  // namespace ebb::kernels
