// Where tests find the real model and the golden files.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/gguf.h"
#include "tests/support/tree_paths.h"

namespace ebb::models::testing {

inline std::string cache_dir() {
  if (const char* cache = std::getenv("EBB_CACHE"); cache != nullptr && *cache != 0) return cache;
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.cache/ebb";
}

inline std::string real_model_path() {
  return cache_dir() + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

/// Null, and a failed test, when the file is not there: a golden test that skips proves nothing.
inline std::unique_ptr<GgufFile> open_real_model() {
  auto file = GgufFile::open(real_model_path());
  if (file) return *std::move(file);
  ADD_FAILURE() << file.error().text()
                << "\nThese tests need the default model: run deploy/fetch_model.sh";
  return nullptr;
}

/// A file of tests/golden; empty, and a failed test, when it cannot be read.
inline nlohmann::json read_golden(const std::string& name) {
  std::ifstream in(ebb::test::source_path("tests/golden/" + name));
  nlohmann::json golden = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(golden.is_discarded()) << "cannot read tests/golden/" << name;
  return golden;
}

}  // namespace ebb::models::testing
