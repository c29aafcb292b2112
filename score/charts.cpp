#include "score/charts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "score/svg.h"

namespace ebb::score {
namespace {

constexpr double kLeft = 70, kTop = 40, kPlotWidth = 460, kPlotHeight = 300;
constexpr const char* kColours[] = {"#1b6ca8", "#d1495b", "#2e933c", "#8d5a97",
                                    "#e09f3e", "#3a3a3a", "#00a6a6", "#8f2d56",
                                    "#6a994e", "#5e60ce", "#bc6c25", "#b5838d"};
constexpr const char* kGrid = "#dddddd";

std::string colour_of(size_t line) { return kColours[line % std::size(kColours)]; }

std::string shown(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

struct Range {
  double low = INFINITY;
  double high = -INFINITY;
  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// Never empty and never a point, so that places in it exist.
  void widen(double share) {
    if (low > high) low = high = 0;
    const double by = high > low ? (high - low) * share : std::max(std::abs(low), 1.0) * 0.1;
    low -= by;
    high += by;
  }
  double place(double value) const { return (value - low) / (high - low); }
};

/// A round step that cuts `span` into about five.
double round_step(double span) {
  const double raw = span / 5;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power) return factor * power;
  return 10 * power;
}

class LinePlot {
 public:
  explicit LinePlot(const LineChart& chart)
      : chart_(chart),
        svg_(kLeft + kPlotWidth + 20,
             kTop + kPlotHeight + 60 + 18 * static_cast<double>(chart.lines.size())) {
    log_x_ = true;
    for (const ChartLine& line : chart.lines)
      for (const ChartPoint& point : line.points) log_x_ = log_x_ && point.x > 0;
    for (const ChartLine& line : chart.lines) {
      for (const ChartPoint& point : line.points) {
        x_.take(along(point.x));
        for (const double y : {point.y, point.low, point.high}) y_.take(y);
      }
    }
    if (chart.baseline) y_.take(*chart.baseline);
    x_.widen(0.05);
    y_.widen(0.08);
  }

  std::string draw() {
    svg_.text({kLeft + kPlotWidth / 2, 22}, chart_.title, SvgAnchor::kMiddle, 15);
    axes();
    if (chart_.baseline)
      svg_.line({kLeft, y_at(*chart_.baseline)}, {kLeft + kPlotWidth, y_at(*chart_.baseline)},
                "#555555");
    for (size_t i = 0; i < chart_.lines.size(); ++i) line(i);
    return svg_.document();
  }

 private:
  double along(double x) const { return log_x_ ? std::log2(x) : x; }
  double x_at(double x) const { return kLeft + kPlotWidth * x_.place(along(x)); }
  double y_at(double y) const { return kTop + kPlotHeight * (1 - y_.place(y)); }

  /// Pixels that line `number` is moved aside, so that error bars at one x stand side by side.
  double aside(size_t number) const {
    std::vector<double> places;
    for (const ChartLine& one : chart_.lines)
      for (const ChartPoint& point : one.points) places.push_back(x_at(point.x));
    if (places.empty()) return 0;
    std::sort(places.begin(), places.end());
    double room = 2 * (places.front() - kLeft);
    for (size_t i = 1; i < places.size(); ++i)
      if (places[i] - places[i - 1] > 1) room = std::min(room, places[i] - places[i - 1]);
    const auto lines = static_cast<double>(chart_.lines.size());
    return (static_cast<double>(number) - (lines - 1) / 2) * std::min(40.0, 0.6 * room / lines);
  }

  void axes() {
    const double bottom = kTop + kPlotHeight;
    const double step = round_step(y_.high - y_.low);
    for (double y = std::ceil(y_.low / step) * step; y <= y_.high; y += step) {
      svg_.line({kLeft, y_at(y)}, {kLeft + kPlotWidth, y_at(y)}, kGrid);
      svg_.text({kLeft - 6, y_at(y) + 4}, shown(std::abs(y) < step / 1000 ? 0 : y),
                SvgAnchor::kEnd);
    }
    std::vector<double> marks;
    for (const ChartLine& one : chart_.lines)
      for (const ChartPoint& point : one.points) marks.push_back(point.x);
    std::sort(marks.begin(), marks.end());
    double free_from = -INFINITY;  // labels do not run into each other
    for (const double x : marks) {
      if (x_at(x) < free_from) continue;
      svg_.line({x_at(x), bottom}, {x_at(x), bottom + 5}, "#222");
      svg_.text({x_at(x), bottom + 18}, shown(x), SvgAnchor::kMiddle);
      free_from = x_at(x) + 38;
    }
    svg_.line({kLeft, bottom}, {kLeft + kPlotWidth, bottom}, "#222");
    svg_.line({kLeft, kTop}, {kLeft, bottom}, "#222");
    svg_.text({kLeft + kPlotWidth / 2, bottom + 38}, chart_.x_label, SvgAnchor::kMiddle);
    svg_.text_upwards({18, kTop + kPlotHeight / 2}, chart_.y_label);
  }

  void line(size_t number) {
    const ChartLine& line = chart_.lines[number];
    const std::string colour = colour_of(number);
    const double moved = aside(number);
    std::vector<SvgPoint> path;
    for (const ChartPoint& point : line.points) {
      const double x = x_at(point.x) + moved;
      path.push_back({x, y_at(point.y)});
      if (point.high > point.low) {
        svg_.line({x, y_at(point.low)}, {x, y_at(point.high)}, colour);
        for (const double end : {point.low, point.high})
          svg_.line({x - 4, y_at(end)}, {x + 4, y_at(end)}, colour);
      }
      svg_.circle(path.back(), 4, colour);
    }
    if (path.size() > 1) svg_.polyline(path, colour);
    const double y = kTop + kPlotHeight + 58 + 18 * static_cast<double>(number);
    svg_.circle({kLeft + 6, y - 4}, 5, colour);
    svg_.text({kLeft + 18, y}, line.name);
  }

  const LineChart& chart_;
  Svg svg_;
  Range x_;
  Range y_;
  bool log_x_ = false;
};

constexpr double kField = 52, kFieldHeight = 26, kRowLabelMin = 150, kPanelGap = 56;
constexpr double kCharacter = 6.5;  // of a row label, at most

/// Red over yellow to green.
std::string heat_colour(const std::optional<double>& value) {
  if (!value || !std::isfinite(*value)) return "#cccccc";
  const double v = std::clamp(*value, 0.0, 1.0);
  const auto mixed = [&](double red, double yellow, double green) {
    const double mix =
        v < 0.5 ? red + (yellow - red) * v * 2 : yellow + (green - yellow) * (v * 2 - 1);
    return static_cast<int>(std::lround(mix));
  };
  char text[16];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", mixed(222, 250, 90) & 0xff,
                mixed(90, 220, 180) & 0xff, mixed(80, 110, 100) & 0xff);
  return text;
}

/// Where the fields begin: all row labels have room to their left.
double fields_at(const HeatMap& map) {
  size_t longest = 0;
  for (const HeatPanel& panel : map.panels)
    for (const std::string& row : panel.rows) longest = std::max(longest, row.size());
  return std::max(kRowLabelMin, kCharacter * static_cast<double>(longest) + 16);
}

void draw_panel(Svg& svg, const HeatPanel& panel, const HeatMap& map, double top) {
  const double left = fields_at(map);
  svg.text({20, top}, panel.title, SvgAnchor::kStart, 13);
  svg.text({20, top + 18}, map.row_label + " / " + map.column_label, SvgAnchor::kStart, 10, "#666");
  for (size_t c = 0; c < panel.columns.size(); ++c)
    svg.text({left + kField * (static_cast<double>(c) + 0.5), top + 18}, panel.columns[c],
             SvgAnchor::kMiddle, 11);
  for (size_t r = 0; r < panel.rows.size() && r < panel.values.size(); ++r) {
    const double y = top + 24 + kFieldHeight * static_cast<double>(r);
    svg.text({left - 6, y + 17}, panel.rows[r], SvgAnchor::kEnd, 11);
    for (size_t c = 0; c < panel.columns.size() && c < panel.values[r].size(); ++c) {
      const double x = left + kField * static_cast<double>(c);
      const auto& value = panel.values[r][c];
      svg.rectangle({x, y}, {kField - 2, kFieldHeight - 2}, heat_colour(value));
      svg.text({x + kField / 2 - 1, y + 17}, value ? shown(std::round(*value * 100) / 100) : "-",
               SvgAnchor::kMiddle, 11);
    }
  }
}

}  // namespace

std::string draw(const LineChart& chart) { return LinePlot(chart).draw(); }

std::string draw(const HeatMap& map) {
  size_t columns = 1;
  double height = 50;
  for (const HeatPanel& panel : map.panels) {
    columns = std::max(columns, panel.columns.size());
    height += kPanelGap + kFieldHeight * static_cast<double>(panel.rows.size());
  }
  Svg svg(std::max(420.0, fields_at(map) + kField * static_cast<double>(columns) + 20), height);
  svg.text({20, 24}, map.title, SvgAnchor::kStart, 15);
  double top = 56;
  for (const HeatPanel& panel : map.panels) {
    draw_panel(svg, panel, map, top);
    top += kPanelGap + kFieldHeight * static_cast<double>(panel.rows.size());
  }
  return svg.document();
}

}  // namespace ebb::score
