// What a test's environment asks of the emulated machine, for processes that tests cannot call
// into: see cuda_emulation.h. A word that means nothing ends the process: a test that asks for a
// fault and gets none would pass for nothing.
#include "kernels/cuda/emulation/environment.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace ebb::emulation {
namespace {

[[noreturn]] void refuse(const char* variable, const std::string& item) {
  std::fprintf(stderr, "%s: \"%s\" means nothing\n", variable, item.c_str());
  std::abort();
}

size_t number(const char* variable, const std::string& item, const std::string& text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) {
    refuse(variable, item);
  }
  return std::strtoull(text.c_str(), nullptr, 10);
}

template <class Take>
void each_item(const char* variable, const Take& take) {
  const char* text = std::getenv(variable);
  std::stringstream items(text == nullptr ? "" : text);
  for (std::string item; std::getline(items, item, ',');) take(item);
}

}  // namespace

Machine machine_of_environment() {
  constexpr const char* kVariable = "EBB_EMULATION_MACHINE";
  Machine machine;
  each_item(kVariable, [&](const std::string& item) {
    const size_t equals = std::min(item.find('='), item.size());
    const std::string name = item.substr(0, equals);
    const size_t value = number(kVariable, item, item.substr(std::min(equals + 1, item.size())));
    if (name == "devices") {
      machine.devices = static_cast<int>(value);
    } else if (name == "memory") {
      machine.memory = value;
    } else if (name == "driver") {
      machine.driver_version = static_cast<int>(value);
    } else if (name == "capability") {
      machine.capability = static_cast<int>(value);
    } else {
      refuse(kVariable, item);
    }
  });
  return machine;
}

std::vector<PlannedFailure> failures_of_environment() {
  constexpr const char* kVariable = "EBB_EMULATION_FAIL";
  std::vector<PlannedFailure> failures;
  each_item(kVariable, [&](const std::string& item) {
    const size_t first = item.find(':');
    const size_t second = item.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) refuse(kVariable, item);
    PlannedFailure failure;
    failure.function = item.substr(0, first);
    failure.calls =
        static_cast<unsigned>(number(kVariable, item, item.substr(first + 1, second - first - 1)));
    failure.error = static_cast<int>(number(kVariable, item, item.substr(second + 1)));
    failures.push_back(failure);
  });
  return failures;
}

}  // namespace ebb::emulation
