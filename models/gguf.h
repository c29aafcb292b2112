// GGUF v2/v3 files: header, metadata, tensor table; memory-mapped read-only. An untrusted input:
// every length is checked against the file before it is used. Must not know what a transformer is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/tensor_table.h"

namespace ebb::models {

class MappedFile;

class GgufFile {
 public:
  /// Maps and checks the whole file's structure; with the first file of a model in parts
  /// (NAME-00001-of-00003.gguf), that of the others beside it too. Errors: kNotFound, kInvalid (not
  /// GGUF, truncated, a field out of range: says which and the limit), kUnsupported (version,
  /// tensor type: names it).
  static Result<std::unique_ptr<GgufFile>> open(const std::string& path);
  /// The same for bytes in memory, which must outlive it: for tests and fuzzing. `name` stands for
  /// the path in messages.
  static Result<std::unique_ptr<GgufFile>> parse(std::span<const std::byte> bytes,
                                                 std::string name);
  ~GgufFile();
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  /// Metadata by key; kNotFound or kInvalid (another type) as errors that name the key.
  Result<uint64_t> get_u64(std::string_view key) const;  ///< any integer type that fits
  Result<double> get_f64(std::string_view key) const;    ///< f32 or f64
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string> get_string(std::string_view key) const;
  Result<std::vector<std::string_view>> get_strings(std::string_view key) const;
  Result<std::vector<int32_t>> get_i32s(std::string_view key) const;
  Result<std::vector<float>> get_f32s(std::string_view key) const;
  bool has(std::string_view key) const;
  /// In the file's order; views into the mapping.
  std::vector<std::string_view> keys() const;
  /// Whether a key is there and holds more than 0, false, "" or an empty array.
  bool tells(std::string_view key) const;

  Result<TensorView> tensor(std::string_view name) const;
  bool has_tensor(std::string_view name) const;
  const TensorTable& tensors() const;
  const std::string& path() const;
  /// The file, and its further parts in order; none for bytes in memory.
  std::vector<const MappedFile*> mappings() const;

 private:
  GgufFile();
  static Result<std::unique_ptr<GgufFile>> open_one(const std::string& path);
  Result<void> add_parts(uint64_t count);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::models
