#include "score/charts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <sstream>

#include "score/svg.h"

namespace ebb::score {
namespace {

using ::testing::HasSubstr;

/// Why `text` is not well-formed XML; empty: it is. Knows what an SVG needs: elements, attributes
/// in double quotes, entities.
std::string fault_of(const std::string& text) {
  std::vector<std::string> open;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '&') {
      const std::string rest = text.substr(at, 6);
      if (!rest.starts_with("&amp;") && !rest.starts_with("&lt;") && !rest.starts_with("&gt;") &&
          !rest.starts_with("&quot;"))
        return "a bare & at " + std::to_string(at);
    }
    if (text[at] != '<') {
      ++at;
      continue;
    }
    const size_t end = text.find('>', at);
    if (end == std::string::npos) return "an open <";
    const std::string tag = text.substr(at + 1, end - at - 1);
    if (tag.find('<') != std::string::npos) return "< within a tag";
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "an open quotation in " + tag;
    const std::string name = tag.substr(0, tag.find_first_of(" ?/", 1));
    if (tag.starts_with("/")) {
      if (open.empty() || "/" + open.back() != tag) return "unexpected <" + tag + ">";
      open.pop_back();
    } else if (!tag.starts_with("?") && !tag.ends_with("/")) {
      open.push_back(name);
    }
    at = end + 1;
  }
  return open.empty() ? "" : open.back() + " stays open";
}

TEST(Svg, IsWellFormedWhateverTheTextsHold) {
  Svg svg(100, 50);
  svg.text({1, 2}, "a < b & \"c\" > d\n\x01");
  svg.text_upwards({1, 2}, "<&>");
  svg.line({0, 0}, {1, 1}, "red\"/><script>");
  svg.polyline({{0, 0}, {1.239, 1e300}, {1, 0.0 / 0.0}}, "blue");
  EXPECT_EQ(fault_of(svg.document()), "");
  EXPECT_THAT(svg.document(), HasSubstr("a &lt; b &amp; &quot;c&quot; &gt; d??"));
  EXPECT_THAT(svg.document(), HasSubstr("1.24,"));
  EXPECT_EQ(svg.document().find("script>"), std::string::npos);
}

TEST(LineChart, ShowsEveryPointWithItsErrorBar) {
  LineChart chart{"Perplexity", "budget", "%", {}, 0.0};
  chart.lines.push_back({"tidal", {{128, 5, 3, 7}, {256, 2, 1, 3}, {512, 1, 1, 1}}});
  chart.lines.push_back({"a<b", {{256, 4, 3, 5}}});
  const std::string drawn = draw(chart);
  EXPECT_EQ(fault_of(drawn), "");
  size_t circles = 0;
  for (size_t at = drawn.find("<circle"); at != std::string::npos;
       at = drawn.find("<circle", at + 1))
    ++circles;
  EXPECT_EQ(circles, 4u + 2u) << "points, and one for each name";
  for (const char* mark : {">128<", ">256<", ">512<", ">tidal<", ">a&lt;b<"})
    EXPECT_THAT(drawn, HasSubstr(mark));
}

TEST(LineChart, ErrorBarsAtOnePlaceStandSideBySideWithinThePlot) {
  LineChart chart{"t", "x", "y", {}, {}};
  for (int i = 0; i < 9; ++i)
    chart.lines.push_back({"p" + std::to_string(i), {{128, 5, 3, 7}, {256, 5, 3, 7}}});
  std::istringstream drawn(draw(chart));
  std::set<double> places;  // of circles with radius 4: points
  for (std::string line; std::getline(drawn, line);) {
    double x = 0, y = 0, radius = 0;
    const size_t at = line.find("<circle");
    if (at == std::string::npos) continue;
    ASSERT_EQ(
        std::sscanf(line.c_str() + at, "<circle cx=\"%lf\" cy=\"%lf\" r=\"%lf\"", &x, &y, &radius),
        3);
    if (radius != 4) continue;
    EXPECT_TRUE(x >= 70 && x <= 530) << x;
    places.insert(x);
  }
  EXPECT_EQ(places.size(), 18u);
}

TEST(LineChart, ItsFigureStaysWithinThePicture) {
  for (const LineChart& chart :
       {LineChart{"none", "x", "y", {}, {}},
        LineChart{"one", "x", "y", {{"p", {{0, 3, 3, 3}}}}, {}},
        LineChart{"flat", "x", "y", {{"p", {{1, 0, 0, 0}, {2, 0, 0, 0}}}}, 0.0}}) {
    const std::string drawn = draw(chart);
    EXPECT_EQ(fault_of(drawn), "");
    EXPECT_EQ(drawn.find("nan"), std::string::npos);
    EXPECT_EQ(drawn.find("inf"), std::string::npos);
  }
}

TEST(HeatMap, ShowsValuesAndHoles) {
  const HeatMap map{
      "Needle",
      "depth",
      "tokens",
      {{"tidal:budget=n/8", {"0 %", "50 %"}, {"1024", "2048"}, {{1.0, 0.0}, {0.5, {}}}}}};
  const std::string drawn = draw(map);
  EXPECT_EQ(fault_of(drawn), "");
  for (const char* value : {">1<", ">0<", ">0.5<", ">-<", "#cccccc"})
    EXPECT_THAT(drawn, HasSubstr(value));
}

}  // namespace
}  // namespace ebb::score
