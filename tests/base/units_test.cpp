#include "base/units.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

TEST(Units, ReadsSizesAsPeopleWriteThem) {
  EXPECT_EQ(*parse_bytes("4096"), 4096u);
  EXPECT_EQ(*parse_bytes("12B"), 12u);
  EXPECT_EQ(*parse_bytes("96MiB"), 96 * kMiB);
  EXPECT_EQ(*parse_bytes("96 MiB"), 96 * kMiB);
  EXPECT_EQ(*parse_bytes("2G"), 2 * kGiB);
  EXPECT_EQ(*parse_bytes("1.5GiB"), 3 * kGiB / 2);
  EXPECT_EQ(*parse_bytes("9007199254740993"), 9007199254740993u) << "beyond a double's integers";
}

TEST(Units, RefusesWhatIsNotASize) {
  for (const char* text : {"", " ", "MiB", "-1", "+1", "12 XiB", "1..5G", "0x10", "1e9", "nan",
                           "inf", "12MiB3", "99999999999TiB"})
    EXPECT_FALSE(parse_bytes(text)) << "\"" << text << "\"";
}

TEST(Units, ReadsDurations) {
  EXPECT_EQ(*parse_duration("250"), Millis(250));
  EXPECT_EQ(*parse_duration("500ms"), Millis(500));
  EXPECT_EQ(*parse_duration("3s"), Millis(3000));
  EXPECT_EQ(*parse_duration("1.5s"), Millis(1500));
  EXPECT_EQ(*parse_duration("2min"), Millis(120000));
  EXPECT_FALSE(parse_duration("3 weeks"));
  EXPECT_FALSE(parse_duration("-3s"));
}

TEST(Units, WritesSizesAndTimesForPeople) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(99929293), "95.3 MiB");
  EXPECT_EQ(format_bytes(kGiB - 1), "1.0 GiB");
  EXPECT_EQ(format_seconds(3.44), "3.4 s");
  EXPECT_EQ(format_seconds(59.99), "1 min 00 s");
  EXPECT_EQ(format_seconds(125), "2 min 05 s");
  EXPECT_EQ(format_seconds(3900), "1 h 05 min");
  EXPECT_EQ(format_seconds(-1), "0.0 s");
}

TEST(Units, ReadsAddresses) {
  EXPECT_EQ(*parse_host_port("127.0.0.1:8000"), (HostPort{"127.0.0.1", 8000}));
  EXPECT_EQ(*parse_host_port("[::1]:8000"), (HostPort{"::1", 8000}));
  EXPECT_EQ(*parse_host_port("localhost:0"), (HostPort{"localhost", 0}));
  EXPECT_EQ(parse_host_port("[::1]:80")->text(), "[::1]:80");
  for (const char* text : {"", "8000", ":8000", "localhost", "localhost:", "localhost:http",
                           "::1:8000", "a b:1", "host:65536", "host:-1", "host:1x"})
    EXPECT_FALSE(parse_host_port(text)) << "\"" << text << "\"";
}

TEST(Units, LoopbackIsAnAddressNotAPrefix) {
  EXPECT_TRUE(is_loopback("127.0.0.1"));
  EXPECT_TRUE(is_loopback("127.8.9.10"));
  EXPECT_TRUE(is_loopback("::1"));
  EXPECT_TRUE(is_loopback("localhost"));
  EXPECT_FALSE(is_loopback("0.0.0.0"));
  EXPECT_FALSE(is_loopback("127.evil.example"));
  EXPECT_FALSE(is_loopback("127.0.0.1.evil.example"));
  EXPECT_FALSE(is_loopback("128.0.0.1"));
}

}  // namespace
}  // namespace ebb
