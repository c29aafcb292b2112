// Sources whose behaviour is asked for by a test that has another name than theirs.
#pragma once

#include <string_view>
#include <vector>

namespace ebb::house {

struct Coverage {
  std::string_view sources;  ///< a path, or what several paths begin with; the longest counts
  std::string_view test;
};

const std::vector<Coverage>& covered_elsewhere();

}  // namespace ebb::house
