// What it costs a layer to read another layer's set: measured on the real model, dense step by
// dense step.
//
// In a step, x_l is the residual stream that enters layer l and that the attention's output is
// added to, o_l = Wo o_dense the dense one. Layer s chooses K tokens as an anchor would (`tidal`,
// scope layer: sinks, window, and the best by the maximum over its query heads of the softmax
// probability over all tokens). o(s, l) is layer l's attention over the tokens that layer s chose.
//
//     e(s, l) = |Wo (o(s, l) - o_dense(l))|^2 / |x_l|^2         s <= l
//
// Everything that enters is dense: an error of one layer does not reach the next one.
#pragma once

#include <functional>
#include <vector>

#include "score/anchor_search.h"
#include "score/calibrate_model.h"

namespace ebb::score {

struct ErrorOptions {
  std::vector<SetSize> sizes;                   ///< a matrix for each
  uint32_t every = 1;                           ///< a step is measured, the next every - 1 are not
  std::function<Result<void>()> between_steps;  ///< an error ends the measurement; may be empty
};

struct OutputErrors {
  std::vector<ErrorMatrix> mean;  ///< by size: [l][s], over the measured steps
  uint32_t steps = 0;             ///< measured
};

/// Feeds `text` all tokens that it has left, densely. Errors: of memory, and of `between_steps`.
Result<OutputErrors> measure_output_errors(CalibrateModel& model, worker::Sequence& text,
                                           const ErrorOptions& options);

}  // namespace ebb::score
