// Needle in a haystack: the sentence "The secret number for CITY is NNNN." planted at a depth of a
// text, asked for behind it. Length x depth x policy. The haystack is prefilled; the
// question and the answer go through the policy's decode path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/haystack.h"
#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct NeedleOptions {
  std::string text;  ///< file; the haystack's sentences
  std::string policies = "dense;tidal:budget=n/8";
  std::vector<uint64_t> lengths{1024, 2048};          ///< tokens of the whole prompt, at most
  std::vector<double> depths{0, 0.25, 0.5, 0.75, 1};  ///< 0: at the begin, 1: at the end
  uint64_t samples = 1;                               ///< prompts of each length and depth
  uint64_t seed = 1;
};

/// Errors: kInvalid (names the option and its limit), kNotFound, and what the service says.
Result<cli::Exit> run_needle(const Workplace& place, const NeedleOptions& options);
Result<Report> report_needle(const ResultDir& dir);

/// `count` sentences with the needle behind about depth * count of them. Deterministic.
Question needle_question(const std::vector<std::string>& sentences, double depth, uint64_t seed,
                         uint64_t count);
/// True when the first number in `text` is `number`.
bool first_number_is(const std::string& text, const std::string& number);

}  // namespace ebb::score
