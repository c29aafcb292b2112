#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace ebb {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return invalid("odd");
  return number / 2;
}
Result<int> quarter(int number) {
  const int once = EBB_TRY(half(number));
  return EBB_TRY(half(once));
}
Result<void> need_even(int number) {
  EBB_TRY_VOID(half(number));
  return {};
}

TEST(Result, HoldsAValueOrAnError) {
  ASSERT_TRUE(half(4));
  EXPECT_EQ(*half(4), 2);
  ASSERT_FALSE(half(3));
  EXPECT_EQ(half(3).error().code, Code::kInvalid);
}

TEST(Result, TryLeavesAtTheFirstError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_TRUE(need_even(2));
  EXPECT_FALSE(need_even(1));
}

TEST(Result, MovesWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(7);
  const std::unique_ptr<int> owned = *std::move(made);
  EXPECT_EQ(*owned, 7);
}

TEST(Result, ContextStandsInFrontOfTheMessage) {
  const Error error = with_context("restore from 127.0.0.1:7500", unavailable("reset"));
  EXPECT_EQ(error.text(), "unavailable: restore from 127.0.0.1:7500: reset");
}

TEST(ResultDeathTest, TakingTheValueOfAnErrorEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ (void)half(3).value(); }, "check failed: has_value");
}

}  // namespace
}  // namespace ebb
