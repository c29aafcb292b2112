#include "base/fault.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

bool write_block() { return !EBB_FAULT("fault_test.write"); }
bool flush_block() { return !EBB_FAULT("fault_test.flush"); }

class Fault : public ::testing::Test {
 protected:
  ~Fault() override { disarm_all_faults(); }
};

TEST_F(Fault, DisarmedPointsNeverFail) {
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(write_block());
}

TEST_F(Fault, SkipsThenFailsAsOftenAsArmed) {
  write_block();
  ASSERT_TRUE(arm_fault("fault_test.write", 2, 3));
  std::string passes;
  for (int i = 0; i < 8; ++i) passes += write_block() ? 'o' : 'x';
  EXPECT_EQ(passes, "oooxxooo");
}

TEST_F(Fault, APointThatWasNotPassedYetIsArmedWhenItIs) {
  EXPECT_FALSE(arm_fault("fault_test.flush", 1));
  EXPECT_FALSE(flush_block());
  EXPECT_TRUE(flush_block());
}

TEST_F(Fault, DisarmingEndsFailures) {
  write_block();
  arm_fault("fault_test.write", 1000);
  EXPECT_FALSE(write_block());
  disarm_all_faults();
  EXPECT_TRUE(write_block());
}

}  // namespace
}  // namespace ebb
