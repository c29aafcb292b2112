// What UCX says of the memory that it reaches, in words.
#include "transport/data/ucx_memory.h"

#include <gtest/gtest.h>

namespace ebb::data {
namespace {

TEST(UcxMemory, OfTheHostAloneIsNotAGpus) {
  const UcxMemory host{1};
  EXPECT_FALSE(host.cuda());
  EXPECT_EQ(host.text(), "host");
}

TEST(UcxMemory, OfAGpuIsSeenAndNamed) {
  const UcxMemory both{0b11};
  EXPECT_TRUE(both.cuda());
  EXPECT_EQ(both.text(), "host, cuda");
}

TEST(UcxMemory, OfTypesThatNobodyKnewIsNamedByNumber) {
  const UcxMemory newer{1 | uint64_t{1} << 40};
  EXPECT_FALSE(newer.cuda());
  EXPECT_EQ(newer.text(), "host, type 40");
  EXPECT_EQ(UcxMemory{0}.text(), "none");
}

}  // namespace
}  // namespace ebb::data
