// `ebb-score calibrate`: where a model's anchors go, and how much its sparse layers have to read.
// Writes a selection profile (models/selection_profile.h). docs/calibration.md tells the method.
//
//   1. Output errors: for each pair of layers, what it costs the upper one to read the lower one's
//      set (score/calibrate_error.h).
//   2. Dynamic programming over these: the best anchors, were errors to add up.
//   3. Local search around them by what is really lost (score/calibrate_judge.h).
//   4. The same loss at other budgets, of other anchors, and on texts that had no part in it.
//   5. The budget dealt to the layers (score/budget_weights.h), where that loses less.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/anchor_search.h"
#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct CalibrateOptions {
  std::string model;                  ///< GGUF file or Hugging Face directory
  std::vector<std::string> texts;     ///< files
  std::vector<std::string> held_out;  ///< files that decide nothing
  std::string profile;                ///< file to write; empty: "profile.yaml" in the run's folder
  std::string name;                   ///< of the profile; empty: its file's
  uint64_t context = 2048;            ///< tokens prefilled of each text, or what it has
  uint64_t decode = 96;               ///< tokens decoded behind them
  uint64_t every = 2;                 ///< errors are measured at every so many steps
  uint64_t anchors = 0;               ///< 0: a quarter of the layers
  double budget_fraction = 0.125;
  uint64_t budget_min = 512;  ///< goes into the profile as it is
  uint64_t sinks = 4;
  uint64_t window = 256;      ///< at most half of a budget while calibrating
  double target_kl = 0;       ///< nats; 0: the budget stays as it is
  bool even_budgets = false;  ///< budgets are not dealt by layer
  uint64_t rounds = 4;        ///< of the local search
  uint64_t swaps = 6;
  double time_limit = 0;             ///< seconds after which the search ends; 0: none
  std::vector<std::string> compare;  ///< anchors, such as "0,2,7"
  uint64_t batch = 8;                ///< sequences decoded at a time
  uint64_t threads = 0;              ///< 0: as many as there are
};

/// K = ceil(fraction * context); the window takes at most half of it. Errors: kInvalid (no room for
/// a choice: `what` names the text).
Result<SetSize> set_size(const CalibrateOptions& options, double fraction, uint64_t context,
                         const std::string& what);

/// Goes on in `place.out`; needs no backend of `place`. Errors: kInvalid (names the option and its
/// limit), kNotFound, and those of the model.
Result<cli::Exit> run_calibrate(const Workplace& place, const CalibrateOptions& options);

/// From the records of a run.
Result<Report> report_calibrate(const ResultDir& dir);

// Between the run and its report.

/// Divergences by text, then by token.
using Losses = std::vector<std::vector<double>>;
/// Keys of records.
std::string error_key(const std::string& text);
std::string loss_key(const std::string& group, const Anchors& anchors, double fraction);
std::string budgets_key(const std::string& group, const char* dealt, double fraction);
constexpr const char* kEven = "even";
constexpr const char* kByLayer = "by layer";
constexpr const char* kCalibration = "calibration";
constexpr const char* kHeldOut = "held out";
constexpr const char* kOutcome = "outcome";

/// Half the fraction, the fraction, twice the fraction: where errors and losses are reported.
std::vector<double> fractions_around(double fraction);

/// Paired by token: how much more `other` loses than `chosen`.
Losses differences(const Losses& other, const Losses& chosen);

/// The mean over texts of the matrices that the run has measured, by fraction.
Result<std::vector<ErrorMatrix>> mean_errors(const ResultDir& dir,
                                             const std::vector<std::string>& texts);

}  // namespace ebb::score
