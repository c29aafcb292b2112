// Sources whose behaviour is asked for by a test that has another name than theirs.
#pragma once

#include <span>
#include <string_view>

namespace ebb::house {

struct Coverage {
  std::string_view sources;  ///< a path, or what several paths begin with; the longest counts
  std::string_view test;
};

std::span<const Coverage> covered_elsewhere();

}  // namespace ebb::house
