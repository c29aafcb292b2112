// What a calibration's records become: tables, JSON, the picture of errors.
#include <nlohmann/json.hpp>

#include "score/calibrate.h"
#include "score/error_map.h"
#include "score/statistics.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

std::string number(double value) { return Json(value).dump(); }

std::vector<std::string> text_names(const ResultDir& dir) {
  std::vector<std::string> names;
  for (const Json& text : Json::parse(setting(dir.settings(), "--text")))
    names.push_back(text.at("name"));
  return names;
}

double fraction_of(const ResultDir& dir) {
  return Json::parse(setting(dir.settings(), "--budget-fraction"));
}

/// Nothing: was not judged.
std::optional<Losses> losses_at(const ResultDir& dir, const std::string& key) {
  const auto record = dir.records().find(key);
  if (record == dir.records().end()) return std::nullopt;
  return Json::parse(record->second).at("kl").get<Losses>();
}

std::optional<Losses> losses_of(const ResultDir& dir, const std::string& group,
                                const Anchors& anchors, double fraction) {
  return losses_at(dir, loss_key(group, anchors, fraction));
}

/// One line of the table: some anchors at some budget, and who came up with them.
struct Line {
  std::string from;
  Anchors anchors;
  double fraction = 0;
};

std::vector<Line> lines_of(const ResultDir& dir, const Json& outcome) {
  const double fraction = fraction_of(dir);
  const auto found = outcome.at("anchors").get<Anchors>();
  std::vector<Line> lines = {{"search", found, fraction}};
  lines.push_back({"dynamic programming", outcome.at("start").get<Anchors>(), fraction});
  for (const Json& anchors : outcome.at("compared"))
    lines.push_back({"compared", anchors.get<Anchors>(), fraction});
  for (const double other : fractions_around(fraction))
    if (other != fraction) lines.push_back({"search", found, other});
  return lines;
}

Json estimate_json(const Losses& losses) {
  const Estimate e = batch_means(losses);
  return Json{{"mean", e.mean}, {"standard_error", e.standard_error}, {"tokens", e.count}};
}

/// Divergences of a line in nats, and how much more than the search's anchors lose at the same
/// budget.
Json line_json(const ResultDir& dir, const Line& line, const Anchors& found) {
  Json out{{"from", line.from}, {"anchors", line.anchors}, {"budget_fraction", line.fraction}};
  for (const auto& [group, name] :
       {std::pair{kCalibration, "kl"}, std::pair{kHeldOut, "kl_held_out"}}) {
    const auto losses = losses_of(dir, group, line.anchors, line.fraction);
    if (!losses) continue;
    out[name] = estimate_json(*losses);
    const auto chosen = losses_of(dir, group, found, line.fraction);
    if (chosen && line.anchors != found)
      out[name]["more_than_search"] = estimate_json(differences(*losses, *chosen));
  }
  return out;
}

std::string millinats(const Json& estimate) {
  return fixed(1000 * estimate.at("mean").get<double>(), 2) + " +- " +
         fixed(1000 * estimate.at("standard_error").get<double>(), 2);
}

std::string shown(const Json& line, const char* name) {
  if (!line.contains(name)) return "-";
  return millinats(line.at(name));
}

std::string shown_difference(const Json& line, const char* name) {
  if (!line.contains(name) || !line.at(name).contains("more_than_search")) return "-";
  const Json more = line.at(name).at("more_than_search");
  const double mean = 1000 * more.at("mean").get<double>();
  return (mean >= 0 ? "+" : "") + fixed(mean, 2) + " +- " +
         fixed(1000 * more.at("standard_error").get<double>(), 2);
}

/// Where every layer chooses for itself: the budget dealt alike, and by layer. Null: not judged.
Json budgets_json(const ResultDir& dir, const Json& outcome) {
  if (outcome.at("weights").empty()) return nullptr;
  Json out{{"weights", outcome.at("weights")}, {"in_profile", outcome.at("weights_pay")}};
  for (const auto& [group, name] :
       {std::pair{kCalibration, "kl"}, std::pair{kHeldOut, "kl_held_out"}}) {
    const auto even = losses_at(dir, budgets_key(group, kEven, fraction_of(dir)));
    const auto dealt = losses_at(dir, budgets_key(group, kByLayer, fraction_of(dir)));
    if (!even || !dealt) continue;
    out[name] = Json{{"even", estimate_json(*even)},
                     {"by_layer", estimate_json(*dealt)},
                     {"by_layer_less_even", estimate_json(differences(*dealt, *even))}};
  }
  return out;
}

std::string budgets_note(const Json& budgets) {
  std::string note = "each layer by its digests, budgets alike, by layer, less alike: ";
  for (const char* name : {"kl", "kl_held_out"}) {
    if (!budgets.contains(name)) continue;
    const Json& of = budgets.at(name);
    note += (name == std::string("kl") ? "" : "; held out ") + millinats(of.at("even")) + ", " +
            millinats(of.at("by_layer")) + ", " + millinats(of.at("by_layer_less_even"));
  }
  return note + (budgets.at("in_profile").get<bool>() ? "" : "; they stay alike");
}

Json programme_json(const ErrorMatrix& errors) {
  Json out = Json::array();
  for (const Anchors& anchors : best_anchors(errors, static_cast<uint32_t>(errors.size())))
    out.push_back(
        Json{{"count", anchors.size()}, {"anchors", anchors}, {"error", cost_of(errors, anchors)}});
  return out;
}

/// By layer: what its anchor's set costs it, and what its own would, at each budget.
Json layers_json(const std::vector<ErrorMatrix>& errors, const Anchors& anchors) {
  Json out = Json::array();
  size_t at = 0;
  for (uint32_t layer = 0; layer < errors[0].size(); ++layer) {
    while (at + 1 < anchors.size() && anchors[at + 1] <= layer) ++at;
    Json of_anchor = Json::array(), own = Json::array();
    for (const ErrorMatrix& matrix : errors) {
      of_anchor.push_back(anchors[at] == layer ? 0 : matrix[layer][anchors[at]]);
      own.push_back(matrix[layer][layer]);
    }
    out.push_back(Json{
        {"layer", layer}, {"anchor", anchors[at]}, {"errors", of_anchor}, {"own_errors", own}});
  }
  return out;
}

std::vector<std::string> notes_of(const Json& outcome) {
  const auto rounds = outcome.at("rounds").size() - 1;
  std::vector<std::string> notes = {
      "KL(dense || tidal) in millinats a token, +- its standard error (batch means, for these "
      "texts); n is a text's context",
      "search: " + std::to_string(rounds) + (rounds == 1 ? " round" : " rounds") +
          (outcome.at("is_local_best").get<bool>() ? ", no neighbour is better"
                                                   : ", ended before it came to rest")};
  notes.push_back("profile: " + outcome.at("profile").get<std::string>());
  return notes;
}

}  // namespace

std::string error_key(const std::string& text) { return "errors of " + text; }

Losses differences(const Losses& other, const Losses& chosen) {
  Losses out = other;
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t j = 0; j < out[i].size(); ++j) out[i][j] -= chosen.at(i).at(j);
  return out;
}

std::string budgets_key(const std::string& group, const char* dealt, double fraction) {
  return group + ", " + number(fraction) + " n, by digests, budgets " + dealt;
}

std::string loss_key(const std::string& group, const Anchors& anchors, double fraction) {
  return group + ", " + number(fraction) + " n, anchors " + anchors_text(anchors);
}

std::vector<double> fractions_around(double fraction) {
  return {fraction / 2, fraction, 2 * fraction};
}

Result<std::vector<ErrorMatrix>> mean_errors(const ResultDir& dir,
                                             const std::vector<std::string>& texts) {
  std::vector<ErrorMatrix> sum;
  for (const std::string& text : texts) {
    const auto record = dir.records().find(error_key(text));
    if (record == dir.records().end())
      return not_found(dir.path() + " has no errors of " + text + " yet");
    const auto errors = Json::parse(record->second).at("errors").get<std::vector<ErrorMatrix>>();
    if (sum.empty()) sum.assign(errors.size(), ErrorMatrix(errors.at(0).size()));
    for (size_t size = 0; size < sum.size(); ++size) {
      for (size_t l = 0; l < sum[size].size(); ++l) {
        sum[size][l].resize(l + 1);
        for (size_t s = 0; s <= l; ++s)
          sum[size][l][s] += errors.at(size).at(l).at(s) / static_cast<double>(texts.size());
      }
    }
  }
  return sum;
}

Result<Report> report_calibrate(const ResultDir& dir) {
  const auto record = dir.records().find(kOutcome);
  if (record == dir.records().end())
    return not_found(dir.path() + ": the calibration has not ended; the same command goes on");
  const Json outcome = Json::parse(record->second);
  const auto found = outcome.at("anchors").get<Anchors>();
  const std::vector<ErrorMatrix> errors = EBB_TRY(mean_errors(dir, text_names(dir)));
  const double fraction = fraction_of(dir);

  Report report;
  report.table = {
      {"anchors", "from", "budget", "KL", "more than search", "KL held out", "more than search"}};
  Json lines = Json::array();
  for (const Line& line : lines_of(dir, outcome)) {
    const Json json = line_json(dir, line, found);
    lines.push_back(json);
    report.table.push_back({anchors_text(line.anchors), line.from, number(line.fraction) + " n",
                            shown(json, "kl"), shown_difference(json, "kl"),
                            shown(json, "kl_held_out"), shown_difference(json, "kl_held_out")});
  }
  Json matrices = Json::array();
  for (size_t i = 0; i < errors.size(); ++i)
    matrices.push_back(
        Json{{"budget_fraction", fractions_around(fraction)[i]}, {"errors", errors[i]}});
  const Json budgets = budgets_json(dir, outcome);
  const Json results{
      {"model", setting(dir.settings(), "model")},
      {"texts", Json::parse(setting(dir.settings(), "--text"))},
      {"held_out", Json::parse(setting(dir.settings(), "--held-out"))},
      {"anchors", found},
      {"budget_fraction", outcome.at("budget_fraction")},
      {"figures", lines},
      {"dynamic_programming", programme_json(errors[1])},
      {"search",
       {{"rounds", outcome.at("rounds")}, {"is_local_best", outcome.at("is_local_best")}}},
      {"layers", layers_json(errors, found)},
      {"budgets", budgets},
      {"matrices", std::move(matrices)}};
  report.results = results.dump();
  report.notes = notes_of(outcome);
  if (!budgets.is_null()) report.notes.push_back(budgets_note(budgets));
  ErrorMap map;
  map.title = "Output error of a layer that reads another layer's set";
  map.notes = {
      setting(dir.settings(), "model"),
      "budget " + number(fraction) + " n; framed: what anchors " + anchors_text(found) + " give"};
  map.errors = errors[1];
  map.anchors = found;
  report.picture = draw(map);
  return report;
}

}  // namespace ebb::score
