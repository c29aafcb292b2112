#include "ctl/kv_list.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "base/units.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;

/// Digits of a digest that a person compares; `-o json` has all.
constexpr size_t kDigestShown = 12;

std::string range_of(uint64_t begin, uint64_t count) {
  return std::to_string(begin) + "-" + std::to_string(begin + (count > 0 ? count - 1 : 0));
}

std::vector<std::string> row_of(const json& granule) {
  std::string tiers;
  for (const json& tier : granule.at("tiers"))
    tiers += (tiers.empty() ? "" : ",") + tier.get<std::string>();
  const json& heads = granule.at("heads");
  const auto head = heads.at(0).get<uint64_t>();
  const auto number = [&](const char* key) { return granule.at(key).get<uint64_t>(); };
  return {printable(granule.at("digest").get<std::string>().substr(0, kDigestShown)),
          std::to_string(number("band")),
          range_of(head, heads.at(1).get<uint64_t>() - head),
          granule.at("private").get<bool>() ? "private" : "content",
          range_of(number("first"), number("records")),
          std::to_string(number("records")),
          format_bytes(number("bytes")),
          printable(tiers),
          granule.at("durable").get<bool>() ? "yes" : "no",
          std::to_string(number("holders"))};
}

std::string table(const json& list) {
  const json& granules = list.at("granules");
  const json& next = list.at("next");
  if (granules.empty()) return "no granules\n";
  std::vector<std::vector<std::string>> rows{{"DIGEST", "BAND", "HEADS", "KIND", "TOKENS",
                                              "RECORDS", "BYTES", "TIERS", "DURABLE", "HOLDERS"}};
  for (const json& granule : granules) rows.push_back(row_of(granule));
  std::string text = format_table(rows);
  if (!next.is_null()) text += "more: --cursor " + printable(next.get<std::string>()) + "\n";
  return text;
}

/// Only what needs no escaping in a URL: numbers, hexadecimal digits, names of stores.
Result<std::string> parameter(const char* name, const std::string& value) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  if (value.find_first_not_of(kPlain) != std::string::npos)
    return invalid("--" + std::string(name) + ": \"" + printable(value) + "\" is none");
  if (value.empty()) return std::string();
  return "&" + std::string(name) + "=" + value;
}

}  // namespace

Result<std::string> render_kv_list(const std::string& text) {
  try {
    return table(json::parse(text));
  } catch (const json::exception& error) {
    return corrupt("the coordinator's answer is not a GranuleList: " + std::string(error.what()));
  }
}

int run_kv_list(const Terminal& terminal, const Service& service, const KvListOptions& options,
                Format format) {
  std::string target = "/admin/v1/kv/granules?";
  const std::pair<const char*, const std::string&> parameters[] = {{"store", options.store},
                                                                   {"seq", options.seq},
                                                                   {"limit", options.limit},
                                                                   {"cursor", options.cursor}};
  for (const auto& [name, value] : parameters) {
    const auto part = parameter(name, value);
    if (!part) return report(terminal, part.error());
    target += *part;
  }
  auto body = get(service.admin, target);
  if (!body) return report(terminal, body.error());
  auto text = format == Format::kJson ? Result<std::string>(*body + "\n") : render_kv_list(*body);
  if (!text) return report(terminal, text.error());
  terminal.out << *text << std::flush;
  return kOk;
}

}  // namespace ebb::ctl
