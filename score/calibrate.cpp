#include "score/calibrate.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/checksum.h"
#include "cli/progress.h"
#include "models/layer_budgets.h"
#include "score/budget_weights.h"
#include "score/calibrate_judge.h"
#include "score/records.h"
#include "score/statistics.h"
#include "score/text_file.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

struct Text {
  std::string name;
  std::string sha256;           ///< the first 128 bits
  std::vector<TokenId> tokens;  ///< context, then what is decoded, then one that is only predicted
  uint32_t context = 0;
};

Result<void> check(const CalibrateOptions& o) {
  if (o.texts.empty()) return invalid("--text is missing: at least one file is needed");
  EBB_TRY_VOID(check_range("--context", o.context, 1, 1 << 24));
  EBB_TRY_VOID(check_range("--decode", o.decode, 2, 1 << 16));
  EBB_TRY_VOID(check_range("--every", o.every, 1, o.decode));
  EBB_TRY_VOID(check_range("--rounds", o.rounds, 0, 1000));
  EBB_TRY_VOID(check_range("--swaps", o.swaps, 0, 1000));
  EBB_TRY_VOID(check_range("--batch", o.batch, 1, 64));
  EBB_TRY_VOID(check_range("--threads", o.threads, 0, 1024));
  EBB_TRY_VOID(check_range("--sinks", o.sinks, 0, 1 << 20));
  EBB_TRY_VOID(check_range("--window", o.window, 1, 1 << 20));
  EBB_TRY_VOID(check_range("--budget-min", o.budget_min, o.sinks + o.window, 1 << 28));
  if (!(o.budget_fraction > 0 && o.budget_fraction <= 0.5))
    return invalid("--budget-fraction is " + std::to_string(o.budget_fraction) +
                   ", allowed: above 0, up to 0.5");
  if (!(o.target_kl >= 0)) return invalid("--target-kl must not be negative");
  if (!(o.time_limit >= 0)) return invalid("--time-limit must not be negative");
  return {};
}

Result<Text> read_one(const CalibrateModel& model, const CalibrateOptions& options,
                      const std::string& option, const std::string& path) {
  const std::string bytes = EBB_TRY(read_text(option, path));
  const std::string what = option + " " + path;
  Text text;
  text.name = std::filesystem::path(path).filename().string();
  text.sha256 = to_hex(DigestBuilder().add(std::as_bytes(std::span(bytes))).digest());
  text.tokens = model.tokenizer().ids_before();
  auto ids = model.tokenizer().encode(bytes, models::SpecialTokens::kParse);
  if (!ids) return with_context(what, ids.error());
  text.tokens.insert(text.tokens.end(), ids->begin(), ids->end());
  const uint64_t behind = options.decode + 1;
  if (text.tokens.size() <= behind)
    return invalid(what + " has " + std::to_string(text.tokens.size()) + " tokens; more than " +
                   std::to_string(behind) + " (--decode + 1) are needed");
  text.context =
      static_cast<uint32_t>(std::min<uint64_t>(options.context, text.tokens.size() - behind));
  const uint64_t longest = text.context + behind;
  if (longest > model.shape().context_length)
    return invalid("--context + --decode + 1 is " + std::to_string(longest) +
                   "; the model has a context of " + std::to_string(model.shape().context_length) +
                   " tokens");
  text.tokens.resize(longest);
  for (const double fraction : fractions_around(options.budget_fraction))
    EBB_TRY(set_size(options, fraction, text.context, what));
  return text;
}

Result<std::vector<Text>> read_texts(const CalibrateModel& model, const CalibrateOptions& options,
                                     const std::string& option,
                                     const std::vector<std::string>& paths,
                                     std::set<std::string>& names) {
  std::vector<Text> texts;
  for (const std::string& path : paths) {
    texts.push_back(EBB_TRY(read_one(model, options, option, path)));
    if (!names.insert(texts.back().name).second)
      return invalid(option + " " + path + ": another file is called " + texts.back().name +
                     " too");
  }
  return texts;
}

Json texts_json(const std::vector<Text>& texts) {
  Json out = Json::array();
  for (const Text& text : texts)
    out.push_back(Json{{"name", text.name},
                       {"sha256_begins", text.sha256},
                       {"context", text.context},
                       {"tokens", text.tokens.size()}});
  return out;
}

Settings settings_of(const CalibrateOptions& options, const CalibrateModel& model,
                     const std::vector<Text>& texts, const std::vector<Text>& held_out) {
  return {{"command", "calibrate"},
          {"model", model.shape().name},
          {"digest", to_hex(model.shape().digest)},
          {"layers", std::to_string(model.shape().layers)},
          {"--context", std::to_string(options.context)},
          {"--decode", std::to_string(options.decode)},
          {"--every", std::to_string(options.every)},
          {"--budget-fraction", Json(options.budget_fraction).dump()},
          {"--sinks", std::to_string(options.sinks)},
          {"--window", std::to_string(options.window)},
          {"--text", texts_json(texts).dump()},
          {"--held-out", texts_json(held_out).dump()}};
}

/// A run: what is in its folder is not computed again; texts are prefilled when first needed.
class Calibration {
 public:
  Calibration(const Workplace& place, const CalibrateOptions& options, CalibrateModel& model,
              ResultDir& dir, const std::vector<Text>& texts, const std::vector<Text>& held_out)
      : place_(place),
        options_(options),
        model_(model),
        dir_(dir),
        start_(Clock::now()),
        progress_(place.terminal.err, place.progress, place.terminal.err_is_tty, start_,
                  {"calibrate", "CalibrateProgress"}) {
    groups_[kCalibration].texts = texts;
    groups_[kHeldOut].texts = held_out;
  }

  Result<cli::Exit> run(const std::vector<Anchors>& compared);

 private:
  struct Group {
    std::vector<Text> texts;
    std::unique_ptr<AnchorJudge> judge;
    std::map<std::string, Losses> losses;  ///< by key of the record
  };

  Result<void> go_on();
  void plan(size_t compared);
  void advance(uint64_t work, uint64_t pieces);
  Result<AnchorJudge*> judge_of(Group& group);
  Result<void> measure_errors();
  Result<void> judge(const std::string& group_name, std::span<const Anchors> anchors,
                     double fraction);
  double loss_of(const std::string& group, const Anchors& anchors, double fraction) {
    return batch_means(groups_.at(group).losses.at(loss_key(group, anchors, fraction))).mean;
  }
  Result<SearchOutcome> search(const Anchors& start, const ErrorMatrix& errors);
  Result<void> judge_others(const Anchors& found, const Anchors& start,
                            const std::vector<Anchors>& compared);
  Result<void> finish(const SearchOutcome& found, const Anchors& start,
                      const std::vector<Anchors>& compared);
  Result<void> weigh(const std::vector<ErrorMatrix>& errors);
  Result<void> judge_budgets(const std::string& group_name, const char* dealt,
                             const std::vector<double>& weights);
  bool may_weigh() const;
  double choose_fraction(const Anchors& found);
  Result<void> write_profile(const Anchors& anchors, double fraction);
  uint32_t anchor_count() const {
    return options_.anchors > 0 ? static_cast<uint32_t>(options_.anchors)
                                : std::max(1u, model_.shape().layers / 4);
  }
  std::string profile_path() const {
    return options_.profile.empty() ? dir_.path() + "/profile.yaml" : options_.profile;
  }

  const Workplace& place_;
  const CalibrateOptions& options_;
  CalibrateModel& model_;
  ResultDir& dir_;
  TimePoint start_;
  cli::Progress progress_;
  cli::ProgressCounts counts_;
  std::optional<TimePoint> search_until_;
  std::map<std::string, Group> groups_;
  std::vector<double> weights_;  ///< of budgets by layer; empty: they were not tried
  bool weights_pay_ = false;
};

/// Asked between steps: shows how far it is, and says when to end.
Result<void> Calibration::go_on() {
  const TimePoint now = Clock::now();
  progress_.update(counts_, now);
  if (place_.stop->load()) return cancelled("interrupted");
  if (search_until_ && now >= *search_until_) return cancelled("--time-limit is reached");
  return {};
}

/// At most so much is to be done; a search that ends sooner leaves some of it.
void Calibration::plan(size_t compared) {
  const uint64_t texts = groups_.at(kCalibration).texts.size();
  const uint64_t held_out = groups_.at(kHeldOut).texts.size();
  const uint64_t in_search = 1 + options_.rounds * (4 * anchor_count() + options_.swaps);
  uint64_t judged = texts * (in_search + 2 + compared) + held_out * (2 + compared);
  if (may_weigh()) judged += 2 * (texts + held_out);
  counts_.total = texts + judged;
  counts_.in_flight = 1;
  // Beside a decode step of one sequence: 3 matrices take about four, and a prefill some.
  counts_.work_left = options_.decode * (judged + 4 * texts);
}

void Calibration::advance(uint64_t work, uint64_t pieces) {
  counts_.work_done += work;
  counts_.work_left -= std::min(counts_.work_left, work);
  counts_.succeeded += pieces;
}

Result<AnchorJudge*> Calibration::judge_of(Group& group) {
  if (group.judge) return group.judge.get();
  auto made = std::make_unique<AnchorJudge>(model_, static_cast<uint32_t>(options_.batch),
                                            [this] { return go_on(); });
  for (const Text& text : group.texts) {
    EBB_TRY_VOID(go_on());
    auto prefilled = EBB_TRY(model_.prefill(text.tokens, text.context));
    EBB_TRY_VOID(made->add(std::move(prefilled)));
  }
  group.judge = std::move(made);
  return group.judge.get();
}

Result<void> Calibration::measure_errors() {
  Group& group = groups_.at(kCalibration);
  for (size_t i = 0; i < group.texts.size(); ++i) {
    const Text& text = group.texts[i];
    if (!dir_.records().contains(error_key(text.name))) {
      AnchorJudge* judge = EBB_TRY(judge_of(group));
      ErrorOptions options;
      options.every = static_cast<uint32_t>(options_.every);
      options.between_steps = [this] { return go_on(); };
      for (const double fraction : fractions_around(options_.budget_fraction))
        options.sizes.push_back(EBB_TRY(set_size(options_, fraction, text.context, text.name)));
      const auto fork = EBB_TRY(model_.fork(judge->text(i), control::PolicyParams{}));
      const OutputErrors errors = EBB_TRY(measure_output_errors(model_, *fork, options));
      const Json record{{"text", text.name}, {"steps", errors.steps}, {"errors", errors.mean}};
      EBB_TRY_VOID(dir_.add(error_key(text.name), record.dump()));
    }
    advance(4 * options_.decode, 1);
  }
  return {};
}

/// Fills the group's losses: from the folder, or by judging.
Result<void> Calibration::judge(const std::string& group_name, std::span<const Anchors> anchors,
                                double fraction) {
  Group& group = groups_.at(group_name);
  std::vector<Anchors> missing;
  std::vector<Trial> trials;
  for (const Anchors& one : anchors) {
    const std::string key = loss_key(group_name, one, fraction);
    if (group.losses.contains(key)) continue;
    const auto record = dir_.records().find(key);
    if (record != dir_.records().end()) {
      group.losses[key] = Json::parse(record->second).at("kl").get<Losses>();
      advance(group.texts.size() * options_.decode, group.texts.size());
      continue;
    }
    missing.push_back(one);
    for (size_t i = 0; i < group.texts.size(); ++i) {
      const Text& text = group.texts[i];
      const SetSize size = EBB_TRY(set_size(options_, fraction, text.context, text.name));
      trials.push_back({one, i, size, false, {}});
    }
  }
  if (missing.empty()) return {};
  AnchorJudge* judge = EBB_TRY(judge_of(group));
  const auto losses = EBB_TRY(judge->judge(trials));
  auto next = losses.begin();
  for (const Anchors& one : missing) {
    const std::string key = loss_key(group_name, one, fraction);
    const Losses of_one(next, next + static_cast<std::ptrdiff_t>(group.texts.size()));
    next += static_cast<std::ptrdiff_t>(group.texts.size());
    const Json record{
        {"group", group_name}, {"anchors", one}, {"fraction", fraction}, {"kl", of_one}};
    EBB_TRY_VOID(dir_.add(key, record.dump()));
    group.losses[key] = of_one;
    advance(of_one.size() * options_.decode, of_one.size());
  }
  return {};
}

Result<SearchOutcome> Calibration::search(const Anchors& start, const ErrorMatrix& errors) {
  const SearchLimits limits{static_cast<uint32_t>(options_.rounds),
                            static_cast<uint32_t>(options_.swaps)};
  double best = std::numeric_limits<double>::infinity();
  const Judge by_loss = [&](std::span<const Anchors> asked) -> Result<std::vector<double>> {
    EBB_TRY_VOID(judge(kCalibration, asked, options_.budget_fraction));
    std::vector<double> out;
    for (const Anchors& anchors : asked) {
      out.push_back(loss_of(kCalibration, anchors, options_.budget_fraction));
      if (out.back() >= best) continue;
      best = out.back();
      progress_.note("anchors " + anchors_text(anchors) + ": KL " + fixed(1000 * best, 2) +
                     " millinats");
    }
    return out;
  };
  // The start is always judged: the limit is the search's.
  EBB_TRY_VOID(judge(kCalibration, std::span(&start, 1), options_.budget_fraction));
  if (options_.time_limit > 0)
    search_until_ = start_ + Millis(static_cast<int64_t>(options_.time_limit * 1000));
  auto outcome = search_anchors(start, errors, limits, by_loss);
  search_until_.reset();
  if (place_.stop->load()) return cancelled("interrupted");
  return outcome;
}

Result<void> Calibration::judge_others(const Anchors& found, const Anchors& start,
                                       const std::vector<Anchors>& compared) {
  for (const double fraction : fractions_around(options_.budget_fraction))
    EBB_TRY_VOID(judge(kCalibration, std::span(&found, 1), fraction));
  EBB_TRY_VOID(judge(kCalibration, compared, options_.budget_fraction));
  if (groups_.at(kHeldOut).texts.empty()) return {};
  std::vector<Anchors> all = {found};
  if (start != found) all.push_back(start);
  for (const Anchors& other : compared)
    if (std::find(all.begin(), all.end(), other) == all.end()) all.push_back(other);
  return judge(kHeldOut, all, options_.budget_fraction);
}

/// Layers choose by digests for themselves only in models without sliding windows, and from the
/// third layer on, as the policy does by default.
bool Calibration::may_weigh() const {
  const std::vector<uint32_t>& windows = model_.shape().windows;
  const bool slides =
      std::any_of(windows.begin(), windows.end(), [](uint32_t window) { return window > 0; });
  return !options_.even_budgets && !slides && model_.shape().layers > models::kFullByDigest + 1;
}

/// The budget dealt by layer, kept where that loses less on the calibration texts.
Result<void> Calibration::weigh(const std::vector<ErrorMatrix>& errors) {
  if (!may_weigh()) return {};
  std::vector<OwnErrors> own;
  for (const double fraction : fractions_around(options_.budget_fraction)) {
    const ErrorMatrix& matrix = errors[own.size()];
    own.push_back({fraction, {}});
    for (size_t layer = 0; layer < matrix.size(); ++layer)
      own.back().errors.push_back(matrix[layer][layer]);
  }
  weights_ = weigh_layers(own, options_.budget_fraction, models::kFullByDigest);
  const std::vector<double> alike(model_.shape().layers, 1.0);
  for (const char* group : {kCalibration, kHeldOut}) {
    EBB_TRY_VOID(judge_budgets(group, kEven, alike));
    EBB_TRY_VOID(judge_budgets(group, kByLayer, weights_));
  }
  const auto& losses = groups_.at(kCalibration).losses;
  const double fraction = options_.budget_fraction;
  const Losses more = differences(losses.at(budgets_key(kCalibration, kByLayer, fraction)),
                                  losses.at(budgets_key(kCalibration, kEven, fraction)));
  weights_pay_ = batch_means(more).mean < 0;
  return {};
}

Result<void> Calibration::judge_budgets(const std::string& group_name, const char* dealt,
                                        const std::vector<double>& weights) {
  Group& group = groups_.at(group_name);
  if (group.texts.empty()) return {};
  const std::string key = budgets_key(group_name, dealt, options_.budget_fraction);
  const auto record = dir_.records().find(key);
  if (record != dir_.records().end()) {
    group.losses[key] = Json::parse(record->second).at("kl").get<Losses>();
    advance(group.texts.size() * options_.decode, group.texts.size());
    return {};
  }
  Anchors every;
  std::vector<LayerRange> hands;
  for (uint32_t layer = models::kFullByDigest; layer < model_.shape().layers; ++layer) {
    every.push_back(layer);
    hands.push_back({static_cast<uint16_t>(layer), static_cast<uint16_t>(layer + 1)});
  }
  std::vector<Trial> trials;
  for (size_t i = 0; i < group.texts.size(); ++i) {
    const Text& text = group.texts[i];
    SetSize size = EBB_TRY(set_size(options_, options_.budget_fraction, text.context, text.name));
    // As the policy has it.
    size.window = std::min(size.window, std::max(1u, size.budget * 2 / 5));
    trials.push_back({every, i, size, true,
                      models::deal_budget(size.budget, size.sinks + size.window, weights, hands)});
  }
  AnchorJudge* judge = EBB_TRY(judge_of(group));
  const Losses losses = EBB_TRY(judge->judge(trials));
  const Json made{{"group", group_name},
                  {"fraction", options_.budget_fraction},
                  {"weights", weights},
                  {"kl", losses}};
  EBB_TRY_VOID(dir_.add(key, made.dump()));
  group.losses[key] = losses;
  advance(losses.size() * options_.decode, losses.size());
  return {};
}

/// The least of the fractions whose loss is within --target-kl; the largest when none is.
double Calibration::choose_fraction(const Anchors& found) {
  if (options_.target_kl == 0) return options_.budget_fraction;
  const std::vector<double> fractions = fractions_around(options_.budget_fraction);
  for (const double fraction : fractions)
    if (loss_of(kCalibration, found, fraction) <= options_.target_kl) return fraction;
  progress_.note("no budget reaches --target-kl; the largest is taken");
  return fractions.back();
}

Result<void> Calibration::write_profile(const Anchors& anchors, double fraction) {
  models::SelectionProfile profile;
  profile.name =
      options_.name.empty() ? std::filesystem::path(profile_path()).stem().string() : options_.name;
  profile.model_name = model_.shape().name;
  profile.layers = model_.shape().layers;
  profile.anchors = anchors;
  profile.budget_fraction = fraction;
  profile.budget_min = static_cast<uint32_t>(options_.budget_min);
  if (weights_pay_) profile.budget_weights = weights_;
  profile.sinks = static_cast<uint32_t>(options_.sinks);
  profile.window = static_cast<uint32_t>(options_.window);
  std::string text = "# Selection profile, made by ebb-score calibrate (docs/calibration.md).\n";
  text += "# " + cli::printable(place_.command_line) + "\n";
  for (const auto& [group_name, group] : groups_) {
    for (const Text& of : group.texts)
      text += "# " + group_name + ": " + cli::printable(of.name) + ", sha256 " + of.sha256 +
              "..., tokens 0 to " + std::to_string(of.tokens.size() - 1) + ", the first " +
              std::to_string(of.context) + " as context\n";
    const auto known = group.losses.find(loss_key(group_name, anchors, options_.budget_fraction));
    if (known == group.losses.end()) continue;
    const Estimate loss = batch_means(known->second);
    text += "# " + group_name + ": KL(dense || tidal) " + fixed(1000 * loss.mean, 2) + " +- " +
            fixed(1000 * loss.standard_error, 2) + " millinats a token at a budget of " +
            Json(options_.budget_fraction).dump() + " of the context\n";
  }
  text += models::print_selection_profile(profile);
  EBB_TRY(models::parse_selection_profile(text, "--output " + profile_path()));
  std::ofstream file(profile_path(), std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) return invalid("--output " + profile_path() + ": cannot be written");
  return {};
}

Result<void> Calibration::finish(const SearchOutcome& found, const Anchors& start,
                                 const std::vector<Anchors>& compared) {
  const double fraction = choose_fraction(found.best);
  EBB_TRY_VOID(write_profile(found.best, fraction));
  Json rounds = Json::array();
  for (const SearchRound& round : found.rounds)
    rounds.push_back(Json{{"judged", round.judged}, {"anchors", round.best}, {"kl", round.loss}});
  const Json outcome{{"anchors", found.best},    {"budget_fraction", fraction},
                     {"start", start},           {"compared", compared},
                     {"rounds", rounds},         {"is_local_best", found.is_local_best},
                     {"weights", weights_},      {"weights_pay", weights_pay_},
                     {"profile", profile_path()}};
  EBB_TRY_VOID(dir_.add(kOutcome, outcome.dump()));
  counts_.total = counts_.finished();
  counts_.in_flight = counts_.work_left = 0;
  progress_.finish(counts_, Clock::now());
  return publish(place_.terminal, dir_);
}

Result<cli::Exit> Calibration::run(const std::vector<Anchors>& compared) {
  plan(compared.size());
  const uint64_t longest = options_.context + options_.decode + 1;
  const uint64_t texts = groups_.at(kCalibration).texts.size() + groups_.at(kHeldOut).texts.size();
  EBB_TRY_VOID(model_.reserve(texts + options_.batch, longest, may_weigh()));
  // 1. Errors of sets.
  EBB_TRY_VOID(measure_errors());
  std::vector<std::string> names;
  for (const Text& text : groups_.at(kCalibration).texts) names.push_back(text.name);
  const std::vector<ErrorMatrix> errors = EBB_TRY(mean_errors(dir_, names));
  // 2. Anchors, were errors to add up.
  const Anchors start = best_anchors(errors[1], anchor_count()).back();
  progress_.note("dynamic programming: anchors " + anchors_text(start));
  // 3. Anchors by what is really lost.
  const SearchOutcome found = EBB_TRY(search(start, errors[1]));
  // 4. Other budgets, other anchors, other texts.
  EBB_TRY_VOID(judge_others(found.best, start, compared));
  // 5. The budget dealt to the layers.
  EBB_TRY_VOID(weigh(errors));
  EBB_TRY_VOID(finish(found, start, compared));
  return cli::kOk;
}

}  // namespace

Result<SetSize> set_size(const CalibrateOptions& options, double fraction, uint64_t context,
                         const std::string& what) {
  const auto budget = static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(context)));
  const uint64_t window = std::min(options.window, budget / 2);
  if (window == 0 || options.sinks + window >= budget)
    return invalid(what + ": a budget of " + std::to_string(budget) + " of " +
                   std::to_string(context) + " tokens of context leaves no choice beside " +
                   std::to_string(options.sinks) + " sinks and a window of " +
                   std::to_string(window) + "; a longer text or --context is needed");
  return SetSize{static_cast<uint32_t>(budget), static_cast<uint32_t>(options.sinks),
                 static_cast<uint32_t>(window)};
}

Result<cli::Exit> run_calibrate(const Workplace& place, const CalibrateOptions& options) {
  // 1. Can it be done? Before the folder is touched.
  EBB_TRY_VOID(check(options));
  for (const std::string& path : options.texts) EBB_TRY(read_text("--text", path));
  for (const std::string& path : options.held_out) EBB_TRY(read_text("--held-out", path));
  const auto model =
      EBB_TRY(CalibrateModel::open(options.model, static_cast<uint32_t>(options.threads)));
  const uint32_t layers = model->shape().layers;
  EBB_TRY_VOID(check_range("--anchors", options.anchors, 0, layers));
  std::vector<Anchors> compared;
  for (const std::string& text : options.compare)
    compared.push_back(EBB_TRY(parse_anchors("--compare", text, layers)));
  std::set<std::string> names;
  const auto texts = EBB_TRY(read_texts(*model, options, "--text", options.texts, names));
  const auto held_out = EBB_TRY(read_texts(*model, options, "--held-out", options.held_out, names));
  ResultDir dir = EBB_TRY(ResultDir::open(place.out, settings_of(options, *model, texts, held_out),
                                          place.command_line));
  // 2. Do it.
  auto exit = Calibration(place, options, *model, dir, texts, held_out).run(compared);
  if (exit || !place.stop->load()) return exit;
  place.terminal.err << "interrupted; the same command goes on in " << dir.path() << std::endl;
  return cli::kInterrupted;
}

}  // namespace ebb::score
