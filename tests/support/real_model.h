// Where tests find the real model's file: EBB_MODEL, or the cache that deploy/fetch_model.sh fills.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace ebb::testing {

/// Nothing when the file is not there. Tests that need it then fail with kNoRealModel: a test that
/// skips proves nothing.
inline std::optional<std::string> real_model_path() {
  auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  std::string path = variable("EBB_MODEL");
  if (path.empty()) {
    std::string cache = variable("EBB_CACHE");
    if (cache.empty()) cache = variable("HOME") + "/.cache/ebb";
    path = cache + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  }
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  return path;
}

constexpr const char* kNoRealModel = "this test needs the default model: run deploy/fetch_model.sh";

}  // namespace ebb::testing
