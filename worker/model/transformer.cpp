#include "worker/model/transformer.h"

#include <algorithm>
#include <cstring>

namespace ebb::worker {
namespace {
constexpr uint32_t kLogitRows = 32;  // rows of logits at once: 32 x 49152 floats are 6 MiB
}  // namespace

Result<std::unique_ptr<Transformer>> Transformer::make(const models::ModelShape& shape,
                                                       const RankShare& share,
                                                       kernels::Backend& backend,
                                                       ModelWeights weights, uint32_t rows_max,
                                                       uint32_t positions_max) {
  std::unique_ptr<Transformer> model(
      new Transformer(shape, share, backend, std::move(weights), rows_max));
  EBB_TRY_VOID(model->allocate());
  kernels::RopeArgs rope;
  rope.frequencies = shape.rope_frequencies;
  rope.magnitude = shape.rope_magnitude;
  rope.interleaved = shape.rope_pairs == models::RopePairs::kInterleaved;
  rope.positions_max = positions_max;
  EBB_TRY_VOID(backend.ops->prepare_rope(rope));
  return model;
}

Transformer::Transformer(const models::ModelShape& shape, const RankShare& share,
                         kernels::Backend& backend, ModelWeights weights, uint32_t rows_max)
    : shape_(shape),
      share_(share),
      backend_(backend),
      host_reachable_(backend.device->info().host_reachable),
      weights_(std::move(weights)),
      rows_max_(rows_max) {}

Result<void> Transformer::allocate() {
  const uint64_t rows = rows_max_;
  const uint64_t q_columns = uint64_t{share_.heads_q.size()} * shape_.head_size;
  const auto floats = [&](kernels::Buffer& buffer, uint64_t count) -> Result<void> {
    buffer =
        EBB_TRY(backend_.device->allocate(count * sizeof(float), kernels::MemoryKind::kDevice));
    return {};
  };
  EBB_TRY_VOID(floats(x_, rows * shape_.width));
  EBB_TRY_VOID(floats(normed_, rows * shape_.width));
  EBB_TRY_VOID(floats(q_, rows * q_columns));
  EBB_TRY_VOID(floats(q_second_, rows * q_columns));
  EBB_TRY_VOID(floats(kv_, rows * 2 * kv_columns()));
  EBB_TRY_VOID(floats(attention_, rows * q_columns));
  EBB_TRY_VOID(floats(lse_, rows * share_.heads_q.size()));
  EBB_TRY_VOID(floats(gate_up_, rows * 2 * share_.ffn.size()));
  EBB_TRY_VOID(floats(act_, rows * share_.ffn.size()));
  uint64_t padded = 0;
  for (const LayerWeights& layer : weights_.layers) {
    for (const InputCut* cut : {&layer.attention_out, &layer.down}) {
      const uint64_t own = cut == &layer.down ? share_.ffn.size() : q_columns;
      if (cut->weight->columns() > own) padded = std::max(padded, cut->weight->columns());
    }
  }
  const std::vector<float> zeros(padded);
  EBB_TRY_VOID(floats(zeros_, padded));
  backend_.device->copy_to_device(zeros_.data(), zeros.data(), padded * sizeof(float));
  EBB_TRY_VOID(floats(padded_, rows * padded));
  EBB_TRY_VOID(floats(part_, rows * shape_.width + 1));
  EBB_TRY_VOID(
      floats(logits_, uint64_t{std::min(kLogitRows, rows_max_)} * share_.vocabulary.size()));
  return {};
}

void Transformer::embed(std::span<const TokenId> ids) {
  EBB_CHECK(ids.size() <= rows_max_);
  backend_.ops->embed(*weights_.embedding, ids, x_.floats());
}

/// What depends on neither positions nor other ranks.
void Transformer::project_rows(uint32_t layer, uint32_t rows) {
  const LayerWeights& w = weights_.layers[layer];
  const uint64_t q_columns = uint64_t{share_.heads_q.size()} * shape_.head_size;
  kernels::Ops& ops = *backend_.ops;
  ops.rms_norm(x_.floats(), rows, *w.attention_norm, shape_.rms_epsilon, normed_.floats());
  ops.matmul(normed_.floats(), rows, *w.q, q_.floats(), q_columns);
  ops.matmul(normed_.floats(), rows, *w.k, d_k(), kv_stride());
  ops.matmul(normed_.floats(), rows, *w.v, d_v(), kv_stride());
  const uint32_t size = shape_.head_size;
  if (shape_.qkv_bias) {
    ops.add_bias(q_.floats(), q_columns, rows, *w.q_bias);
    ops.add_bias(d_k(), kv_stride(), rows, *w.k_bias);
    ops.add_bias(d_v(), kv_stride(), rows, *w.v_bias);
  }
  if (shape_.qk_norm) {
    const float epsilon = shape_.rms_epsilon;
    ops.rms_norm_heads(q_.floats(), q_columns, rows, share_.heads_q.size(), size, *w.q_norm,
                       epsilon);
    ops.rms_norm_heads(d_k(), kv_stride(), rows, share_.heads_kv.size(), size, *w.k_norm, epsilon);
  }
}

void Transformer::project(uint32_t layer, std::span<const Position> positions,
                          std::span<const Position> second) {
  const auto rows = static_cast<uint32_t>(positions.size());
  const uint64_t q_columns = uint64_t{share_.heads_q.size()} * shape_.head_size;
  const uint32_t size = shape_.head_size;
  kernels::Ops& ops = *backend_.ops;
  project_rows(layer, rows);
  EBB_CHECK(second.size() <= rows);
  if (!second.empty()) {
    const uint64_t first = (rows - second.size()) * q_columns;
    backend_.device->copy_on_device(q_second_.data(), q_.floats() + first,
                                    second.size() * q_columns * sizeof(float));
  }
  if (!shape_.rotates(layer)) return;
  if (!second.empty()) {
    ops.rope(q_second_.floats(), q_columns, share_.heads_q.size(), size, second);
  }
  ops.rope(q_.floats(), q_columns, share_.heads_q.size(), size, positions);
  ops.rope(d_k(), kv_stride(), share_.heads_kv.size(), size, positions);
}

void Transformer::project_queries(uint32_t layer, std::span<const Position> positions) {
  const LayerWeights& w = weights_.layers[layer];
  const auto rows = static_cast<uint32_t>(positions.size());
  const uint64_t columns = uint64_t{share_.heads_q.size()} * shape_.head_size;
  kernels::Ops& ops = *backend_.ops;
  ops.rms_norm(x_.floats(), rows, *w.attention_norm, shape_.rms_epsilon, normed_.floats());
  ops.matmul(normed_.floats(), rows, *w.q, q_second_.floats(), columns);
  if (shape_.qkv_bias) ops.add_bias(q_second_.floats(), columns, rows, *w.q_bias);
  if (shape_.qk_norm) {
    ops.rms_norm_heads(q_second_.floats(), columns, rows, share_.heads_q.size(), shape_.head_size,
                       *w.q_norm, shape_.rms_epsilon);
  }
  if (!shape_.rotates(layer)) return;
  ops.rope(q_second_.floats(), columns, share_.heads_q.size(), shape_.head_size, positions);
}

Result<uint32_t> Transformer::attention_output(uint32_t layer, uint32_t rows, uint32_t errors) {
  const InputCut& out = weights_.layers[layer].attention_out;
  const uint32_t columns = uint32_t{share_.heads_q.size()} * shape_.head_size;
  backend_.ops->matmul(inputs_of(out, attention_.floats(), rows, columns), rows, *out.weight,
                       part_.floats(), shape_.width);
  const uint32_t total = EBB_TRY(add_over_ranks(rows, errors));
  // Once, not once a rank: after the sum.
  if (total == 0 && shape_.attention_out_bias) {
    backend_.ops->add_bias(x_.floats(), shape_.width, rows,
                           *weights_.layers[layer].attention_out_bias);
  }
  return total;
}

Result<uint32_t> Transformer::feed_forward(uint32_t layer, uint32_t rows, uint32_t errors) {
  const LayerWeights& w = weights_.layers[layer];
  const uint32_t ffn = share_.ffn.size();
  kernels::Ops& ops = *backend_.ops;
  ops.rms_norm(x_.floats(), rows, *w.ffn_norm, shape_.rms_epsilon, normed_.floats());
  ops.matmul(normed_.floats(), rows, *w.gate, gate_up_.floats(), 2 * uint64_t{ffn});
  ops.matmul(normed_.floats(), rows, *w.up, gate_up_.floats() + ffn, 2 * uint64_t{ffn});
  ops.silu_mul(gate_up_.floats(), rows, ffn, act_.floats());
  ops.matmul(inputs_of(w.down, act_.floats(), rows, ffn), rows, *w.down.weight, part_.floats(),
             shape_.width);
  return add_over_ranks(rows, errors);
}

const float* Transformer::inputs_of(const InputCut& cut, const float* d_x, uint32_t rows,
                                    uint32_t columns) {
  const uint64_t width = cut.weight->columns();
  if (width == columns) return d_x;
  const uint64_t tail = width - cut.lead - columns;
  kernels::Device& device = *backend_.device;
  for (uint64_t row = 0; row < rows; ++row) {
    float* to = padded_.floats() + row * width;
    device.copy_on_device(to, zeros_.data(), cut.lead * sizeof(float));
    device.copy_on_device(to + cut.lead, d_x + row * columns, columns * sizeof(float));
    device.copy_on_device(to + cut.lead + columns, zeros_.data(), tail * sizeof(float));
  }
  return padded_.floats();
}

Result<uint32_t> Transformer::add_over_ranks(uint32_t rows, uint32_t errors) {
  const uint32_t total = EBB_TRY(all_reduce_rows(part_.floats(), rows, errors));
  if (total == 0) backend_.ops->add(x_.floats(), part_.floats(), uint64_t{rows} * shape_.width);
  return total;
}

Result<void> Transformer::sum_on_device(float* d_values, uint64_t count) {
  kernels::Device& device = *backend_.device;
  EBB_TRY_VOID(device.synchronize());
  const bool in_place =
      collective_->float_memory() == collective::FloatMemory::kDevice || host_reachable_;
  if (in_place) return collective_->all_reduce_sum(d_values, count);
  staged_.resize(std::max<size_t>(staged_.size(), count));
  device.copy_to_host(staged_.data(), d_values, count * sizeof(float));
  EBB_TRY_VOID(device.synchronize());  // what a lost device gave must not reach the others
  EBB_TRY_VOID(collective_->all_reduce_sum(staged_.data(), count));
  device.copy_to_device(d_values, staged_.data(), count * sizeof(float));
  return {};
}

Result<void> Transformer::sum_over_ranks(std::span<float> values) {
  if (collective_ == nullptr || collective_->size() == 1) return {};
  if (collective_->float_memory() == collective::FloatMemory::kHost) {
    return collective_->all_reduce_sum(values.data(), values.size());
  }
  EBB_CHECK(values.size_bytes() <= part_.size());
  backend_.device->copy_to_device(part_.data(), values.data(), values.size_bytes());
  EBB_TRY_VOID(sum_on_device(part_.floats(), values.size()));
  backend_.device->copy_to_host(values.data(), part_.data(), values.size_bytes());
  return backend_.device->synchronize();
}

Result<uint32_t> Transformer::all_reduce_rows(float* d_rows, uint32_t rows, uint32_t errors) {
  if (collective_ == nullptr || collective_->size() == 1) return errors;
  const uint64_t count = uint64_t{rows} * shape_.width;
  const float mine = static_cast<float>(errors);
  backend_.device->copy_to_device(d_rows + count, &mine, sizeof mine);
  EBB_TRY_VOID(sum_on_device(d_rows, count + 1));
  float total = 0;
  backend_.device->copy_to_host(&total, d_rows + count, sizeof total);
  EBB_TRY_VOID(backend_.device->synchronize());
  return static_cast<uint32_t>(total);
}

Result<void> Transformer::gather_rows(uint32_t rows,
                                      const std::function<void(float* d_rows)>& fill) {
  fill(part_.floats());
  EBB_TRY(all_reduce_rows(part_.floats(), rows, 0));
  backend_.device->copy_on_device(x_.data(), part_.data(),
                                  uint64_t{rows} * shape_.width * sizeof(float));
  return {};
}

Result<uint32_t> Transformer::agree(uint32_t errors) {
  if (collective_ == nullptr || collective_->size() == 1) return errors;
  float total = static_cast<float>(errors);
  EBB_TRY_VOID(sum_over_ranks(std::span(&total, 1)));
  return static_cast<uint32_t>(total);
}

Result<void> Transformer::broadcast_tokens(std::span<TokenId> tokens) {
  if (collective_ == nullptr || collective_->size() == 1) return {};
  return collective_->broadcast(std::as_writable_bytes(tokens), 0);
}

uint32_t Transformer::logit_rows() const { return std::min(kLogitRows, rows_max_); }

void Transformer::logits_of_rank(uint32_t first, uint32_t count, float* d_out, uint64_t stride) {
  kernels::Ops& ops = *backend_.ops;
  ops.rms_norm(x_.floats() + uint64_t{first} * shape_.width, count, *weights_.output_norm,
               shape_.rms_epsilon, normed_.floats());
  ops.matmul(normed_.floats(), count, *weights_.head, d_out, stride);
}

bool Transformer::draws() const {
  if (!backend_.ops->draws()) return false;
  return collective_ == nullptr || collective_->size() == 1 ||
         collective_->float_memory() == collective::FloatMemory::kDevice;
}

/// Ranks have columns each; where they sum on their devices, zeros stand for the others'.
Result<const float*> Transformer::logits_on_device(uint32_t first, uint32_t count) {
  EBB_CHECK(draws() && count <= logit_rows());
  const uint64_t floats = uint64_t{logit_rows()} * shape_.vocabulary;
  if (logits_.size() < floats * sizeof(float)) {
    logits_ =
        EBB_TRY(backend_.device->allocate(floats * sizeof(float), kernels::MemoryKind::kDevice));
  }
  if (share_.ranks > 1) backend_.ops->clear(logits_.floats(), uint64_t{count} * shape_.vocabulary);
  logits_of_rank(first, count, logits_.floats() + share_.vocabulary.begin, shape_.vocabulary);
  if (share_.ranks > 1) {
    EBB_TRY_VOID(sum_on_device(logits_.floats(), uint64_t{count} * shape_.vocabulary));
  }
  return static_cast<const float*>(logits_.floats());
}

Result<std::vector<float>> Transformer::logits(uint32_t first, uint32_t count) {
  const uint64_t mine = share_.vocabulary.size();
  const uint64_t widest = models::columns_of_rank(shape_.vocabulary, 1, share_.ranks, 0).size();
  const bool root = share_.rank == 0;
  std::vector<float> out(root ? uint64_t{count} * shape_.vocabulary : 0);
  for (uint32_t done = 0; done < count;) {
    const uint32_t rows = std::min(count - done, logit_rows());
    logits_of_rank(first + done, rows, logits_.floats(), mine);
    if (share_.ranks == 1) {
      backend_.device->copy_to_host(out.data() + uint64_t{done} * shape_.vocabulary, logits_.data(),
                                    rows * mine * sizeof(float));
      EBB_TRY_VOID(backend_.device->synchronize());  // no token from a device that is lost
    } else {
      std::vector<float> sent(rows * widest), all(root ? share_.ranks * rows * widest : 0);
      backend_.device->copy_to_host(sent.data(), logits_.data(), rows * mine * sizeof(float));
      EBB_TRY_VOID(backend_.device->synchronize());
      EBB_TRY_VOID(collective_->gather(std::as_bytes(std::span(sent)),
                                       std::as_writable_bytes(std::span(all))));
      for (uint32_t r = 0; root && r < share_.ranks; ++r) {
        const auto part = models::columns_of_rank(shape_.vocabulary, 1, share_.ranks, r);
        for (uint32_t i = 0; i < rows; ++i) {
          std::memcpy(out.data() + uint64_t{done + i} * shape_.vocabulary + part.begin,
                      all.data() + r * rows * widest + uint64_t{i} * part.size(),
                      part.size() * sizeof(float));
        }
      }
    }
    done += rows;
  }
  return out;
}

}  // namespace ebb::worker
