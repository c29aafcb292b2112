// Writes GGUF files for tests: any metadata, any tensors, right by default and wrong on request.
// Header-only test support; what a llama model needs is in tiny_llama.h.
#pragma once

#include <cstdint>
#include <fstream>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "models/gguf.h"
#include "tests/support/weight_codec.h"

namespace ebb::testing {

/// A string as GGUF has it: 64-bit length, bytes.
inline std::string gguf_string(std::string_view text) {
  std::string out;
  append_raw(out, uint64_t{text.size()});
  out += text;
  return out;
}

class GgufWriter {
 public:
  enum Type : uint32_t {
    kU8,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kF32,
    kBool,
    kString,
    kArray,
    kU64,
    kI64,
    kF64
  };

  uint32_t version = 3;
  uint64_t alignment = 32;               ///< used for placing; written only by put()
  std::optional<uint64_t> claimed_keys;  ///< instead of the real count
  std::optional<uint64_t> claimed_tensors;

  /// A key with any type number and any bytes: the way in for files that are wrong.
  GgufWriter& put_raw(std::string_view key, uint32_t type, std::string_view value) {
    entries_ += gguf_string(key);
    append_raw(entries_, type);
    entries_ += value;
    ++keys_;
    return *this;
  }
  GgufWriter& put_u8(std::string_view key, uint8_t v) { return put_number(key, kU8, v); }
  GgufWriter& put_i8(std::string_view key, int8_t v) { return put_number(key, kI8, v); }
  GgufWriter& put_u16(std::string_view key, uint16_t v) { return put_number(key, kU16, v); }
  GgufWriter& put_i16(std::string_view key, int16_t v) { return put_number(key, kI16, v); }
  GgufWriter& put_u32(std::string_view key, uint32_t v) { return put_number(key, kU32, v); }
  GgufWriter& put_i32(std::string_view key, int32_t v) { return put_number(key, kI32, v); }
  GgufWriter& put_u64(std::string_view key, uint64_t v) { return put_number(key, kU64, v); }
  GgufWriter& put_i64(std::string_view key, int64_t v) { return put_number(key, kI64, v); }
  GgufWriter& put_f32(std::string_view key, float v) { return put_number(key, kF32, v); }
  GgufWriter& put_f64(std::string_view key, double v) { return put_number(key, kF64, v); }
  GgufWriter& put_bool(std::string_view key, bool v) { return put_number(key, kBool, uint8_t{v}); }
  GgufWriter& put_string(std::string_view key, std::string_view v) {
    return put_raw(key, kString, gguf_string(v));
  }
  GgufWriter& put_strings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = array_head(kString, values.size());
    for (const std::string& v : values) bytes += gguf_string(v);
    return put_raw(key, kArray, bytes);
  }
  GgufWriter& put_i32s(std::string_view key, const std::vector<int32_t>& values) {
    std::string bytes = array_head(kI32, values.size());
    for (int32_t v : values) append_raw(bytes, v);
    return put_raw(key, kArray, bytes);
  }
  GgufWriter& put_f32s(std::string_view key, const std::vector<float>& values) {
    std::string bytes = array_head(kF32, values.size());
    for (float v : values) append_raw(bytes, v);
    return put_raw(key, kArray, bytes);
  }
  /// The first bytes of an array value: element type and count.
  static std::string array_head(uint32_t element, uint64_t count) {
    std::string out;
    append_raw(out, element);
    append_raw(out, count);
    return out;
  }

  /// A tensor behind the one before, aligned. `dimensions` as in the file: columns first.
  GgufWriter& add_tensor(std::string_view name, std::vector<uint64_t> dimensions,
                         models::WeightType type, const std::vector<float>& values) {
    uint64_t elements =
        std::accumulate(dimensions.begin(), dimensions.end(), uint64_t{1}, std::multiplies<>());
    EBB_CHECK(elements == values.size());
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    describe_tensor(name, dimensions, type_number(type), data_.size());
    data_ += encode_weights(type, values);
    return *this;
  }
  /// The same from bytes that are encoded already.
  GgufWriter& add_encoded(std::string_view name, const std::vector<uint64_t>& dimensions,
                          models::WeightType type, std::string_view bytes) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    describe_tensor(name, dimensions, type_number(type), data_.size());
    data_ += bytes;
    return *this;
  }
  /// A row of the tensor table with any numbers, without data.
  GgufWriter& describe_tensor(std::string_view name, const std::vector<uint64_t>& dimensions,
                              uint32_t type, uint64_t offset) {
    table_ += gguf_string(name);
    append_raw(table_, static_cast<uint32_t>(dimensions.size()));
    for (uint64_t extent : dimensions) append_raw(table_, extent);
    append_raw(table_, type);
    append_raw(table_, offset);
    ++tensors_;
    return *this;
  }
  /// Bytes for tensors that were only described.
  GgufWriter& add_data(uint64_t bytes) {
    data_.append(bytes, '\0');
    return *this;
  }

  /// The file's number of a storage type.
  static uint32_t type_number(models::WeightType type) {
    using models::WeightType;
    switch (type) {
      case WeightType::kF32:
        return 0;
      case WeightType::kF16:
        return 1;
      case WeightType::kQ4_0:
        return 2;
      case WeightType::kQ4_1:
        return 3;
      case WeightType::kQ5_0:
        return 6;
      case WeightType::kQ5_1:
        return 7;
      case WeightType::kQ8_0:
        return 8;
      case WeightType::kQ2_K:
        return 10;
      case WeightType::kQ3_K:
        return 11;
      case WeightType::kQ4_K:
        return 12;
      case WeightType::kQ5_K:
        return 13;
      case WeightType::kQ6_K:
        return 14;
      case WeightType::kIQ4_NL:
        return 20;
      case WeightType::kBF16:
        return 30;
    }
    return UINT32_MAX;
  }

  std::string bytes() const {
    std::string out = "GGUF";
    append_raw(out, version);
    append_raw(out, claimed_tensors.value_or(tensors_));
    append_raw(out, claimed_keys.value_or(keys_));
    out += entries_;
    out += table_;
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    return out + data_;
  }
  void write(const std::string& path) const { write_file(path, bytes()); }

  static void write_file(const std::string& path, std::string_view content) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.close();
    EBB_CHECK(out.good());
  }

 private:
  template <class T>
  GgufWriter& put_number(std::string_view key, Type type, T value) {
    std::string bytes;
    append_raw(bytes, value);
    return put_raw(key, type, bytes);
  }

  std::string entries_, table_, data_;
  uint64_t keys_ = 0;
  uint64_t tensors_ = 0;
};

}  // namespace ebb::testing
