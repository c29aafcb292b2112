#include "tests/house/covered_elsewhere.h"

namespace ebb::house {
const std::vector<Coverage>& covered_elsewhere() {
  static const std::vector<Coverage> kTable = {};
  return kTable;
}
}  // namespace ebb::house
