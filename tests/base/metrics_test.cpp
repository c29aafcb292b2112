#include "base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb {
namespace {

using ::testing::HasSubstr;

TEST(Metrics, WritesThePrometheusTextForm) {
  Metrics metrics;
  metrics.counter("ebb_puts_total", "Granules put.", {{"tier", "host"}}).add(3);
  metrics.gauge("ebb_arena_used_bytes", "Arena in use.").set(4096);
  auto& latency = metrics.histogram("ebb_restore_seconds", "Restore time.", {0.01, 0.1});
  latency.observe(0.05);
  latency.observe(5);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("# HELP ebb_puts_total Granules put."));
  EXPECT_THAT(text, HasSubstr("# TYPE ebb_puts_total counter"));
  EXPECT_THAT(text, HasSubstr("ebb_puts_total{tier=\"host\"} 3"));
  EXPECT_THAT(text, HasSubstr("ebb_arena_used_bytes 4096"));
  EXPECT_THAT(text, HasSubstr("ebb_restore_seconds_bucket{le=\"0.1\"} 1"));
  EXPECT_THAT(text, HasSubstr("ebb_restore_seconds_bucket{le=\"+Inf\"} 2"));
  EXPECT_THAT(text, HasSubstr("ebb_restore_seconds_count 2"));
}

TEST(Metrics, TheSameNameAndLabelsAreOneSeries) {
  Metrics metrics;
  Counter& first = metrics.counter("ebb_gets_total", "Gets.", {{"tier", "ssd"}});
  Counter& again = metrics.counter("ebb_gets_total", "Gets.", {{"tier", "ssd"}});
  Counter& other = metrics.counter("ebb_gets_total", "Gets.", {{"tier", "host"}});
  EXPECT_EQ(&first, &again);
  EXPECT_NE(&first, &other);
  first.add();
  EXPECT_EQ(again.value(), 1);
  EXPECT_EQ(other.value(), 0);
}

TEST(Metrics, EscapesLabelValues) {
  Metrics metrics;
  metrics.gauge("ebb_store_up", "Up.", {{"note", "a \"quoted\"\nline"}}).set(1);
  EXPECT_THAT(metrics.text(), HasSubstr(R"(note="a \"quoted\"\nline")"));
}

TEST(MetricsDeathTest, RefusesForeignNamesAndTwoKindsUnderOne) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Metrics metrics;
  EXPECT_DEATH(metrics.counter("requests", "No prefix."), "is_metric_name");
  metrics.counter("ebb_things_total", "Things.");
  EXPECT_DEATH(metrics.gauge("ebb_things_total", "Things."), "check failed");
}

}  // namespace
}  // namespace ebb
