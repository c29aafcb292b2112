// A weight as the CPU keeps it: where it is mapped. One-row weights (a norm's gain, a bias) are
// copied as floats.
#pragma once

#include <vector>

#include "base/check.h"
#include "kernels/ops.h"

namespace ebb::kernels::cpu {

class CpuWeight final : public Weight {
 public:
  explicit CpuWeight(const WeightSource& source) : source_(source) {}
  /// One row, kept here.
  explicit CpuWeight(std::vector<float> values)
      : vector_(std::move(values)),
        source_{WeightFormat::kF32, reinterpret_cast<const std::byte*>(vector_.data()), 1,
                vector_.size(), vector_.size() * sizeof(float)} {}
  uint64_t rows() const override { return source_.rows; }
  uint64_t columns() const override { return source_.columns; }
  uint64_t resident_bytes() const override { return vector_.size() * sizeof(float); }

  /// Where to read it: the mapping, or the copy.
  const WeightSource& source() const { return source_; }
  const std::byte* row(uint64_t index) const { return source_.data + index * source_.row_stride; }
  /// The only row, as floats. A weight of more rows in its place is a bug of the caller.
  const std::vector<float>& vector() const {
    EBB_CHECK(!vector_.empty());
    return vector_;
  }

 private:
  const std::vector<float> vector_;
  const WeightSource source_;
};

/// Every Weight a CPU backend is given was made by one.
inline const CpuWeight& own(const Weight& weight) { return static_cast<const CpuWeight&>(weight); }

}  // namespace ebb::kernels::cpu
