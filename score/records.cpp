#include "score/records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

double per(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

void Cost::add(const Cost& other) {
  decoded += other.decoded;
  prefill_seconds += other.prefill_seconds;
  decode_seconds += other.decode_seconds;
  selected_tokens += other.selected_tokens;
  hot_hits += other.hot_hits;
  restored_records += other.restored_records;
  released_records += other.released_records;
  device_bytes_max = std::max(device_bytes_max, other.device_bytes_max);
  kv_bytes_read += other.kv_bytes_read;
  kv_bytes_dense += other.kv_bytes_dense;
}

Json cost_json(const Cost& cost) {
  const uint64_t reads = cost.hot_hits + cost.restored_records;
  return {{"decoded", cost.decoded},
          {"prefill_seconds", cost.prefill_seconds},
          {"decode_seconds", cost.decode_seconds},
          {"selected_tokens", cost.selected_tokens},
          {"hot_hits", cost.hot_hits},
          {"restored_records", cost.restored_records},
          {"released_records", cost.released_records},
          {"device_bytes_max", cost.device_bytes_max},
          {"kv_bytes_read", cost.kv_bytes_read},
          {"kv_bytes_dense", cost.kv_bytes_dense},
          {"decode_tokens_per_second",
           cost.decode_seconds > 0 ? static_cast<double>(cost.decoded) / cost.decode_seconds : 0},
          {"selected_per_token", per(cost.selected_tokens, cost.decoded)},
          {"hot_hit_rate", per(cost.hot_hits, reads)},
          {"restored_per_token", per(cost.restored_records, cost.decoded)},
          {"kv_read_share", per(cost.kv_bytes_read, cost.kv_bytes_dense)}};
}

Cost cost_from(const Json& json) {
  Cost cost;
  cost.decoded = json.at("decoded");
  cost.prefill_seconds = json.at("prefill_seconds");
  cost.decode_seconds = json.at("decode_seconds");
  cost.selected_tokens = json.at("selected_tokens");
  cost.hot_hits = json.at("hot_hits");
  cost.restored_records = json.at("restored_records");
  cost.released_records = json.at("released_records");
  cost.device_bytes_max = json.at("device_bytes_max");
  // Runs of earlier versions have not got these.
  cost.kv_bytes_read = json.value("kv_bytes_read", uint64_t{0});
  cost.kv_bytes_dense = json.value("kv_bytes_dense", uint64_t{0});
  return cost;
}

std::string speed_text(const Cost& cost) {
  return cost.decode_seconds > 0 ? fixed(static_cast<double>(cost.decoded) / cost.decode_seconds, 1)
                                 : "-";
}

std::string selected_text(const Cost& cost) {
  return cost.selected_tokens == 0 ? "-" : fixed(per(cost.selected_tokens, cost.decoded), 0);
}

std::string hits_text(const Cost& cost) {
  const uint64_t reads = cost.hot_hits + cost.restored_records;
  return reads == 0 ? "-" : fixed(per(cost.hot_hits, reads), 3);
}

std::string read_text(const Cost& cost) {
  return cost.kv_bytes_dense == 0 ? "-"
                                  : fixed(100 * per(cost.kv_bytes_read, cost.kv_bytes_dense), 1);
}

Result<void> check_range(const std::string& option, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return {};
  return invalid(option + " is " + std::to_string(value) + ", allowed: " + std::to_string(least) +
                 " to " + std::to_string(most));
}

Result<void> check_lengths(const std::vector<uint64_t>& lengths, uint64_t answer,
                           const ModelFacts& model) {
  if (lengths.empty()) return invalid("--lengths is empty");
  for (const uint64_t length : lengths) {
    if (length < 1 || length + answer > model.max_model_len)
      return invalid("--lengths has " + std::to_string(length) + "; with " +
                     std::to_string(answer) + " tokens of answer, " + model.id +
                     " has room for 1 to " + std::to_string(model.max_model_len - answer));
  }
  return {};
}

std::string list_text(const std::vector<uint64_t>& values) {
  std::string out;
  for (const uint64_t value : values) out += (out.empty() ? "" : ",") + std::to_string(value);
  return out;
}

std::string list_text(const std::vector<double>& values) { return Json(values).dump(); }

Result<std::vector<PolicyText>> policies_with(const std::string& baseline,
                                              const std::string& text) {
  auto policies = EBB_TRY(parse_policies(text));
  if (baseline == "none") return policies;
  auto first = EBB_TRY(parse_policies(baseline));
  if (first.size() != 1) return invalid("--baseline is not one policy: \"" + baseline + "\"");
  const bool has_it = std::any_of(policies.begin(), policies.end(), [&](const PolicyText& policy) {
    return policy.label == first[0].label;
  });
  if (!has_it) policies.insert(policies.begin(), first[0]);
  return policies;
}

Result<std::vector<PolicyText>> policies_with_dense(const std::string& text) {
  return policies_with("dense", text);
}

std::vector<std::string> policy_order(const ResultDir& dir) {
  const std::string baseline = setting(dir.settings(), "--baseline");
  std::vector<std::string> labels;
  const auto policies =
      policies_with(baseline.empty() ? "dense" : baseline, setting(dir.settings(), "--policies"));
  if (!policies) return labels;
  for (const PolicyText& policy : *policies) labels.push_back(policy.label);
  return labels;
}

uint64_t rows_of(const PolicyText& policy, uint64_t context) {
  if (const auto budget = tokens_of(policy, "budget", context)) return *budget;
  const auto window = tokens_of(policy, "window", context);
  if (window) return *window + tokens_of(policy, "sinks", context).value_or(0);
  return context;
}

Result<cli::Exit> run_and_publish(const Workplace& place, ResultDir& dir,
                                  const std::vector<Cell>& cells) {
  const cli::Exit exit = EBB_TRY(run_cells(place, dir, cells));
  if (exit == cli::kOk || exit == cli::kPartial) EBB_TRY_VOID(publish(place.terminal, dir));
  return exit;
}

}  // namespace ebb::score
