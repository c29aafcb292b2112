// Where tests find the real model and the golden files.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "models/gguf.h"
#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"

namespace ebb::testing {

/// Null, and a failed test, when the file is not there: a golden test that skips proves nothing.
inline std::unique_ptr<models::GgufFile> open_real_model() {
  const auto path = real_model_path();
  if (!path) {
    ADD_FAILURE() << kNoRealModel;
    return nullptr;
  }
  auto file = models::GgufFile::open(*path);
  if (file) return *std::move(file);
  ADD_FAILURE() << file.error().text();
  return nullptr;
}

/// A file of tests/golden; empty, and a failed test, when it cannot be read.
inline nlohmann::json read_golden(const std::string& name) {
  std::ifstream in(ebb::test::source_path("tests/golden/" + name));
  nlohmann::json golden = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(golden.is_discarded()) << "cannot read tests/golden/" << name;
  return golden;
}

}  // namespace ebb::testing
