#include "score/longgen.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "score/charts.h"
#include "score/forced.h"
#include "score/policy_text.h"
#include "score/records.h"
#include "score/word_lists.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kGivenRows = 2;  // show the form
constexpr size_t kParts = 4;        // of an answer, in which its log-probability is shown

Cell make_cell(const Workplace& place, const ChatFrame& frame, const LonggenOptions& options,
               uint64_t sample, const PolicyText& policy, const ModelFacts& model) {
  Cell cell;
  cell.key = "table " + std::to_string(sample) + ", " + policy.label;
  cell.work = options.length * 20;
  cell.run =
      [backend = place.backend, frame, policy, sample, length = options.length,
       generate = options.generate, room = model.max_model_len,
       seed = seed_of(options.seed, "table " + std::to_string(sample))]() -> Result<std::string> {
    Question question;
    const BuiltQuestion built = EBB_TRY(fit_question(
        *backend, frame, length,
        [&](uint64_t rows) { return table_question(seed, rows + kGivenRows); }, &question));
    if (built.prompt.size() + built.answer.size() > room)
      return invalid("--length: prompt and answer are " +
                     std::to_string(built.prompt.size() + built.answer.size()) +
                     " tokens, the model's context has " + std::to_string(room));
    const std::string ebb = ebb_object(policy, built.prompt.size());
    ForcedAnswer forced = EBB_TRY(force_answer(*backend, built, ebb));
    Json record{{"sample", sample},
                {"policy", policy.label},
                {"prompt_tokens", built.prompt.size()},
                {"rows", question.expected.size()},
                {"logprobs", forced.logprobs}};
    if (generate) {
      const auto most = static_cast<uint32_t>(
          std::min<uint64_t>(built.answer.size() + 16, room - built.prompt.size()));
      const Answer answer =
          EBB_TRY(backend->run({built.prompt, built.decode_from, most, ebb, false}));
      record["text"] = answer.text;
      record["rows_right"] = lines_right(answer.text, question.expected);
      forced.cost.add(answer.cost);
    }
    record["cost"] = cost_json(forced.cost);
    return record.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  return cell;
}

struct PolicyRuns {
  uint64_t rows = 0;
  uint64_t right = 0;
  bool generated = false;
  std::map<std::string, std::vector<double>> logprobs;  ///< by sample
  Cost cost;
};

std::map<std::string, PolicyRuns> read_records(const ResultDir& dir) {
  std::map<std::string, PolicyRuns> out;
  for (const auto& [key, line] : dir.records()) {
    const Json record = Json::parse(line);
    PolicyRuns& runs = out[record.at("policy")];
    runs.logprobs[record.at("sample").dump()] = record.at("logprobs").get<std::vector<double>>();
    runs.cost.add(cost_from(record.at("cost")));
    if (!record.contains("rows_right")) continue;
    runs.generated = true;
    runs.rows += record.at("rows").get<uint64_t>();
    runs.right += record.at("rows_right").get<uint64_t>();
  }
  return out;
}

/// A `part` of each answer.
std::map<std::string, std::vector<double>> part_of(
    const std::map<std::string, std::vector<double>>& answers, size_t part) {
  std::map<std::string, std::vector<double>> out;
  for (const auto& [sample, logprobs] : answers) {
    const auto begin =
        logprobs.begin() + static_cast<std::ptrdiff_t>(logprobs.size() * part / kParts);
    const auto end =
        logprobs.begin() + static_cast<std::ptrdiff_t>(logprobs.size() * (part + 1) / kParts);
    out[sample] = {begin, end};
  }
  return out;
}

Json losses_json(const PolicyRuns& dense, const PolicyRuns& runs, ChartLine& line) {
  Json out = Json::array();
  for (size_t part = 0; part < kParts; ++part) {
    const Estimate loss = forced_loss(part_of(dense.logprobs, part), part_of(runs.logprobs, part));
    out.push_back(Json{{"loss_mean", loss.mean}, {"loss_low", loss.low}, {"loss_high", loss.high}});
    line.points.push_back({static_cast<double>(part + 1), loss.mean, loss.low, loss.high});
  }
  return out;
}

}  // namespace

Question table_question(uint64_t seed, uint64_t rows) {
  Random random(seed);
  Question question;
  question.haystack = "Here is a table.\n\nitem | city | price\n";
  std::set<std::string> taken;
  std::vector<std::string> lines;
  while (lines.size() < rows) {
    const std::string item = common_words()[random.below(common_words().size())];
    const std::string city = cities()[random.below(cities().size())];
    if (!taken.insert(item + " " + city).second) continue;
    const std::string price = std::to_string(100 + random.below(900));
    question.haystack += item + " | " + city + " | " + price + "\n";
    lines.push_back(city + ": " + item + " for " + price);
  }
  question.question =
      "\nCopy all rows of the table in their order, one line each, in the form\nCITY: ITEM for "
      "PRICE";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i < kGivenRows) {
      question.begun += lines[i] + "\n";
      continue;
    }
    question.answer += lines[i] + "\n";
    question.expected.push_back(lines[i]);
  }
  return question;
}

uint64_t lines_right(const std::string& text, const std::vector<std::string>& expected) {
  std::set<std::string> left(expected.begin(), expected.end());
  std::istringstream lines(text);
  uint64_t right = 0;
  for (std::string line; std::getline(lines, line);) right += left.erase(line);
  return right;
}

Result<cli::Exit> run_longgen(const Workplace& place, const LonggenOptions& options) {
  const auto policies = EBB_TRY(policies_with_dense(options.policies));
  const ModelFacts model = EBB_TRY(place.backend->model());
  EBB_TRY_VOID(check_range("--length", options.length, 64, model.max_model_len));
  EBB_TRY_VOID(check_range("--samples", options.samples, 1, 1000));
  const ChatFrame frame = EBB_TRY(place.backend->chat_frame());
  const Settings settings{{"command", "longgen"},
                          {"model", model.id},
                          {"--policies", options.policies},
                          {"--length", std::to_string(options.length)},
                          {"--samples", std::to_string(options.samples)},
                          {"--seed", std::to_string(options.seed)},
                          {"--no-generate", options.generate ? "false" : "true"}};
  ResultDir dir = EBB_TRY(ResultDir::open(place.out, settings, place.command_line));
  std::vector<Cell> cells;
  for (uint64_t sample = 0; sample < options.samples; ++sample)
    for (const PolicyText& policy : policies)
      cells.push_back(make_cell(place, frame, options, sample, policy, model));
  return run_and_publish(place, dir, cells);
}

Result<Report> report_longgen(const ResultDir& dir) {
  const auto by_policy = read_records(dir);
  Report report;
  report.table = {{"policy", "rows right", "answer logprob", "less than dense", "decode tok/s",
                   "selected/token", "hot hits"}};
  LineChart chart{"Log-probability of the copied table",
                  "quarter of the answer",
                  "less than dense, nats per token",
                  {},
                  0.0};
  Json results = Json::array();
  const auto dense = by_policy.find("dense");
  for (const std::string& label : policy_order(dir)) {
    const auto at = by_policy.find(label);
    if (at == by_policy.end()) continue;
    const PolicyRuns& runs = at->second;
    Estimate loss;
    ChartLine line{label, {}};
    Json quarters;
    if (dense != by_policy.end()) {
      loss = forced_loss(dense->second.logprobs, runs.logprobs);
      quarters = losses_json(dense->second, runs, line);
    }
    const std::string right = std::to_string(runs.right) + " of " + std::to_string(runs.rows);
    report.table.push_back({label, runs.generated ? right : "-",
                            fixed(mean_logprob(runs.logprobs), 3), loss_text(loss),
                            speed_text(runs.cost), selected_text(runs.cost), hits_text(runs.cost)});
    results.push_back(Json{{"policy", label},
                           {"rows", runs.rows},
                           {"rows_right", runs.generated ? Json(runs.right) : Json()},
                           {"answer_logprob", mean_logprob(runs.logprobs)},
                           {"loss_mean", loss.mean},
                           {"loss_low", loss.low},
                           {"loss_high", loss.high},
                           {"loss_standard_error", loss.standard_error},
                           {"loss_by_quarter", quarters},
                           {"cost", cost_json(runs.cost)}});
    if (label != "dense") chart.lines.push_back(std::move(line));
  }
  report.results = results.dump();
  report.picture = draw(chart);
  report.notes = {
      "rows right: lines of the greedy answer that are in the right answer, character by character",
      "answer logprob: mean over the right answer's tokens, teacher-forced; less than dense: the "
      "paired difference per token, with its 95 % interval (batch means)"};
  return report;
}

}  // namespace ebb::score
