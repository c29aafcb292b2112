// One rank's shard of a model's weights, as views into the mapped file handed to the backend. Which
// rows and columns a rank holds is decided here and nowhere else.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "models/kv_layout.h"
#include "models/model_files.h"
#include "models/model_shape.h"

namespace ebb::worker {

/// What one rank holds of every layer. Query heads follow their KV heads; FFN columns are dealt in
/// units, so that cuts fall on the borders of quantised blocks where that costs no balance; the
/// head's rows (vocabulary) evenly.
struct RankShare {
  uint32_t rank = 0;
  uint32_t ranks = 1;
  HeadRange heads_kv;
  HeadRange heads_q;
  TokenRange ffn;         ///< columns of gate and up, inputs of down
  TokenRange vocabulary;  ///< rows of the output head
};

/// Errors: kInvalid (more ranks than query heads, FFN columns or tokens).
Result<RankShare> share_of_rank(const models::ModelShape& shape, uint32_t ranks, uint32_t rank);

/// A matrix cut by columns, its inputs. Quantised rows can be cut between blocks only, heads and
/// FFN shares end where they end: the weight then holds every block that the share touches, and
/// takes zeros for the inputs that are other ranks'. Exact: a product with zero adds nothing.
struct InputCut {
  std::vector<std::byte> copy;  ///< what the weight reads, where it is not the file's mapping
  std::unique_ptr<kernels::Weight> weight;
  uint32_t lead = 0;  ///< inputs of the weight before the rank's first
};

struct LayerWeights {
  std::unique_ptr<kernels::Weight> attention_norm;  ///< [1, width]
  std::unique_ptr<kernels::Weight> q, k, v;         ///< [heads * head_size, width]
  /// Null where the family has none: [1, heads * head_size], [1, head_size], [1, width].
  std::unique_ptr<kernels::Weight> q_bias, k_bias, v_bias;
  std::unique_ptr<kernels::Weight> q_norm, k_norm;
  std::unique_ptr<kernels::Weight> attention_out_bias;
  InputCut attention_out;                     ///< [width, heads_q * head_size]
  std::unique_ptr<kernels::Weight> ffn_norm;  ///< [1, width]
  std::unique_ptr<kernels::Weight> gate, up;  ///< [ffn, width]
  InputCut down;                              ///< [width, ffn]
};

struct ModelWeights {
  std::unique_ptr<kernels::Weight> embedding;  ///< [vocabulary, width], whole
  std::vector<LayerWeights> layers;
  std::unique_ptr<kernels::Weight> output_norm;  ///< [1, width]
  std::unique_ptr<kernels::Weight> head;         ///< [vocabulary share, width]
};

/// `files` must outlive the weights. Errors: of the files (a tensor missing).
Result<ModelWeights> load_weights(const models::ModelFiles& files, const models::ModelShape& shape,
                                  const RankShare& share, kernels::Ops& ops);

}  // namespace ebb::worker
