#include "worker/backend_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace ebb::worker {
namespace {

using ::testing::HasSubstr;

class BackendChoiceTest : public ::testing::Test {
 protected:
  BackendChoiceTest() { plugin("/no/such/libebb_cuda.so"); }
  ~BackendChoiceTest() override { unsetenv("EBB_CUDA_PLUGIN"); }
  static void plugin(const std::string& path) { setenv("EBB_CUDA_PLUGIN", path.c_str(), 1); }
  static std::string emulated() {
    return std::string(EBB_TEST_PLUGINS) + "/libebb_cuda_emulated_plugin.so";
  }
  static WorkerConfig config(const std::string& backend) {
    WorkerConfig c;
    c.backend = backend;
    c.decode_threads = c.bulk_threads = 1;
    return c;
  }
};

TEST_F(BackendChoiceTest, CpuNeverLooksForAPlugin) {
  const auto chosen = choose_backend(config("cpu"), 1, 0);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->plugin, nullptr);
  EXPECT_EQ(chosen->note, "");
}

TEST_F(BackendChoiceTest, CudaDoesNotFallBack) {
  const auto chosen = choose_backend(config("cuda"), 1, 0);
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, Code::kUnsupported);
  EXPECT_THAT(chosen.error().message, HasSubstr("worker.backend is cuda"));
  EXPECT_THAT(chosen.error().message, HasSubstr("/no/such/libebb_cuda.so"));
}

TEST_F(BackendChoiceTest, AutoFallsBackAndSaysWhy) {
  const auto chosen = choose_backend(config("auto"), 1, 0);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(chosen->plugin, nullptr);
  EXPECT_THAT(chosen->note, HasSubstr("no such file"));
  EXPECT_THAT(chosen->backend.device->info().name, HasSubstr("cpu"));
}

TEST_F(BackendChoiceTest, ADeviceThatIsThereIsTaken) {
  plugin(emulated());
  WorkerConfig c = config("auto");
  auto chosen = choose_backend(c, 1, 0);
  ASSERT_TRUE(chosen);
  EXPECT_NE(chosen->plugin, nullptr);
  EXPECT_EQ(chosen->note, "");
  EXPECT_FALSE(chosen->backend.device->info().host_reachable);
  // Rank 1's device is not there; two ranks may share device 0.
  EXPECT_FALSE(choose_backend(config("cuda"), 2, 1));
  c.devices = "0,0";
  EXPECT_TRUE(choose_backend(c, 2, 1));
}

TEST_F(BackendChoiceTest, TheReportSaysWhatWasFoundAndWhyNot) {
  EXPECT_THAT(devices_report(), HasSubstr("no such file"));
  plugin(emulated());
  EXPECT_THAT(devices_report(), HasSubstr(R"("usable":true)"));
  EXPECT_THAT(devices_report(), HasSubstr(R"("architectures":"emulated")"));
  EXPECT_THAT(devices_report(), HasSubstr(R"("ucx":{"memory":"host)"));
}

}  // namespace
}  // namespace ebb::worker
