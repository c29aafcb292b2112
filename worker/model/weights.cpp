#include "worker/model/weights.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace ebb::worker {
namespace {

using kernels::Weight;
using kernels::WeightFormat;
using kernels::WeightSource;
using models::TensorRole;

WeightFormat format_of(models::WeightType type) {
  switch (type) {
    case models::WeightType::kF32:
      return WeightFormat::kF32;
    case models::WeightType::kF16:
      return WeightFormat::kF16;
    case models::WeightType::kBF16:
      return WeightFormat::kBF16;
    case models::WeightType::kQ8_0:
      return WeightFormat::kQ8_0;
    case models::WeightType::kQ4_0:
      return WeightFormat::kQ4_0;
    case models::WeightType::kQ4_1:
      return WeightFormat::kQ4_1;
    case models::WeightType::kQ5_0:
      return WeightFormat::kQ5_0;
    case models::WeightType::kQ5_1:
      return WeightFormat::kQ5_1;
    case models::WeightType::kQ2_K:
      return WeightFormat::kQ2_K;
    case models::WeightType::kQ3_K:
      return WeightFormat::kQ3_K;
    case models::WeightType::kQ4_K:
      return WeightFormat::kQ4_K;
    case models::WeightType::kQ5_K:
      return WeightFormat::kQ5_K;
    case models::WeightType::kQ6_K:
      return WeightFormat::kQ6_K;
    case models::WeightType::kIQ4_NL:
      return WeightFormat::kIQ4_NL;
  }
  EBB_CHECK(false);
}

class Loader {
 public:
  Loader(const models::ModelFiles& files, kernels::Ops& ops) : files_(files), ops_(ops) {}

  Result<std::unique_ptr<Weight>> whole(TensorRole role, uint32_t layer) {
    const auto tensor = EBB_TRY(files_.tensor(role, layer));
    return cut(tensor, {0, static_cast<uint32_t>(tensor.rows)},
               {0, static_cast<uint32_t>(tensor.columns)});
  }
  Result<std::unique_ptr<Weight>> rows(TensorRole role, uint32_t layer, TokenRange rows) {
    const auto tensor = EBB_TRY(files_.tensor(role, layer));
    return cut(tensor, rows, {0, static_cast<uint32_t>(tensor.columns)});
  }
  /// Elements of a vector, as a matrix of one row.
  Result<std::unique_ptr<Weight>> part(TensorRole role, uint32_t layer, TokenRange columns) {
    const auto tensor = EBB_TRY(files_.tensor(role, layer));
    return cut(tensor, {0, 1}, columns);
  }
  /// Columns that may begin and end inside a block.
  Result<InputCut> inputs(TensorRole role, uint32_t layer, TokenRange columns) {
    const auto tensor = EBB_TRY(files_.tensor(role, layer));
    const uint32_t block = models::block_elements(tensor.type);
    const TokenRange blocks = {columns.begin / block * block,
                               (columns.end + block - 1) / block * block};
    const TokenRange rows = {0, static_cast<uint32_t>(tensor.rows)};
    InputCut out;
    out.lead = columns.begin - blocks.begin;
    if (blocks.size() == tensor.columns) {
      out.weight = EBB_TRY(cut(tensor, rows, blocks));
      return out;
    }
    WeightSource source = source_of(tensor, rows, blocks);
    out.copy = compact(tensor, source);
    source.data = out.copy.data();
    source.row_stride = out.copy.size() / source.rows;
    out.weight = EBB_TRY(ops_.load_weight(source));
    if (out.weight->resident_bytes() > 0) out.copy = {};
    return out;
  }

 private:
  Result<std::unique_ptr<Weight>> cut(const models::TensorView& tensor, TokenRange rows,
                                      TokenRange columns) {
    const WeightSource source = source_of(tensor, rows, columns);
    auto weight = EBB_TRY(ops_.load_weight(source));
    // What the backend has copied need not stay in memory twice.
    if (weight->resident_bytes() > 0) {
      files_.forget_pages(source.data, source.rows * source.row_stride);
    }
    return weight;
  }

  static WeightSource source_of(const models::TensorView& tensor, TokenRange rows,
                                TokenRange columns) {
    EBB_CHECK(rows.end <= tensor.rows && columns.end <= tensor.columns);
    const uint64_t block = models::block_elements(tensor.type);
    const uint64_t bytes = models::block_bytes(tensor.type);
    EBB_CHECK(columns.begin % block == 0 && columns.end % block == 0);
    WeightSource source;
    source.format = format_of(tensor.type);
    source.rows = rows.size();
    source.columns = columns.size();
    source.row_stride = tensor.columns / block * bytes;
    source.data = tensor.data + rows.begin * source.row_stride + columns.begin / block * bytes;
    return source;
  }

  /// The rows of a cut by columns, one after the other. Read in place, a part of every row would
  /// keep every page of the whole matrix in this rank's memory.
  std::vector<std::byte> compact(const models::TensorView& tensor,
                                 const WeightSource& source) const {
    constexpr uint64_t kForgetBytes = 8 << 20;  // of the mapping, at most, while copying
    const uint64_t row = kernels::weight_row_bytes(source.format, source.columns);
    std::vector<std::byte> out(source.rows * row);
    uint64_t forgotten = 0;
    for (uint64_t r = 0; r < source.rows; ++r) {
      std::memcpy(out.data() + r * row, source.data + r * source.row_stride, row);
      const uint64_t read = (r + 1) * source.row_stride - forgotten;
      if (read < kForgetBytes && r + 1 < source.rows) continue;
      files_.forget_pages(tensor.data + forgotten, read);
      forgotten += read;
    }
    return out;
  }

  const models::ModelFiles& files_;
  kernels::Ops& ops_;
};

/// The largest block size of which every rank gets enough units that one more or less matters
/// little.
uint32_t ffn_unit(uint32_t columns, uint32_t ranks) {
  constexpr uint32_t kUnitsOfRank = 8;
  for (uint32_t unit = 256; unit > 1; unit /= 2) {
    if (columns % unit == 0 && columns / unit >= ranks * kUnitsOfRank) return unit;
  }
  return 1;
}

TokenRange elements(HeadRange heads, uint32_t head_size) {
  return {heads.begin * head_size, heads.end * head_size};
}

Result<LayerWeights> load_layer(Loader& load, uint32_t layer, const models::ModelShape& shape,
                                const RankShare& share) {
  const TokenRange q = elements(share.heads_q, shape.head_size);
  const TokenRange kv = elements(share.heads_kv, shape.head_size);
  LayerWeights w;
  w.attention_norm = EBB_TRY(load.whole(TensorRole::kAttentionNorm, layer));
  w.q = EBB_TRY(load.rows(TensorRole::kQ, layer, q));
  w.k = EBB_TRY(load.rows(TensorRole::kK, layer, kv));
  w.v = EBB_TRY(load.rows(TensorRole::kV, layer, kv));
  if (shape.qkv_bias) {
    w.q_bias = EBB_TRY(load.part(TensorRole::kQBias, layer, q));
    w.k_bias = EBB_TRY(load.part(TensorRole::kKBias, layer, kv));
    w.v_bias = EBB_TRY(load.part(TensorRole::kVBias, layer, kv));
  }
  if (shape.qk_norm) {
    w.q_norm = EBB_TRY(load.whole(TensorRole::kQNorm, layer));
    w.k_norm = EBB_TRY(load.whole(TensorRole::kKNorm, layer));
  }
  w.attention_out = EBB_TRY(load.inputs(TensorRole::kAttentionOut, layer, q));
  if (shape.attention_out_bias) {
    w.attention_out_bias = EBB_TRY(load.whole(TensorRole::kAttentionOutBias, layer));
  }
  w.ffn_norm = EBB_TRY(load.whole(TensorRole::kFfnNorm, layer));
  w.gate = EBB_TRY(load.rows(TensorRole::kGate, layer, share.ffn));
  w.up = EBB_TRY(load.rows(TensorRole::kUp, layer, share.ffn));
  w.down = EBB_TRY(load.inputs(TensorRole::kDown, layer, share.ffn));
  return w;
}

}  // namespace

Result<RankShare> share_of_rank(const models::ModelShape& shape, uint32_t ranks, uint32_t rank) {
  const uint32_t most = std::min({shape.heads_q, shape.ffn_width, shape.vocabulary});
  if (ranks == 0 || rank >= ranks || ranks > most) {
    return invalid("tensor_parallel_size: rank " + std::to_string(rank) + " of " +
                   std::to_string(ranks) + ", but this model can be dealt to 1 to " +
                   std::to_string(most) + " ranks");
  }
  RankShare share;
  share.rank = rank;
  share.ranks = ranks;
  share.heads_kv = models::kv_heads_of_rank(shape.heads_kv, ranks, rank);
  share.heads_q = models::query_heads_of_rank(shape.heads_q, shape.heads_kv, ranks, rank);
  share.ffn =
      models::columns_of_rank(shape.ffn_width, ffn_unit(shape.ffn_width, ranks), ranks, rank);
  share.vocabulary = models::columns_of_rank(shape.vocabulary, 1, ranks, rank);
  return share;
}

Result<ModelWeights> load_weights(const models::ModelFiles& files, const models::ModelShape& shape,
                                  const RankShare& share, kernels::Ops& ops) {
  Loader load(files, ops);
  ModelWeights weights;
  weights.embedding = EBB_TRY(load.whole(TensorRole::kEmbedding, 0));
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    weights.layers.push_back(EBB_TRY(load_layer(load, layer, shape, share)));
  }
  weights.output_norm = EBB_TRY(load.whole(TensorRole::kOutputNorm, 0));
  weights.head = EBB_TRY(load.rows(TensorRole::kHead, 0, share.vocabulary));
  return weights;
}

}  // namespace ebb::worker
