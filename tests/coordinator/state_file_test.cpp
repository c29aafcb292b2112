// Numbers that must never come twice.
#include "coordinator/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace ebb::coordinator {
namespace {

using ::testing::HasSubstr;

TEST(StateFile, NeverGivesANumberTwiceAcrossRestarts) {
  const ebb::test::TempDir dir;
  Epoch last_epoch;
  SeqId last_seq;
  for (int life = 0; life < 4; ++life) {
    auto state = StateFile::open(dir.path("coordinator"));
    ASSERT_TRUE(state);
    for (int i = 0; i < 3; ++i) {
      const Epoch epoch = (*state)->mint_epoch().value();
      EXPECT_GT(epoch, last_epoch);
      last_epoch = epoch;
    }
    for (uint64_t i = 0; i < StateFile::kSequenceBlock + 5; ++i) {
      const SeqId seq = (*state)->mint_sequence().value();
      EXPECT_GT(seq, last_seq);
      last_seq = seq;
    }
  }
}

TEST(StateFile, IsOnDiskBeforeTheNumberIsOut) {
  const ebb::test::TempDir dir;
  auto state = StateFile::open(dir.path());
  ASSERT_TRUE(state);
  ASSERT_EQ((*state)->mint_epoch().value(), Epoch{1});
  EXPECT_THAT(ebb::test::read_file(dir.path("state.json")), HasSubstr("\"epoch\":1"));
}

TEST(StateFile, RefusesToGuess) {
  const ebb::test::TempDir dir;
  for (const char* text :
       {"", "{", "[1]", R"({"epoch": 7})", R"({"epoch": -1, "sequences_below": 3})"}) {
    dir.file("state.json", text);
    const auto state = StateFile::open(dir.path());
    ASSERT_FALSE(state) << text;
    EXPECT_EQ(state.error().code, Code::kCorrupt);
    EXPECT_THAT(state.error().message, HasSubstr("state.json"));
  }
}

TEST(StateFile, SaysWhenItsFolderCannotBe) {
  const ebb::test::TempDir dir;
  const auto state = StateFile::open(dir.file("file", "x") + "/coordinator");
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace ebb::coordinator
