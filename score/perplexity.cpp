#include "score/perplexity.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "score/charts.h"
#include "score/fetches.h"
#include "score/recompute.h"
#include "score/records.h"
#include "score/statistics.h"
#include "score/text_file.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kNoBaseline = "none";
constexpr size_t kParts = 10;  // of a window, in which perplexity is shown
constexpr uint64_t kTokensMax = 1 << 24;
/// Of windows whose divergence is measured: dense's distributions stay in memory, 200 KB each.
constexpr uint64_t kDivergenceMax = 2048;

Result<void> check(const PerplexityOptions& options) {
  EBB_TRY_VOID(check_range("--context", options.context, 1, kTokensMax));
  EBB_TRY_VOID(check_range("--decode", options.decode, 2, kTokensMax));
  EBB_TRY_VOID(check_range("--window", options.window, 0, kTokensMax));
  return check_range("--skip", options.skip, 0, kTokensMax);
}

/// Length of window `begin` on: the last one may be shorter.
uint64_t window_size(const PerplexityOptions& options, uint64_t begin) {
  const uint64_t size = options.window == 0 ? options.decode : options.window;
  return std::min(size, options.decode - begin);
}

/// What it costs against, and how: where it can be seen.
struct Look {
  bool divergence = false;
  bool trace = false;
};
Look look_of(const Backend& backend, const PerplexityOptions& options) {
  const bool short_enough = window_size(options, 0) <= kDivergenceMax;
  const bool inside = backend.sees_inside();
  return {inside && short_enough && options.baseline != kNoBaseline, inside};
}

/// Prefix and tokens [begin, begin + context + size + 1): the last is scored and not fed.
Task window_task(const PerplexityOptions& options, const ModelFacts& model, const TextFile& text,
                 uint64_t begin, const std::string& ebb) {
  Task task;
  task.prompt = prompt_of(model, text, options.skip + begin,
                          options.context + window_size(options, begin) + 1);
  task.decode_from = options.context;
  task.ebb = ebb;
  return task;
}

/// What the record has beside the scores, where the backend sees it.
void add_inside(const Answer& answer, uint64_t context, Json& record) {
  if (!answer.divergence.empty()) record["divergence"] = answer.divergence;
  if (sets_by_layer(answer.forced_trace).empty()) return;
  record["fetched"] = Json::array();
  for (const FetchCount& count : count_fetches(answer.forced_trace, context))
    record["fetched"].push_back(Json{{"rows", count.rows}, {"places", count.places}});
}

Cell make_cell(const Workplace& place, const PerplexityOptions& options, const ModelFacts& model,
               const TextFile& text, uint64_t begin, const PolicyText& policy) {
  const bool recomputes = is_recompute(policy);
  const std::string ebb =
      recomputes ? R"({"policy":"dense"})" : ebb_object(policy, options.context);
  Task task = window_task(options, model, text, begin, ebb);
  const Look look = look_of(*place.backend, options);
  task.divergence = look.divergence && !recomputes;
  task.trace = look.trace && !recomputes;
  const uint64_t window = recomputes ? *tokens_of(policy, "window", options.context) : 0;
  Json fields{{"text", text.name},
              {"begin", begin},
              {"policy", policy.label},
              {"family", family_of(policy)},
              {"rows", rows_of(policy, options.context)}};
  Cell cell;
  cell.key = text.name + ", window at " + std::to_string(begin) + ", " + policy.label;
  cell.work = task.prompt.size() + 10 * window_size(options, begin);  // a step costs ~10 in bulk
  if (recomputes) cell.work = window * window_size(options, begin);
  cell.run = [backend = place.backend, task = std::move(task), fields = std::move(fields), window,
              context = options.context, prefix = model.prefix.size()]() -> Result<std::string> {
    const Answer answer =
        EBB_TRY(window > 0 ? run_recomputed(*backend, task, window, prefix) : backend->run(task));
    Json record = fields;
    add_inside(answer, context, record);
    // The first score is the prefill's.
    record["logprobs"] = std::vector<double>(answer.forced.begin() + 1, answer.forced.end());
    record["cost"] = cost_json(answer.cost);
    return record.dump();
  };
  return cell;
}

Settings settings_of(const PerplexityOptions& options, const ModelFacts& model,
                     const std::vector<TextFile>& texts) {
  return {{"command", "perplexity"},
          {"model", model.id},
          {"--text", list_text(texts)},
          {"--policies", options.policies},
          {"--context", std::to_string(options.context)},
          {"--decode", std::to_string(options.decode)},
          {"--window", std::to_string(options.window)},
          {"--skip", std::to_string(options.skip)},
          {"--baseline", options.baseline}};
}

Result<std::vector<TextFile>> read_texts(Backend& backend, const PerplexityOptions& options,
                                         const ModelFacts& model) {
  const bool is_stream = options.baseline == kNoBaseline;  // the service knows how far it may go
  const uint64_t longest = options.context + window_size(options, 0) + 1;
  if (!is_stream && longest > model.max_model_len)
    return invalid("--context + --window + 1 is " + std::to_string(longest) + "; " + model.id +
                   " has a context of " + std::to_string(model.max_model_len) + " tokens");
  if (options.context <= model.prefix.size())
    return invalid("--context is " + std::to_string(options.context) + ", allowed: from " +
                   std::to_string(model.prefix.size() + 1));
  return read_text_files(backend, options.texts,
                         options.skip + options.context + options.decode + 1,
                         "--skip + --context + --decode + 1");
}

// Reports.

struct PolicyRuns {
  std::string family;
  double rows = 0;
  std::map<std::string, std::vector<double>> windows;  ///< log-probabilities by text and begin
  std::vector<std::vector<double>> divergence;         ///< by window
  std::array<FetchCount, kBufferShares.size()> fetched;
  Cost cost;
};

struct Records {
  std::vector<std::string> order;  ///< of policies
  std::map<std::string, PolicyRuns> by_policy;
};

Records read_records(const ResultDir& dir) {
  Records out;
  for (const auto& [key, line] : dir.records()) {
    const Json record = Json::parse(line);
    PolicyRuns& runs = out.by_policy[record.at("policy")];
    runs.family = record.at("family");
    runs.rows = record.at("rows");
    const std::string window = record.at("text").get<std::string>() + "\n" +
                               std::to_string(record.at("begin").get<uint64_t>());
    runs.windows[window] = record.at("logprobs").get<std::vector<double>>();
    runs.cost.add(cost_from(record.at("cost")));
    if (record.contains("divergence"))
      runs.divergence.push_back(record["divergence"].get<std::vector<double>>());
    for (size_t i = 0; record.contains("fetched") && i < runs.fetched.size(); ++i) {
      runs.fetched[i].rows += record["fetched"].at(i).at("rows").get<uint64_t>();
      runs.fetched[i].places += record["fetched"].at(i).at("places").get<uint64_t>();
    }
  }
  for (const std::string& label : policy_order(dir))
    if (out.by_policy.contains(label)) out.order.push_back(label);
  return out;
}

/// Baseline minus policy for each token of the windows that both have: positive is worse than the
/// baseline.
std::vector<std::vector<double>> losses(const PolicyRuns& baseline, const PolicyRuns& policy) {
  std::vector<std::vector<double>> out;
  for (const auto& [window, logprobs] : policy.windows) {
    const auto paired = baseline.windows.find(window);
    if (paired == baseline.windows.end() || paired->second.size() != logprobs.size()) continue;
    out.emplace_back();
    for (size_t i = 0; i < logprobs.size(); ++i)
      out.back().push_back(paired->second[i] - logprobs[i]);
  }
  return out;
}

/// Over the tokens of all windows that lie in [begin, end) of `kParts` parts.
Estimate logprob_of(const PolicyRuns& runs, size_t begin, size_t end) {
  std::vector<std::vector<double>> all;
  for (const auto& [window, logprobs] : runs.windows) {
    const auto at = [&](size_t part) {
      return logprobs.begin() + static_cast<std::ptrdiff_t>(logprobs.size() * part / kParts);
    };
    all.emplace_back(at(begin), at(end));
  }
  return batch_means(all);
}

/// `loss` is empty where there is no baseline.
Json result_json(const std::string& label, const PolicyRuns& runs, const Estimate& loss) {
  const Estimate all = logprob_of(runs, 0, kParts);
  Json parts = Json::array();
  for (size_t part = 0; part < kParts; ++part)
    parts.push_back(std::exp(-logprob_of(runs, part, part + 1).mean));
  Json out{{"policy", label},
           {"family", runs.family},
           {"rows", runs.rows},
           {"perplexity", std::exp(-all.mean)},
           {"perplexity_by_part", std::move(parts)},
           {"tokens", all.count},
           {"cost", cost_json(runs.cost)}};
  if (!runs.divergence.empty()) {
    const Estimate kl = batch_means(runs.divergence);
    out["divergence_millinats"] = 1000 * kl.mean;
    out["divergence_standard_error_millinats"] = 1000 * kl.standard_error;
  }
  for (size_t i = 0; runs.fetched[0].places > 0 && i < kBufferShares.size(); ++i)
    out["fetched_per_layer_and_step"]["n/" + std::to_string(kBufferShares[i])] =
        runs.fetched[i].per_place();
  if (loss.count == 0) return out;
  out.update(Json{{"ratio", std::exp(loss.mean)},
                  {"ratio_low", std::exp(loss.low)},
                  {"ratio_high", std::exp(loss.high)},
                  {"loss_mean", loss.mean},
                  {"loss_standard_error", loss.standard_error},
                  {"paired_tokens", loss.count},
                  {"batches", loss.batches}});
  return out;
}

/// "9.7 ± 0.8"
std::string divergence_text(const Json& result) {
  if (!result.contains("divergence_millinats")) return "-";
  return fixed(result["divergence_millinats"], 1) + " ± " +
         fixed(result["divergence_standard_error_millinats"], 1);
}

/// "33, 12, 3.4": smaller ones with a digit more.
std::string fetched_text(const Json& result) {
  if (!result.contains("fetched_per_layer_and_step")) return "-";
  std::string out;
  for (const auto& [share, rows] : result["fetched_per_layer_and_step"].items())
    out += (out.empty() ? "" : ", ") + fixed(rows, rows.get<double>() < 10 ? 1 : 0);
  return out;
}

std::vector<std::string> table_row(const Json& result) {
  const auto percent = [&](const char* name) {
    const double value = 100 * (result.at(name).get<double>() - 1);
    return (value >= 0 ? "+" : "") + fixed(value, 2);
  };
  const bool has_pairs = result.contains("ratio");
  const bool has_interval = has_pairs && result.at("batches").get<uint64_t>() > 1;
  const Cost cost = cost_from(result.at("cost"));
  const double steps = static_cast<double>(std::max<uint64_t>(1, cost.decoded));
  return {result.at("policy"),
          fixed(result.at("perplexity"), 4),
          has_pairs ? percent("ratio") : "-",
          has_interval ? percent("ratio_low") + " to " + percent("ratio_high") : "-",
          std::to_string(result.at("tokens").get<uint64_t>()),
          speed_text(cost),
          selected_text(cost),
          hits_text(cost),
          fixed(static_cast<double>(cost.restored_records) / steps, 1),
          read_text(cost),
          divergence_text(result),
          fetched_text(result)};
}

/// Perplexity along the windows: for streams that are compared with nothing.
LineChart chart_along(const ResultDir& dir, const Json& results) {
  LineChart chart{"Perplexity along the text", "tenth of the window", "perplexity", {}, {}};
  chart.title += ", " + setting(dir.settings(), "--decode") + " tokens";
  for (const Json& result : results) {
    ChartLine line{result.at("policy"), {}};
    double part = 0;
    for (const double value : result.at("perplexity_by_part").get<std::vector<double>>())
      line.points.push_back({++part, value, value, value});
    chart.lines.push_back(std::move(line));
  }
  return chart;
}

LineChart chart_of(const ResultDir& dir, const Json& results) {
  const std::string baseline = setting(dir.settings(), "--baseline");
  if (baseline == kNoBaseline) return chart_along(dir, results);
  LineChart chart;
  chart.title =
      "Perplexity against " + baseline + ", context " + setting(dir.settings(), "--context");
  chart.x_label = "tokens that a sparse layer reads (budget)";
  chart.y_label = "more than " + baseline + ", %";
  chart.baseline = 0;
  std::map<std::string, ChartLine> lines;
  for (const Json& result : results) {
    if (result.at("policy") == baseline || !result.contains("ratio")) continue;
    ChartLine& line = lines[result.at("family")];
    line.name = result.at("family");
    const auto percent = [&](const char* name) {
      return 100 * (result.at(name).get<double>() - 1);
    };
    line.points.push_back(
        {result.at("rows"), percent("ratio"), percent("ratio_low"), percent("ratio_high")});
  }
  for (auto& [name, line] : lines) {
    std::sort(line.points.begin(), line.points.end(),
              [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
    chart.lines.push_back(line);
  }
  return chart;
}

}  // namespace

Result<cli::Exit> run_perplexity(const Workplace& place, const PerplexityOptions& options) {
  // 1. Can it be done? Before the folder is touched.
  EBB_TRY_VOID(check(options));
  const auto policies = EBB_TRY(policies_with(options.baseline, options.policies));
  for (const PolicyText& policy : policies)
    if (is_recompute(policy)) EBB_TRY_VOID(recompute_window(policy, options.context));
  const ModelFacts model = EBB_TRY(place.backend->model());
  const auto texts = EBB_TRY(read_texts(*place.backend, options, model));
  ResultDir dir =
      EBB_TRY(ResultDir::open(place.out, settings_of(options, model, texts), place.command_line));
  // 2. A window of all policies before the next one: what is there can be compared.
  std::vector<Cell> cells;
  for (const TextFile& text : texts) {
    for (uint64_t begin = 0; begin < options.decode; begin += window_size(options, begin)) {
      for (const PolicyText& policy : policies)
        cells.push_back(make_cell(place, options, model, text, begin, policy));
    }
  }
  return run_and_publish(place, dir, cells);
}

Result<Report> report_perplexity(const ResultDir& dir) {
  const Records records = read_records(dir);
  Report report;
  report.table = {{"policy", "perplexity", "vs baseline %", "95 % interval", "tokens",
                   "decode tok/s", "selected/token", "hot hits", "restored/token", "KV read %",
                   "KL, mnat", "fetched n/8, n/4, n/2"}};
  Json results = Json::array();
  const auto baseline = records.by_policy.find(setting(dir.settings(), "--baseline"));
  for (const std::string& label : records.order) {
    const PolicyRuns& runs = records.by_policy.at(label);
    Estimate loss;
    if (baseline != records.by_policy.end()) loss = batch_means(losses(baseline->second, runs));
    results.push_back(result_json(label, runs, loss));
    report.table.push_back(table_row(results.back()));
  }
  report.picture = draw(chart_of(dir, results));
  report.results = results.dump();
  report.notes = {
      "vs baseline: exp of the mean difference of log-probabilities on the same tokens; its "
      "interval "
      "is of batch means over consecutive tokens, for these texts",
      "selected/token is summed over the layers that select; KV read: bytes that decode steps "
      "read, of dense attention's",
      "only with --model: KL(dense || policy) per token, and rows that LRU buffers of n/8, n/4, "
      "n/2 "
      "rows fetch per selecting layer and step, n being the context"};
  if (baseline == records.by_policy.end())
    report.notes.push_back("there is no baseline to compare with");
  return report;
}

}  // namespace ebb::score
