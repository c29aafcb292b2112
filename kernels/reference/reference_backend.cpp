// The specification of kernels/ops.h as plain loops: one thread, double accumulation, every
// equation where one can see it. Linked into tests only. Must not share code with the backends it
// judges.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "kernels/ops.h"
#include "kernels/reference/reference_digest.h"
#include "kernels/reference/reference_records.h"
#include "kernels/reference/reference_weights.h"
#include "kernels/weight_check.h"

namespace ebb::kernels {
namespace {

constexpr double kNoEntries = -std::numeric_limits<double>::infinity();

/// Round to nearest, ties to even; a NaN stays a NaN (rounding could carry its payload away).
uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

class ReferenceWeight final : public Weight {
 public:
  explicit ReferenceWeight(const WeightSource& source) : source_(source) {}
  uint64_t rows() const override { return source_.rows; }
  uint64_t columns() const override { return source_.columns; }
  uint64_t resident_bytes() const override { return 0; }

  float at(uint64_t row, uint64_t column) const {
    const WeightBlock shape = weight_block(source_.format);
    return weight_element(
        source_.format,
        source_.data + row * source_.row_stride + column / shape.elements * shape.bytes,
        static_cast<uint32_t>(column % shape.elements));
  }

 private:
  WeightSource source_;
};

const ReferenceWeight& own(const Weight& weight) {
  return static_cast<const ReferenceWeight&>(weight);
}

class ReferenceDevice final : public Device {
 public:
  DeviceInfo info() const override { return {"reference", "none", 0, true, ""}; }
  Result<Buffer> allocate(size_t bytes, MemoryKind) override {
    void* data = std::aligned_alloc(64, (std::max<size_t>(bytes, 1) + 63) / 64 * 64);
    if (data == nullptr) return exhausted("reference device: no memory");
    return Buffer(
        data, bytes, [](void*, void* p, size_t) { std::free(p); }, this);
  }
  void copy_to_device(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void copy_on_device(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void copy_to_host(void* to, const void* from, size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  Result<void> synchronize() override { return {}; }
};

std::byte* row_address(const KvShape& shape, const KvRows& kv, uint32_t slot) {
  const uint32_t block = slot / shape.block_tokens;
  EBB_CHECK(block < kv.blocks.size());
  return kv.d_arena + uint64_t{kv.blocks[block]} * shape.block_bytes() +
         uint64_t{slot % shape.block_tokens} * shape.row_bytes();
}

RowOf rows_of(const KvShape& shape) {
  return [shape](const KvRows& layer, uint32_t slot) { return row_address(shape, layer, slot); };
}

/// K (part 0) or V (part 1) of one head in the row at `slot`.
std::vector<double> kv_vector(const KvShape& shape, const KvRows& kv, uint32_t slot, uint32_t head,
                              uint32_t part) {
  const std::byte* from =
      row_address(shape, kv, slot) + (uint64_t{head} * 2 + part) * shape.vector_bytes();
  const bool wide = shape.element == KvElement::kF32;
  std::vector<double> values(shape.head_size);
  for (double& value : values) {
    value = wide ? read<float>(from) : bf16_to_float(read<uint16_t>(from));
    from += kv_element_bytes(shape.element);
  }
  return values;
}

std::byte* digest_address(const KvShape& shape, const DigestShape& digest, const DigestRows& rows,
                          uint32_t token) {
  const uint32_t page_tokens = digest.page_tokens(shape.block_bytes());
  const uint32_t page = token / page_tokens;
  EBB_CHECK(page < rows.blocks.size());
  return rows.d_arena + uint64_t{rows.blocks[page]} * shape.block_bytes() +
         uint64_t{token % page_tokens} * digest.token_bytes();
}

/// The sums of run `run`: [heads_kv][K, V][head_size].
float* sums_address(const KvShape& shape, const SumRows& rows, uint32_t run) {
  const uint32_t page_runs = SumRows::page_runs(shape);
  const uint32_t page = run / page_runs;
  EBB_CHECK(page < rows.blocks.size());
  std::byte* from = rows.d_arena + uint64_t{rows.blocks[page]} * shape.block_bytes() +
                    uint64_t{run % page_runs} * SumRows::run_bytes(shape);
  return reinterpret_cast<float*>(from);
}

/// One head's K or V into a row.
void store_vector(const KvShape& shape, const float* from, std::byte* to) {
  if (shape.element == KvElement::kF32) {
    std::memcpy(to, from, shape.vector_bytes());
    return;
  }
  for (uint32_t j = 0; j < shape.head_size; ++j) {
    const uint16_t bits = float_to_bf16(from[j]);
    std::memcpy(to + 2 * j, &bits, sizeof bits);
  }
}

class ReferenceOps final : public Ops {
 public:
  void set_phase(Phase) override {}

  Result<std::unique_ptr<Weight>> load_weight(const WeightSource& source) override {
    EBB_TRY_VOID(check_weight_source(source));
    return std::unique_ptr<Weight>(std::make_unique<ReferenceWeight>(source));
  }

  Result<void> prepare_rope(const RopeArgs& args) override {
    EBB_TRY_VOID(check_rope(args));
    rope_ = args;
    return {};
  }

  void embed(const Weight& table, std::span<const TokenId> ids, float* out) override {
    for (const TokenId id : ids) {
      EBB_CHECK(id >= 0 && static_cast<uint64_t>(id) < table.rows());
      for (uint64_t c = 0; c < table.columns(); ++c) {
        *out++ = own(table).at(static_cast<uint64_t>(id), c);
      }
    }
  }

  void rms_norm(const float* x, uint32_t rows, const Weight& gain, float epsilon,
                float* out) override {
    const uint64_t n = gain.columns();
    for (uint64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (uint64_t c = 0; c < n; ++c) squares += double{x[r * n + c]} * x[r * n + c];
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(n) + epsilon);
      for (uint64_t c = 0; c < n; ++c) {
        out[r * n + c] = static_cast<float>(x[r * n + c] * factor * own(gain).at(0, c));
      }
    }
  }

  void rms_norm_heads(float* x, uint64_t row_stride, uint32_t rows, uint32_t heads,
                      uint32_t head_size, const Weight& gain, float epsilon) override {
    EBB_CHECK(gain.columns() == head_size);
    for (uint64_t r = 0; r < rows; ++r) {
      for (uint64_t h = 0; h < heads; ++h) {
        float* head = x + r * row_stride + h * head_size;
        rms_norm(head, 1, gain, epsilon, head);
      }
    }
  }

  void add_bias(float* x, uint64_t row_stride, uint32_t rows, const Weight& bias) override {
    for (uint64_t r = 0; r < rows; ++r) {
      for (uint64_t c = 0; c < bias.columns(); ++c) x[r * row_stride + c] += own(bias).at(0, c);
    }
  }

  void matmul(const float* x, uint32_t rows, const Weight& w, float* out,
              uint64_t out_stride) override {
    std::vector<double> weights(w.columns());
    for (uint64_t n = 0; n < w.rows(); ++n) {
      for (uint64_t c = 0; c < w.columns(); ++c) weights[c] = own(w).at(n, c);
      for (uint64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (uint64_t c = 0; c < w.columns(); ++c) sum += x[r * w.columns() + c] * weights[c];
        out[r * out_stride + n] = static_cast<float>(sum);
      }
    }
  }

  void add(float* x, const float* y, uint64_t count) override {
    for (uint64_t i = 0; i < count; ++i) x[i] += y[i];
  }

  void clear(float* x, uint64_t count) override { std::fill_n(x, count, 0.0f); }

  void silu_mul(const float* gate_up, uint32_t rows, uint32_t width, float* out) override {
    for (uint64_t r = 0; r < rows; ++r) {
      const float* gate = gate_up + r * 2 * width;
      const float* up = gate + width;
      for (uint64_t c = 0; c < width; ++c) {
        out[r * width + c] =
            static_cast<float>(gate[c] / (1.0 + std::exp(-double{gate[c]})) * up[c]);
      }
    }
  }

  void rope(float* x, uint64_t row_stride, uint32_t heads, uint32_t head_size,
            std::span<const Position> positions) override {
    EBB_CHECK(rope_.dims() > 0 && rope_.dims() <= head_size);
    for (uint64_t r = 0; r < positions.size(); ++r) {
      for (uint64_t h = 0; h < heads; ++h) {
        rotate_head(x + r * row_stride + h * head_size, positions[r]);
      }
    }
  }

  void append_kv(const KvShape& shape, std::span<const AppendArgs> items) override {
    for (const AppendArgs& item : items) {
      for (uint64_t r = 0; r < item.slots.size(); ++r) {
        std::byte* to = row_address(shape, item.kv, item.slots[r]);
        for (uint64_t h = 0; h < shape.heads_kv; ++h) {
          for (const float* from : {item.d_k + r * item.k_stride, item.d_v + r * item.v_stride}) {
            store_vector(shape, from + h * shape.head_size, to);
            to += shape.vector_bytes();
          }
        }
      }
    }
  }

  void attend(const KvShape& shape, std::span<const AttendArgs> items) override {
    for (const AttendArgs& item : items) {
      EBB_CHECK(!item.listed() || (item.rows == 1 && item.window == 0));
      for (uint32_t row = 0; row < item.rows; ++row) {
        for (uint32_t head = 0; head < shape.heads_q; ++head) attend_head(shape, item, row, head);
      }
    }
  }

  void score_max(const float* logits, const float* lse, uint32_t heads_q, uint32_t count,
                 float* scores) override {
    for (uint32_t e = 0; e < count; ++e) {
      double best = 0;
      for (uint64_t h = 0; h < heads_q; ++h) {
        best = std::max(best, std::exp(double{logits[h * count + e]} - lse[h]));
      }
      scores[e] = static_cast<float>(best);
    }
  }

  std::vector<std::vector<Scored>> top_k(std::span<const TopKArgs> items) override {
    std::vector<std::vector<Scored>> best;
    for (const TopKArgs& item : items) {
      std::vector<Scored> all;
      for (uint32_t e = item.begin; e < item.end; ++e) all.push_back({e, item.d_scores[e]});
      std::sort(all.begin(), all.end(), [](const Scored& a, const Scored& b) {
        return a.score != b.score ? a.score > b.score : a.position < b.position;
      });
      all.resize(std::min<size_t>(all.size(), item.k));
      best.push_back(std::move(all));
    }
    return best;
  }

  void merge_states(float* out_a, float* lse_a, const float* out_b, const float* lse_b,
                    uint32_t rows, uint32_t heads, uint32_t head_size) override {
    for (uint64_t i = 0; i < uint64_t{rows} * heads; ++i) {
      const double a = lse_a[i];
      const double b = lse_b[i];
      const double most = std::max(a, b);
      if (most == kNoEntries) continue;
      const double weight_a = std::exp(a - most);
      const double weight_b = std::exp(b - most);
      for (uint64_t j = i * head_size; j < (i + 1) * head_size; ++j) {
        out_a[j] =
            static_cast<float>((out_a[j] * weight_a + out_b[j] * weight_b) / (weight_a + weight_b));
      }
      lse_a[i] = static_cast<float>(most + std::log(weight_a + weight_b));
    }
  }

  void mean_key(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> slots,
                float* center) override {
    for (uint32_t h = 0; h < shape.heads_kv; ++h) {
      std::vector<double> sum(shape.head_size, 0.0);
      for (const uint32_t slot : slots) add_to(sum, kv_vector(shape, kv, slot, h, 0), 1);
      for (const double s : sum) {
        *center++ =
            slots.empty() ? 0.0f : static_cast<float>(s / static_cast<double>(slots.size()));
      }
    }
  }

  void write_digest(const KvShape& shape, const DigestShape& digest,
                    std::span<const DigestArgs> items) override {
    for (const DigestArgs& item : items) {
      const bool centred = digest.format != DigestFormat::kInt4 && item.d_center != nullptr;
      for (uint32_t i = 0; i < item.slots.size(); ++i) {
        std::byte* to = digest_address(shape, digest, item.digests, item.first + i);
        for (uint32_t h = 0; h < shape.heads_kv; ++h, to += digest.head_bytes()) {
          std::vector<double> k = kv_vector(shape, item.kv, item.slots[i], h, 0);
          for (uint32_t j = 0; centred && j < shape.head_size; ++j) {
            k[j] -= item.d_center[h * shape.head_size + j];
          }
          encode_digest(digest, turned(digest.format, k), to);
        }
      }
    }
  }

  void add_sums(const KvShape& shape, std::span<const SumArgs> items) override {
    for (const SumArgs& item : items) {
      for (uint32_t i = 0; i < item.slots.size(); ++i) add_row(shape, item, i);
    }
  }

  void make_lists(std::span<const ListArgs> items) override {
    for (const ListArgs& item : items) {
      for (size_t i = 0; i < item.positions.size(); ++i) {
        const Position p = item.positions[i];
        item.d_slots[i] = item.d_map == nullptr ? p : item.d_map[p];
      }
    }
  }

  void update_maps(std::span<const MapArgs> items) override {
    for (const MapArgs& item : items) {
      for (size_t i = 0; i < item.positions.size(); ++i) {
        item.d_map[item.positions[i]] = item.slots[i];
      }
    }
  }

  void scan_digests(const KvShape& shape, const DigestShape& digest,
                    std::span<const ScanArgs> items) override {
    for (const ScanArgs& item : items) {
      for (uint32_t head = 0; head < shape.heads_q; ++head) scan_head(shape, digest, item, head);
    }
  }

  void attend_left_out(const KvShape& shape, std::span<const LeftOutArgs> items) override {
    for (const LeftOutArgs& item : items) {
      EBB_CHECK(item.d_slots != nullptr || item.slots.size() == item.positions.size());
      for (uint32_t head = 0; head < shape.heads_q; ++head) left_out_head(shape, item, head);
    }
  }

  void scale_scores(float* scores, std::span<const Position> positions, float factor) override {
    for (const Position p : positions) scores[p] *= factor;
  }

  std::unique_ptr<Transfer> pack_records(const RecordBand& band, std::byte* frames) override {
    reference_pack(band, rows_of(band.shape), frames);
    return std::make_unique<FinishedTransfer>();
  }

  std::unique_ptr<Transfer> unpack_records(const RecordBand& band, const std::byte* frames,
                                           Frames are) override {
    return std::make_unique<FinishedTransfer>(
        reference_unpack(band, rows_of(band.shape), frames, are));
  }

  void copy_rows(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> from,
                 std::span<const uint32_t> to) override {
    EBB_CHECK(from.size() == to.size());
    for (size_t i = 0; i < from.size(); ++i) {
      std::memcpy(row_address(shape, kv, to[i]), row_address(shape, kv, from[i]),
                  shape.row_bytes());
    }
  }

 private:
  void rotate_head(float* x, Position position) const {
    const uint32_t half = rope_.dims() / 2;
    for (uint32_t i = 0; i < half; ++i) {
      const double angle = position * rope_.frequencies[i];
      float& first = rope_.interleaved ? x[2 * i] : x[i];
      float& second = rope_.interleaved ? x[2 * i + 1] : x[i + half];
      const double a = double{first} * rope_.magnitude;
      const double b = double{second} * rope_.magnitude;
      first = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
      second = static_cast<float>(a * std::sin(angle) + b * std::cos(angle));
    }
  }

  static void add_row(const KvShape& shape, const SumArgs& item, uint32_t i) {
    const uint32_t token = item.first + i;
    float* to = sums_address(shape, item.sums, token / kSumTokens);
    for (uint32_t h = 0; h < shape.heads_kv; ++h) {
      for (const uint32_t part : {0u, 1u}) {
        for (const double x : kv_vector(shape, item.kv, item.slots[i], h, part)) {
          const float before = token % kSumTokens == 0 ? 0.0f : *to;
          *to++ = before + static_cast<float>(x);
        }
      }
    }
  }

  static uint32_t slot_of(const KvShape& shape, const AttendArgs& item, uint32_t head, uint32_t e) {
    if (!item.listed()) return e;
    const uint32_t* list = item.d_list != nullptr ? item.d_list : item.list.data();
    const uint32_t kv_head = head / (shape.heads_q / shape.heads_kv);
    const uint64_t which = item.scope == ListScope::kLayer    ? 0
                           : item.scope == ListScope::kKvHead ? kv_head
                                                              : head;
    return list[which * item.count + e];
  }

  static void attend_head(const KvShape& shape, const AttendArgs& item, uint32_t row,
                          uint32_t head) {
    const uint32_t kv_head = head / (shape.heads_q / shape.heads_kv);
    const uint64_t vector = (uint64_t{row} * shape.heads_q + head) * shape.head_size;
    const int64_t bound = int64_t{item.count} - item.rows + 1 + row;
    const uint32_t end = bound > 0 ? static_cast<uint32_t>(bound) : 0;
    const uint32_t begin = item.window == 0 ? 0 : end - std::min(item.window, end);
    std::vector<double> logits(end, kNoEntries);
    double most = kNoEntries;
    for (uint32_t e = begin; e < end; ++e) {
      const bool alternative = item.d_q_alt != nullptr && e < item.alt_count;
      const float* q = (alternative ? item.d_q_alt : item.d_q) + vector;
      const uint32_t slot = slot_of(shape, item, head, e);
      const std::vector<double> k = kv_vector(shape, item.kv, slot, kv_head, 0);
      double dot = 0;
      for (uint32_t j = 0; j < shape.head_size; ++j) dot += q[j] * k[j];
      logits[e] = dot / std::sqrt(double(shape.head_size));
      most = std::max(most, logits[e]);
    }
    double sum = 0;
    std::vector<double> out(shape.head_size, 0.0);
    for (uint32_t e = begin; e < end; ++e) {
      const double weight = std::exp(logits[e] - most);
      const uint32_t slot = slot_of(shape, item, head, e);
      const std::vector<double> v = kv_vector(shape, item.kv, slot, kv_head, 1);
      sum += weight;
      for (uint32_t j = 0; j < shape.head_size; ++j) out[j] += weight * v[j];
    }
    for (uint32_t j = 0; j < shape.head_size; ++j) {
      item.d_out[vector + j] = end == 0 ? 0.0f : static_cast<float>(out[j] / sum);
    }
    if (item.d_lse != nullptr) {
      item.d_lse[uint64_t{row} * shape.heads_q + head] =
          static_cast<float>(end == 0 ? kNoEntries : most + std::log(sum));
    }
    if (item.d_logits != nullptr && row + 1 == item.rows) {
      for (uint32_t e = 0; e < end; ++e) {
        item.d_logits[uint64_t{head} * item.count + e] = static_cast<float>(logits[e]);
      }
    }
  }

  static void add_to(std::vector<double>& sum, const std::vector<double>& values, double weight) {
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += weight * values[j];
  }

  static double scaled_dot(const std::vector<double>& q, const std::vector<double>& k) {
    double dot = 0;
    for (size_t j = 0; j < q.size(); ++j) dot += q[j] * k[j];
    return dot / std::sqrt(static_cast<double>(q.size()));
  }

  static std::vector<double> query_of(const KvShape& shape, const float* q, uint32_t head) {
    const float* from = q + uint64_t{head} * shape.head_size;
    return {from, from + shape.head_size};
  }

  static void scan_head(const KvShape& shape, const DigestShape& digest, const ScanArgs& item,
                        uint32_t head) {
    const uint32_t kv_head = head / (shape.heads_q / shape.heads_kv);
    const std::vector<double> q = turned(digest.format, query_of(shape, item.d_q, head));
    std::vector<double> logits;
    for (uint32_t t = 0; t < item.count; ++t) {
      const std::byte* from = digest_address(shape, digest, item.digests, t);
      logits.push_back(
          scaled_dot(q, decode_digest(digest, from + uint64_t{kv_head} * digest.head_bytes())));
      item.d_logits[uint64_t{head} * item.count + t] = static_cast<float>(logits.back());
    }
    const double most = logits.empty() ? 0 : *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - most);
    item.d_lse[head] = static_cast<float>(most + std::log(sum));
  }

  /// A run's pseudo-token for one KV head.
  struct Rest {
    uint32_t count = kSumTokens;
    std::vector<double> k, v;
  };

  static Rest rest_of(const KvShape& shape, const LeftOutArgs& item, uint32_t run,
                      uint32_t kv_head) {
    const float* sums =
        sums_address(shape, item.sums, run) + uint64_t{kv_head} * 2 * shape.head_size;
    Rest rest;
    rest.k.assign(sums, sums + shape.head_size);
    rest.v.assign(sums + shape.head_size, sums + 2 * shape.head_size);
    for (size_t i = 0; i < item.positions.size(); ++i) {
      if (item.positions[i] / kSumTokens != run) continue;
      const uint32_t slot = item.d_slots != nullptr ? item.d_slots[i] : item.slots[i];
      add_to(rest.k, kv_vector(shape, item.kv, slot, kv_head, 0), -1);
      add_to(rest.v, kv_vector(shape, item.kv, slot, kv_head, 1), -1);
      --rest.count;
    }
    for (double& x : rest.k) x /= rest.count;
    for (double& x : rest.v) x /= rest.count;
    return rest;
  }

  void left_out_head(const KvShape& shape, const LeftOutArgs& item, uint32_t head) {
    const uint32_t kv_head = head / (shape.heads_q / shape.heads_kv);
    const std::vector<double> q = query_of(shape, item.d_q, head);
    float* out = item.d_out + uint64_t{head} * shape.head_size;
    for (uint32_t run = 0; (run + 1) * kSumTokens <= item.length; ++run) {
      const Rest rest = rest_of(shape, item, run, kv_head);
      if (rest.count == 0) continue;
      const auto lse = static_cast<float>(scaled_dot(q, rest.k) + std::log(double(rest.count)));
      const std::vector<float> v(rest.v.begin(), rest.v.end());
      merge_states(out, item.d_lse + head, v.data(), &lse, 1, 1, shape.head_size);
    }
  }

  RopeArgs rope_;
};

}  // namespace

Result<Backend> make_reference_backend() {
  return Backend{std::make_unique<ReferenceDevice>(), std::make_unique<ReferenceOps>()};
}

}  // namespace ebb::kernels
