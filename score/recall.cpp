#include "score/recall.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "score/charts.h"
#include "score/policy_text.h"
#include "score/records.h"
#include "score/statistics.h"
#include "score/text_file.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kDecodeMax = 1 << 16;

Result<void> check(const RecallOptions& options, const Backend& backend, const ModelFacts& model) {
  if (!backend.sees_inside())
    return unsupported("recall needs --model PATH: a service does not show its attention");
  EBB_TRY_VOID(check_range("--decode", options.decode, 2, kDecodeMax));
  const uint64_t room =
      model.max_model_len > options.decode + 1 ? model.max_model_len - options.decode - 1 : 0;
  return check_range("--context", options.context, model.prefix.size() + 1, room);
}

/// By layer, one value a step. Layers that read everything in some step have none of it.
std::map<uint32_t, std::vector<double>> by_layer(const Answer& answer) {
  std::map<uint32_t, std::vector<double>> out;
  for (const auto& step : answer.recall)
    for (const auto& [layer, share] : step) out[layer].push_back(share);
  return out;
}

Cell make_cell(const Workplace& place, const RecallOptions& options, const ModelFacts& model,
               const TextFile& text, const PolicyText& policy) {
  Task task;
  task.prompt = prompt_of(model, text, 0, options.context + options.decode + 1);
  task.decode_from = options.context;
  task.ebb = ebb_object(policy, options.context);
  task.recall = true;
  Cell cell;
  cell.key = text.name + ", " + policy.label;
  cell.work = options.context + 20 * options.decode;
  cell.run = [backend = place.backend, task = std::move(task), label = policy.label,
              name = text.name]() -> Result<std::string> {
    const Answer answer = EBB_TRY(backend->run(task));
    Json layers = Json::array();
    for (const auto& [layer, shares] : by_layer(answer))
      layers.push_back(Json{{"layer", layer}, {"shares", shares}});
    if (layers.empty())
      return unsupported(label + ": no layer reads a set of rows that all stay on the device");
    return Json{{"text", name},
                {"policy", label},
                {"layers", std::move(layers)},
                {"cost", cost_json(answer.cost)}}
        .dump();
  };
  return cell;
}

// Reports.

using Runs = std::vector<std::vector<double>>;  ///< one for each text
struct PolicyRuns {
  std::map<uint32_t, Runs> layers;
};

std::map<std::string, PolicyRuns> read_records(const ResultDir& dir) {
  std::map<std::string, PolicyRuns> out;
  for (const auto& [key, line] : dir.records()) {
    const Json record = Json::parse(line);
    PolicyRuns& runs = out[record.at("policy")];
    for (const Json& layer : record.at("layers"))
      runs.layers[layer.at("layer")].push_back(layer.at("shares").get<std::vector<double>>());
  }
  return out;
}

/// The step's mean over layers; where a layer reads everything in some steps, over what there is.
Estimate over_layers(const PolicyRuns& runs) {
  Runs sums;
  Runs counts;
  for (const auto& [layer, texts] : runs.layers) {
    for (size_t t = 0; t < texts.size(); ++t) {
      if (sums.size() <= t) sums.resize(t + 1), counts.resize(t + 1);
      for (size_t i = 0; i < texts[t].size(); ++i) {
        if (sums[t].size() <= i) sums[t].push_back(0), counts[t].push_back(0);
        sums[t][i] += texts[t][i];
        counts[t][i] += 1;
      }
    }
  }
  for (size_t t = 0; t < sums.size(); ++t)
    for (size_t i = 0; i < sums[t].size(); ++i) sums[t][i] /= counts[t][i];
  return batch_means(sums);
}

Json estimate_json(const Estimate& estimate) {
  return Json{{"recall", estimate.mean},
              {"standard_error", estimate.standard_error},
              {"low", estimate.low},
              {"high", estimate.high},
              {"values", estimate.count}};
}

Json result_json(const std::string& label, const PolicyRuns& runs) {
  Json layers = Json::array();
  for (const auto& [layer, texts] : runs.layers) {
    Json one{{"layer", layer}};
    one.update(estimate_json(batch_means(texts)));
    layers.push_back(std::move(one));
  }
  Json out{{"policy", label}};
  out.update(estimate_json(over_layers(runs)));
  out["layers"] = std::move(layers);
  return out;
}

}  // namespace

Result<cli::Exit> run_recall(const Workplace& place, const RecallOptions& options) {
  const auto policies = EBB_TRY(parse_policies(options.policies));
  const ModelFacts model = EBB_TRY(place.backend->model());
  EBB_TRY_VOID(check(options, *place.backend, model));
  const auto texts =
      EBB_TRY(read_text_files(*place.backend, options.texts, options.context + options.decode + 1,
                              "--context + --decode + 1"));
  const Settings settings{{"command", "recall"},
                          {"model", model.id},
                          {"--text", list_text(texts)},
                          {"--policies", options.policies},
                          {"--context", std::to_string(options.context)},
                          {"--decode", std::to_string(options.decode)}};
  ResultDir dir = EBB_TRY(ResultDir::open(place.out, settings, place.command_line));
  std::vector<Cell> cells;
  for (const TextFile& text : texts)
    for (const PolicyText& policy : policies)
      cells.push_back(make_cell(place, options, model, text, policy));
  return run_and_publish(place, dir, cells);
}

Result<Report> report_recall(const ResultDir& dir) {
  const auto by_policy = read_records(dir);
  Report report;
  report.table = {{"policy", "layer", "recall", "95 % interval"}};
  std::set<uint32_t> layers;
  for (const auto& [label, runs] : by_policy)
    for (const auto& [layer, texts] : runs.layers) layers.insert(layer);
  HeatPanel panel{"context " + setting(dir.settings(), "--context"), {}, {}, {}};
  for (const uint32_t layer : layers) panel.columns.push_back(std::to_string(layer));
  panel.columns.push_back("mean");
  const auto row = [&](const std::string& label, const std::string& layer, const Estimate& e) {
    report.table.push_back({label, layer, fixed(e.mean, 4),
                            e.batches < 2 ? "-" : fixed(e.low, 4) + " to " + fixed(e.high, 4)});
  };
  Json results = Json::array();
  for (const std::string& label : policy_order(dir)) {
    const auto at = by_policy.find(label);
    if (at == by_policy.end()) continue;
    panel.rows.push_back(label);
    panel.values.emplace_back();
    for (const uint32_t layer : layers) {
      panel.values.back().emplace_back();
      const auto of_layer = at->second.layers.find(layer);
      if (of_layer == at->second.layers.end()) continue;
      const Estimate estimate = batch_means(of_layer->second);
      panel.values.back().back() = estimate.mean;
      row(label, std::to_string(layer), estimate);
    }
    const Estimate mean = over_layers(at->second);
    panel.values.back().emplace_back(mean.mean);
    row(label, "mean", mean);
    results.push_back(result_json(label, at->second));
  }
  report.results = results.dump();
  report.picture = draw(HeatMap{"Attention mass in what is read", "policy", "layer", {panel}});
  report.notes = {
      "recall: the share of dense attention probability, with the step's own query, on the tokens "
      "that a layer reads; mean over heads and teacher-forced steps",
      "layers that read everything are not listed and not in the mean; intervals are of batch "
      "means over consecutive steps"};
  return report;
}

}  // namespace ebb::score
