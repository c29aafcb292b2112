// The model itself instead of a service: the same request, checked and scheduled by the same code,
// gives the same tokens. Only this backend sees inside: distributions, attention mass, sets of
// teacher-forced steps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "score/backend.h"

namespace ebb::score {

struct LocalBackendOptions {
  std::string model;           ///< file or folder
  std::string profile;         ///< selection profile; empty: none, dense only
  std::string controller;      ///< of policy adore; empty: none, and no such policy
  uint32_t max_model_len = 0;  ///< tokens; 0: the model's own context
  uint32_t threads = 0;        ///< 0: all CPUs that the process may use
  std::string device = "cpu";  ///< cpu, cuda, auto: as worker.backend
};

/// Loads the model. Errors: kInvalid, kNotFound, kUnsupported, with the option's name.
Result<std::unique_ptr<Backend>> make_local_backend(const LocalBackendOptions& options);

/// What must stand in the environment before the compute libraries are loaded: first in main.
void prepare_local_process(char** argv);

}  // namespace ebb::score
