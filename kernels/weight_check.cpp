// See weight_check.h. Knows shapes only, never the contents of a weight.
#include "kernels/weight_check.h"

#include <string>

namespace ebb::kernels {

Result<void> check_weight_source(const WeightSource& source) {
  const WeightBlock block = weight_block(source.format);
  if (block.elements == 0) {
    return unsupported("weight format " + std::to_string(static_cast<int>(source.format)) +
                       ": this version knows F32, F16, BF16, Q8_0, Q4_0 and Q4_1");
  }
  if (source.data == nullptr) return invalid("weight data: null");
  if (source.rows == 0 || source.columns == 0) {
    return invalid("weight of " + std::to_string(source.rows) + " x " +
                   std::to_string(source.columns) + ": rows and columns must be at least 1");
  }
  if (source.columns % block.elements != 0) {
    return invalid("weight columns " + std::to_string(source.columns) +
                   ": not a multiple of the format's block of " + std::to_string(block.elements));
  }
  const uint64_t row_bytes = weight_row_bytes(source.format, source.columns);
  if (source.rows > 1 && source.row_stride < row_bytes) {
    return invalid("weight row_stride " + std::to_string(source.row_stride) +
                   ": less than the row's " + std::to_string(row_bytes) + " bytes");
  }
  return {};
}

}  // namespace ebb::kernels
