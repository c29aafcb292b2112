#include "score/error_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace ebb::score {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

size_t count_of(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(ErrorMapPicture, HasAFieldForEachPairAndAFrameForWhatAnchorsGive) {
  ErrorMap map;
  map.title = "errors <of> layers";
  map.errors = {{0}, {0.001, 0}, {0.1, 0.01, 0}, {1, 0.1, 0.01, 0}};
  const std::string plain = draw(map);
  EXPECT_THAT(plain, AllOf(HasSubstr("errors &lt;of&gt; layers"), HasSubstr("power of ten")));
  map.anchors = {0, 2};
  const std::string framed = draw(map);
  // Layer 1 reads the set of 0, layer 3 that of 2.
  EXPECT_EQ(count_of(framed, "<line"), count_of(plain, "<line") + 2 * 4);
  EXPECT_EQ(count_of(framed, "<rect"), count_of(plain, "<rect"));
  map.errors.push_back({1, 1, 1, 1, 1});
  EXPECT_EQ(count_of(draw(map), "<rect"), count_of(plain, "<rect") + 5);
}

TEST(ErrorMapPicture, ManagesMatricesWithNothingToShow) {
  for (const ErrorMatrix& errors :
       {ErrorMatrix{}, ErrorMatrix{{0}}, ErrorMatrix{{0}, {0, 0}},
        ErrorMatrix{{0}, {std::numeric_limits<double>::infinity(), 0}}, ErrorMatrix{{0}, {1, 0}}}) {
    const std::string picture = draw(ErrorMap{"x", {}, errors, {}});
    EXPECT_THAT(picture, AllOf(HasSubstr("</svg>"), Not(HasSubstr("nan"))));
  }
}

}  // namespace
}  // namespace ebb::score
