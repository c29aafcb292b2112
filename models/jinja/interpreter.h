// Walks the tree and writes the output. Must not know where the variables come from.
#pragma once

#include <string>

#include "models/jinja/ast.h"
#include "models/jinja/budget.h"

namespace ebb::models::jinja {

/// Renders `body` with `variables` as the outermost names. Errors, all with line and column:
/// kInvalid (raise_exception, an undefined name, a wrong type), kUnsupported, kExhausted (a limit).
Result<std::string> render(const Body& body, Dict variables, Budget budget, uint64_t output_max);

}  // namespace ebb::models::jinja
