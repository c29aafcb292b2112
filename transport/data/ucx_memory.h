// Which memory UCX can send from and receive into: Debian's knows the host's only; builds with CUDA
// know a GPU's too. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace ebb::data {

/// What UCX answers: bit i is memory of type i (ucs_memory_type).
struct UcxMemory {
  uint64_t types = 1;
  bool cuda() const;
  std::string text() const;  ///< "host, cuda"
};

}  // namespace ebb::data
