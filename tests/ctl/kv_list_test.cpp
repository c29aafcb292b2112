#include "ctl/kv_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string list_json(const std::string& next) {
  return R"({"apiVersion":"ebb/v1","kind":"GranuleList","granules":[
  {"digest":"c3f90123456789abcdef0123456789ab","band":7,"heads":[0,2],"private":false,"first":32,
   "records":16,"bytes":49280,"tiers":["host","ssd"],"durable":true,"holders":2},
  {"digest":"d0\u001b[2J","band":0,"heads":[2,3],"private":true,"first":0,"records":3,"bytes":96,
   "tiers":["host"],"durable":false,"holders":0}],"next":)" +
         next + "}";
}

TEST(KvList, IsATableWithThePlaceOfTheNextPage) {
  const auto text = render_kv_list(list_json(R"("12ab")"));
  ASSERT_TRUE(text) << text.error().text();
  EXPECT_THAT(
      *text,
      AllOf(
          HasSubstr("c3f901234567  7     0-1    content  32-47   16       48.1 KiB  host,ssd  yes"),
          HasSubstr("private"), HasSubstr("more: --cursor 12ab\n"), Not(HasSubstr("\x1b"))));
  EXPECT_THAT(*render_kv_list(list_json("null")), Not(HasSubstr("--cursor")));
  EXPECT_EQ(*render_kv_list(R"({"granules":[],"next":null})"), "no granules\n");
}

TEST(KvList, AnotherKindOfAnswerIsAnErrorNotACrash) {
  for (const char* body : {"", "[]", "null", "{}", R"({"granules":3,"next":null})",
                           R"({"granules":[{}],"next":null})"}) {
    const auto text = render_kv_list(body);
    ASSERT_FALSE(text) << body;
    EXPECT_EQ(text.error().code, Code::kCorrupt);
  }
}

TEST(KvList, AsksForWhatTheOptionsSay) {
  const std::string list = list_json("null");
  FakeService fake([&](const http::Request& request) {
    EXPECT_EQ(request.path, "/admin/v1/kv/granules");
    const auto limit = request.query.find("limit");
    if (limit != request.query.end() && limit->second == "5000")
      return json_answer(400, R"({"error":{"message":"limit 5000, allowed 1 to 1024"}})");
    EXPECT_EQ(request.query.at("store"), "s0");
    EXPECT_EQ(request.query.at("seq"), "7");
    EXPECT_EQ(request.query.at("cursor"), "12ab");
    return json_answer(200, list);
  });
  KeptTerminal kept;
  const KvListOptions options{"s0", "7", "10", "12ab"};
  EXPECT_EQ(run_kv_list(kept.terminal, fake.service(), options, Format::kJson), kOk);
  EXPECT_EQ(kept.out.str(), list + "\n");
  EXPECT_EQ(run_kv_list(kept.terminal, fake.service(), {"", "", "5000", ""}, Format::kTable),
            kUsage);
  EXPECT_THAT(kept.err.str(), HasSubstr("allowed 1 to 1024"));
  EXPECT_EQ(run_kv_list(kept.terminal, fake.service(), {"s0&x=1", "", "1", ""}, Format::kTable),
            kUsage);
}

}  // namespace
}  // namespace ebb::ctl
