#include "kernels/cuda/emulation/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace ebb::emulation {
namespace {

class EmulationEnvironmentTest : public ::testing::Test {
 protected:
  ~EmulationEnvironmentTest() override {
    unsetenv("EBB_EMULATION_MACHINE");
    unsetenv("EBB_EMULATION_FAIL");
  }
};

TEST_F(EmulationEnvironmentTest, SaysWhatTheMachineHasAndWhatFails) {
  setenv("EBB_EMULATION_MACHINE", "driver=12020,memory=4096", 1);
  setenv("EBB_EMULATION_FAIL", "cudaMalloc:3:2,lost:500:719", 1);
  const Machine machine = machine_of_environment();
  EXPECT_EQ(machine.driver_version, 12020);
  EXPECT_EQ(machine.memory, 4096u);
  EXPECT_EQ(machine.devices, Machine().devices);
  const auto failures = failures_of_environment();
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].function, "cudaMalloc");
  EXPECT_EQ(failures[1].calls, 500u);
  EXPECT_EQ(failures[1].error, 719);
}

TEST_F(EmulationEnvironmentTest, AWordThatMeansNothingEndsTheProcess) {
  setenv("EBB_EMULATION_FAIL", "cudaMalloc", 1);
  EXPECT_DEATH(failures_of_environment(), "EBB_EMULATION_FAIL: \"cudaMalloc\" means nothing");
  setenv("EBB_EMULATION_MACHINE", "wheels=4", 1);
  EXPECT_DEATH(machine_of_environment(), "wheels=4");
}

}  // namespace
}  // namespace ebb::emulation
