// A file mapped read-only. Internal to models/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace ebb::models {

/// Immutable: all methods any thread. A file that shrinks while it is mapped raises SIGBUS in
/// whoever reads the lost pages: model files must be replaced by rename, never written in place.
class MappedFile {
 public:
  /// Errors: kNotFound; kInvalid (not a regular file, empty, or why it cannot be opened or mapped).
  static Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Of the very file that is mapped, whatever its path names by now; for reading it.
  int descriptor() const { return descriptor_; }

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes, int descriptor)
      : path_(std::move(path)), bytes_(bytes), descriptor_(descriptor) {}
  std::string path_;
  std::span<const std::byte> bytes_;
  int descriptor_;
};

/// The pages that lie wholly in [data, data + bytes) of a mapping leave this process: they no
/// longer count as its memory, and come back from the page cache or the disk when touched.
void forget_mapped_pages(const std::byte* data, uint64_t bytes);

/// The whole of a small file. Errors: as MappedFile::open; kInvalid above `bytes_max` (names the
/// limit).
Result<std::string> read_small_file(const std::string& path, uint64_t bytes_max);

}  // namespace ebb::models
