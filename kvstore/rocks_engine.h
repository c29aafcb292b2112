// RocksDB as the SSD tier uses it; rocks_engine.cpp is the only file that knows it. Decides
// nothing: when to flush, to merge or to delete, and whether there is room for it, is the tier's
// business.
//
// Two column families, flushed together (atomic flush, no write-ahead log: a cache may lose what
// was not flushed):
//   data              segment number (8 bytes, big-endian), key (24 bytes)  ->  body
//   default (index)   key (24 bytes)  ->  segment, info, checksum
// One write batch holds a granule's body and its index entry, so that a crash leaves both or
// neither, and a restart reads the small index only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kvstore/tier.h"

namespace ebb::kvstore {

/// Files of one segment.
struct SegmentFiles {
  uint64_t segment = 0;
  uint64_t bytes = 0;
  uint32_t upper_files = 0;  ///< written by flushes, not yet merged: cannot be deleted by segment
};
struct EngineFiles {
  std::vector<SegmentFiles> segments;  ///< ascending
  uint32_t index_upper_files = 0;
  SegmentFiles of(uint64_t segment) const;
};

/// Errors of all methods: kUnavailable with RocksDB's words. Thread: any; writers one at a time.
class RocksEngine {
 public:
  struct Impl;

  /// Errors: kUnavailable (in use by another process, or I/O), kCorrupt (unreadable as a whole).
  static Result<std::unique_ptr<RocksEngine>> open(const std::string& path, uint64_t segment_bytes);
  ~RocksEngine();

  /// Bodies into `segment`, and their index entries, in one batch.
  Result<void> write(uint64_t segment, std::span<const TierItem> items);
  /// Takes keys from the index; bodies stay until their segment goes.
  void forget(std::span<const GranuleKey> keys);
  Result<void> flush();

  /// Calls `use` with the body while it is pinned. Errors: kNotFound, kCorrupt.
  Result<void> read(uint64_t segment, const GranuleKey& key,
                    const std::function<void(std::span<const std::byte>)>& use);
  /// Entries of the index; nothing for one that fails its checksum. False from `visit` drops the
  /// entry. Returns false when a part of the index could not be read.
  bool scan_index(
      const std::function<bool(std::optional<GranuleInfo> info, uint64_t segment)>& visit);
  /// Bodies of a segment, until `visit` fails; parts that cannot be read are passed over.
  Result<void> scan_segment(
      uint64_t segment,
      const std::function<Result<void>(const GranuleKey&, std::span<const std::byte> body)>& visit);

  EngineFiles files() const;
  void merge_segment(uint64_t segment);
  void merge_index();
  /// Deletes a segment's files at once.
  void delete_segment(uint64_t segment);

 private:
  explicit RocksEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::kvstore
