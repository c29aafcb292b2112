// The specification of kernels/records.h. Must not share code with the backends it judges.
#pragma once

#include <cstddef>
#include <functional>

#include "kernels/records.h"

namespace ebb::kernels {

/// Where the row of a slot lies in a layer's arena.
using RowOf = std::function<std::byte*(const KvRows& layer, uint32_t slot)>;
void reference_pack(const RecordBand& band, const RowOf& row_of, std::byte* frames);
/// Which were refused; frames that were checked are believed.
std::vector<uint32_t> reference_unpack(const RecordBand& band, const RowOf& row_of,
                                       const std::byte* frames, Frames are);

}  // namespace ebb::kernels
