// The two pictures of ebb-score: lines with error bars, and heat maps. Data in, SVG out.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ebb::score {

struct ChartPoint {
  double x = 0;
  double y = 0;
  double low = 0;  ///< of the error bar; equal to `high`: none is drawn
  double high = 0;
};
struct ChartLine {
  std::string name;
  std::vector<ChartPoint> points;  ///< in the order in which they are joined
};
struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<ChartLine> lines;
  std::optional<double> baseline;  ///< a horizontal line, such as dense
};
/// x is drawn by powers of two where all are positive; lines are moved aside a little, so that
/// error bars do not cover each other. No point at all: axes and the title.
std::string draw(const LineChart& chart);

struct HeatPanel {
  std::string title;
  std::vector<std::string> rows;
  std::vector<std::string> columns;
  std::vector<std::vector<std::optional<double>>> values;  ///< [rows][columns], 0 to 1
};
struct HeatMap {
  std::string title;
  std::string row_label;
  std::string column_label;
  std::vector<HeatPanel> panels;
};
/// Green is 1, red 0, grey: nothing is known. Each field shows its value too.
std::string draw(const HeatMap& map);

}  // namespace ebb::score
