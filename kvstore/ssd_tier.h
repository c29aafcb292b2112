// Granules on disk. Decides where in RocksDB they lie and what may be written; rocks_engine.h says
// how. All methods: any thread, and all of them may block on the disk; so never on the messenger's
// thread nor on the store's.
//
// Bodies are written in segments that are deleted as files, as a whole: space comes back at once
// and the quota holds in real blocks. A segment that is mostly garbage has its survivors moved
// first. The disk is never filled: RocksDB ends the process there, so every write looks at the free
// space before.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kvstore/disk_space.h"
#include "kvstore/tier.h"

namespace ebb::kvstore {

/// What opening found. Bytes are of bodies.
struct RestartReport {
  uint64_t granules = 0;
  uint64_t bytes = 0;
  uint64_t corrupt = 0;   ///< index entries that failed their checksum, or whose segment is gone
  uint64_t left_out = 0;  ///< entries beyond what a scan may take: dropped
  double seconds = 0;
  bool rebuilt = false;  ///< the old content was unreadable as a whole and was set aside
  std::string note;      ///< why rebuilt
};

class SsdTier final : public Tier {
 public:
  /// Makes `path` where it does not exist. Errors: kInvalid (quota too small), kUnavailable (in use
  /// by another process, not writable), kExhausted (the file system is full).
  static Result<std::unique_ptr<SsdTier>> open(const std::string& path, const DiskLimits& limits);
  ~SsdTier() override;

  TierKind kind() const override { return TierKind::kSsd; }
  /// Refuses before the quota or the reserve is touched; reclaims garbage first where that helps.
  Result<void> put(std::span<const TierItem> items) override;
  Result<ReadOutcome> read(const GetItem& item, std::span<std::byte> out) override;
  bool contains(const GranuleKey& key) const override;
  void remove(std::span<const GranuleKey> keys) override;
  uint64_t charge(uint64_t body_bytes) const override;
  TierUsage usage() const override;

  /// Returns when all that was put before survives a kill. Errors: kExhausted (the file system is
  /// full: what waits stays in memory), kUnavailable.
  Result<void> flush();
  bool durable(const GranuleKey& key) const;
  const RestartReport& restart() const;
  std::vector<GranuleInfo> oldest_first() const;
  /// The largest body that is taken.
  uint64_t body_max() const;

 private:
  struct Impl;
  explicit SsdTier(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::kvstore
