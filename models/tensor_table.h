// The tensors of a model by name. Internal to models/; knows no file format.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/tensor_view.h"

namespace ebb::models {

/// Keeps the order in which it was given them. Look-up is a binary search in an index sorted by
/// name: a hash table would be quicker, and open to files with chosen collisions.
class TensorTable {
 public:
  TensorTable() = default;
  /// Names must outlive the table. Errors: kInvalid (a name that occurs twice).
  static Result<TensorTable> make(std::vector<TensorView> tensors);

  /// Null: no such tensor.
  const TensorView* find(std::string_view name) const;
  std::span<const TensorView> all() const { return tensors_; }
  bool all_of(WeightType type) const;

 private:
  std::vector<TensorView> tensors_;
  std::vector<uint32_t> by_name_;
};

/// Errors: kInvalid: two that share bytes (names both). Views into several mappings are fine.
Result<void> check_tensors_apart(std::span<const TensorView> tensors);

}  // namespace ebb::models
