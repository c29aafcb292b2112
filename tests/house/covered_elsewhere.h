// Sources whose behaviour is asked for by a test that has another name than theirs. Each is named
// by itself: a source that is new beside them has to say who asks for it.
#pragma once

#include <span>
#include <string_view>

namespace ebb::house {

struct Coverage {
  std::string_view source;
  std::string_view test;
};

std::span<const Coverage> covered_elsewhere();

}  // namespace ebb::house
