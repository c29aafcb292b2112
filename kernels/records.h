// Records of KV rows: what leaves the arena for a store and comes back. A record is one token in
// the layers of one band:
//   crc (4 bytes), position (4 bytes), then per layer the row as it lies in the arena
// with crc = CRC-32C over the rows, the name of the granule (24 bytes) and the position: what
// kvstore/granule.h calls a framed record. Backends make and check them where the rows are.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "kernels/ops.h"

namespace ebb::kernels {

/// The 24 bytes of a granule's key, which a record's checksum covers.
using RecordName = std::array<uint32_t, 6>;

struct Record {
  uint32_t slot = 0;  ///< the same in every layer of a band
  Position position = 0;
  uint32_t name = 0;  ///< which of the names
};

/// Spans are read before the call returns; the arena until the transfer is over.
struct RecordBand {
  KvShape shape;
  std::span<const KvRows> layers;
  std::span<const RecordName> names;
  std::span<const Record> records;
  MemoryKind frames_in = MemoryKind::kHost;  ///< where their frames lie
  uint64_t payload_bytes() const { return uint64_t{layers.size()} * shape.row_bytes(); }
  uint64_t frame_bytes() const { return 8 + payload_bytes(); }
};

/// Whether somebody has checked the frames already; a backend may check them all the same.
enum class Frames { kUnchecked, kChecked };

/// Records under way between the arena and their frames. Frames must stay, and must not be touched
/// by the host, until it is over. Engine thread, as its operations.
class Transfer {
 public:
  virtual ~Transfer() = default;
  /// Whether it is over; never waits. After an error it is: wait() has the error.
  virtual bool done() = 0;
  /// Waits until it is over. Which records (ascending) were not written to their slots because
  /// their position or checksum is not theirs: unpacking only. Errors: kInternal (the device is
  /// lost): nothing may then be believed of the frames or the rows.
  virtual Result<std::vector<uint32_t>> wait() = 0;
};

/// One that was over when it was made.
class FinishedTransfer final : public Transfer {
 public:
  explicit FinishedTransfer(std::vector<uint32_t> refused = {}) : refused_(std::move(refused)) {}
  bool done() override { return true; }
  Result<std::vector<uint32_t>> wait() override { return refused_; }

 private:
  std::vector<uint32_t> refused_;
};

}  // namespace ebb::kernels
