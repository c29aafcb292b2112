// Where the source tree and the build tree are. Their paths stand in tree_paths.cpp alone: as
// macros of every test they would make a compiler cache miss in each new checkout.
#pragma once

#include <string>
#include <string_view>

namespace ebb::test {

/// The path of `name` in the source tree: "tests/golden/quants.txt"; "" for the tree itself.
std::string source_path(std::string_view name);

/// The path of `name` in the build tree: "bin/ebb-kvstore".
std::string built_path(std::string_view name);

}  // namespace ebb::test
