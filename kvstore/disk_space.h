// How much may still be written: the tier's quota and the file system's reserve. The storage engine
// must never meet a full disk (it ends the process there), so every write asks here first.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ebb::kvstore {

struct DiskLimits {
  uint64_t quota_bytes = 0;    ///< of the tier's directory, in real blocks
  uint64_t reserve_bytes = 0;  ///< of the file system, never used (at most a tenth of it)
};

/// Blocks that the files in `directory` take. Files that vanish while we look count nothing.
uint64_t blocks_in(const std::string& directory);

struct FileSystemRoom {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  ///< for us, not for root
};
/// Errors: kUnavailable.
Result<FileSystemRoom> file_system_room(const std::string& directory);

/// What of `room` may not be used.
uint64_t effective_reserve(const DiskLimits& limits, const FileSystemRoom& room);
/// Errors: kExhausted, with both figures, when writing `bytes` would enter the reserve.
Result<void> check_reserve(const DiskLimits& limits, const FileSystemRoom& room, uint64_t bytes);

}  // namespace ebb::kvstore
