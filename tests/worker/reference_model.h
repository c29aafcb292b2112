// A decoder written from the equations, in double, one token at a time, that any attention pattern
// can be asked of: what policies are compared with. Only for small models of the tiny_llama kind
// (f32 weights, interleaved rotation). Knows nothing of the code under test but its file reader.
//
// Keys and values are rounded to bf16 as the engine stores them, keys after rotation, unless the
// test says otherwise; everything else is double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "models/model_files.h"

namespace ebb::worker::testing {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;

inline double to_bf16(double x) {
  auto single = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&single, &bits, sizeof bits);
  return single;
}

inline Vector softmax(const Vector& logits) {
  double most = -INFINITY, sum = 0;
  for (double x : logits) most = std::max(most, x);
  Vector p(logits.size());
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(logits[i] - most);
  for (double& x : p) x /= sum;
  return p;
}

/// What one layer of one step has to go by.
struct LayerScores {
  uint32_t layer = 0;
  Matrix logits;      ///< [heads_q][tokens], the newest token included, scaled, before softmax
  Vector mean_query;  ///< over all heads, before rotation
  Vector residual;    ///< [width], what the attention's output is added to
};

enum class KvRounding { kBf16, kNone };

class ReferenceModel {
 public:
  explicit ReferenceModel(const models::ModelFiles& files, KvRounding rounding = KvRounding::kBf16)
      : shape_(files.shape()), rounding_(rounding) {
    using models::TensorRole;
    embedding_ = matrix(files, TensorRole::kEmbedding, 0);
    output_norm_ = matrix(files, TensorRole::kOutputNorm, 0)[0];
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      layers_.push_back(
          {matrix(files, TensorRole::kAttentionNorm, layer)[0],
           matrix(files, TensorRole::kQ, layer), matrix(files, TensorRole::kK, layer),
           matrix(files, TensorRole::kV, layer), matrix(files, TensorRole::kAttentionOut, layer),
           matrix(files, TensorRole::kFfnNorm, layer)[0], matrix(files, TensorRole::kGate, layer),
           matrix(files, TensorRole::kUp, layer), matrix(files, TensorRole::kDown, layer)});
    }
    keys_.resize(shape_.layers);
    values_.resize(shape_.layers);
  }

  const models::ModelShape& shape() const { return shape_; }
  uint32_t tokens() const { return static_cast<uint32_t>(keys_[0].size()); }

  /// Which tokens each query head reads, ascending.
  using Reads = std::function<std::vector<std::vector<Position>>(const LayerScores&)>;
  /// With the left-out estimate: one pseudo-token for every whole run of 64 tokens before the
  /// newest that a list leaves something of.
  bool left_out = false;
  /// Log-probabilities of the token after `token`.
  Vector step(TokenId token, const Reads& reads, bool slot_positions = false) {
    return row(tokens(), token, reads, slot_positions);
  }
  /// The same for a token that is there already: its keys and values are made again. What it reads
  /// lies before it.
  Vector remake(Position position, TokenId token, const Reads& reads) {
    return row(position, token, reads, false);
  }
  Vector row(Position position, TokenId token, const Reads& reads, bool slot_positions) {
    Vector x = embedding_[static_cast<size_t>(token)];
    for (uint32_t layer = 0; layer < shape_.layers; ++layer) {
      const Layer& w = layers_[layer];
      const Vector normed = rms_norm(x, w.attention_norm);
      const Vector q = multiply(w.q, normed);
      append(layer, position, multiply(w.k, normed), multiply(w.v, normed));
      const LayerScores scores{layer, all_logits(layer, q, position), mean_of_heads(q), x};
      const auto lists = reads(scores);
      const Vector out =
          slot_positions ? attend_slots(layer, q, lists[0]) : attend(layer, scores.logits, lists);
      add(x, multiply(w.out, out));
      const Vector ffn = rms_norm(x, w.ffn_norm);
      Vector gate = multiply(w.gate, ffn);
      const Vector up = multiply(w.up, ffn);
      for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
      add(x, multiply(w.down, gate));
    }
    Vector logits = multiply(embedding_, rms_norm(x, output_norm_));
    const Vector p = softmax(logits);
    for (size_t i = 0; i < p.size(); ++i) logits[i] = std::log(p[i]);
    return logits;
  }
  /// Of a layer under way: its attention over these tokens, through the output matrix.
  Vector attention_output(const LayerScores& of,
                          const std::vector<std::vector<Position>>& lists) const {
    return multiply(layers_[of.layer].out, attend(of.layer, of.logits, lists));
  }
  /// Everything.
  static std::vector<std::vector<Position>> all(const LayerScores& scores) {
    std::vector<Position> list(scores.logits[0].size());
    for (size_t i = 0; i < list.size(); ++i) list[i] = static_cast<Position>(i);
    return std::vector<std::vector<Position>>(scores.logits.size(), list);
  }

 private:
  struct Layer {
    Vector attention_norm;
    Matrix q, k, v, out;
    Vector ffn_norm;
    Matrix gate, up, down;
  };

  static Matrix matrix(const models::ModelFiles& files, models::TensorRole role, uint32_t layer) {
    const auto view = files.tensor(role, layer);
    EBB_CHECK(view.has_value() && view->type == models::WeightType::kF32);
    Matrix out(view->rows, Vector(view->columns));
    const auto* data = reinterpret_cast<const float*>(view->data);
    for (uint64_t r = 0; r < view->rows; ++r) {
      for (uint64_t c = 0; c < view->columns; ++c) out[r][c] = data[r * view->columns + c];
    }
    return out;
  }
  static Vector multiply(const Matrix& w, const Vector& x) {
    Vector out(w.size());
    for (size_t r = 0; r < w.size(); ++r) {
      for (size_t c = 0; c < x.size(); ++c) out[r] += w[r][c] * x[c];
    }
    return out;
  }
  static void add(Vector& x, const Vector& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
  Vector rms_norm(const Vector& x, const Vector& gain) const {
    double squares = 0;
    for (double v : x) squares += v * v;
    const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) +
                                        static_cast<double>(shape_.rms_epsilon));
    Vector out(x.size());
    for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * factor * gain[i];
    return out;
  }
  /// One head of `all` turned by `angle_steps` positions (negative: back).
  Vector turned(const Vector& all, uint32_t head, double angle_steps) const {
    const uint32_t d = shape_.head_size;
    Vector out(all.begin() + head * d, all.begin() + (head + 1) * d);
    for (uint32_t i = 0; i < d / 2; ++i) {
      const double angle = angle_steps * std::pow(shape_.rope_base, -2.0 * i / d);
      const double a = out[2 * i], b = out[2 * i + 1];
      out[2 * i] = a * std::cos(angle) - b * std::sin(angle);
      out[2 * i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return out;
  }
  void append(uint32_t layer, Position position, const Vector& k, Vector v) {
    Vector key;
    for (uint32_t head = 0; head < shape_.heads_kv; ++head) {
      for (double x : turned(k, head, position)) key.push_back(stored(x));
    }
    for (double& x : v) x = stored(x);
    if (position == keys_[layer].size()) {
      keys_[layer].emplace_back();
      values_[layer].emplace_back();
    }
    keys_[layer][position] = std::move(key);
    values_[layer][position] = std::move(v);
  }
  double stored(double x) const { return rounding_ == KvRounding::kBf16 ? to_bf16(x) : x; }
  uint32_t group() const { return shape_.heads_q / shape_.heads_kv; }
  double dot(const Vector& query, const Vector& key, uint32_t kv_head) const {
    double sum = 0;
    for (uint32_t i = 0; i < query.size(); ++i) sum += query[i] * key[kv_head * query.size() + i];
    return sum / std::sqrt(static_cast<double>(query.size()));
  }
  Matrix all_logits(uint32_t layer, const Vector& q, Position position) const {
    Matrix logits(shape_.heads_q);
    for (uint32_t h = 0; h < shape_.heads_q; ++h) {
      const Vector query = turned(q, h, position);
      for (const Vector& key : keys_[layer]) logits[h].push_back(dot(query, key, h / group()));
    }
    return logits;
  }
  Vector mean_of_heads(const Vector& q) const {
    Vector mean(shape_.head_size);
    for (size_t i = 0; i < q.size(); ++i) mean[i % shape_.head_size] += q[i] / shape_.heads_q;
    return mean;
  }
  void weigh(uint32_t layer, uint32_t head, const std::vector<Position>& list, const Vector& logits,
             Vector& out) const {
    const uint32_t d = shape_.head_size;
    const Vector p = softmax(logits);
    for (size_t e = 0; e < list.size(); ++e) {
      for (uint32_t i = 0; i < d; ++i) {
        out[head * d + i] += p[e] * values_[layer][list[e]][head / group() * d + i];
      }
    }
  }
  Vector attend(uint32_t layer, const Matrix& logits,
                const std::vector<std::vector<Position>>& lists) const {
    Vector out(uint64_t{shape_.heads_q} * shape_.head_size);
    for (uint32_t h = 0; h < shape_.heads_q; ++h) {
      Vector chosen;
      for (Position p : lists[h]) chosen.push_back(logits[h][p]);
      if (left_out) {
        weigh_with_estimate(layer, h, lists[h], logits[h], std::move(chosen), out);
      } else {
        weigh(layer, h, lists[h], chosen, out);
      }
    }
    return out;
  }
  /// The mean key of what a run leaves out has the mean of the logits.
  void weigh_with_estimate(uint32_t layer, uint32_t head, const std::vector<Position>& list,
                           const Vector& all, Vector chosen, Vector& out) const {
    const uint32_t d = shape_.head_size;
    Matrix values;
    for (Position p : list) values.push_back(value(layer, p, head));
    for (Position run = 0; run + 64 <= all.size() - 1; run += 64) {
      double logit = 0, count = 0;
      Vector v(d);
      for (Position p = run; p < run + 64; ++p) {
        if (std::find(list.begin(), list.end(), p) != list.end()) continue;
        logit += all[p];
        ++count;
        add(v, value(layer, p, head));
      }
      if (count == 0) continue;
      for (double& x : v) x /= count;
      chosen.push_back(logit / count + std::log(count));
      values.push_back(std::move(v));
    }
    const Vector p = softmax(chosen);
    for (size_t e = 0; e < p.size(); ++e) {
      for (uint32_t i = 0; i < d; ++i) out[head * d + i] += p[e] * values[e][i];
    }
  }
  Vector value(uint32_t layer, Position p, uint32_t head) const {
    const auto from = values_[layer][p].begin() + head / group() * shape_.head_size;
    return Vector(from, from + shape_.head_size);
  }
  /// Positions are places in the list: every key turned back from where it stands to its place.
  Vector attend_slots(uint32_t layer, const Vector& q, const std::vector<Position>& list) const {
    Vector out(uint64_t{shape_.heads_q} * shape_.head_size);
    const auto last = static_cast<double>(list.size() - 1);
    for (uint32_t h = 0; h < shape_.heads_q; ++h) {
      const Vector query = turned(q, h, last);
      Vector logits;
      for (size_t place = 0; place < list.size(); ++place) {
        const double back = static_cast<double>(place) - static_cast<double>(list[place]);
        logits.push_back(dot(query, turned(keys_[layer][list[place]], h / group(), back), 0));
      }
      weigh(layer, h, list, logits, out);
    }
    return out;
  }

  models::ModelShape shape_;
  KvRounding rounding_;
  Matrix embedding_;
  Vector output_norm_;
  std::vector<Layer> layers_;
  std::vector<Matrix> keys_, values_;  ///< [layer][token][heads_kv * head_size]
};

}  // namespace ebb::worker::testing
