// Faults and machines that the environment asks for.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/emulation/cuda_emulation.h"

namespace ebb::emulation {

struct PlannedFailure {
  std::string function;
  unsigned calls = 0;
  int error = 0;
};

/// EBB_EMULATION_MACHINE, "driver=12020,devices=1,capability=70,memory=1000000"; what it does not
/// say is as in Machine.
Machine machine_of_environment();
/// EBB_EMULATION_FAIL, "cudaMalloc:3:2,lost:500:719": as fail_call(), by commas.
std::vector<PlannedFailure> failures_of_environment();

}  // namespace ebb::emulation
