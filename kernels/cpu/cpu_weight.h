// A weight as the CPU keeps it: where it is mapped. One-row weights (a norm's gain) are also held
// as floats.
#pragma once

#include <vector>

#include "kernels/ops.h"

namespace ebb::kernels::cpu {

class CpuWeight final : public Weight {
 public:
  explicit CpuWeight(const WeightSource& source) : source_(source) {}
  uint64_t rows() const override { return source_.rows; }
  uint64_t columns() const override { return source_.columns; }
  uint64_t resident_bytes() const override { return vector_.size() * sizeof(float); }

  const WeightSource& source() const { return source_; }
  const std::byte* row(uint64_t index) const { return source_.data + index * source_.row_stride; }
  /// The only row, as floats; empty when there are more.
  std::vector<float>& vector() { return vector_; }
  const std::vector<float>& vector() const { return vector_; }

 private:
  WeightSource source_;
  std::vector<float> vector_;
};

/// Every Weight a CPU backend is given was made by one.
inline const CpuWeight& own(const Weight& weight) { return static_cast<const CpuWeight&>(weight); }

}  // namespace ebb::kernels::cpu
