// Writes safetensors for tests: right by default, wrong on request.
#pragma once

#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "models/tensor_view.h"
#include "tests/support/weight_codec.h"

namespace ebb::testing {

/// "[2,3]".
inline std::string json_list(const std::vector<uint64_t>& numbers) {
  std::string text;
  for (uint64_t n : numbers) text += (text.empty() ? "" : ",") + std::to_string(n);
  return "[" + text + "]";
}

class SafetensorsWriter {
 public:
  std::optional<uint64_t> claimed_header_bytes;  ///< instead of the real count

  /// A tensor behind the one before.
  SafetensorsWriter& add(std::string_view name, const std::vector<uint64_t>& shape,
                         models::WeightType type, const std::vector<float>& values) {
    const uint64_t elements =
        std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
    EBB_CHECK(elements == values.size());
    const uint64_t begin = data_.size();
    data_ += encode_weights(type, values);
    names_.emplace_back(name);
    return describe(name, models::weight_type_name(type), shape, begin, data_.size());
  }
  /// An entry of the header with any numbers, without data.
  SafetensorsWriter& describe(std::string_view name, std::string_view dtype,
                              const std::vector<uint64_t>& shape, uint64_t begin, uint64_t end) {
    return put("\"" + std::string(name) + "\":{\"dtype\":\"" + std::string(dtype) +
               "\",\"shape\":" + json_list(shape) + ",\"data_offsets\":" + json_list({begin, end}) +
               "}");
  }
  /// Any text as a member of the header.
  SafetensorsWriter& put(std::string_view member) {
    header_ += (header_.empty() ? "" : ",") + std::string(member);
    return *this;
  }
  /// Bytes for tensors that were only described.
  SafetensorsWriter& add_data(uint64_t bytes) {
    data_.append(bytes, '\0');
    return *this;
  }

  const std::vector<std::string>& names() const { return names_; }
  uint64_t data_bytes() const { return data_.size(); }
  /// The header is padded with spaces, so that the data begin at a multiple of 8.
  std::string bytes() const {
    std::string header = "{" + header_ + "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::string out;
    append_raw(out, claimed_header_bytes.value_or(header.size()));
    return out + header + data_;
  }

 private:
  std::string header_;
  std::string data_;
  std::vector<std::string> names_;
};

}  // namespace ebb::testing
