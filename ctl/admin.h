// status, seq ls, tier ls: an answer of the coordinator's admin endpoints as a table.
// Rendering is pure (JSON text in, text out); the commands fetch, render and print.
#pragma once

#include <string>

#include "ctl/cli.h"

namespace ebb::ctl {

/// Each takes the JSON of its endpoint. Errors: kCorrupt when it is not what the endpoint promises.
Result<std::string> render_status(const std::string& json);
Result<std::string> render_sequences(const std::string& json);
Result<std::string> render_tiers(const std::string& json);

/// kUnhealthy when the cluster is not ready or not healthy.
int run_status(const Terminal& terminal, const Service& service, Format format);
int run_sequences(const Terminal& terminal, const Service& service, Format format);
int run_tiers(const Terminal& terminal, const Service& service, Format format);
/// This program's version, and the coordinator's when it answers.
int run_version(const Terminal& terminal, const Service& service, Format format);

}  // namespace ebb::ctl
