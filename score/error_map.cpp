#include "score/error_map.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "score/svg.h"

namespace ebb::score {
namespace {

constexpr double kField = 17, kLeft = 64, kLegend = 150;

/// The powers of ten between which colours change; errors of 0 are below.
struct Scale {
  double low = -6;
  double high = 0;
  double share(double error) const {
    if (error <= 0) return 0;
    return std::clamp((std::log10(error) - low) / (high - low), 0.0, 1.0);
  }
};

/// Of all errors but those of a layer with its own set, which is no choice of anchors.
Scale scale_of(const ErrorMatrix& errors) {
  double least = 1e9, most = 0;
  for (size_t l = 0; l < errors.size(); ++l) {
    for (size_t s = 0; s < l; ++s) {
      if (errors[l][s] <= 0 || !std::isfinite(errors[l][s])) continue;
      least = std::min(least, errors[l][s]);
      most = std::max(most, errors[l][s]);
    }
  }
  if (most == 0) return {};
  Scale scale{std::floor(std::log10(least)), std::ceil(std::log10(most))};
  if (scale.high <= scale.low) scale.high = scale.low + 1;
  return scale;
}

/// Light to dark: pale yellow, orange, dark violet.
std::string colour(double share) {
  const auto mixed = [&](double light, double middle, double dark) {
    const double mix = share < 0.5 ? light + (middle - light) * share * 2
                                   : middle + (dark - middle) * (share * 2 - 1);
    return static_cast<unsigned>(std::lround(mix)) & 0xffu;
  };
  char text[16];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", mixed(255, 240, 60), mixed(250, 130, 15),
                mixed(215, 50, 90));
  return text;
}

void legend(Svg& svg, const Scale& scale, SvgPoint at) {
  svg.text(at, "error, power of ten", SvgAnchor::kStart, 11);
  constexpr int kSteps = 24;
  const double height = 8;
  for (int i = 0; i < kSteps; ++i) {
    const double share = 1 - static_cast<double>(i) / (kSteps - 1);
    svg.rectangle({at.x, at.y + 8 + height * i}, {18, height + 0.5}, colour(share));
  }
  const double span = height * (kSteps - 1);
  for (double power = scale.low; power <= scale.high; ++power) {
    const double y = at.y + 8 + span * (1 - (power - scale.low) / (scale.high - scale.low));
    svg.text({at.x + 24, y + 8}, std::to_string(static_cast<int>(power)), SvgAnchor::kStart, 11);
  }
}

void frame(Svg& svg, SvgPoint corner, double size) {
  const SvgPoint right{corner.x + size, corner.y}, below{corner.x, corner.y + size};
  const SvgPoint across{corner.x + size, corner.y + size};
  for (const auto& [from, to] : {std::pair{corner, right}, std::pair{right, across},
                                 std::pair{across, below}, std::pair{below, corner}})
    svg.line(from, to, "#1565c0", 2);
}

}  // namespace

std::string draw(const ErrorMap& map) {
  const size_t layers = map.errors.size();
  const double top = 56 + 16 * static_cast<double>(map.notes.size());
  const double side = kField * static_cast<double>(layers);
  Svg svg(std::max(520.0, kLeft + side + kLegend), top + std::max(side, 220.0) + 50);
  svg.text({20, 24}, map.title, SvgAnchor::kStart, 15);
  for (size_t i = 0; i < map.notes.size(); ++i)
    svg.text({20, 44 + 16 * static_cast<double>(i)}, map.notes[i], SvgAnchor::kStart, 11, "#555");
  const Scale scale = scale_of(map.errors);
  const auto corner = [&](size_t l, size_t s) {
    return SvgPoint{kLeft + kField * static_cast<double>(s), top + kField * static_cast<double>(l)};
  };
  for (size_t l = 0; l < layers; ++l) {
    for (size_t s = 0; s <= l && s < map.errors[l].size(); ++s)
      svg.rectangle(corner(l, s), {kField - 1, kField - 1}, colour(scale.share(map.errors[l][s])));
    svg.text({kLeft - 6, corner(l, 0).y + 13}, std::to_string(l), SvgAnchor::kEnd, 10);
    svg.text({corner(0, l).x + kField / 2, top + side + 14}, std::to_string(l), SvgAnchor::kMiddle,
             10);
  }
  for (size_t i = 0; i < map.anchors.size(); ++i) {
    const size_t end = i + 1 < map.anchors.size() ? map.anchors[i + 1] : layers;
    for (size_t l = map.anchors[i] + 1; l < end; ++l)
      frame(svg, corner(l, map.anchors[i]), kField - 1);
  }
  svg.text({kLeft + side / 2, top + side + 34}, "layer whose set is read", SvgAnchor::kMiddle);
  svg.text_upwards({18, top + side / 2}, "layer that reads it");
  legend(svg, scale, {kLeft + side + 30, top + 10});
  return svg.document();
}

}  // namespace ebb::score
