// A name for a file of one test, gone afterwards.
#pragma once

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>

namespace ebb::testing {

class TempFile {
 public:
  explicit TempFile(const std::string& suffix = "") {
    static std::atomic<int> count{0};
    path_ = (std::filesystem::temp_directory_path() /
             ("ebb-test-" + std::to_string(getpid()) + "-" + std::to_string(count++) + suffix))
                .string();
  }
  ~TempFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace ebb::testing
