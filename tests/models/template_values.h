// JSON of golden files as what templates compute with.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "models/chat_template.h"

namespace ebb::testing {

/// Objects keep their order.
inline models::jinja::Value template_value(const nlohmann::ordered_json& json) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  if (json.is_array()) {
    models::jinja::List list;
    for (const auto& element : json) list.push_back(template_value(element));
    return list;
  }
  if (!json.is_object()) return {};
  models::jinja::Dict dict;
  for (const auto& [key, value] : json.items()) {
    dict.entries.emplace_back(key, template_value(value));
  }
  return dict;
}

/// {"messages", "tools", "documents", "kwargs", "prompt", "continue"}: absent ones as the defaults.
inline models::ChatInput chat_input(const nlohmann::ordered_json& json) {
  models::ChatInput input;
  const auto value = [&](const char* key) {
    return json.contains(key) ? template_value(json[key]) : models::jinja::Value();
  };
  for (const auto& message : json.value("messages", nlohmann::ordered_json::array())) {
    auto given = nlohmann::ordered_json::object();
    for (const auto& [name, content] : message.items()) {
      if (!content.is_null()) given[name] = content;  // as apply_chat_template() leaves it out
    }
    input.messages.push_back(template_value(given));
  }
  input.tools = value("tools");
  if (!input.tools.truthy()) input.tools = {};
  input.documents = value("documents");
  const models::jinja::Value variables = value("kwargs");
  if (variables.dict() != nullptr) input.variables = *variables.dict();
  input.continue_final_message = json.value("continue", false);
  input.add_generation_prompt = json.value("prompt", !input.continue_final_message);
  return input;
}

/// [year, month, day, hour, minute, second] as a time, with its day of the week.
inline std::tm local_time(const nlohmann::ordered_json& json) {
  std::tm time{};
  time.tm_year = json[0].get<int>() - 1900;
  time.tm_mon = json[1].get<int>() - 1;
  time.tm_mday = json[2];
  time.tm_hour = json[3];
  time.tm_min = json[4];
  time.tm_sec = json[5];
  timegm(&time);  // sets the days of week and year
  return time;
}

}  // namespace ebb::testing
