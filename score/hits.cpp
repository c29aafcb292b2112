#include "score/hits.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "score/charts.h"
#include "score/fetches.h"
#include "score/lru.h"
#include "score/policy_text.h"
#include "score/records.h"
#include "score/text_file.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kTraceMax = 256;  // steps that the service traces of one request
constexpr uint64_t kCapacityMax = 1 << 24;

Result<void> check(const HitsOptions& options, const ModelFacts& model) {
  EBB_TRY_VOID(check_range("--decode", options.decode, 2, kTraceMax));
  EBB_TRY_VOID(check_range("--context", options.context, model.prefix.size() + 2,
                           model.max_model_len - options.decode));
  if (options.capacities.empty()) return invalid("--capacities is empty");
  for (const uint64_t capacity : options.capacities)
    EBB_TRY_VOID(check_range("--capacities", capacity, 1, kCapacityMax));
  return {};
}

Json counts_json(const Answer& answer, const HitsOptions& options) {
  Json out = Json::array();
  for (const auto& [layer, steps] : sets_by_layer(answer.trace)) {
    for (const uint64_t capacity : options.capacities) {
      const HitCount count = simulate_lru(steps, capacity, options.context);
      out.push_back(Json{{"layer", layer},
                         {"capacity", capacity},
                         {"hits", count.hits},
                         {"reads", count.reads},
                         {"steps", count.steps}});
    }
  }
  return out;
}

Cell make_cell(const Workplace& place, const HitsOptions& options, const ModelFacts& model,
               const TextFile& text, const PolicyText& policy) {
  Task task;
  task.prompt = prompt_of(model, text, 0, options.context);
  task.decode_from = options.context - 1;
  task.max_tokens = static_cast<uint32_t>(options.decode);
  task.ebb = ebb_object(policy, options.context);
  task.trace = true;
  Cell cell;
  cell.key = text.name + ", " + policy.label;
  cell.work = options.context + 10 * options.decode;
  cell.run = [backend = place.backend, task = std::move(task), options, label = policy.label,
              name = text.name]() -> Result<std::string> {
    const Answer answer = EBB_TRY(backend->run(task));
    const Json counts = counts_json(answer, options);
    if (counts.empty())
      return unsupported("the service traced no selection: " + label + " does not select");
    return Json{{"text", name},
                {"policy", label},
                {"traced_steps", answer.trace.size()},
                {"counts", counts},
                {"cost", cost_json(answer.cost)}}
        .dump();
  };
  return cell;
}

struct Sums {
  std::map<uint64_t, HitCount> by_capacity;  ///< over layers and texts
  std::map<uint32_t, std::map<uint64_t, HitCount>> by_layer;
};

std::map<std::string, Sums> read_records(const ResultDir& dir) {
  std::map<std::string, Sums> out;
  for (const auto& [key, line] : dir.records()) {
    const Json record = Json::parse(line);
    Sums& sums = out[record.at("policy")];
    for (const Json& entry : record.at("counts")) {
      const uint64_t capacity = entry.at("capacity");
      for (HitCount* count :
           {&sums.by_capacity[capacity], &sums.by_layer[entry.at("layer")][capacity]}) {
        count->hits += entry.at("hits").get<uint64_t>();
        count->reads += entry.at("reads").get<uint64_t>();
        count->steps += entry.at("steps").get<uint64_t>();
      }
    }
  }
  return out;
}

double rate(const HitCount& count) {
  return count.reads == 0 ? 0 : static_cast<double>(count.hits) / static_cast<double>(count.reads);
}
double fetched_per_step(const HitCount& count) {
  return count.steps == 0
             ? 0
             : static_cast<double>(count.reads - count.hits) / static_cast<double>(count.steps);
}

Json layers_json(const Sums& sums, uint64_t capacity) {
  Json out = Json::object();
  for (const auto& [layer, counts] : sums.by_layer)
    out[std::to_string(layer)] = rate(counts.at(capacity));
  return out;
}

}  // namespace

Result<cli::Exit> run_hits(const Workplace& place, const HitsOptions& options) {
  const auto policies = EBB_TRY(parse_policies(options.policies));
  const ModelFacts model = EBB_TRY(place.backend->model());
  EBB_TRY_VOID(check(options, model));
  const auto texts =
      EBB_TRY(read_text_files(*place.backend, options.texts, options.context, "--context"));
  const Settings settings{{"command", "hits"},
                          {"model", model.id},
                          {"--text", list_text(texts)},
                          {"--policies", options.policies},
                          {"--capacities", list_text(options.capacities)},
                          {"--context", std::to_string(options.context)},
                          {"--decode", std::to_string(options.decode)}};
  ResultDir dir = EBB_TRY(ResultDir::open(place.out, settings, place.command_line));
  std::vector<Cell> cells;
  for (const TextFile& text : texts)
    for (const PolicyText& policy : policies)
      cells.push_back(make_cell(place, options, model, text, policy));
  return run_and_publish(place, dir, cells);
}

Result<Report> report_hits(const ResultDir& dir) {
  const auto by_policy = read_records(dir);
  Report report;
  report.table = {{"policy", "capacity", "hit rate", "fetched/step"}};
  LineChart chart{"Hot-buffer hit rate, context " + setting(dir.settings(), "--context"),
                  "rows of the buffer",
                  "hit rate",
                  {},
                  1.0};
  Json results = Json::array();
  for (const std::string& label : policy_order(dir)) {
    const auto at = by_policy.find(label);
    if (at == by_policy.end()) continue;
    chart.lines.push_back({label, {}});
    for (const auto& [capacity, count] : at->second.by_capacity) {
      report.table.push_back({label, std::to_string(capacity), fixed(rate(count), 3),
                              fixed(fetched_per_step(count), 1)});
      chart.lines.back().points.push_back(
          {static_cast<double>(capacity), rate(count), rate(count), rate(count)});
      results.push_back(Json{{"policy", label},
                             {"capacity", capacity},
                             {"hit_rate", rate(count)},
                             {"fetched_per_step", fetched_per_step(count)},
                             {"hit_rate_by_layer", layers_json(at->second, capacity)}});
    }
  }
  report.results = results.dump();
  report.picture = draw(chart);
  report.notes = {
      "an LRU of as many rows for each layer that selects, over greedy decode steps; the first "
      "step "
      "fills it and does not count, nor does a decoded token's row when it is first read",
      "fetched/step: rows missing in a step in which a layer chooses, mean over these layers; sets "
      "of "
      "single heads count as their union"};
  return report;
}

}  // namespace ebb::score
