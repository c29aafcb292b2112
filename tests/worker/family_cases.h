// Cases of the golden files that tests/golden/make_families.py writes: small models made of a seed,
// and what the reference says of them. Knows the files' schema (tests/golden/README.md), nothing of
// engines.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"

namespace ebb::worker::testing {

struct FamilyCase {
  std::string name;
  uint64_t seed = 0;
  std::string description;  ///< the whole case, as JSON
  std::vector<TokenId> prompt;
  double largest = 0;              ///< logit, in size
  std::vector<TokenId> best;       ///< by position
  std::vector<double> margin;      ///< log-probability of the best minus that of the second
  std::vector<double> forced;      ///< log-probability of the prompt's next token
  std::vector<double> forced_f32;  ///< the same, K and V not rounded to bf16
  std::map<uint32_t, std::vector<double>> whole;  ///< all log-probabilities, at some positions
};

/// Of one file of tests/golden/.
std::vector<FamilyCase> read_family_cases(const std::string& path);

/// Writes the model's files into `folder` (which exists); returns the path to open.
std::string write_model(const FamilyCase& of, const std::string& folder);

}  // namespace ebb::worker::testing
