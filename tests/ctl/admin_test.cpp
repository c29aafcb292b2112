#include "ctl/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string status_json(bool ready) {
  return std::string(R"({"apiVersion":"ebb/v1","kind":"Status","ready":)") +
         (ready ? "true" : "false") +
         R"json(,"not_ready_because":"waiting for ranks 1","draining":false,"healthy":true,
  "running":2,"waiting":3,"groups":[{"name":"g0","epoch":7,"state":"forming","ready":false,
  "ranks":[{"rank":0,"joined":true,"node":"g0/rank0","pid":41,"backend":"cpu (avx2)"},
           {"rank":1,"joined":false,"node":"","pid":0,"backend":""}],
  "arena_bytes":150994944,"arena_used_bytes":75497472,"arena_max_bytes":75497472}],
  "stores":[{"name":"s0","address":"127.0.0.1:7500","connected":true,"problem":"",
  "tiers":[{"tier":"host","capacity_bytes":33554432,"used_bytes":16777216,"granules":10,
            "held_granules":4,"evictions":2,"writable":true,"note":""},
           {"tier":"ssd","capacity_bytes":1024,"used_bytes":0,"granules":0,"held_granules":0,
            "evictions":0,"writable":false,"note":"disk full"}],
  "puts":9,"gets":8,"misses":7,"corrupt":0}]})json";
}

TEST(Admin, StatusNamesWhatIsMissing) {
  const auto text = render_status(status_json(false));
  ASSERT_TRUE(text) << text.error().text();
  EXPECT_THAT(*text, AllOf(HasSubstr("not ready: waiting for ranks 1; 2 running, 3 waiting"),
                           HasSubstr("group g0: forming, epoch 7, arena 72.0 MiB of 144.0 MiB"),
                           HasSubstr("  1     no"), HasSubstr("cpu (avx2)"),
                           HasSubstr("store s0 at 127.0.0.1:7500: connected")));
}

TEST(Admin, StatusExitsUnhealthyWhenNotReady) {
  bool ready = false;
  FakeService fake([&](const http::Request&) { return json_answer(200, status_json(ready)); });
  KeptTerminal kept;
  EXPECT_EQ(run_status(kept.terminal, fake.service(), Format::kTable), kUnhealthy);
  ready = true;
  EXPECT_EQ(run_status(kept.terminal, fake.service(), Format::kJson), kOk);
  EXPECT_THAT(kept.out.str(), HasSubstr(status_json(true)));
}

TEST(Admin, TiersShowHowFullAndWhyNotWritable) {
  const auto text = render_tiers(status_json(true));
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, HasSubstr("g0     device  72.0 MiB  144.0 MiB  50 %"));
  EXPECT_THAT(*text, HasSubstr("s0     host    16.0 MiB  32.0 MiB   50 %  10        4"));
  EXPECT_THAT(*text, HasSubstr("no: disk full"));
  EXPECT_THAT(*text, HasSubstr("store s0: 9 puts, 8 gets, 7 misses, 0 corrupt"));
}

TEST(Admin, SequencesAreATable) {
  const auto text = render_sequences(
      R"({"kind":"SequenceList","sequences":[{"seq":"12","request_id":"cmpl-1","state":"failed",
      "policy":"tidal","budget":960,"prompt_tokens":7700,"tokens":7710,"generated":10,
      "age_seconds":75.2,"error":"store s0\u001b[2J lost"}]})");
  ASSERT_TRUE(text) << text.error().text();
  EXPECT_THAT(*text,
              HasSubstr("12   failed  tidal   960     7700    7710    10         1 min 15 s"));
  // A terminal must not obey what a server wrote.
  EXPECT_THAT(*text, HasSubstr("seq 12: store s0?[2J lost"));
  EXPECT_EQ(*render_sequences(R"({"sequences":[]})"), "no sequences yet\n");
}

TEST(Admin, AnotherKindOfAnswerIsAnErrorNotACrash) {
  for (const char* body : {"", "[]", "null", "{}", R"({"groups":3})", R"({"ready":"yes"})"}) {
    EXPECT_FALSE(render_status(body)) << body;
    EXPECT_FALSE(render_tiers(body)) << body;
    EXPECT_FALSE(render_sequences(body)) << body;
  }
}

TEST(Admin, NobodyThereIsItsOwnExitCode) {
  HostPort gone;
  {
    const FakeService fake([](const http::Request&) { return json_answer(200, "{}"); });
    gone = fake.service().admin;
  }
  KeptTerminal kept;
  EXPECT_EQ(run_status(kept.terminal, {gone, gone}, Format::kTable), kCannotConnect);
  EXPECT_THAT(kept.err.str(), HasSubstr(gone.text()));
}

TEST(Service, UrlsAreAddresses) {
  EXPECT_EQ(*parse_url("http://127.0.0.1:8000/"), (HostPort{"127.0.0.1", 8000}));
  EXPECT_EQ(*parse_url("localhost:81"), (HostPort{"localhost", 81}));
  EXPECT_EQ(parse_url("https://a:1").error().code, Code::kUnsupported);
  EXPECT_FALSE(parse_url("http://a:1/v1"));
  EXPECT_FALSE(parse_url("http://a"));
  EXPECT_EQ(reachable({"0.0.0.0", 5}), (HostPort{"127.0.0.1", 5}));
}

}  // namespace
}  // namespace ebb::ctl
