// The controller of policy adore as its file has it: a GRU over a model's token embeddings, and a
// head that scores a token at a distance. Numbers only; worker/attention/gru_scores.h is what they
// compute. research/adore/ trains it.
//
// The file is safetensors, all F32, with these metadata: ebb_format "adore-controller-1",
// model_name, hidden (H), width (C), buckets; and these tensors:
//   input.weight [C, H], input.bias [C]
//   gru.weight_ih, gru.weight_hh [3C, C], gru.bias_ih, gru.bias_hh [3C]   rows: reset, update, new
//   distance.weight [buckets, C]
//   head.0.weight [C, C], head.0.bias [C], head.1.weight [1, C], head.1.bias [1]
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/model_shape.h"

namespace ebb::models {

/// Distances 1 to 63 have a bucket each, longer ones eight for each octave.
constexpr uint32_t kDistanceBuckets = 176;

/// Matrices are row-major, an output a row.
struct AdoreController {
  std::string model_name;
  uint32_t hidden = 0;  ///< H: elements of an embedding
  uint32_t width = 0;   ///< C: elements of the state
  std::vector<float> input_weight, input_bias;
  std::vector<float> gru_weight_ih, gru_weight_hh, gru_bias_ih, gru_bias_hh;
  std::vector<float> distance;
  std::vector<float> head_weight, head_bias;
  std::vector<float> score_weight, score_bias;
};

/// Any file. Errors: kNotFound; kInvalid (names the file, and the metadata or tensor and its
/// limit).
Result<AdoreController> read_adore_controller(const std::string& path);
/// Errors: kInvalid: it was trained for another model (names both).
Result<void> check_trained_for(const AdoreController& controller, const ModelShape& shape);
/// Both: the file is read and was trained for this model. Errors name the file.
Result<AdoreController> read_adore_controller_for(const std::string& path, const ModelShape& shape);

}  // namespace ebb::models
