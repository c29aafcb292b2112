#include "score/policy_text.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kPoliciesMax = 64;
constexpr size_t kSettingsMax = 64;

/// Without spaces: no name and no value has any.
std::string without_spaces(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != ' ' && c != '\t' && c != '\n') out += c;
  return out;
}

/// Parts between `separator`s that stand outside of brackets.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    if (c == '[') ++depth;
    if (c == ']') --depth;
    if (c == separator && depth <= 0)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

bool is_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

/// A JSON number, or nothing.
std::optional<Json> number(const std::string& text) {
  Json parsed = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_number()) return std::nullopt;
  return parsed;
}

/// K of "n/K", 1 for "n".
std::optional<uint64_t> divisor(const std::string& text) {
  if (text == "n") return 1;
  if (!text.starts_with("n/")) return std::nullopt;
  const auto parsed = number(text.substr(2));
  if (!parsed || !parsed->is_number_unsigned() || parsed->get<uint64_t>() == 0) return std::nullopt;
  return parsed->get<uint64_t>();
}

/// Nothing: it is no value.
std::optional<Json> value_of(const std::string& text, uint64_t context) {
  if (const auto share = divisor(text)) return Json(std::max<uint64_t>(1, context / *share));
  if (text == "true" || text == "false") return Json(text == "true");
  if (auto parsed = number(text)) return parsed;
  if (text.starts_with("[") && text.ends_with("]")) {
    Json list = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    const bool numbers =
        list.is_array() &&
        std::all_of(list.begin(), list.end(), [](const Json& item) { return item.is_number(); });
    if (!numbers) return std::nullopt;
    return list;
  }
  if (is_word(text)) return Json(text);
  return std::nullopt;
}

Result<PolicySetting> parse_setting(const std::string& label, const std::string& text) {
  const std::string where = "policy \"" + label + "\": ";
  const size_t equals = text.find('=');
  if (equals == std::string::npos)
    return invalid(where + "\"" + text + "\" is not key=value, such as budget=n/8");
  PolicySetting setting{text.substr(0, equals), text.substr(equals + 1)};
  if (!is_word(setting.key)) return invalid(where + "\"" + setting.key + "\" is not a key");
  for (const char* own : {"policy", "decode_from", "trace"}) {
    if (setting.key == own) return invalid(where + setting.key + " is set by ebb-score itself");
  }
  if (!value_of(setting.value, 1))
    return invalid(where + setting.key + " is \"" + setting.value +
                   "\"; expected a number, n, n/K with K of 1 or more, true, false, a list such as "
                   "[0,2,7], or a word");
  return setting;
}

Result<PolicyText> parse_policy(const std::string& label) {
  PolicyText policy;
  policy.label = label;
  const size_t colon = label.find(':');
  policy.name = label.substr(0, colon);
  if (!is_word(policy.name))
    return invalid("policy \"" + label + "\" has no name; expected one such as tidal:budget=n/8");
  if (colon == std::string::npos) return policy;
  for (const std::string& part : split(label.substr(colon + 1), ',')) {
    PolicySetting setting = EBB_TRY(parse_setting(label, part));
    for (const PolicySetting& other : policy.settings) {
      if (other.key == setting.key)
        return invalid("policy \"" + label + "\": " + setting.key + " is given twice");
    }
    policy.settings.push_back(std::move(setting));
    if (policy.settings.size() > kSettingsMax)
      return invalid("policy \"" + label + "\" has more than " + std::to_string(kSettingsMax) +
                     " settings");
  }
  return policy;
}

}  // namespace

Result<std::vector<PolicyText>> parse_policies(const std::string& text) {
  std::vector<PolicyText> policies;
  std::map<std::string, int> seen;
  for (const std::string& part : split(without_spaces(text), ';')) {
    if (part.empty()) continue;
    PolicyText policy = EBB_TRY(parse_policy(part));
    const int times = ++seen[part];
    if (times > 1) policy.label += " (" + std::to_string(times) + ")";
    policies.push_back(std::move(policy));
    if (policies.size() > kPoliciesMax)
      return invalid("--policies has more than " + std::to_string(kPoliciesMax) + " policies");
  }
  if (policies.empty())
    return invalid("--policies is empty; expected such as \"dense;tidal:budget=n/8\"");
  return policies;
}

std::string ebb_object(const PolicyText& policy, uint64_t context) {
  Json out{{"policy", policy.name}};
  for (const PolicySetting& setting : policy.settings)
    out[setting.key] = *value_of(setting.value, context);
  return out.dump();
}

std::optional<uint64_t> tokens_of(const PolicyText& policy, const std::string& key,
                                  uint64_t context) {
  for (const PolicySetting& setting : policy.settings) {
    if (setting.key != key) continue;
    const auto value = value_of(setting.value, context);
    if (value && value->is_number_unsigned()) return value->get<uint64_t>();
  }
  return std::nullopt;
}

std::string family_of(const PolicyText& policy) {
  std::string out = policy.name;
  char before = ':';
  for (const PolicySetting& setting : policy.settings) {
    if (setting.key == "budget") continue;
    out += before + setting.key + "=" + setting.value;
    before = ',';
  }
  return out;
}

}  // namespace ebb::score
