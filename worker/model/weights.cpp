#include "worker/model/weights.h"

#include <string>

namespace ebb::worker {
namespace {

using kernels::Weight;
using kernels::WeightFormat;
using kernels::WeightSource;

constexpr uint32_t kFfnUnit = 32;  // elements of a quantised block

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
  }
  EBB_CHECK(false);
}

class Loader {
 public:
  Loader(const models::GgufFile& file, kernels::Ops& ops) : file_(file), ops_(ops) {}

  Result<std::unique_ptr<Weight>> whole(const std::string& name) {
    const auto tensor = EBB_TRY(file_.tensor(name));
    return cut(tensor, {0, static_cast<uint32_t>(tensor.rows)},
               {0, static_cast<uint32_t>(tensor.columns)});
  }
  Result<std::unique_ptr<Weight>> rows(const std::string& name, TokenRange rows) {
    const auto tensor = EBB_TRY(file_.tensor(name));
    return cut(tensor, rows, {0, static_cast<uint32_t>(tensor.columns)});
  }
  Result<std::unique_ptr<Weight>> columns(const std::string& name, TokenRange columns) {
    const auto tensor = EBB_TRY(file_.tensor(name));
    return cut(tensor, {0, static_cast<uint32_t>(tensor.rows)}, columns);
  }

 private:
  Result<std::unique_ptr<Weight>> cut(const models::TensorView& tensor, TokenRange rows,
                                      TokenRange columns) {
    EBB_CHECK(rows.end <= tensor.rows && columns.end <= tensor.columns);
    const uint64_t block = models::block_elements(tensor.type);
    const uint64_t bytes = models::block_bytes(tensor.type);
    if (columns.begin % block != 0 || columns.end % block != 0) {
      return unsupported("tensor " + std::string(tensor.name) + ": columns [" +
                         std::to_string(columns.begin) + ", " + std::to_string(columns.end) +
                         ") do not fall on the borders of " + std::to_string(block) +
                         "-element blocks; use another tensor_parallel_size");
    }
    WeightSource source;
    source.format = format_of(tensor.type);
    source.rows = rows.size();
    source.columns = columns.size();
    source.row_stride = tensor.columns / block * bytes;
    source.data = tensor.data + rows.begin * source.row_stride + columns.begin / block * bytes;
    return ops_.load_weight(source);
  }

  const models::GgufFile& file_;
  kernels::Ops& ops_;
};

TokenRange elements(HeadRange heads, uint32_t head_size) {
  return {heads.begin * head_size, heads.end * head_size};
}

Result<LayerWeights> load_layer(Loader& load, uint32_t layer, const models::ModelShape& shape,
                                const RankShare& share) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const TokenRange q = elements(share.heads_q, shape.head_size);
  const TokenRange kv = elements(share.heads_kv, shape.head_size);
  LayerWeights w;
  w.attention_norm = EBB_TRY(load.whole(prefix + "attn_norm.weight"));
  w.q = EBB_TRY(load.rows(prefix + "attn_q.weight", q));
  w.k = EBB_TRY(load.rows(prefix + "attn_k.weight", kv));
  w.v = EBB_TRY(load.rows(prefix + "attn_v.weight", kv));
  w.attention_out = EBB_TRY(load.columns(prefix + "attn_output.weight", q));
  w.ffn_norm = EBB_TRY(load.whole(prefix + "ffn_norm.weight"));
  w.gate = EBB_TRY(load.rows(prefix + "ffn_gate.weight", share.ffn));
  w.up = EBB_TRY(load.rows(prefix + "ffn_up.weight", share.ffn));
  w.down = EBB_TRY(load.columns(prefix + "ffn_down.weight", share.ffn));
  return w;
}

}  // namespace

Result<RankShare> share_of_rank(const models::ModelShape& shape, uint32_t ranks, uint32_t rank) {
  if (ranks == 0 || rank >= ranks || ranks > shape.heads_kv) {
    return invalid("tensor_parallel_size " + std::to_string(ranks) + ": the model has " +
                   std::to_string(shape.heads_kv) + " KV heads, so 1 to " +
                   std::to_string(shape.heads_kv) + " ranks are possible");
  }
  RankShare share;
  share.rank = rank;
  share.ranks = ranks;
  share.heads_kv = models::kv_heads_of_rank(shape.heads_kv, ranks, rank);
  const auto group = static_cast<uint16_t>(shape.heads_q / shape.heads_kv);
  share.heads_q = {static_cast<uint16_t>(share.heads_kv.begin * group),
                   static_cast<uint16_t>(share.heads_kv.end * group)};
  share.ffn = models::columns_of_rank(shape.ffn_width, kFfnUnit, ranks, rank);
  share.vocabulary = models::columns_of_rank(shape.vocabulary, 1, ranks, rank);
  return share;
}

Result<ModelWeights> load_weights(const models::GgufFile& file, const models::ModelShape& shape,
                                  const RankShare& share, kernels::Ops& ops) {
  Loader load(file, ops);
  ModelWeights weights;
  weights.embedding = EBB_TRY(load.whole("token_embd.weight"));
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    weights.layers.push_back(EBB_TRY(load_layer(load, layer, shape, share)));
  }
  weights.output_norm = EBB_TRY(load.whole("output_norm.weight"));
  const std::string head = shape.tied_head ? "token_embd.weight" : "output.weight";
  weights.head = EBB_TRY(load.rows(head, share.vocabulary));
  return weights;
}

}  // namespace ebb::worker
