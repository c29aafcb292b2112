// Who may speak: one layout under an epoch, newer epochs end older ones, a node that comes back is
// the same.
#include "kvstore/sessions.h"

#include <gtest/gtest.h>

#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

wire::Hello hello(uint8_t layout = 1, const std::string& group = "g0") {
  wire::Hello made{group, {}, {3072}};
  made.layout.bytes.fill(layout);
  return made;
}

TEST(Sessions, ANodeThatReconnectsFindsItsSession) {
  Sessions sessions;
  ASSERT_OK(sessions.hello(1, "g0/rank0", Epoch{3}, hello()));
  const uint64_t before = (*sessions.session_of(1, Epoch{3}))->id;
  sessions.disconnect(1);
  EXPECT_CODE(sessions.session_of(1, Epoch{3}), Code::kInvalid);
  ASSERT_OK(sessions.hello(2, "g0/rank0", Epoch{3}, hello()));
  EXPECT_EQ((*sessions.session_of(2, Epoch{3}))->id, before);
  ASSERT_OK(sessions.hello(3, "g0/rank1", Epoch{3}, hello()));
  EXPECT_NE((*sessions.session_of(3, Epoch{3}))->id, before);
}

TEST(Sessions, ANewerEpochEndsAllSessionsOfItsGroupOnly) {
  Sessions sessions;
  ASSERT_OK(sessions.hello(1, "g0/rank0", Epoch{3}, hello()));
  ASSERT_OK(sessions.hello(2, "g0/rank1", Epoch{3}, hello()));
  ASSERT_OK(sessions.hello(3, "g1/rank0", Epoch{1}, hello(1, "g1")));
  const auto ended = sessions.hello(4, "g0/rank0", Epoch{4}, hello());
  ASSERT_OK(ended);
  EXPECT_EQ(ended->size(), 2u);
  EXPECT_CODE(sessions.session_of(1, Epoch{3}), Code::kInvalid);
  EXPECT_CODE(sessions.session_of(2, Epoch{3}), Code::kInvalid);
  ASSERT_OK(sessions.session_of(3, Epoch{1}));
  EXPECT_CODE(sessions.hello(5, "g0/rank1", Epoch{3}, hello()), Code::kInvalid);
}

TEST(Sessions, ASecondLayoutNeedsANewEpoch) {
  Sessions sessions;
  ASSERT_OK(sessions.hello(1, "g0/rank0", Epoch{3}, hello(1)));
  EXPECT_CODE(sessions.hello(2, "g0/rank1", Epoch{3}, hello(2)), Code::kInvalid);
  ASSERT_OK(sessions.hello(2, "g0/rank1", Epoch{4}, hello(2)));
}

TEST(Sessions, ARequestMustCarryTheEpochOfItsHello) {
  Sessions sessions;
  ASSERT_OK(sessions.hello(1, "g0/rank0", Epoch{3}, hello()));
  EXPECT_CODE(sessions.session_of(1, Epoch{4}), Code::kInvalid);
  EXPECT_CODE(sessions.session_of(2, Epoch{3}), Code::kInvalid);
}

TEST(Sessions, GroupsAndNodesAreBounded) {
  Sessions sessions;
  for (size_t i = 0; i < Sessions::kGroupsMax; ++i) {
    ASSERT_OK(sessions.hello(i, "n", Epoch{1}, hello(1, "g" + std::to_string(i))));
  }
  EXPECT_CODE(sessions.hello(1, "n", Epoch{1}, hello(1, "one more")), Code::kExhausted);
  for (size_t i = 0; i < Sessions::kNodesMax - 1; ++i) {
    ASSERT_OK(sessions.hello(1, "node" + std::to_string(i), Epoch{1}, hello()));
  }
  EXPECT_CODE(sessions.hello(1, "one more", Epoch{1}, hello()), Code::kExhausted);
  ASSERT_OK(sessions.hello(1, "node5", Epoch{1}, hello()));
}

TEST(Sessions, BandsAreThoseOfTheHello) {
  Sessions sessions;
  ASSERT_OK(sessions.hello(1, "g0/rank0", Epoch{3}, hello()));
  const auto session = *sessions.session_of(1, Epoch{3});
  const auto check = [&](const Granule& granule) {
    return check_bands(*session, {granule.put_item()});
  };
  ASSERT_OK(check(make_granule(1)));
  EXPECT_CODE(check(make_granule(1, {.band = 1})), Code::kInvalid);
  EXPECT_CODE(check(make_granule(1, {.payload_bytes = 1024})), Code::kInvalid);
}

}  // namespace
}  // namespace ebb::kvstore
