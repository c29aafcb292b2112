// The number type of K and V in the arena and in every record made from it.
#pragma once

#include <cstdint>

namespace ebb::kernels {

/// kF32 keeps K and V as they were computed; kBF16 rounds them, nearest even, at half the bytes.
enum class KvElement : uint8_t { kBF16, kF32 };

constexpr uint32_t kv_element_bytes(KvElement element) {
  return element == KvElement::kF32 ? 4 : 2;
}

}  // namespace ebb::kernels
