// What a model's files state under keys, whatever the format: metadata of a GGUF file, or the
// config.json of a Hugging Face directory. Internal to models/; knows formats, not architectures.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ebb::models {

/// Keys are those of the format, without what all of them share ("block_count", not
/// "llama.block_count"); members of an object in config.json are "rope_scaling.factor". A key that
/// holds null is not there. Errors of the getters: kNotFound, kInvalid (another type); they name
/// the key as a person finds it in the file.
///
/// The facts remember which keys they were asked for, so that what nobody asked for can be refused
/// at the end: a key that is ignored may be one that changes the graph. One thread.
class ModelFacts {
 public:
  virtual ~ModelFacts() = default;

  bool has(std::string_view key) const;
  bool states(std::string_view key) const;  ///< as has(), but null counts
  Result<uint64_t> integer(std::string_view key) const;
  Result<double> number(std::string_view key) const;  ///< an integer is a number too
  Result<bool> flag(std::string_view key) const;
  Result<std::string> text(std::string_view key) const;
  Result<std::vector<uint64_t>> integers(std::string_view key) const;  ///< booleans are 0 and 1
  Result<std::vector<std::string>> texts(std::string_view key) const;

  /// As the file has it, and where: "metadata llama.block_count", "config.json: hidden_size".
  virtual std::string shown(std::string_view key) const = 0;

  /// A count in [1, most].
  Result<uint32_t> count(std::string_view key, uint64_t most) const;
  Result<uint32_t> count_or(std::string_view key, uint64_t most, uint32_t fallback) const;
  /// A finite number above 0.
  Result<double> positive(std::string_view key) const;
  Result<double> positive_or(std::string_view key, double fallback) const;
  Result<bool> flag_or(std::string_view key, bool fallback) const;

  /// Keys that hold something (not 0, false, "", an empty list or object) and that nobody asked
  /// for.
  std::vector<std::string> unasked() const;

 protected:
  virtual bool has_key(std::string_view key) const = 0;
  virtual bool has_value(std::string_view key) const = 0;
  virtual Result<uint64_t> read_integer(std::string_view key) const = 0;
  virtual Result<double> read_number(std::string_view key) const = 0;
  virtual Result<bool> read_flag(std::string_view key) const = 0;
  virtual Result<std::string> read_text(std::string_view key) const = 0;
  virtual Result<std::vector<uint64_t>> read_integers(std::string_view key) const = 0;
  virtual Result<std::vector<std::string>> read_texts(std::string_view key) const = 0;
  /// Every key that holds something.
  virtual std::vector<std::string> telling_keys() const = 0;

 private:
  void note(std::string_view key) const { asked_.emplace(key); }
  mutable std::set<std::string, std::less<>> asked_;
};

}  // namespace ebb::models
