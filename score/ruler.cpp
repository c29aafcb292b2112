#include "score/ruler.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "score/charts.h"
#include "score/forced.h"
#include "score/policy_text.h"
#include "score/records.h"
#include "score/ruler_tasks.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

/// Most that an answer of any task has.
constexpr uint32_t kAnswerTokens = 48;

std::string names_text(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ",") + name;
  return out;
}

Result<std::vector<std::string>> check(const RulerOptions& options, const ModelFacts& model) {
  EBB_TRY_VOID(check_lengths(options.lengths, kAnswerTokens, model));
  EBB_TRY_VOID(check_range("--samples", options.samples, 1, 1000));
  const auto& known = ruler_tasks();
  for (const std::string& task : options.tasks) {
    if (std::find(known.begin(), known.end(), task) == known.end())
      return invalid("--tasks has \"" + task + "\"; known are " + names_text(known));
  }
  return options.tasks.empty() ? known : options.tasks;
}

struct Place {
  std::string task;
  uint64_t length = 0;
  uint64_t sample = 0;
  std::string text() const {
    return task + ", " + std::to_string(length) + " tokens, sample " + std::to_string(sample);
  }
};

Cell make_cell(const Workplace& place, const ChatFrame& frame, const Place& at,
               const PolicyText& policy, const RulerOptions& options) {
  Cell cell;
  cell.key = at.text() + ", " + policy.label;
  cell.work = at.length;
  cell.run = [backend = place.backend, frame, at, policy, generate = options.generate,
              seed = seed_of(options.seed, at.text())]() -> Result<std::string> {
    Question question;
    const BuiltQuestion built = EBB_TRY(fit_question(
        *backend, frame, at.length,
        [&](uint64_t amount) { return ruler_question(at.task, seed, amount); }, &question));
    const std::string ebb = ebb_object(policy, at.length);
    ForcedAnswer forced = EBB_TRY(force_answer(*backend, built, ebb));
    Json record{{"task", at.task},
                {"length", at.length},
                {"sample", at.sample},
                {"policy", policy.label},
                {"prompt_tokens", built.prompt.size()},
                {"expected", question.expected},
                {"logprobs", forced.logprobs}};
    if (generate) {
      const Task task{built.prompt, built.decode_from, kAnswerTokens, ebb, false};
      const Answer answer = EBB_TRY(backend->run(task));
      record["text"] = answer.text;
      record["score"] = fraction_found(answer.text, question.expected);
      forced.cost.add(answer.cost);
    }
    record["cost"] = cost_json(forced.cost);
    return record.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  return cell;
}

Settings settings_of(const RulerOptions& options, const ModelFacts& model,
                     const std::vector<std::string>& tasks) {
  return {{"command", "ruler"},
          {"model", model.id},
          {"--policies", options.policies},
          {"--tasks", names_text(tasks)},
          {"--lengths", list_text(options.lengths)},
          {"--samples", std::to_string(options.samples)},
          {"--seed", std::to_string(options.seed)},
          {"--no-generate", options.generate ? "false" : "true"}};
}

struct TaskRuns {
  std::vector<double> scores;
  std::map<std::string, std::vector<double>> logprobs;  ///< by length and sample
};
struct PolicyRuns {
  std::map<std::string, TaskRuns> tasks;
  Cost cost;
};

std::map<std::string, PolicyRuns> read_records(const ResultDir& dir) {
  std::map<std::string, PolicyRuns> out;
  for (const auto& [key, line] : dir.records()) {
    const Json record = Json::parse(line);
    PolicyRuns& runs = out[record.at("policy")];
    const std::string prompt =
        record.at("length").dump() + " tokens, sample " + record.at("sample").dump();
    const auto logprobs = record.at("logprobs").get<std::vector<double>>();
    const std::string task = record.at("task");
    runs.tasks[task].logprobs[prompt] = logprobs;
    runs.tasks["all"].logprobs[task + prompt] = logprobs;
    if (record.contains("score")) {
      runs.tasks[task].scores.push_back(record.at("score"));
      runs.tasks["all"].scores.push_back(record.at("score"));
    }
    runs.cost.add(cost_from(record.at("cost")));
  }
  return out;
}

/// Of independent prompts.
Estimate mean_score(const std::vector<double>& scores) {
  std::vector<std::vector<double>> runs;
  for (const double score : scores) runs.push_back({score});
  return batch_means(runs);
}

Json task_json(const std::string& label, const std::string& task, const TaskRuns& runs,
               const Estimate& loss) {
  const Estimate score = mean_score(runs.scores);
  return Json{
      {"policy", label},
      {"task", task},
      {"prompts", runs.logprobs.size()},
      {"score", runs.scores.empty() ? Json() : Json(score.mean)},
      {"score_standard_error", runs.scores.size() < 2 ? Json() : Json(score.standard_error)},
      {"answer_logprob", mean_logprob(runs.logprobs)},
      {"loss_mean", loss.mean},
      {"loss_low", loss.low},
      {"loss_high", loss.high},
      {"loss_standard_error", loss.standard_error}};
}

}  // namespace

Result<cli::Exit> run_ruler(const Workplace& place, const RulerOptions& options) {
  const auto policies = EBB_TRY(policies_with_dense(options.policies));
  const ModelFacts model = EBB_TRY(place.backend->model());
  const auto tasks = EBB_TRY(check(options, model));
  const ChatFrame frame = EBB_TRY(place.backend->chat_frame());
  ResultDir dir =
      EBB_TRY(ResultDir::open(place.out, settings_of(options, model, tasks), place.command_line));
  std::vector<Cell> cells;
  for (uint64_t sample = 0; sample < options.samples; ++sample) {
    for (const uint64_t length : options.lengths) {
      for (const std::string& task : tasks) {
        for (const PolicyText& policy : policies)
          cells.push_back(make_cell(place, frame, {task, length, sample}, policy, options));
      }
    }
  }
  return run_and_publish(place, dir, cells);
}

Result<Report> report_ruler(const ResultDir& dir) {
  const auto by_policy = read_records(dir);
  Report report;
  report.table = {{"policy", "task", "prompts", "score", "answer logprob", "less than dense"}};
  HeatMap map{"Fraction of expected strings found", "policy", "task", {}};
  HeatPanel panel{"all lengths", {}, {}, {}};
  std::vector<std::string> tasks = ruler_tasks();
  tasks.push_back("all");
  panel.columns = {"key", "value", "query", "vars", "common", "freq", "docs", "mean"};
  Json results = Json::array();
  const auto dense = by_policy.find("dense");
  for (const std::string& label : policy_order(dir)) {
    const auto at = by_policy.find(label);
    if (at == by_policy.end()) continue;
    panel.rows.push_back(label);
    panel.values.emplace_back();
    for (const std::string& task : tasks) {
      panel.values.back().emplace_back();
      const auto runs = at->second.tasks.find(task);
      if (runs == at->second.tasks.end()) continue;
      Estimate loss;
      if (dense != by_policy.end() && dense->second.tasks.contains(task))
        loss = forced_loss(dense->second.tasks.at(task).logprobs, runs->second.logprobs);
      results.push_back(task_json(label, task, runs->second, loss));
      const bool scored = !runs->second.scores.empty();
      if (scored) panel.values.back().back() = results.back().at("score").get<double>();
      report.table.push_back({label, task, std::to_string(runs->second.logprobs.size()),
                              scored ? fixed(results.back().at("score"), 2) : "-",
                              fixed(results.back().at("answer_logprob"), 3), loss_text(loss)});
    }
  }
  map.panels.push_back(std::move(panel));
  report.results = results.dump();
  report.picture = draw(map);
  report.notes = {
      "score: fraction of the expected strings in the greedy answer, as in RULER",
      "answer logprob: mean over the right answer's tokens, teacher-forced; less than dense: the "
      "paired difference per token, with its 95 % interval (batch means)"};
  return report;
}

}  // namespace ebb::score
