// The serial part of GGUF: header, metadata entries and tensor table, read by a cursor that cannot
// leave the mapping. Internal to models/; what the entries mean is not its business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "models/gguf.h"

namespace ebb::models {

/// Value types, in the file's numbering.
enum class ValueType : uint32_t {
  kU8 = 0,
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

const char* value_type_name(ValueType type);
/// Bytes of a fixed-size value; for a string the least it can take (its length field); 0 for
/// arrays.
uint32_t value_type_bytes(ValueType type);

/// One metadata key with its value, still in the mapping.
struct Entry {
  std::string_view key;
  ValueType type = ValueType::kU8;
  ValueType element = ValueType::kU8;  ///< arrays only
  uint64_t count = 1;                  ///< elements
  const std::byte* data = nullptr;     ///< first value
};

/// A row of the tensor table. `view.data` is not set: `offset` counts from the start of the data
/// section, which is known only after the table.
struct TensorRow {
  TensorView view;
  uint64_t offset = 0;
};

struct GgufHeader {
  uint64_t tensors = 0;
  uint64_t keys = 0;
};

/// Reads forward through [0, size) of the mapping; refuses to step outside.
class GgufCursor {
 public:
  GgufCursor(const std::byte* base, uint64_t size) : base_(base), size_(size) {}

  uint64_t at() const { return at_; }
  uint64_t size() const { return size_; }
  uint64_t left() const { return size_ - at_; }
  const std::byte* here() const { return base_ + at_; }

  /// `what` names the field in the error, here and below.
  Result<void> skip(uint64_t bytes, const std::string& what);

  template <class T>
  Result<T> read(const std::string& what) {
    EBB_TRY_VOID(skip(sizeof(T), what));
    T value;
    std::memcpy(&value, here() - sizeof(T), sizeof(T));
    return value;
  }

  Result<std::string_view> read_string(uint64_t bytes_max, const std::string& what);

 private:
  const std::byte* base_;
  uint64_t size_;
  uint64_t at_ = 0;
};

/// All errors are kInvalid or kUnsupported and name the field. `position` counts entries or
/// tensors.
Result<GgufHeader> read_gguf_header(GgufCursor& cursor);
Result<Entry> read_gguf_entry(GgufCursor& cursor, uint64_t position);
Result<TensorRow> read_gguf_tensor_row(GgufCursor& cursor, uint64_t position);

}  // namespace ebb::models
