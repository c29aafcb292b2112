// What the records and tables of several measures share: costs, checks of common options, the order
// of policies, the last stage of a run.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "score/policy_text.h"
#include "score/report.h"
#include "score/runner.h"

namespace ebb::score {

nlohmann::ordered_json cost_json(const Cost& cost);
/// Throws nlohmann's exception where a member is missing: report_of() catches it.
Cost cost_from(const nlohmann::ordered_json& json);

/// Columns of tables: "39.4", "512", "0.912" or "-".
std::string speed_text(const Cost& cost);
std::string selected_text(const Cost& cost);
std::string hits_text(const Cost& cost);
/// KV bytes read, % of dense.
std::string read_text(const Cost& cost);

/// "--samples is 0, allowed: 1 to 1000"
Result<void> check_range(const std::string& option, uint64_t value, uint64_t least, uint64_t most);
/// Prompt lengths that leave room for `answer` tokens.
Result<void> check_lengths(const std::vector<uint64_t>& lengths, uint64_t answer,
                           const ModelFacts& model);
std::string list_text(const std::vector<uint64_t>& values);
std::string list_text(const std::vector<double>& values);

/// The policies asked for, `baseline` first where it is not among them; "none": no baseline.
Result<std::vector<PolicyText>> policies_with(const std::string& baseline, const std::string& text);
Result<std::vector<PolicyText>> policies_with_dense(const std::string& text);
/// Labels of the run's policies in the order of the command line, its baseline among them.
std::vector<std::string> policy_order(const ResultDir& dir);
/// Rows that a sparse layer reads of an n-token context, as the policy's text says; n where it does
/// not.
uint64_t rows_of(const PolicyText& policy, uint64_t context);

/// Runs the cells; publishes what is there unless the run was broken off.
Result<cli::Exit> run_and_publish(const Workplace& place, ResultDir& dir,
                                  const std::vector<Cell>& cells);

}  // namespace ebb::score
