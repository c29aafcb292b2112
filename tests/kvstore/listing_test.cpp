// A cursor is good for the list that it was made for, and for no other.
#include "kvstore/listing.h"

#include <gtest/gtest.h>

#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

TEST(Listing, ACursorIsGoodForItsListOnly) {
  const GranuleKey key = make_granule(1).info.key;
  const ListQuery everything, one{.sequence = SeqId{1}}, none{.sequence = SeqId{0}};
  const std::vector<ListQuery> lists{everything, one, none};
  for (size_t made = 0; made < lists.size(); ++made) {
    for (size_t used = 0; used < lists.size(); ++used) {
      ListQuery query = lists[used];
      query.after = cursor_after(lists[made], key);
      EXPECT_EQ(check_query(query).has_value(), made == used) << made << " " << used;
    }
  }
  ListQuery smaller{.after = cursor_after(everything, key), .limit = 1};
  EXPECT_OK(check_query(smaller));  // pages of one list may differ in size
  smaller.after->last.band ^= 1;
  EXPECT_CODE(check_query(smaller), Code::kInvalid);
}

TEST(Listing, LimitsAreNamed) {
  for (const uint32_t limit : {0u, kListLimitMax + 1, UINT32_MAX}) {
    const auto refused = check_query({.limit = limit});
    EXPECT_CODE(refused, Code::kInvalid);
    EXPECT_NE(refused.error().message.find("allowed 1 to 1024"), std::string::npos);
  }
  EXPECT_OK(check_query({.limit = 1}));
  EXPECT_OK(check_query({.limit = kListLimitMax}));
}

TEST(Listing, ACursorComesBackFromItsText) {
  const ListCursor cursor = cursor_after({}, make_granule(5).info.key);
  const std::string text = to_text(cursor);
  const auto parsed = parse_cursor(text);
  ASSERT_OK(parsed);
  EXPECT_EQ(*parsed, cursor);
  for (const std::string& bad :
       {std::string(), text.substr(1), text + "0", "g" + text.substr(1), " " + text.substr(1),
        "-1" + text.substr(2), "0x" + text.substr(2)}) {
    EXPECT_CODE(parse_cursor(bad), Code::kInvalid);
  }
}

}  // namespace
}  // namespace ebb::kvstore
