#include "ctl/admin.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

/// Runs `render` on the parsed text; a missing or wrongly typed member is one clear error.
Result<std::string> render_json(const std::string& text,
                                const std::function<std::string(const json&)>& render) {
  try {
    return render(json::parse(text));
  } catch (const json::exception& error) {
    return corrupt("the coordinator's answer is not what this ebbctl expects: " +
                   std::string(error.what()));
  }
}

std::string text_of(const json& object, const char* key) { return object.value(key, ""); }
uint64_t number_of(const json& object, const char* key) { return object.value(key, uint64_t{0}); }
std::string count_of(const json& object, const char* key) {
  return std::to_string(number_of(object, key));
}
std::string bytes_of(const json& object, const char* key) {
  return format_bytes(number_of(object, key));
}

std::string percent(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  return std::to_string(static_cast<int>(
             100.0 * static_cast<double>(part) / static_cast<double>(whole) + 0.5)) +
         " %";
}

std::string group_lines(const json& group) {
  std::string out = "group " + text_of(group, "name") + ": " + text_of(group, "state") +
                    ", epoch " + count_of(group, "epoch") + ", arena " +
                    bytes_of(group, "arena_used_bytes") + " of " + bytes_of(group, "arena_bytes") +
                    " (most so far " + bytes_of(group, "arena_max_bytes") + ")\n";
  std::vector<Row> rows{{"  RANK", "JOINED", "NODE", "PID", "BACKEND"}};
  for (const json& rank : group.at("ranks"))
    rows.push_back({"  " + count_of(rank, "rank"), rank.value("joined", false) ? "yes" : "no",
                    text_of(rank, "node"), count_of(rank, "pid"), text_of(rank, "backend")});
  return out + format_table(rows);
}

std::string status_text(const json& status) {
  std::string out;
  const bool ready = status.at("ready").get<bool>();
  out += ready ? "ready" : "not ready: " + text_of(status, "not_ready_because");
  if (status.value("draining", false)) out += ", draining";
  if (!status.value("healthy", true)) out += ", NOT HEALTHY (no progress)";
  out += "; " + count_of(status, "running") + " running, " + count_of(status, "waiting") +
         " waiting\n";
  for (const json& group : status.at("groups")) out += group_lines(group);
  for (const json& store : status.at("stores")) {
    out += "store " + text_of(store, "name") + " at " + text_of(store, "address") + ": " +
           (store.value("connected", false) ? "connected" : "NOT CONNECTED");
    const std::string problem = text_of(store, "problem");
    out += (problem.empty() ? "" : " (" + problem + ")") + "\n";
  }
  return out;
}

std::string sequences_text(const json& list) {
  std::vector<Row> rows{
      {"SEQ", "STATE", "POLICY", "BUDGET", "PROMPT", "TOKENS", "GENERATED", "AGE", "REQUEST"}};
  std::string errors;
  for (const json& s : list.at("sequences")) {
    rows.push_back({text_of(s, "seq"), text_of(s, "state"), text_of(s, "policy"),
                    number_of(s, "budget") == 0 ? "-" : count_of(s, "budget"),
                    count_of(s, "prompt_tokens"), count_of(s, "tokens"), count_of(s, "generated"),
                    format_seconds(s.value("age_seconds", 0.0)), text_of(s, "request_id")});
    const std::string error = text_of(s, "error");
    if (!error.empty()) errors += "seq " + text_of(s, "seq") + ": " + error + "\n";
  }
  if (rows.size() == 1) return "no sequences yet\n";
  return format_table(rows) + printable(errors);
}

std::string tiers_text(const json& status) {
  std::vector<Row> rows{
      {"STORE", "TIER", "USED", "CAPACITY", "FULL", "GRANULES", "HELD", "EVICTIONS", "WRITABLE"}};
  std::string below;
  for (const json& group : status.at("groups"))
    rows.push_back({text_of(group, "name"), "device", bytes_of(group, "arena_used_bytes"),
                    bytes_of(group, "arena_bytes"),
                    percent(number_of(group, "arena_used_bytes"), number_of(group, "arena_bytes")),
                    "-", "-", "-", "yes"});
  for (const json& store : status.at("stores")) {
    const std::string name = text_of(store, "name");
    for (const json& tier : store.at("tiers")) {
      const std::string note = text_of(tier, "note");
      rows.push_back({name, text_of(tier, "tier"), bytes_of(tier, "used_bytes"),
                      bytes_of(tier, "capacity_bytes"),
                      percent(number_of(tier, "used_bytes"), number_of(tier, "capacity_bytes")),
                      count_of(tier, "granules"), count_of(tier, "held_granules"),
                      count_of(tier, "evictions"),
                      tier.value("writable", false) ? "yes" : "no: " + note});
    }
    below += "store " + name + ": ";
    if (!store.value("connected", false))
      below += "not connected " + text_of(store, "problem") + "\n";
    else
      below += count_of(store, "puts") + " puts, " + count_of(store, "gets") + " gets, " +
               count_of(store, "misses") + " misses, " + count_of(store, "corrupt") + " corrupt\n";
  }
  return format_table(rows) + printable(below);
}

int fetch_and_print(const Terminal& terminal, const Service& service, const std::string& target,
                    Format format, Result<std::string> (*render)(const std::string&)) {
  auto body = get(service.admin, target);
  if (!body) return report(terminal, body.error());
  if (format == Format::kJson) {
    terminal.out << *body << std::endl;
    return kOk;
  }
  auto text = render(*body);
  if (!text) return report(terminal, text.error());
  terminal.out << *text << std::flush;
  return kOk;
}

}  // namespace

Result<std::string> render_status(const std::string& text) {
  return render_json(text, status_text);
}
Result<std::string> render_sequences(const std::string& text) {
  return render_json(text, sequences_text);
}
Result<std::string> render_tiers(const std::string& text) { return render_json(text, tiers_text); }

int run_status(const Terminal& terminal, const Service& service, Format format) {
  auto body = get(service.admin, "/admin/v1/status");
  if (!body) return report(terminal, body.error());
  auto text = format == Format::kJson ? Result<std::string>(*body + "\n") : render_status(*body);
  if (!text) return report(terminal, text.error());
  terminal.out << *text << std::flush;
  const auto status = json::parse(*body, nullptr, /*allow_exceptions=*/false);
  const auto holds = [&](const char* key) {
    return status.is_object() && status.contains(key) && status[key].is_boolean() &&
           status[key].get<bool>();
  };
  return holds("ready") && holds("healthy") ? kOk : kUnhealthy;
}

int run_sequences(const Terminal& terminal, const Service& service, Format format) {
  return fetch_and_print(terminal, service, "/admin/v1/sequences", format, render_sequences);
}

int run_tiers(const Terminal& terminal, const Service& service, Format format) {
  return fetch_and_print(terminal, service, "/admin/v1/status", format, render_tiers);
}

int run_version(const Terminal& terminal, const Service& service, Format format) {
  auto body = get(service.api, "/version", Millis(2000));
  const auto server =
      body ? json::parse(*body, nullptr, /*allow_exceptions=*/false) : json(nullptr);
  if (format == Format::kJson) {
    const json all{{"apiVersion", "ebb/v1"},
                   {"kind", "Version"},
                   {"ebbctl", EBB_VERSION},
                   {"coordinator", server.is_discarded() ? json(nullptr) : server}};
    terminal.out << all.dump() << std::endl;
    return kOk;
  }
  terminal.out << "ebbctl " << EBB_VERSION << "\n";
  if (server.is_object() && server.contains("version") && server["version"].is_string())
    terminal.out << "coordinator " << printable(server["version"].get<std::string>()) << "\n";
  else
    terminal.out << "coordinator: no answer from " << service.api.text() << "\n";
  terminal.out << std::flush;
  return kOk;
}

}  // namespace ebb::ctl
