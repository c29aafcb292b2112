// Perplexity through a policy's decode path, paired with dense on the same tokens.
//
// A text is cut into windows. Window i prefills `context` tokens, the text's tokens from i * window
// on (densely, unless the policy does it otherwise), and then feeds the next `window` tokens one by
// one through the decode path
// (`ebb.decode_from`); the log-probability of the token behind each is that step's. So every scored
// token has `context` to `context` + `window` tokens before it, and what a policy's sparse steps do
// to later KV counts within a window.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "score/policy_text.h"
#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

struct PerplexityOptions {
  std::vector<std::string> texts;  ///< files
  std::string policies = "dense;tidal:budget=n/8";
  uint64_t context = 2048;  ///< tokens prefilled in each window
  uint64_t decode = 512;    ///< tokens decoded of each text
  uint64_t window = 256;    ///< tokens decoded in one piece; 0: all of them
  uint64_t skip = 0;        ///< tokens of each text left out at its begin
  /// What others are compared with; run even where `policies` does not name it. "none": nothing,
  /// for streams past the model's context, where no other policy can go.
  std::string baseline = "dense";
};

/// Errors: kInvalid (names the option and its
/// limit), kNotFound, and what the service says.
Result<cli::Exit> run_perplexity(const Workplace& place, const PerplexityOptions& options);

/// From the records of a run.
Result<Report> report_perplexity(const ResultDir& dir);

}  // namespace ebb::score
