#include "models/profile_json.h"

#include <nlohmann/json.hpp>

namespace ebb::models {
namespace {

using Json = nlohmann::ordered_json;

const char* class_name(LayerClass layer_class) {
  switch (layer_class) {
    case LayerClass::kFull:
      return "full";
    case LayerClass::kAnchor:
      return "anchor";
    case LayerClass::kFollower:
      return "follower";
  }
  return "full";
}

SelectionProfile read(const Json& json) {
  SelectionProfile profile;
  profile.version = json.at("version");
  profile.name = json.at("name");
  profile.model_name = json.at("model_name");
  profile.layers = json.at("layers");
  profile.full = json.at("full").get<std::vector<uint32_t>>();
  profile.anchors = json.at("anchors").get<std::vector<uint32_t>>();
  profile.budget_fraction = json.at("budget_fraction");
  profile.budget_min = json.at("budget_min");
  profile.budget_weights = json.value("budget_weights", std::vector<double>());
  profile.sinks = json.at("sinks");
  profile.window = json.at("window");
  return profile;
}

}  // namespace

std::string profile_json(const SelectionProfile& profile) {
  Json classes = Json::array();
  for (uint32_t layer = 0; layer < profile.layers; ++layer)
    classes.push_back(class_name(profile.layer_class(layer)));
  Json bands = Json::array();
  for (const LayerRange& band : profile.bands())
    bands.push_back(Json::array({band.begin, band.end}));
  const Json json{{"apiVersion", "ebb/v1"},
                  {"kind", "SelectionProfile"},
                  {"version", profile.version},
                  {"name", profile.name},
                  {"model_name", profile.model_name},
                  {"layers", profile.layers},
                  {"full", profile.full},
                  {"anchors", profile.anchors},
                  {"budget_fraction", profile.budget_fraction},
                  {"budget_min", profile.budget_min},
                  {"budget_weights", profile.budget_weights},
                  {"sinks", profile.sinks},
                  {"window", profile.window},
                  {"scope", "layer"},
                  {"aggregation", "max"},
                  {"classes", std::move(classes)},
                  {"bands", std::move(bands)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<SelectionProfile> profile_from_json(std::string_view text) {
  try {
    const SelectionProfile profile = read(Json::parse(text));
    // The file's parser knows what a good profile is.
    auto checked = parse_selection_profile(print_selection_profile(profile), "profile");
    if (!checked) return corrupt(std::move(checked).error().message);
    return checked;
  } catch (const Json::exception& error) {
    return corrupt(std::string("not a SelectionProfile: ") + error.what());
  }
}

}  // namespace ebb::models
