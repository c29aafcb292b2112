#include "score/needle.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "score/charts.h"
#include "score/policy_text.h"
#include "score/records.h"
#include "score/statistics.h"
#include "score/text_file.h"
#include "score/word_lists.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint32_t kAnswerTokens = 12;

Result<void> check(const NeedleOptions& options, const ModelFacts& model) {
  EBB_TRY_VOID(check_lengths(options.lengths, kAnswerTokens, model));
  if (options.depths.empty()) return invalid("--depths is empty");
  for (const double depth : options.depths) {
    if (!(depth >= 0 && depth <= 1))
      return invalid("--depths has " + fixed(depth, 3) + ", allowed: 0 to 1");
  }
  return check_range("--samples", options.samples, 1, 1000);
}

std::string depth_text(double depth) { return fixed(depth * 100, 0) + " %"; }

struct Place {
  uint64_t length = 0;
  double depth = 0;
  uint64_t sample = 0;
};

Cell make_cell(const Workplace& place, const std::shared_ptr<const std::vector<std::string>>& text,
               const ChatFrame& frame, const Place& at, const PolicyText& policy, uint64_t seed) {
  const std::string where = std::to_string(at.length) + " tokens, depth " + depth_text(at.depth) +
                            ", sample " + std::to_string(at.sample);
  Cell cell;
  cell.key = where + ", " + policy.label;
  cell.work = at.length;
  cell.run = [backend = place.backend, text, frame, at, policy,
              own_seed = seed_of(seed, where)]() -> Result<std::string> {
    Question question;
    const BuiltQuestion built = EBB_TRY(fit_question(
        *backend, frame, at.length,
        [&](uint64_t count) { return needle_question(*text, at.depth, own_seed, count); },
        &question));
    Task task{built.prompt, built.decode_from, kAnswerTokens, ebb_object(policy, at.length), false};
    const Answer answer = EBB_TRY(backend->run(task));
    return Json{{"length", at.length},
                {"depth", at.depth},
                {"sample", at.sample},
                {"policy", policy.label},
                {"prompt_tokens", built.prompt.size()},
                {"expected", question.expected[0]},
                {"text", answer.text},
                {"right", first_number_is(answer.text, question.expected[0])},
                {"cost", cost_json(answer.cost)}}
        .dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  return cell;
}

Settings settings_of(const NeedleOptions& options, const ModelFacts& model, const TextFile& text) {
  return {{"command", "needle"},
          {"model", model.id},
          {"--text", text.name + " (tokens " + text.fingerprint + ")"},
          {"--policies", options.policies},
          {"--lengths", list_text(options.lengths)},
          {"--depths", list_text(options.depths)},
          {"--samples", std::to_string(options.samples)},
          {"--seed", std::to_string(options.seed)}};
}

struct Count {
  uint64_t right = 0;
  uint64_t all = 0;
  std::optional<double> share() const {
    if (all == 0) return std::nullopt;
    return static_cast<double>(right) / static_cast<double>(all);
  }
};

struct PolicyCounts {
  Count all;
  std::map<double, std::map<uint64_t, Count>> by_place;  ///< depth, length
  Cost cost;
};

std::map<std::string, PolicyCounts> read_records(const ResultDir& dir) {
  std::map<std::string, PolicyCounts> out;
  for (const auto& [key, line] : dir.records()) {
    const Json record = Json::parse(line);
    PolicyCounts& counts = out[record.at("policy")];
    for (Count* count : {&counts.all, &counts.by_place[record.at("depth")][record.at("length")]}) {
      ++count->all;
      count->right += record.at("right").get<bool>() ? 1 : 0;
    }
    counts.cost.add(cost_from(record.at("cost")));
  }
  return out;
}

HeatPanel panel_of(const std::string& label, const PolicyCounts& counts) {
  HeatPanel panel{label, {}, {}, {}};
  std::map<uint64_t, bool> lengths;
  for (const auto& [depth, row] : counts.by_place)
    for (const auto& [length, count] : row) lengths[length] = true;
  for (const auto& [length, is_there] : lengths) panel.columns.push_back(std::to_string(length));
  for (const auto& [depth, row] : counts.by_place) {
    panel.rows.push_back(depth_text(depth));
    panel.values.emplace_back();
    for (const auto& [length, is_there] : lengths) {
      const auto at = row.find(length);
      panel.values.back().push_back(at == row.end() ? std::nullopt : at->second.share());
    }
  }
  return panel;
}

}  // namespace

Question needle_question(const std::vector<std::string>& sentences, double depth, uint64_t seed,
                         uint64_t count) {
  Random random(seed);
  const std::string city = cities()[random.below(cities().size())];
  const std::string number = std::to_string(1000 + random.below(9000));
  const uint64_t from = random.below(sentences.size());
  const auto before = static_cast<uint64_t>(std::lround(depth * static_cast<double>(count)));
  std::string text = filler(sentences, from, before);
  if (!text.empty()) text += " ";
  text += "The secret number for " + city + " is " + number + ".";
  if (before < count) text += " " + filler(sentences, from + before, count - before);
  Question question;
  question.haystack = text;
  question.question = "\n\nWhat is the secret number for " + city + "?";
  question.begun = "The secret number for " + city + " is";
  question.answer = " " + number;
  question.expected = {number};
  return question;
}

bool first_number_is(const std::string& text, const std::string& number) {
  const auto is_digit = [](unsigned char c) { return c >= '0' && c <= '9'; };
  const auto begin = std::find_if(text.begin(), text.end(), is_digit);
  const auto end = std::find_if_not(begin, text.end(), is_digit);
  return !number.empty() && std::string(begin, end) == number;
}

Result<cli::Exit> run_needle(const Workplace& place, const NeedleOptions& options) {
  const auto policies = EBB_TRY(parse_policies(options.policies));
  const ModelFacts model = EBB_TRY(place.backend->model());
  EBB_TRY_VOID(check(options, model));
  const TextFile text = EBB_TRY(read_text_file(*place.backend, options.text));
  const auto sentences = std::make_shared<const std::vector<std::string>>(sentences_of(text.text));
  const ChatFrame frame = EBB_TRY(place.backend->chat_frame());
  ResultDir dir =
      EBB_TRY(ResultDir::open(place.out, settings_of(options, model, text), place.command_line));
  std::vector<Cell> cells;
  for (uint64_t sample = 0; sample < options.samples; ++sample) {
    for (const uint64_t length : options.lengths) {
      for (const double depth : options.depths) {
        for (const PolicyText& policy : policies)
          cells.push_back(
              make_cell(place, sentences, frame, {length, depth, sample}, policy, options.seed));
      }
    }
  }
  return run_and_publish(place, dir, cells);
}

Result<Report> report_needle(const ResultDir& dir) {
  const auto by_policy = read_records(dir);
  Report report;
  report.table = {
      {"policy", "right", "share", "95 % interval", "decode tok/s", "selected/token", "hot hits"}};
  HeatMap map{"Needle found", "depth", "prompt tokens", {}};
  Json results = Json::array();
  for (const std::string& label : policy_order(dir)) {
    const auto at = by_policy.find(label);
    if (at == by_policy.end()) continue;
    const auto& [all, by_place, cost] = at->second;
    const Proportion share = wilson(all.right, all.all);
    results.push_back(Json{{"policy", label},
                           {"right", all.right},
                           {"prompts", all.all},
                           {"share", share.share},
                           {"share_low", share.low},
                           {"share_high", share.high},
                           {"cost", cost_json(cost)}});
    report.table.push_back({label, std::to_string(all.right) + " of " + std::to_string(all.all),
                            fixed(share.share, 2),
                            fixed(share.low, 2) + " to " + fixed(share.high, 2), speed_text(cost),
                            selected_text(cost), hits_text(cost)});
    map.panels.push_back(panel_of(label, at->second));
  }
  report.results = results.dump();
  report.picture = draw(map);
  report.notes = {
      "right: the first number of the answer is the planted one; interval: Wilson's",
      "the haystack is prefilled, question and answer go through the policy's decode path"};
  return report;
}

}  // namespace ebb::score
