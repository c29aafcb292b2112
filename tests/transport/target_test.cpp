#include "transport/http/target.h"

#include <gtest/gtest.h>

namespace ebb::http {
namespace {

TEST(Target, DecodesPathAndQuery) {
  auto target = parse_target("/v1/%C3%A9?a=1&b=%20x+y&flag");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/v1/\xC3\xA9");
  EXPECT_EQ(target->query["b"], " x y");
  EXPECT_TRUE(target->query.contains("flag"));
}

TEST(Target, TakesTheAbsoluteForm) {
  EXPECT_EQ(parse_target("http://host:80/x?y=1")->path, "/x");
  EXPECT_EQ(parse_target("http://host")->path, "/");
  EXPECT_EQ(parse_target("*")->path, "*");
}

TEST(Target, RefusesBrokenEscapes) {
  EXPECT_FALSE(parse_target("/%"));
  EXPECT_FALSE(parse_target("/%4"));
  EXPECT_FALSE(parse_target("/?a=%g0"));
  EXPECT_FALSE(parse_target(""));
}

}  // namespace
}  // namespace ebb::http
