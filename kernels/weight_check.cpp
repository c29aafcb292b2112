// See weight_check.h. Knows shapes only, never the contents of a weight.
#include "kernels/weight_check.h"

#include <cmath>
#include <string>

namespace ebb::kernels {
namespace {

/// Half of the largest head.
constexpr size_t kFrequenciesMax = 128;

std::string known_formats() {
  std::string names;
  for (uint32_t i = 0; i < kWeightFormats; ++i) {
    names += (i == 0 ? "" : i + 1 == kWeightFormats ? " and " : ", ");
    names += kWeightBlocks[i].name;
  }
  return names;
}

}  // namespace

Result<void> check_weight_source(const WeightSource& source) {
  const WeightBlock block = weight_block(source.format);
  if (block.elements == 0) {
    return unsupported("weight format " + std::to_string(static_cast<int>(source.format)) +
                       ": this version knows " + known_formats());
  }
  if (source.data == nullptr) return invalid("weight data: null");
  if (source.rows == 0 || source.columns == 0) {
    return invalid("weight of " + std::to_string(source.rows) + " x " +
                   std::to_string(source.columns) + ": rows and columns must be at least 1");
  }
  if (source.columns % block.elements != 0) {
    return invalid("weight columns " + std::to_string(source.columns) + ": not a multiple of the " +
                   std::to_string(block.elements) + " elements of a " + block.name + " block");
  }
  const uint64_t row_bytes = weight_row_bytes(source.format, source.columns);
  if (source.rows > 1 && source.row_stride < row_bytes) {
    return invalid("weight row_stride " + std::to_string(source.row_stride) +
                   ": less than the row's " + std::to_string(row_bytes) + " bytes");
  }
  return {};
}

Result<void> check_rope(const RopeArgs& args) {
  if (args.frequencies.empty() || args.frequencies.size() > kFrequenciesMax) {
    return invalid("rope frequencies: " + std::to_string(args.frequencies.size()) +
                   " of them, must be 1 to " + std::to_string(kFrequenciesMax));
  }
  for (const double frequency : args.frequencies) {
    if (!std::isfinite(frequency)) return invalid("rope frequencies: one is not finite");
  }
  if (!std::isfinite(args.magnitude) || args.magnitude <= 0) {
    return invalid("rope magnitude: must be finite and above 0");
  }
  return {};
}

}  // namespace ebb::kernels
