// What every fuzz target holds: a refusal is an error of the kinds that bad input may get, short
// and printable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/result.h"

namespace ebb::fuzz {

inline std::span<const std::byte> bytes_of(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Whether messages may hold line breaks: only where a template wrote them.
enum class Lines { kOne, kMany };

inline void check_refusal(const Error& error, Lines lines = Lines::kOne) {
  constexpr size_t kMessageBytesMax = 4096;
  EBB_CHECK(error.code == Code::kInvalid || error.code == Code::kUnsupported ||
            error.code == Code::kExhausted || error.code == Code::kNotFound);
  EBB_CHECK(!error.message.empty() && error.message.size() <= kMessageBytesMax);
  if (lines == Lines::kMany) return;
  for (const char c : error.message) EBB_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

template <class T>
void check_refusal(const Result<T>& result, Lines lines = Lines::kOne) {
  if (!result) check_refusal(result.error(), lines);
}

/// Reads every byte, so that the sanitizers see what a view covers.
inline uint64_t touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum += static_cast<uint64_t>(b);
  return sum;
}

}  // namespace ebb::fuzz
