#include "tests/support/tree_paths.h"

namespace ebb::test {
namespace {

std::string below(std::string_view tree, std::string_view name) {
  return name.empty() ? std::string(tree) : std::string(tree) + "/" + std::string(name);
}

}  // namespace

std::string source_path(std::string_view name) { return below(EBB_SOURCE_DIR, name); }
std::string built_path(std::string_view name) { return below(EBB_BUILD_DIR, name); }

}  // namespace ebb::test
