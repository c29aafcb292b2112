// A small writer of SVG 1.1: shapes and text, well-formed whatever the texts hold. Knows no chart.
#pragma once

#include <string>
#include <vector>

namespace ebb::score {

struct SvgPoint {
  double x = 0;
  double y = 0;
};
enum class SvgAnchor { kStart, kMiddle, kEnd };

/// Pixels, the origin at the upper left. Colours are CSS colours.
class Svg {
 public:
  Svg(double width, double height);
  void line(SvgPoint from, SvgPoint to, const std::string& colour, double thickness = 1);
  void polyline(const std::vector<SvgPoint>& points, const std::string& colour);
  void circle(SvgPoint centre, double radius, const std::string& colour);
  void rectangle(SvgPoint corner, SvgPoint size, const std::string& colour);
  void text(SvgPoint at, const std::string& text, SvgAnchor anchor = SvgAnchor::kStart,
            double size = 12, const std::string& colour = "#222");
  /// Read from below to above.
  void text_upwards(SvgPoint at, const std::string& text);
  /// The whole document.
  std::string document() const;

 private:
  double width_;
  double height_;
  std::string body_;
};

/// Markup characters as entities, control characters as "?".
std::string svg_escaped(const std::string& text);

}  // namespace ebb::score
