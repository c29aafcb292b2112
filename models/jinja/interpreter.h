// Walks the tree and writes the output. Must not know where the variables come from.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "models/jinja/ast.h"
#include "models/jinja/budget.h"

namespace ebb::models::jinja {

/// What a rendering may take, and the time that strftime_now() tells.
struct RenderOptions {
  uint64_t steps_max = 0;
  uint64_t output_max = 0;            ///< bytes
  std::optional<std::tm> local_time;  ///< none: strftime_now() is an error
};

/// Renders `body` with `variables` as the outermost names. Errors, all with line and column:
/// kInvalid (raise_exception, a wrong type), kUnsupported, kExhausted (a limit).
Result<std::string> render(const Body& body, const Dict& variables, const RenderOptions& options);

}  // namespace ebb::models::jinja
