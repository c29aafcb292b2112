// What the built binaries load: the include table's promise, kept by the linker too.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/tree_paths.h"

namespace ebb::house {
namespace {

struct Binary {
  std::string path;
  std::vector<std::string> must_not_load;
};

/// All libraries that the loader would load, also those that others bring along.
std::string libraries_of(const std::string& path) {
  struct Close {
    void operator()(FILE* f) const { pclose(f); }
  };
  const std::unique_ptr<FILE, Close> pipe(popen(("ldd '" + path + "' 2>&1").c_str(), "r"));
  std::string text;
  std::array<char, 4096> buffer;
  while (pipe && std::fgets(buffer.data(), buffer.size(), pipe.get())) text += buffer.data();
  return text;
}

TEST(Linkage, BinariesLoadOnlyWhatTheirPartNeeds) {
  const std::vector<Binary> binaries = {
      // Stands in no token's data path: no bulk transport, no store, no kernels, no collectives.
      {ebb::test::built_path("bin/ebb-coordinator"),
       {"libucp", "librocksdb", "libdnnl", "libgloo", "libcuda"}},
      {ebb::test::built_path("bin/ebb-worker"), {"librocksdb", "libcuda"}},
      {ebb::test::built_path("bin/ebb-kvstore"), {"libdnnl", "libgloo", "libcuda"}},
      {ebb::test::built_path("bin/ebbctl"),
       {"libucp", "librocksdb", "libdnnl", "libgloo", "libcapnp", "libcuda"}},
      // Has the whole worker in it, for runs without a service.
      {ebb::test::built_path("bin/ebb-score"), {"librocksdb", "libcuda"}},
  };
  for (const Binary& binary : binaries) {
    const std::string libraries = libraries_of(binary.path);
    ASSERT_NE(libraries.find("libc.so"), std::string::npos) << binary.path << "\n" << libraries;
    for (const std::string& library : binary.must_not_load) {
      EXPECT_EQ(libraries.find(library), std::string::npos)
          << binary.path << " loads " << library << "\n"
          << libraries;
    }
  }
}

}  // namespace
}  // namespace ebb::house
