// What the tests of kvstore/ share: made-up granules with true checksums, a directory that goes
// away, waits.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/wait.h"
#include "kvstore/granule.h"
#include "kvstore/requests.h"
#include "kvstore/tier.h"

#define ASSERT_OK(expression)                                                   \
  do {                                                                          \
    const auto& ebb_test_result = (expression);                                 \
    ASSERT_TRUE(ebb_test_result.has_value()) << ebb_test_result.error().text(); \
  } while (false)
#define EXPECT_OK(expression)                                                   \
  do {                                                                          \
    const auto& ebb_test_result = (expression);                                 \
    EXPECT_TRUE(ebb_test_result.has_value()) << ebb_test_result.error().text(); \
  } while (false)
#define EXPECT_CODE(expression, expected)                                                \
  do {                                                                                   \
    const auto& ebb_test_result = (expression);                                          \
    ASSERT_FALSE(ebb_test_result.has_value());                                           \
    EXPECT_EQ(ebb_test_result.error().code, expected) << ebb_test_result.error().text(); \
  } while (false)

namespace ebb::kvstore {

class TempDir {
 public:
  TempDir() {
    std::string text = (std::filesystem::temp_directory_path() / "ebb-kvstore-XXXXXX").string();
    if (mkdtemp(text.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = text;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string path(const std::string& name = "") const {
    return name.empty() ? path_ : path_ + "/" + name;
  }

 private:
  std::string path_;
};

struct Granule {
  GranuleInfo info;
  std::vector<std::byte> body;
  TierItem tier_item() const { return {info, body}; }
  PutItem put_item() const { return {info, body}; }
};

struct Shape {
  uint16_t records = 16;
  uint32_t payload_bytes = 3072;
  uint16_t kind = 0;
  uint16_t band = 0;
};

/// The same number and shape: the same key and bytes.
inline Granule make_granule(uint64_t number, Shape shape = {}) {
  Granule granule;
  GranuleInfo& info = granule.info;
  DigestBuilder builder;
  info.key.digest = builder.add_u64(number).add_u64(shape.band).digest();
  info.key.band = shape.band;
  info.key.head_end = 2;
  info.key.kind = shape.kind;
  info.first = static_cast<Position>(number * shape.records % 1'000'000);
  info.records = shape.records;
  info.payload_bytes = shape.payload_bytes;
  granule.body.resize(info.body_bytes());
  std::mt19937_64 random(number * 1000003 + shape.band);
  const uint64_t frame = framed_bytes(info.payload_bytes);
  for (uint32_t record = 0; record < info.records; ++record) {
    std::span<std::byte> bytes(granule.body.data() + record * frame, frame);
    for (size_t i = sizeof(RecordHead); i + 8 <= frame; i += 8) {
      const uint64_t word = random();
      std::memcpy(bytes.data() + i, &word, 8);
    }
    seal_record(bytes, info.key, info.first + record);
  }
  return granule;
}

/// The asked-for frames of a granule, side by side.
inline std::vector<std::byte> frames_of(const Granule& granule, uint32_t bitmap) {
  std::vector<std::byte> frames;
  const uint64_t frame = framed_bytes(granule.info.payload_bytes);
  for (uint32_t bit = 0; bit < granule.info.records; ++bit) {
    if ((bitmap >> bit & 1) == 0) continue;
    const auto* from = granule.body.data() + bit * frame;
    frames.insert(frames.end(), from, from + frame);
  }
  return frames;
}

inline GetItem ask(const Granule& granule, uint32_t bitmap = ~0u) {
  GetItem item = whole(granule.info);
  item.bitmap &= bitmap;
  return item;
}

/// Polls `condition` until it holds; false after `limit`.
inline bool eventually(const std::function<bool()>& condition, Millis limit = Millis(10000)) {
  const Deadline by = Deadline::after(limit);
  while (!condition()) {
    if (by.passed()) return false;
    std::this_thread::sleep_for(Millis(2));
  }
  return true;
}

}  // namespace ebb::kvstore
