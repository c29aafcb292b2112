#include "kernels/cuda_plugin_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace ebb::kernels {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CudaPluginLoaderTest : public ::testing::Test {
 protected:
  ~CudaPluginLoaderTest() override { unsetenv("EBB_CUDA_PLUGIN"); }
  static std::string built(const char* name) {
    return std::string(EBB_TEST_PLUGINS) + "/lib" + name + ".so";
  }
  static std::string refusal(const std::string& path) {
    const auto loaded = load_cuda_plugin(path);
    if (loaded) return "it loaded";
    EXPECT_EQ(loaded.error().code, Code::kUnsupported);
    EXPECT_THAT(loaded.error().message, HasSubstr(path));
    return loaded.error().message;
  }
};

TEST_F(CudaPluginLoaderTest, AMatchingPluginAnswers) {
  const auto plugin = load_cuda_plugin(built("test_plugin"));
  ASSERT_TRUE(plugin) << plugin.error().text();
  EXPECT_EQ((*plugin)->probe().why_none, "a test has no driver");
  setenv("EBB_CUDA_PLUGIN", built("test_plugin").c_str(), 1);
  const auto again = load_cuda_plugin();
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(*again, *plugin) << "the same library: it was never closed";
}

TEST_F(CudaPluginLoaderTest, EveryRefusalNamesPathAndReason) {
  EXPECT_THAT(refusal("/no/such/libebb_cuda.so"), HasSubstr("no such file"));
  EXPECT_THAT(refusal(built("test_plugin_other_abi")),
              AllOf(HasSubstr("another build"), HasSubstr("abi 999")));
  EXPECT_THAT(refusal(built("test_plugin_short")), HasSubstr("16 bytes"));
  EXPECT_THAT(refusal(built("test_stranger")), HasSubstr("no symbol ebb_cuda_backend_v1"));
  test::TempDir dir;
  EXPECT_THAT(refusal(dir.file("text.so", "not a library\n")), HasSubstr("does not load"));
}

TEST_F(CudaPluginLoaderTest, LooksBesideTheProgramUnlessItIsToldWhere) {
  const auto paths = cuda_plugin_paths();
  ASSERT_EQ(paths.size(), 2u);
  EXPECT_THAT(paths[0], HasSubstr("/tests/libebb_cuda.so"));
  EXPECT_THAT(paths[1], HasSubstr("/lib/libebb_cuda.so"));
  setenv("EBB_CUDA_PLUGIN", "/elsewhere/x.so", 1);
  EXPECT_EQ(cuda_plugin_paths(), std::vector<std::string>{"/elsewhere/x.so"});
  const auto loaded = load_cuda_plugin();
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("/elsewhere/x.so"));
}

}  // namespace
}  // namespace ebb::kernels
