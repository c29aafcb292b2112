// Walks a GGUF file once. Nothing is copied, and nothing is allocated by a number that the file
// claims: what is kept grows only with entries that were really there, so a hostile file costs at
// most a small multiple of its own size.
#include "models/gguf_cursor.h"

#include <algorithm>
#include <optional>

#include "models/shown_text.h"

namespace ebb::models {
namespace {

// Far above any real model; they bound the time and memory that a hostile file can take.
constexpr uint64_t kKeysMax = 65536;
constexpr uint64_t kTensorsMax = 65536;
constexpr uint64_t kNameBytesMax = 65535;
constexpr uint64_t kStringBytesMax = 16ull << 20;
constexpr uint64_t kArrayElementsMax = 1ull << 22;
constexpr uint64_t kMetadataBytesMax = 64ull << 20;
constexpr uint32_t kDimensionsMax = 4;

constexpr uint32_t kValueTypes = 13;

constexpr const char* kValueTypeNames[kValueTypes] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
/// Bytes of a fixed-size value; for a string the least it can take (its length); 0 for arrays.
constexpr uint32_t kValueTypeBytes[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};

/// Storage types in ggml's numbering; those that we cannot read have a name only, for the error.
struct StorageType {
  uint32_t number;
  const char* name;
  std::optional<WeightType> readable;
};
constexpr StorageType kStorageTypes[] = {{0, "F32", WeightType::kF32},
                                         {1, "F16", WeightType::kF16},
                                         {2, "Q4_0", WeightType::kQ4_0},
                                         {3, "Q4_1", WeightType::kQ4_1},
                                         {6, "Q5_0", WeightType::kQ5_0},
                                         {7, "Q5_1", WeightType::kQ5_1},
                                         {8, "Q8_0", WeightType::kQ8_0},
                                         {9, "Q8_1", {}},
                                         {10, "Q2_K", WeightType::kQ2_K},
                                         {11, "Q3_K", WeightType::kQ3_K},
                                         {12, "Q4_K", WeightType::kQ4_K},
                                         {13, "Q5_K", WeightType::kQ5_K},
                                         {14, "Q6_K", WeightType::kQ6_K},
                                         {15, "Q8_K", {}},
                                         {16, "IQ2_XXS", {}},
                                         {17, "IQ2_XS", {}},
                                         {18, "IQ3_XXS", {}},
                                         {19, "IQ1_S", {}},
                                         {20, "IQ4_NL", WeightType::kIQ4_NL},
                                         {21, "IQ3_S", {}},
                                         {22, "IQ2_S", {}},
                                         {23, "IQ4_XS", {}},
                                         {24, "I8", {}},
                                         {25, "I16", {}},
                                         {26, "I32", {}},
                                         {27, "I64", {}},
                                         {28, "F64", {}},
                                         {29, "IQ1_M", {}},
                                         {30, "BF16", WeightType::kBF16}};

std::string number(uint64_t value) { return std::to_string(value); }

/// Names go into messages and logs, so they must be something a person can read.
Result<std::string_view> read_name(GgufCursor& cursor, const std::string& what) {
  std::string_view name = EBB_TRY(cursor.read_string(kNameBytesMax, what));
  if (name.empty()) return invalid(what + ": is empty");
  bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!printable) return invalid(what + ": holds a byte that is not printable ASCII");
  return name;
}

Result<ValueType> read_value_type(GgufCursor& cursor, const std::string& what) {
  uint32_t raw = EBB_TRY(cursor.read<uint32_t>(what));
  if (raw >= kValueTypes)
    return invalid(what + ": " + number(raw) + " is not a value type (known: 0 to " +
                   number(kValueTypes - 1) + ")");
  return static_cast<ValueType>(raw);
}

Result<void> skip_value(GgufCursor& cursor, ValueType type, const std::string& what) {
  if (type != ValueType::kString) return cursor.skip(value_type_bytes(type), what);
  EBB_TRY(cursor.read_string(kStringBytesMax, what));
  return {};
}

Result<void> read_array(GgufCursor& cursor, Entry& entry, const std::string& what) {
  entry.element = EBB_TRY(read_value_type(cursor, what + ": element type"));
  if (entry.element == ValueType::kArray) return unsupported(what + ": is an array of arrays");
  entry.count = EBB_TRY(cursor.read<uint64_t>(what + ": count"));
  uint64_t least = value_type_bytes(entry.element);
  if (entry.count > kArrayElementsMax)
    return invalid(what + ": " + number(entry.count) + " elements exceed the limit of " +
                   number(kArrayElementsMax));
  if (entry.count * least > cursor.left())  // both small: no overflow
    return invalid(what + ": " + number(entry.count) + " elements of type " +
                   value_type_name(entry.element) + " do not fit into the " +
                   number(cursor.left()) + " bytes left: truncated?");
  entry.data = cursor.here();
  if (entry.element != ValueType::kString) return cursor.skip(entry.count * least, what);
  for (uint64_t i = 0; i < entry.count; ++i) {
    uint64_t bytes = 0;
    if (cursor.left() >= sizeof bytes) std::memcpy(&bytes, cursor.here(), sizeof bytes);
    // The message is built for the element that fails only: a vocabulary has 10^5 of them.
    if (cursor.left() < sizeof bytes || bytes > kStringBytesMax ||
        bytes > cursor.left() - sizeof bytes)
      return with_context(what,
                          skip_value(cursor, ValueType::kString, "element " + number(i)).error());
    EBB_TRY_VOID(cursor.skip(sizeof bytes + bytes, what));
  }
  return {};
}

std::string readable_types() {
  std::string names;
  for (const StorageType& type : kStorageTypes) {
    if (!type.readable) continue;
    if (!names.empty()) names += ", ";
    names += type.name;
  }
  return names;
}

Result<WeightType> read_storage_type(GgufCursor& cursor, const std::string& what) {
  uint32_t raw = EBB_TRY(cursor.read<uint32_t>(what + ": storage type"));
  for (const StorageType& type : kStorageTypes) {
    if (type.number != raw) continue;
    if (type.readable) return *type.readable;
    return unsupported(what + ": storage type " + type.name +
                       " is not supported (supported: " + readable_types() + ")");
  }
  return unsupported(what + ": storage type number " + number(raw) +
                     " is not known (supported: " + readable_types() + ")");
}

/// rows, columns and bytes from the dimensions, with every product checked.
Result<void> read_dimensions(GgufCursor& cursor, TensorView& view, const std::string& what) {
  uint32_t dimensions = EBB_TRY(cursor.read<uint32_t>(what + ": number of dimensions"));
  if (dimensions < 1 || dimensions > kDimensionsMax)
    return invalid(what + ": " + number(dimensions) + " dimensions (allowed: 1 to " +
                   number(kDimensionsMax) + ")");
  view.rows = 1;
  uint64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    uint64_t extent = EBB_TRY(cursor.read<uint64_t>(what + ": dimension " + number(i)));
    if (extent == 0) return invalid(what + ": dimension " + number(i) + " is 0");
    // Two elements a byte is the densest storage that we know.
    if (extent > 2 * cursor.size() / elements)
      return invalid(what + ": dimension " + number(i) + " is " + number(extent) +
                     ": more elements than a file of " + number(cursor.size()) +
                     " bytes can hold: truncated?");
    elements *= extent;
    if (i == 0) {
      view.columns = extent;
    } else {
      view.rows *= extent;
    }
  }
  return {};
}

}  // namespace

Result<void> GgufCursor::skip(uint64_t bytes, const std::string& what) {
  if (bytes > left())
    return invalid(what + ": needs " + number(bytes) + " bytes at offset " + number(at_) +
                   " but the file has " + number(size_) + ": truncated?");
  at_ += bytes;
  return {};
}

Result<std::string_view> GgufCursor::read_string(uint64_t bytes_max, const std::string& what) {
  uint64_t bytes = EBB_TRY(read<uint64_t>(what + ": length"));
  if (bytes > bytes_max)
    return invalid(what + ": length " + number(bytes) + " exceeds the limit of " +
                   number(bytes_max) + " bytes");
  EBB_TRY_VOID(skip(bytes, what));
  return std::string_view(reinterpret_cast<const char*>(here() - bytes), bytes);
}

const char* value_type_name(ValueType type) { return kValueTypeNames[static_cast<uint32_t>(type)]; }
uint32_t value_type_bytes(ValueType type) { return kValueTypeBytes[static_cast<uint32_t>(type)]; }

Result<GgufHeader> read_gguf_header(GgufCursor& cursor) {
  uint32_t magic = EBB_TRY(cursor.read<uint32_t>("magic"));
  if (magic != 0x46554747) return invalid("magic: not a GGUF file");  // "GGUF"
  uint32_t version = EBB_TRY(cursor.read<uint32_t>("version"));
  if (version != 0 && (version & 0xffff) == 0)
    return unsupported("version: the file is big-endian; only little-endian files are supported");
  if (version != 2 && version != 3)
    return unsupported("version: GGUF version " + number(version) +
                       " is not supported (supported: 2, 3)");
  GgufHeader header;
  header.tensors = EBB_TRY(cursor.read<uint64_t>("tensor count"));
  header.keys = EBB_TRY(cursor.read<uint64_t>("metadata count"));
  if (header.tensors > kTensorsMax)
    return invalid("tensor count: " + number(header.tensors) + " exceeds the limit of " +
                   number(kTensorsMax));
  if (header.keys > kKeysMax)
    return invalid("metadata count: " + number(header.keys) + " exceeds the limit of " +
                   number(kKeysMax));
  return header;
}

Result<Entry> read_gguf_entry(GgufCursor& cursor, uint64_t position) {
  Entry entry;
  entry.key = EBB_TRY(read_name(cursor, "metadata key " + number(position)));
  std::string what = "metadata " + shown_text(entry.key);
  entry.type = EBB_TRY(read_value_type(cursor, what + ": type"));
  entry.data = cursor.here();
  if (entry.type == ValueType::kArray) {
    EBB_TRY_VOID(read_array(cursor, entry, what));
  } else {
    EBB_TRY_VOID(skip_value(cursor, entry.type, what));
  }
  if (entry.type == ValueType::kBool && entry.data[0] > std::byte{1})
    return invalid(what + ": a bool must be 0 or 1");
  if (cursor.at() > kMetadataBytesMax)
    return invalid(what + ": metadata goes beyond the limit of " + number(kMetadataBytesMax) +
                   " bytes");
  return entry;
}

Result<TensorRow> read_gguf_tensor_row(GgufCursor& cursor, uint64_t position) {
  TensorRow row;
  row.view.name = EBB_TRY(read_name(cursor, "name of tensor " + number(position)));
  std::string what = "tensor " + shown_text(row.view.name);
  EBB_TRY_VOID(read_dimensions(cursor, row.view, what));
  row.view.type = EBB_TRY(read_storage_type(cursor, what));
  uint32_t block = block_elements(row.view.type);
  if (row.view.columns % block != 0)
    return invalid(what + ": rows of " + number(row.view.columns) +
                   " elements are not a multiple of " + number(block) + ", the block of " +
                   weight_type_name(row.view.type));
  row.view.bytes = row.view.rows * (row.view.columns / block) * block_bytes(row.view.type);
  row.offset = EBB_TRY(cursor.read<uint64_t>(what + ": offset"));
  return row;
}

}  // namespace ebb::models
