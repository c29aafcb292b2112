// The two numbers that must never be given out twice, across restarts: epochs and sequence ids.
// Persisted before use in run_dir/coordinator/state.json, by an atomic rename after fsync.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/ids.h"
#include "base/result.h"

namespace ebb::coordinator {

/// All methods any thread; minting may wait for the disk.
class StateFile {
 public:
  /// Makes the folder. A missing file means a new cluster. Errors: kCorrupt (a file that is not
  /// ours: names it; its numbers may not be guessed), kUnavailable (the file system refuses).
  static Result<std::unique_ptr<StateFile>> open(const std::string& folder);

  Result<Epoch> mint_epoch();
  /// Writes once for every kSequenceBlock ids; what is left of a block is skipped after a restart.
  Result<SeqId> mint_sequence();

  static constexpr uint64_t kSequenceBlock = 1024;

 private:
  explicit StateFile(std::string folder) : folder_(std::move(folder)) {}
  Result<void> load();
  Result<void> save(uint64_t epoch, uint64_t sequences_below) const;

  const std::string folder_;
  std::mutex mutex_;
  uint64_t epoch_ = 0;  ///< the last one given out
  uint64_t next_sequence_ = 1;
  uint64_t sequences_below_ = 1;  ///< on disk: ids below may have been given out
};

}  // namespace ebb::coordinator
