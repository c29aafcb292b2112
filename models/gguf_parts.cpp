#include "models/gguf_parts.h"

#include <cstdio>

namespace ebb::models {
namespace {

constexpr const char* kCount = "split.count";
constexpr const char* kNumber = "split.no";
constexpr const char* kTensors = "split.tensors.count";
constexpr uint64_t kPartsMax = 4096;

/// "-00002-of-00003.gguf" for part 1 of 3.
std::string part_suffix(uint64_t part, uint64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05u-of-%05u.gguf", static_cast<unsigned>(part + 1),
                static_cast<unsigned>(count));
  return text;
}

std::string named(const char* key) { return "metadata " + std::string(key) + ": "; }

}  // namespace

Result<uint64_t> part_count(const GgufFile& first) {
  if (!first.has(kCount)) return uint64_t{1};
  const uint64_t count = EBB_TRY(first.get_u64(kCount));
  if (count <= 1) return uint64_t{1};
  if (count > kPartsMax)
    return invalid(named(kCount) + std::to_string(count) + " exceeds the limit of " +
                   std::to_string(kPartsMax) + " parts");
  const uint64_t part = EBB_TRY(first.get_u64(kNumber));
  if (part != 0)
    return invalid(named(kNumber) + "this is not the first of " + std::to_string(count) +
                   " parts; open the one that ends in " + part_suffix(0, count));
  return count;
}

Result<std::string> part_path(const std::string& first, uint64_t part, uint64_t count) {
  const std::string suffix = part_suffix(0, count);
  if (!first.ends_with(suffix))
    return invalid(named(kCount) + "this is the first of " + std::to_string(count) +
                   " parts, but its name does not end in " + suffix +
                   ", so that the others cannot be found");
  return first.substr(0, first.size() - suffix.size()) + part_suffix(part, count);
}

Result<void> check_part(const GgufFile& file, uint64_t part, uint64_t count) {
  const uint64_t stated = EBB_TRY(file.get_u64(kNumber));
  const uint64_t of = EBB_TRY(file.get_u64(kCount));
  if (stated == part && of == count) return {};
  return invalid(file.path() + ": is part " + std::to_string(stated) + " of " + std::to_string(of) +
                 " (counted from 0), wanted part " + std::to_string(part) + " of " +
                 std::to_string(count));
}

Result<void> check_tensor_count(const GgufFile& first, uint64_t tensors) {
  if (!first.has(kTensors)) return {};
  const uint64_t stated = EBB_TRY(first.get_u64(kTensors));
  if (stated == tensors) return {};
  return invalid(named(kTensors) + std::to_string(stated) + ", but the parts have " +
                 std::to_string(tensors) + " tensors together");
}

}  // namespace ebb::models
