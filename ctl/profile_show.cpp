#include "ctl/profile_show.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/units.h"
#include "models/profile_json.h"

namespace ebb::ctl {
namespace {

using models::LayerClass;
using models::SelectionProfile;

constexpr std::array<const char*, 3> kNames{"full", "anchor", "follower"};
constexpr std::array<const char*, 3> kGlyphs{"▓", "█", "░"};
constexpr std::array<const char*, 3> kAsciiGlyphs{"F", "A", "."};
/// Yellow, green, blue.
constexpr std::array<const char*, 3> kColours{"\x1b[33m", "\x1b[32m", "\x1b[34m"};
constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kLead = "layers  ";
constexpr const char* kWeightLead = "shares  ";
/// Of a weight, in quarters: up to 1/4, 1/2, ... 2, and more.
constexpr std::array<const char*, 9> kBars{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█", "█"};
constexpr uint32_t kMark = 5;  // layers between two numbers of the scale

size_t index_of(LayerClass layer_class) { return static_cast<size_t>(layer_class); }

std::string glyph(LayerClass layer_class, const ProfileStyle& style) {
  const size_t i = index_of(layer_class);
  const std::string plain = style.utf8 ? kGlyphs[i] : kAsciiGlyphs[i];
  return style.colour ? kColours[i] + plain + kPlain : plain;
}

/// What the layers [begin, end) have of the budget; empty: all alike.
std::string weight_strip(const SelectionProfile& profile, uint32_t begin, uint32_t end,
                         const ProfileStyle& style) {
  if (profile.budget_weights.empty()) return "";
  std::string out = kWeightLead;
  for (uint32_t layer = begin; layer < end; ++layer) {
    const auto quarters = static_cast<size_t>(std::lround(4 * profile.budget_weights[layer]));
    const size_t level = std::clamp<size_t>(quarters, 1, kBars.size());
    out += style.utf8 ? std::string(kBars[level - 1]) : std::to_string(level);
  }
  return out + "\n";
}

/// Layers [begin, end) as glyphs, their numbers below.
std::string strip(const SelectionProfile& profile, uint32_t begin, uint32_t end,
                  const ProfileStyle& style) {
  std::string out = kLead;
  for (uint32_t layer = begin; layer < end; ++layer)
    out += glyph(profile.layer_class(layer), style);
  std::string scale(std::string(kLead).size(), ' ');
  for (uint32_t layer = begin; layer < end; layer += kMark) {
    const std::string number = std::to_string(layer);
    const uint32_t room = std::min(kMark, end - layer);
    scale += number + std::string(room > number.size() ? room - number.size() : 0, ' ');
  }
  scale.erase(scale.find_last_not_of(' ') + 1);
  return out + "\n" + weight_strip(profile, begin, end, style) + scale + "\n";
}

std::string layers_text(const LayerRange& layers) {
  std::string out = std::to_string(layers.begin);
  if (layers.size() > 1) out += "-" + std::to_string(layers.end - 1);
  return out;
}

std::string bands_table(const SelectionProfile& profile) {
  std::vector<std::vector<std::string>> rows{{"BAND", "LAYERS", "CLASS", "READS"}};
  for (const LayerRange& band : profile.bands()) {
    const LayerClass layer_class = profile.layer_class(band.begin);
    std::string reads = "every token";
    if (layer_class == LayerClass::kAnchor) reads += ", and chooses";
    if (layer_class == LayerClass::kFollower)
      reads = "what layer " + std::to_string(profile.anchor_of(band.begin)) + " chose";
    rows.push_back(
        {std::to_string(rows.size() - 1), layers_text(band), kNames[index_of(layer_class)], reads});
  }
  return format_table(rows);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// What is read at a budget that is the profile's share of a long context.
std::string share_read(const SelectionProfile& profile) {
  const auto layers = static_cast<double>(profile.layers);
  double whole = 0;
  for (uint32_t layer = 0; layer < profile.layers; ++layer)
    whole += profile.layer_class(layer) == LayerClass::kFollower ? 0 : 1;
  const double share = (whole + (layers - whole) * profile.budget_fraction) / layers;
  return number(whole) + " of " + std::to_string(profile.layers) +
         " layers read every token; at the profile's budget " + number(100 * share) +
         " % of all rows are read\n";
}

Result<SelectionProfile> find_profile(const Service& service,
                                      const std::optional<std::string>& path) {
  if (path) return models::read_selection_profile(*path);
  const std::string body = EBB_TRY(get(service.admin, "/admin/v1/profile"));
  auto profile = models::profile_from_json(body);
  if (!profile) return with_context("the coordinator's answer", std::move(profile).error());
  return profile;
}

}  // namespace

std::string render_profile(const SelectionProfile& profile, const ProfileStyle& style) {
  std::string out = printable(profile.name) + ", version " + std::to_string(profile.version) +
                    ", for the model " + printable(profile.model_name) + " (" +
                    std::to_string(profile.layers) + " layers)\n\n";
  const auto lead = static_cast<unsigned>(std::string(kLead).size());
  const uint32_t room = std::max(2 * kMark, (std::max(style.width, lead) - lead) / kMark * kMark);
  for (uint32_t begin = 0; begin < profile.layers; begin += room)
    out += strip(profile, begin, std::min(profile.layers, begin + room), style);
  for (const LayerClass layer_class :
       {LayerClass::kAnchor, LayerClass::kFull, LayerClass::kFollower})
    out += (out.back() == '\n' ? "" : "  ") + glyph(layer_class, style) + " " +
           kNames[index_of(layer_class)];
  out += "\n\n" + bands_table(profile) + "\n";
  if (profile.anchors.empty()) return out + "no anchors: dense attention only\n";
  out += "budget  " + number(profile.budget_fraction) + " of the prompt's tokens, at least " +
         std::to_string(profile.budget_min) + "; " + std::to_string(profile.sinks) +
         " sinks and a window of " + std::to_string(profile.window) + " among them\n";
  if (!profile.budget_weights.empty()) {
    const auto [least, most] =
        std::minmax_element(profile.budget_weights.begin(), profile.budget_weights.end());
    out += "shares  of the budget by layer (policy anchored): from " + number(*least) + " to " +
           number(*most) + (style.utf8 ? "" : "; above in quarters, 9: more than 2") + "\n";
  }
  out += "scope   layer: one set for all heads; a token's score is the maximum over heads\n";
  return out + "reads   " + share_read(profile);
}

int run_profile_show(const Terminal& terminal, const Service& service,
                     const std::optional<std::string>& path, ProfileFormat format) {
  const auto profile = find_profile(service, path);
  if (!profile) return report(terminal, profile.error());
  if (format == ProfileFormat::kJson)
    terminal.out << models::profile_json(*profile) << std::endl;
  else if (format == ProfileFormat::kYaml)
    terminal.out << models::print_selection_profile(*profile) << std::flush;
  else
    terminal.out << render_profile(*profile, {terminal.utf8, terminal.colour, terminal.width})
                 << std::flush;
  return kOk;
}

}  // namespace ebb::ctl
