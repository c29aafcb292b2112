// Records of KV rows, made and checked on the device. A record is one token in the layers of one
// band:
//   crc (4 bytes), position (4 bytes), then per layer the row as it lies in the arena
// with crc = CRC-32C over the rows, the name of the granule (24 bytes) and the position: what
// kvstore/granule.h calls a framed record. The host has neither to bring rows together nor to read
// them.
#pragma once

#include <array>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// The 24 bytes of a granule's key, which a record's checksum covers.
using RecordName = std::array<uint32_t, 6>;

struct Record {
  uint32_t slot = 0;  ///< the same in every layer of a band
  Position position = 0;
  uint32_t name = 0;  ///< which of the names
};

struct RecordBand {
  KvShape shape;
  std::span<const KvRows> layers;
  std::span<const RecordName> names;
  std::span<const Record> records;
  uint64_t payload_bytes() const { return uint64_t{layers.size()} * shape.row_bytes(); }
  uint64_t frame_bytes() const { return 8 + payload_bytes(); }
};

/// Record i to frames + i * frame_bytes(), host memory; waits. A row's size must be a multiple
/// of 4.
void pack_records(CudaContext& context, const RecordBand& band, std::byte* frames);

/// The rows of record i, which lies at frames + i * frame_bytes() in host memory, to its slot in
/// every layer; waits. Records whose position or checksum is not theirs are not written: returns
/// which.
std::vector<uint32_t> unpack_records(CudaContext& context, const RecordBand& band,
                                     const std::byte* frames);

}  // namespace ebb::kernels::cuda
