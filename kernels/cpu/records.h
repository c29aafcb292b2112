// Records of KV rows (kernels/records.h), one after the other: a record's rows are summed while
// they are still in the cache.
#pragma once

#include "kernels/records.h"

namespace ebb::kernels::cpu {

/// Records [begin, end) of the band.
void pack(const RecordBand& band, uint64_t begin, uint64_t end, std::byte* frames);
/// refused[i] = 1 for those that were not written.
void unpack(const RecordBand& band, uint64_t begin, uint64_t end, const std::byte* frames,
            Frames are, uint8_t* refused);

}  // namespace ebb::kernels::cpu
