#include "ctl/kv_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr MapStyle kAscii{80, false, false};

std::string map_of(uint32_t length, const std::string& bands) {
  return R"({"apiVersion":"ebb/v1","kind":"KvMap","seq":"12","length":)" + std::to_string(length) +
         R"(,"policy":{"name":"tidal","budget":96,"sinks":4,"window":32},"bands":[)" + bands +
         R"(],"counters":{"released_records":700,"restored_host_records":30,
            "restored_ssd_records":20,"restored_bytes":51200,"selected_tokens":900,"hot_hits":850,
            "device_blocks":8,"device_blocks_max":9}})";
}
std::string band_of(const std::string& runs, const std::string& residency = "hot") {
  return R"({"band":3,"layers":[3,7],"residency":")" + residency +
         R"(","record_bytes":1024,"runs":[)" + runs + "]}";
}
std::string run_of(uint32_t begin, uint32_t count, const std::string& place) {
  return R"({"begin":)" + std::to_string(begin) + R"(,"count":)" + std::to_string(count) +
         R"(,"place":")" + place + "\"}";
}

/// The picture's line of band 3.
std::string band_line(const std::string& picture) {
  std::istringstream lines(picture);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("   3 ")) return line;
  return "";
}

TEST(KvMap, DrawsRunsInProportion) {
  const auto drawn =
      draw_kv_map(map_of(400, band_of(run_of(0, 100, "device") + "," + run_of(100, 200, "host") +
                                      "," + run_of(300, 100, "ssd"))),
                  kAscii);
  ASSERT_TRUE(drawn) << drawn.error().text();
  // 40 of 80 columns are buckets of 10 tokens.
  EXPECT_THAT(band_line(*drawn),
              HasSubstr("   3    3-6   hot " + std::string(10, '#') + std::string(20, '=') +
                        std::string(10, '.') + "  25%   50%   25%"));
  EXPECT_THAT(*drawn, HasSubstr("sequence 12: 400 tokens, tidal (budget 96, sinks 4, window 32)"));
  EXPECT_THAT(*drawn, HasSubstr("# device 100.0 KiB   = host 200.0 KiB   . ssd 100.0 KiB\n"));
  EXPECT_THAT(*drawn,
              HasSubstr("released 700 records; restored 30 from host, 20 from ssd (50.0 KiB)"));
  EXPECT_THAT(*drawn, HasSubstr("one column: 10 tokens"));
}

TEST(KvMap, WhatAStreamForgotIsNotMissing) {
  const auto drawn = draw_kv_map(
      map_of(400, band_of(run_of(0, 100, "device") + "," + run_of(100, 200, "forgotten") + "," +
                              run_of(300, 100, "device"),
                          "all")),
      kAscii);
  ASSERT_TRUE(drawn) << drawn.error().text();
  EXPECT_THAT(band_line(*drawn), HasSubstr(std::string(10, '#') + std::string(20, '-')));
  EXPECT_THAT(*drawn, HasSubstr("gone"));
  EXPECT_THAT(*drawn, Not(HasSubstr("miss")));
}

TEST(KvMap, OneMissingTokenIsSeen) {
  const auto drawn = draw_kv_map(
      map_of(4000, band_of(run_of(0, 1999, "device") + "," + run_of(1999, 1, "missing") + "," +
                           run_of(2000, 2000, "device"))),
      kAscii);
  ASSERT_TRUE(drawn);
  EXPECT_THAT(band_line(*drawn), HasSubstr("#!#"));
  EXPECT_THAT(band_line(*drawn), HasSubstr("<1%"));
  EXPECT_THAT(band_line(*drawn), HasSubstr(">99%"));
  EXPECT_THAT(*drawn, HasSubstr("! missing 1.0 KiB"));
}

TEST(KvMap, EveryTokenIsCountedOnceWhateverTheWidth) {
  for (const uint32_t length : {1u, 2u, 7u, 39u, 40u, 41u, 1000u, 7639u}) {
    for (const unsigned width : {40u, 57u, 80u, 133u, 400u}) {
      std::string runs;
      for (uint32_t at = 0, i = 0; at < length; ++i) {
        const uint32_t count = std::min(length - at, 1 + i * 5 % 17);
        runs += (at ? "," : "") + run_of(at, count, i % 2 ? "host" : "device");
        at += count;
      }
      const auto drawn = draw_kv_map(map_of(length, band_of(runs)), {width, false, false});
      ASSERT_TRUE(drawn);
      const std::string line = band_line(*drawn);
      EXPECT_LE(line.size(), std::max<size_t>(width, 57)) << length << " tokens, " << width;
      // A bucket that no run reached would be a blank within the picture.
      const std::string picture = line.substr(18, line.find(' ', 18) - 18);
      EXPECT_EQ(picture.size(), std::min<size_t>({length, std::max(10u, width - 40), 1000}))
          << length << " tokens, " << width << " columns\n"
          << *drawn;
    }
  }
}

TEST(KvMap, Utf8AndColourAreOptIn) {
  const std::string map = map_of(100, band_of(run_of(0, 100, "device"), "all"));
  EXPECT_THAT(*draw_kv_map(map, {80, true, false}), HasSubstr("█"));
  EXPECT_THAT(*draw_kv_map(map, {80, true, false}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(*draw_kv_map(map, {80, true, true}), HasSubstr("\x1b[32m█"));
  EXPECT_THAT(*draw_kv_map(map, kAscii), Not(HasSubstr("█")));
}

TEST(KvMap, RunsBeyondTheSequenceAreCut) {
  const auto drawn = draw_kv_map(
      map_of(100, band_of(run_of(0, 100, "device") + "," + run_of(90, 4000000000, "ssd"))), kAscii);
  ASSERT_TRUE(drawn);
  EXPECT_THAT(*drawn, HasSubstr("ssd 10.0 KiB"));
}

TEST(KvMap, AnEmptySequenceAndAnAnswerThatIsNoMapAreSaid) {
  EXPECT_THAT(*draw_kv_map(map_of(0, ""), kAscii), HasSubstr("no token has KV yet"));
  EXPECT_EQ(draw_kv_map("{}", kAscii).error().code, Code::kCorrupt);
  EXPECT_EQ(draw_kv_map("<html>", kAscii).error().code, Code::kCorrupt);
  EXPECT_EQ(draw_kv_map(R"({"length":"many","bands":[]})", kAscii).error().code, Code::kCorrupt);
}

TEST(KvMap, TheCommandPassesJsonThroughAndNamesAnUnknownSequence) {
  const std::string map = map_of(10, band_of(run_of(0, 10, "device")));
  FakeService fake([&](const http::Request& request) {
    EXPECT_EQ(request.path, "/admin/v1/kv/map");
    const auto seq = request.query.find("seq");
    if (seq != request.query.end() && seq->second != "12")
      return json_answer(404, R"({"error":{"message":"no sequence 99","type":"not_found"}})");
    return json_answer(200, map);
  });
  KeptTerminal kept;
  EXPECT_EQ(run_kv_map(kept.terminal, fake.service(), "", Format::kJson), kOk);
  EXPECT_EQ(kept.out.str(), map + "\n");
  EXPECT_EQ(run_kv_map(kept.terminal, fake.service(), "12", Format::kTable), kOk);
  EXPECT_EQ(run_kv_map(kept.terminal, fake.service(), "99", Format::kTable), kNotThere);
  EXPECT_THAT(kept.err.str(), HasSubstr("no sequence 99"));
  EXPECT_EQ(run_kv_map(kept.terminal, fake.service(), "1&x=2", Format::kTable), kUsage);
}

}  // namespace
}  // namespace ebb::ctl
