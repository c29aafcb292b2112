// What this machine has for the plugin to run on, and why it has not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace ebb::kernels::cuda {

struct FoundDevice {
  int number = 0;
  std::string name;
  uint64_t memory_bytes = 0;
  int capability = 0;    ///< 90: compute capability 9.0
  std::string identity;  ///< of this GPU among all, in hexadecimal
};

struct Found {
  int driver_version = 0;   ///< 13000: CUDA 13.0; 0: no driver
  int runtime_version = 0;  ///< of this build
  std::vector<FoundDevice> devices;
  std::string why_none;  ///< a sentence, where there are no devices
};

/// Starts nothing on a device.
Found probe();

/// Errors: kUnsupported: no driver, a driver older than this build's CUDA, no such device, or a
/// device whose architecture this build has no code for. Says what was found and what is needed.
Result<void> check_usable(int device);

/// The architectures that this build has code for, "80, 90a".
std::string built_architectures();

}  // namespace ebb::kernels::cuda
