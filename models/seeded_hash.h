// A hash of strings and numbers that nobody outside can predict: tables are filled from model files
// and from clients' texts, which could otherwise be made so that all keys collide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace ebb::models {

class SeededHash {
 public:
  SeededHash() : seed_(seed_of_process()) {}

  /// Each half of the 128-bit product depends on all bits of both factors.
  uint64_t operator()(uint64_t number) const {
    return fold(number ^ seed_, 0x9E3779B97F4A7C15u ^ (seed_ << 1));
  }

  uint64_t operator()(std::string_view text) const {
    uint64_t hash = seed_ ^ text.size();
    while (text.size() >= 8) {
      hash = fold(load(text, 8) ^ hash, kStep);
      text.remove_prefix(8);
    }
    return fold(load(text, text.size()) ^ hash, kStep ^ seed_);
  }

 private:
  static uint64_t seed_of_process() {
    static const uint64_t kSeed = [] {
      std::random_device random;
      return (uint64_t{random()} << 32) ^ random();
    }();
    return kSeed;
  }
  static constexpr uint64_t kStep = 0xA0761D6478BD642F;

  static uint64_t load(std::string_view text, size_t bytes) {
    uint64_t word = 0;
    std::memcpy(&word, text.data(), bytes);
    return word;
  }
  static uint64_t fold(uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  uint64_t seed_;
};

}  // namespace ebb::models
