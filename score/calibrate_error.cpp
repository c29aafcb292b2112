#include "score/calibrate_error.h"

#include <algorithm>
#include <numeric>

namespace ebb::score {
namespace {

using Floats = std::vector<float>;

double squares(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum;
}

/// One text's dense steps, layer by layer; row 0 of the model is the step's own.
class Probe {
 public:
  Probe(CalibrateModel& model, worker::Sequence& text, const ErrorOptions& options)
      : c_(model.context()),
        device_(*c_.backend.device),
        ops_(*c_.backend.ops),
        text_(text),
        options_(options),
        width_(c_.model.shape().width),
        columns_(uint64_t{c_.shape.heads_q} * c_.shape.head_size) {}

  Result<OutputErrors> run() {
    const uint32_t layers = c_.model.shape().layers;
    for (size_t i = 0; i < options_.sizes.size(); ++i) {
      out_.mean.emplace_back(layers);
      for (uint32_t l = 0; l < layers; ++l) out_.mean.back()[l].resize(l + 1);
    }
    EBB_TRY_VOID(reserve());
    ops_.set_phase(kernels::Phase::kDecode);
    // The last token has no next one to be judged by; it is not fed, as it is not elsewhere.
    for (uint32_t step = 0; text_.length + 1 < text_.tokens.size(); ++step) {
      if (options_.between_steps) EBB_TRY_VOID(options_.between_steps());
      EBB_TRY_VOID(run_step(step % options_.every == 0));
    }
    for (ErrorMatrix& matrix : out_.mean) {
      for (auto& row : matrix)
        for (double& e : row) e /= std::max(1u, out_.steps);
    }
    return std::move(out_);
  }

 private:
  Result<void> reserve() {
    const auto floats = [&](kernels::Buffer& buffer, uint64_t count) -> Result<void> {
      buffer = EBB_TRY(device_.allocate(count * sizeof(float), kernels::MemoryKind::kDevice));
      return {};
    };
    const uint64_t longest = text_.tokens.size();
    EBB_TRY_VOID(floats(logits_, c_.shape.heads_q * longest));
    EBB_TRY_VOID(floats(scores_, longest));
    return floats(outs_, c_.model.shape().layers * columns_);
  }

  Result<void> run_step(bool measured) {
    const Position position = text_.length;
    std::vector<uint32_t> slots;
    for (uint32_t band = 0; band < c_.layout.bands.size(); ++band)
      slots.push_back(EBB_TRY(text_.kv->place(band, position, ++*c_.step_clock)));
    c_.model.embed(std::span<const TokenId>(text_.tokens).subspan(position, 1));
    sets_.assign(options_.sizes.size(), {});
    for (uint32_t layer = 0; layer < c_.model.shape().layers; ++layer) {
      c_.model.project(layer, std::span(&position, 1));
      const uint64_t stride = c_.model.kv_stride();
      const uint32_t slot = slots[c_.layout.band_of(layer)];
      const kernels::AppendArgs fresh{text_.kv->rows(layer), c_.model.d_k(), stride,
                                      c_.model.d_v(),        stride,         std::span(&slot, 1)};
      ops_.append_kv(c_.shape, std::span(&fresh, 1));
      attend_dense(layer, measured);
      if (measured) EBB_TRY_VOID(measure(layer));
      EBB_TRY(c_.model.attention_output(layer, 1, 0));
      EBB_TRY(c_.model.feed_forward(layer, 1, 0));
    }
    text_.length += 1;
    text_.exactness.add(text_.length, c_.model.shape().layers);
    out_.steps += measured ? 1 : 0;
    return {};
  }

  kernels::AttendArgs args_of(uint32_t layer) {
    kernels::AttendArgs args;
    args.d_q = c_.model.d_q();
    args.kv = text_.kv->rows(layer);
    return args;
  }

  void attend_dense(uint32_t layer, bool measured) {
    kernels::AttendArgs args = args_of(layer);
    args.count = text_.length + 1;
    args.window = c_.model.shape().window(layer);
    args.d_out = c_.model.d_attention();
    args.d_lse = c_.model.d_lse();
    if (measured) args.d_logits = logits_.floats();
    ops_.attend(c_.shape, std::span(&args, 1));
  }

  /// The sets of this layer, then the errors of all sets so far. Leaves the step's row as it was.
  Result<void> measure(uint32_t layer) {
    choose();
    const uint32_t rows = layer + 1;
    Floats x(width_), dense(columns_);
    device_.copy_to_host(x.data(), c_.model.d_x(), width_ * sizeof(float));
    device_.copy_to_host(dense.data(), c_.model.d_attention(), columns_ * sizeof(float));
    const double scale = squares(x);
    for (size_t size = 0; size < options_.sizes.size(); ++size) {
      Floats differences = attend_sets(layer, size);
      for (uint32_t s = 0; s < rows; ++s) {
        for (uint64_t i = 0; i < columns_; ++i) differences[s * columns_ + i] -= dense[i];
      }
      const Floats through = EBB_TRY(project_out(layer, std::move(differences)));
      for (uint32_t s = 0; s < rows; ++s) {
        const double error = squares(std::span(through).subspan(s * width_, width_));
        out_.mean[size][layer][s] += scale > 0 ? error / scale : 0;
      }
    }
    device_.copy_to_device(c_.model.d_x(), x.data(), width_ * sizeof(float));
    device_.copy_to_device(c_.model.d_attention(), dense.data(), columns_ * sizeof(float));
    return {};
  }

  void choose() {
    const uint32_t length = text_.length + 1;
    ops_.score_max(logits_.floats(), c_.model.d_lse(), c_.shape.heads_q, length, scores_.floats());
    for (size_t i = 0; i < options_.sizes.size(); ++i) {
      const SetSize& size = options_.sizes[i];
      std::vector<uint32_t> set;
      if (size.budget >= length) {
        set.resize(length);
        std::iota(set.begin(), set.end(), 0u);
      } else {
        for (uint32_t p = 0; p < size.sinks; ++p) set.push_back(p);
        const kernels::TopKArgs wanted{scores_.floats(), size.sinks, length - size.window,
                                       size.budget - size.sinks - size.window};
        const auto best = ops_.top_k(std::span(&wanted, 1));
        for (const kernels::Scored& scored : best[0]) set.push_back(scored.position);
        for (uint32_t p = length - size.window; p < length; ++p) set.push_back(p);
        std::sort(set.begin(), set.end());
      }
      sets_[i].push_back(std::move(set));
    }
  }

  /// Attention of this layer over the sets of all layers up to it: [layer + 1, columns].
  Floats attend_sets(uint32_t layer, size_t size) {
    const uint32_t first = c_.first_seen(layer, text_.length + 1);
    std::vector<kernels::AttendArgs> items;
    for (const auto& set : sets_[size]) {
      const auto seen = std::lower_bound(set.begin(), set.end(), first);
      kernels::AttendArgs args = args_of(layer);
      args.list = std::span(set).subspan(static_cast<size_t>(seen - set.begin()));
      args.count = static_cast<uint32_t>(args.list.size());
      args.d_out = outs_.floats() + items.size() * columns_;
      items.push_back(args);
    }
    ops_.attend(c_.shape, items);
    Floats out(items.size() * columns_);
    device_.copy_to_host(out.data(), outs_.floats(), out.size() * sizeof(float));
    return out;
  }

  /// Wo of each row. The model adds it to its residual stream, which is zero for this; a bias is
  /// not part of a difference.
  Result<Floats> project_out(uint32_t layer, Floats rows_in) {
    const auto rows = static_cast<uint32_t>(rows_in.size() / columns_);
    const bool biased = c_.model.shape().attention_out_bias;
    rows_in.resize(rows_in.size() + columns_);  // a row of zeros: what comes out is the bias
    Floats out((rows + 1) * width_);
    device_.copy_to_device(c_.model.d_x(), out.data(), out.size() * sizeof(float));
    device_.copy_to_device(c_.model.d_attention(), rows_in.data(), rows_in.size() * sizeof(float));
    EBB_TRY(c_.model.attention_output(layer, rows + 1, 0));
    device_.copy_to_host(out.data(), c_.model.d_x(), out.size() * sizeof(float));
    for (uint32_t row = 0; biased && row < rows; ++row) {
      for (uint64_t i = 0; i < width_; ++i) out[row * width_ + i] -= out[rows * width_ + i];
    }
    out.resize(rows * width_);
    return out;
  }

  worker::StepContext c_;
  kernels::Device& device_;
  kernels::Ops& ops_;
  worker::Sequence& text_;
  const ErrorOptions& options_;
  uint64_t width_;
  uint64_t columns_;
  kernels::Buffer logits_, scores_, outs_;
  std::vector<std::vector<std::vector<uint32_t>>> sets_;  ///< [size][s], of this step
  OutputErrors out_;
};

}  // namespace

Result<OutputErrors> measure_output_errors(CalibrateModel& model, worker::Sequence& text,
                                           const ErrorOptions& options) {
  return Probe(model, text, options).run();
}

}  // namespace ebb::score
