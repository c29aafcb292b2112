#include "score/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace ebb::score {
namespace {

/// At most two digits behind the point; what is no number becomes 0, and nothing lies farther away
/// than any picture reaches.
std::string number(double value) {
  char text[64];
  const double near = std::clamp(std::isfinite(value) ? value : 0.0, -1e6, 1e6);
  const int size = std::snprintf(text, sizeof text, "%.2f", near);
  std::string out(text, static_cast<size_t>(size));
  while (out.back() == '0') out.pop_back();
  if (out.back() == '.') out.pop_back();
  return out;
}

std::string attribute(const char* name, const std::string& value) {
  return std::string(" ") + name + "=\"" + value + "\"";
}
std::string attribute(const char* name, double value) { return attribute(name, number(value)); }

const char* anchor_name(SvgAnchor anchor) {
  if (anchor == SvgAnchor::kMiddle) return "middle";
  return anchor == SvgAnchor::kEnd ? "end" : "start";
}

}  // namespace

std::string svg_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return out;
}

Svg::Svg(double width, double height) : width_(width), height_(height) {
  rectangle({0, 0}, {width, height}, "white");
}

void Svg::line(SvgPoint from, SvgPoint to, const std::string& colour, double thickness) {
  body_ += "<line" + attribute("x1", from.x) + attribute("y1", from.y) + attribute("x2", to.x) +
           attribute("y2", to.y) + attribute("stroke", svg_escaped(colour)) +
           attribute("stroke-width", thickness) + "/>\n";
}

void Svg::polyline(const std::vector<SvgPoint>& points, const std::string& colour) {
  std::string list;
  for (const SvgPoint& point : points)
    list += (list.empty() ? "" : " ") + number(point.x) + "," + number(point.y);
  body_ += "<polyline" + attribute("points", list) + attribute("fill", std::string("none")) +
           attribute("stroke", svg_escaped(colour)) + attribute("stroke-width", 2) + "/>\n";
}

void Svg::circle(SvgPoint centre, double radius, const std::string& colour) {
  body_ += "<circle" + attribute("cx", centre.x) + attribute("cy", centre.y) +
           attribute("r", radius) + attribute("fill", svg_escaped(colour)) + "/>\n";
}

void Svg::rectangle(SvgPoint corner, SvgPoint size, const std::string& colour) {
  body_ += "<rect" + attribute("x", corner.x) + attribute("y", corner.y) +
           attribute("width", size.x) + attribute("height", size.y) +
           attribute("fill", svg_escaped(colour)) + "/>\n";
}

void Svg::text(SvgPoint at, const std::string& text, SvgAnchor anchor, double size,
               const std::string& colour) {
  body_ += "<text" + attribute("x", at.x) + attribute("y", at.y) + attribute("font-size", size) +
           attribute("text-anchor", std::string(anchor_name(anchor))) +
           attribute("fill", svg_escaped(colour)) + ">" + svg_escaped(text) + "</text>\n";
}

void Svg::text_upwards(SvgPoint at, const std::string& text) {
  body_ +=
      "<text" + attribute("font-size", 12) + attribute("text-anchor", std::string("middle")) +
      attribute("fill", std::string("#222")) +
      attribute("transform", "translate(" + number(at.x) + " " + number(at.y) + ") rotate(-90)") +
      ">" + svg_escaped(text) + "</text>\n";
}

std::string Svg::document() const {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"" +
         attribute("width", width_) + attribute("height", height_) +
         attribute("viewBox", "0 0 " + number(width_) + " " + number(height_)) +
         attribute("font-family", std::string("sans-serif")) + ">\n" + body_ + "</svg>\n";
}

}  // namespace ebb::score
