// Selection profiles as YAML. The parser wants every key: a profile is the outcome of a
// calibration, and a value that is filled in silently would not be part of it. yaml-cpp stays in
// this file.
#include "models/selection_profile.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <set>

#include "base/check.h"

namespace ebb::models {
namespace {

constexpr uint32_t kVersion = 2;
constexpr size_t kFileBytesMax = 64 << 10;
constexpr size_t kNameBytesMax = 128;
constexpr uint32_t kLayersMax = 1024;
constexpr uint32_t kTokensMax = 1u << 28;

constexpr std::string_view kWeights = "budget_weights";  // since version 2
constexpr std::array<std::string_view, 13> kKeys = {
    "version",    "name",   "model_name", "layers", "full",  "anchors",    "budget_fraction",
    "budget_min", kWeights, "sinks",      "window", "scope", "aggregation"};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

Error unknown_key(const std::string& key) {
  auto nearest = std::min_element(kKeys.begin(), kKeys.end(), [&](auto a, auto b) {
    return edit_distance(key, a) < edit_distance(key, b);
  });
  return invalid(key + ": unknown key; did you mean " + std::string(*nearest) + "?");
}

Result<std::string> scalar(const YAML::Node& node, const std::string& key) {
  if (!node.IsScalar()) return invalid(key + ": must be a single value");
  return node.Scalar();
}

template <class T>
Result<T> parse_number(const std::string& text, const std::string& key, T least, T most) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    return invalid(key + ": \"" + text + "\" is not a number that fits here");
  if (!(value >= least && value <= most))
    return invalid(key + ": " + text + " is out of range (" + std::to_string(least) + " to " +
                   std::to_string(most) + ")");
  return value;
}

/// The keys of one document, each looked up by name.
class Document {
 public:
  explicit Document(YAML::Node root) : root_(std::move(root)) {}

  /// Exactly the known keys, each once.
  Result<void> check_keys() const {
    if (!root_.IsMap()) return invalid("a profile must be a map of keys to values");
    std::set<std::string> seen;
    for (const auto& pair : root_) {
      if (!pair.first.IsScalar()) return invalid("a key must be a single word");
      const std::string& key = pair.first.Scalar();
      if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) return unknown_key(key);
      if (!seen.insert(key).second) return invalid(key + ": occurs twice");
    }
    for (std::string_view key : kKeys)
      if (key != kWeights && !seen.contains(std::string(key)))
        return invalid(std::string(key) + ": is missing");
    return {};
  }

  /// A key that came with version 2 is there from then on, and only then.
  Result<void> check_weights_key(uint32_t version) const {
    const bool given = root_[std::string(kWeights)].IsDefined();
    if (given == (version >= 2)) return {};
    return invalid(std::string(kWeights) +
                   (given ? ": is not known to version 1" : ": is missing ([]: all alike)"));
  }

  /// Empty, or one for each layer.
  Result<std::vector<double>> weights(uint32_t layers) const {
    const std::string key(kWeights);
    const YAML::Node node = root_[key];
    const bool one_each = node.IsSequence() && (node.size() == 0 || node.size() == layers);
    if (!one_each)
      return invalid(key + ": must be a list of " + std::to_string(layers) +
                     " numbers, one for each layer, or [] for all alike");
    std::vector<double> values;
    for (const YAML::Node& item : node) {
      const std::string value = EBB_TRY(scalar(item, key));
      values.push_back(
          EBB_TRY(parse_number<double>(value, key, kBudgetWeightMin, kBudgetWeightMax)));
    }
    return values;
  }

  Result<std::string> text(const std::string& key) const {
    std::string value = EBB_TRY(scalar(root_[key], key));
    bool printable = std::none_of(value.begin(), value.end(),
                                  [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (value.empty() || value.size() > kNameBytesMax || !printable)
      return invalid(key + ": must be 1 to " + std::to_string(kNameBytesMax) +
                     " bytes without control characters");
    return value;
  }

  template <class T>
  Result<T> number(const std::string& key, T least, T most) const {
    std::string value = EBB_TRY(scalar(root_[key], key));
    return parse_number<T>(value, key, least, most);
  }

  /// Strictly ascending layers below `layers`.
  Result<std::vector<uint32_t>> layer_list(const std::string& key, uint32_t layers) const {
    const YAML::Node node = root_[key];
    if (!node.IsSequence()) return invalid(key + ": must be a list of layers, [] for none");
    std::vector<uint32_t> values;
    for (const YAML::Node& item : node) {
      std::string value = EBB_TRY(scalar(item, key));
      uint32_t layer = EBB_TRY(parse_number<uint32_t>(value, key, 0, layers - 1));
      if (!values.empty() && layer <= values.back())
        return invalid(key + ": " + value + " after " + std::to_string(values.back()) +
                       ": layers must ascend");
      values.push_back(layer);
    }
    return values;
  }

  /// A word of which this version knows one.
  Result<void> only_word(const std::string& key, std::string_view word) const {
    std::string value = EBB_TRY(scalar(root_[key], key));
    if (value == word) return {};
    return invalid(key + ": \"" + value + "\" is not known (known: " + std::string(word) + ")");
  }

 private:
  YAML::Node root_;
};

bool contains(const std::vector<uint32_t>& ascending, uint32_t layer) {
  return std::binary_search(ascending.begin(), ascending.end(), layer);
}

Result<void> check_classes(const SelectionProfile& profile) {
  for (uint32_t layer : profile.anchors)
    if (contains(profile.full, layer))
      return invalid("anchors: layer " + std::to_string(layer) + " is in full as well");
  for (uint32_t layer = 0; layer < profile.layers; ++layer) {
    if (profile.layer_class(layer) != LayerClass::kFollower) continue;
    if (profile.anchors.empty() || layer < profile.anchors.front())
      return invalid("anchors: layer " + std::to_string(layer) +
                     " is a follower, but no anchor lies below it");
  }
  return {};
}

Result<void> check_budget(const SelectionProfile& profile) {
  uint32_t forced = profile.sinks + profile.window;  // each at most 2^28
  if (forced > profile.budget_min)
    return invalid("budget_min: " + std::to_string(profile.budget_min) +
                   " is less than sinks + window = " + std::to_string(forced));
  return {};
}

Result<SelectionProfile> read_document(const Document& document) {
  EBB_TRY_VOID(document.check_keys());
  SelectionProfile profile;
  profile.version = EBB_TRY(document.number<uint32_t>("version", 1, kVersion));
  EBB_TRY_VOID(document.check_weights_key(profile.version));
  profile.name = EBB_TRY(document.text("name"));
  profile.model_name = EBB_TRY(document.text("model_name"));
  profile.layers = EBB_TRY(document.number<uint32_t>("layers", 1, kLayersMax));
  profile.full = EBB_TRY(document.layer_list("full", profile.layers));
  profile.anchors = EBB_TRY(document.layer_list("anchors", profile.layers));
  profile.budget_fraction = EBB_TRY(document.number<double>("budget_fraction", 0.0, 1.0));
  profile.budget_min = EBB_TRY(document.number<uint32_t>("budget_min", 1, kTokensMax));
  if (profile.version >= 2) profile.budget_weights = EBB_TRY(document.weights(profile.layers));
  profile.sinks = EBB_TRY(document.number<uint32_t>("sinks", 0, kTokensMax));
  profile.window = EBB_TRY(document.number<uint32_t>("window", 1, kTokensMax));
  EBB_TRY_VOID(document.only_word("scope", "layer"));
  EBB_TRY_VOID(document.only_word("aggregation", "max"));
  EBB_TRY_VOID(check_classes(profile));
  EBB_TRY_VOID(check_budget(profile));
  return profile;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

/// The shortest text that reads back to the same value.
template <class T>
std::string number_text(T value) {
  std::array<char, 32> buffer;
  auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  EBB_CHECK(error == std::errc{});
  return {buffer.data(), end};
}

template <class T>
std::string list_text(const std::vector<T>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i ? ", " : "") + number_text(values[i]);
  return out + "]";
}

}  // namespace

LayerClass SelectionProfile::layer_class(uint32_t layer) const {
  EBB_CHECK(layer < layers);
  if (contains(anchors, layer)) return LayerClass::kAnchor;
  return contains(full, layer) ? LayerClass::kFull : LayerClass::kFollower;
}

uint32_t SelectionProfile::anchor_of(uint32_t layer) const {
  EBB_CHECK(layer_class(layer) == LayerClass::kFollower);
  auto above = std::upper_bound(anchors.begin(), anchors.end(), layer);
  EBB_CHECK(above != anchors.begin());
  return *std::prev(above);
}

std::vector<LayerRange> SelectionProfile::bands() const {
  std::vector<LayerRange> bands;
  LayerClass previous = LayerClass::kFull;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    LayerClass current = layer_class(layer);
    bool joins = current == LayerClass::kFollower && previous == LayerClass::kFollower;
    uint16_t begin = static_cast<uint16_t>(layer);
    if (!joins) bands.push_back({begin, begin});
    bands.back().end = static_cast<uint16_t>(layer + 1);
    previous = current;
  }
  return bands;
}

SelectionProfile dense_profile(uint32_t layers, const std::string& model_name) {
  SelectionProfile profile;
  profile.name = "dense";
  profile.model_name = model_name;
  profile.layers = layers;
  for (uint32_t layer = 0; layer < layers; ++layer) profile.full.push_back(layer);
  return profile;
}

Result<void> check_made_for(const SelectionProfile& profile, const std::string& model_name,
                            uint32_t layers) {
  if (profile.layers == layers && profile.model_name == model_name) return {};
  return invalid(profile.name + " is for the model \"" + profile.model_name + "\" of " +
                 std::to_string(profile.layers) + " layers, but the model is \"" + model_name +
                 "\" of " + std::to_string(layers) +
                 "; ebb-score calibrate makes one for it, and without one it is served densely");
}

Result<SelectionProfile> parse_selection_profile(std::string_view yaml, const std::string& origin) {
  if (yaml.size() > kFileBytesMax)
    return invalid(origin + ": " + std::to_string(yaml.size()) + " bytes exceed the limit of " +
                   std::to_string(kFileBytesMax));
  try {
    Result<SelectionProfile> profile = read_document(Document(YAML::Load(std::string(yaml))));
    if (!profile) return with_context(origin, profile.error());
    return profile;
  } catch (const YAML::Exception& exception) {
    return invalid(origin + ": " + exception.what());
  }
}

Result<SelectionProfile> read_selection_profile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return not_found("selection profile " + path + ": cannot be opened");
  std::string text(kFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return invalid("selection profile " + path + ": cannot be read");
  text.resize(static_cast<size_t>(in.gcount()));
  return parse_selection_profile(text, "selection profile " + path);
}

std::string print_selection_profile(const SelectionProfile& profile) {
  return "version: " + std::to_string(profile.version) + "\nname: " + quoted(profile.name) +
         "\nmodel_name: " + quoted(profile.model_name) +
         "\nlayers: " + std::to_string(profile.layers) + "\nfull: " + list_text(profile.full) +
         "\nanchors: " + list_text(profile.anchors) +
         "\nbudget_fraction: " + number_text(profile.budget_fraction) +
         "\nbudget_min: " + std::to_string(profile.budget_min) +
         (profile.version < 2 ? "" : "\nbudget_weights: " + list_text(profile.budget_weights)) +
         "\nsinks: " + std::to_string(profile.sinks) +
         "\nwindow: " + std::to_string(profile.window) + "\nscope: layer\naggregation: max\n";
}

}  // namespace ebb::models
