#include "transport/data/ucx_memory.h"

#include <ucs/memory/memory_type.h>

namespace ebb::data {

bool UcxMemory::cuda() const { return (types >> UCS_MEMORY_TYPE_CUDA & 1) != 0; }

std::string UcxMemory::text() const {
  std::string names;
  for (int type = 0; type < 64; ++type) {
    if ((types >> type & 1) == 0) continue;
    if (!names.empty()) names += ", ";
    // A newer library may know types that this build has no name for.
    names +=
        type < UCS_MEMORY_TYPE_LAST ? ucs_memory_type_names[type] : "type " + std::to_string(type);
  }
  return names.empty() ? "none" : names;
}

}  // namespace ebb::data
