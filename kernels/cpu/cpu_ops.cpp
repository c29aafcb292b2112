// See cpu_ops.h. The operations that are simple loops; products, attention and selection have their
// own files.
#include "kernels/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/cpu_weight.h"
#include "kernels/cpu/kv_access.h"
#include "kernels/cpu/records.h"
#include "kernels/weight_check.h"

namespace ebb::kernels::cpu {
namespace {

/// Elements of simple work below which a second thread is not woken.
constexpr uint64_t kGrainFloats = 64 * 1024;
/// Bytes of records, likewise.
constexpr uint64_t kGrainBytes = 256 * 1024;
/// Query rows from which tiles of matrix products beat row by row.
constexpr uint32_t kTileRowsMin = 5;

}  // namespace

CpuOps::CpuOps(const CpuOptions& options, const InnerKernels& inner)
    : options_(options),
      inner_(inner),
      team_(std::max(options.decode_threads, options.bulk_threads)),
      threads_(options.decode_threads) {}

void CpuOps::set_phase(Phase phase) {
  threads_ = phase == Phase::kDecode ? options_.decode_threads : options_.bulk_threads;
}

template <class Body>
void CpuOps::parallel_ranges(uint64_t count, uint64_t grain, const Body& body) {
  const uint64_t parts = std::clamp<uint64_t>(count / std::max<uint64_t>(grain, 1), 1, threads_);
  team_.run(threads_, parts,
            [&](uint64_t part) { body(count * part / parts, count * (part + 1) / parts); });
}

Result<std::unique_ptr<Weight>> CpuOps::load_weight(const WeightSource& source) {
  EBB_TRY_VOID(check_weight_source(source));
  if (source.rows > 1) return std::unique_ptr<Weight>(std::make_unique<CpuWeight>(source));
  std::vector<float> values(source.columns);
  inner_.dequantize(source.format, source.data, source.columns, values.data());
  return std::unique_ptr<Weight>(std::make_unique<CpuWeight>(std::move(values)));
}

Result<void> CpuOps::prepare_rope(const RopeArgs& args) {
  EBB_TRY_VOID(check_rope(args));
  rotation_ = Rotation(args);
  return {};
}

void CpuOps::embed(const Weight& table, std::span<const TokenId> ids, float* d_out) {
  const CpuWeight& w = own(table);
  for (const TokenId id : ids) {
    EBB_CHECK(id >= 0 && static_cast<uint64_t>(id) < w.rows());
    inner_.dequantize(w.source().format, w.row(static_cast<uint64_t>(id)), w.columns(), d_out);
    d_out += w.columns();
  }
}

void CpuOps::rms_norm(const float* d_x, uint32_t rows, const Weight& gain, float epsilon,
                      float* d_out) {
  const std::vector<float>& factors = own(gain).vector();
  const uint64_t n = factors.size();
  parallel_ranges(rows, kGrainFloats / n, [&](uint64_t begin, uint64_t end) {
    for (uint64_t r = begin; r < end; ++r) {
      inner_.rms_norm(d_x + r * n, factors.data(), n, epsilon, d_out + r * n);
    }
  });
}

void CpuOps::rms_norm_heads(float* d_x, uint64_t row_stride, uint32_t rows, uint32_t heads,
                            uint32_t head_size, const Weight& gain, float epsilon) {
  const std::vector<float>& factors = own(gain).vector();
  EBB_CHECK(factors.size() == head_size && row_stride >= uint64_t{heads} * head_size);
  const uint64_t width = std::max<uint64_t>(uint64_t{heads} * head_size, 1);
  parallel_ranges(rows, kGrainFloats / width, [&](uint64_t begin, uint64_t end) {
    for (uint64_t r = begin; r < end; ++r) {
      for (uint64_t h = 0; h < heads; ++h) {
        float* head = d_x + r * row_stride + h * head_size;
        inner_.rms_norm(head, factors.data(), head_size, epsilon, head);
      }
    }
  });
}

void CpuOps::add_bias(float* d_x, uint64_t row_stride, uint32_t rows, const Weight& bias) {
  const std::vector<float>& values = own(bias).vector();
  EBB_CHECK(row_stride >= values.size());
  parallel_ranges(rows, kGrainFloats / values.size(), [&](uint64_t begin, uint64_t end) {
    for (uint64_t r = begin; r < end; ++r) {
      inner_.add(d_x + r * row_stride, values.data(), values.size());
    }
  });
}

void CpuOps::add(float* d_x, const float* d_y, uint64_t count) {
  parallel_ranges(count, kGrainFloats, [&](uint64_t begin, uint64_t end) {
    inner_.add(d_x + begin, d_y + begin, end - begin);
  });
}

void CpuOps::clear(float* d_x, uint64_t count) { std::fill_n(d_x, count, 0.0f); }

void CpuOps::silu_mul(const float* d_gate_up, uint32_t rows, uint32_t width, float* d_out) {
  parallel_ranges(rows, kGrainFloats / 4 / std::max(width, 1u), [&](uint64_t begin, uint64_t end) {
    for (uint64_t r = begin; r < end; ++r) {
      const float* gate = d_gate_up + r * 2 * width;
      inner_.silu_mul(gate, gate + width, width, d_out + r * width);
    }
  });
}

void CpuOps::rope(float* d_x, uint64_t row_stride, uint32_t heads, uint32_t head_size,
                  std::span<const Position> positions) {
  EBB_CHECK(rotation_.dims() > 0 && rotation_.dims() <= head_size);
  const uint64_t width = uint64_t{heads} * head_size;
  const uint64_t grain = kGrainFloats / 4 / std::max<uint64_t>(width, 1);
  parallel_ranges(positions.size(), grain, [&](uint64_t begin, uint64_t end) {
    Rotation::Angles angles;
    for (uint64_t r = begin; r < end; ++r) {
      rotation_.find(positions[r], angles);
      for (uint64_t h = 0; h < heads; ++h) {
        rotation_.turn(angles, d_x + r * row_stride + h * head_size);
      }
    }
  });
}

void CpuOps::append_kv(const KvShape& shape, std::span<const AppendArgs> items) {
  const uint32_t size = shape.head_size;
  const auto store = [&](const float* from, std::byte* to) {
    if (shape.element == KvElement::kBF16) return inner_.to_bf16(from, size, to);
    std::memcpy(to, from, shape.vector_bytes());
  };
  for (const AppendArgs& item : items) {
    const KvAccess access(shape, item.kv);
    for (uint64_t r = 0; r < item.slots.size(); ++r) {
      std::byte* to = access.row(item.slots[r]);
      for (uint64_t h = 0; h < shape.heads_kv; ++h, to += 2 * shape.vector_bytes()) {
        store(item.d_k + r * item.k_stride + h * size, to);
        store(item.d_v + r * item.v_stride + h * size, to + shape.vector_bytes());
      }
    }
  }
}

void CpuOps::attend(const KvShape& shape, std::span<const AttendArgs> items) {
  std::vector<QueryRow> rows;
  for (const AttendArgs& item : items) {
    EBB_CHECK(!item.listed() || (item.rows == 1 && item.window == 0));
    if (item.rows < kTileRowsMin) {
      for (uint32_t r = 0; r < item.rows; ++r) rows.push_back(query_row(shape, item, r));
      continue;
    }
    attend_tiles(shape, item, inner_, team_, threads_);
    if (item.d_logits == nullptr) continue;
    // Tiles leave no logits behind: the last row is scored once more.
    rows.push_back(query_row(shape, item, item.rows - 1));
    rows.back().out = nullptr;
    rows.back().lse = nullptr;
  }
  if (!rows.empty()) attend_rows(shape, rows, inner_, team_, threads_);
}

void CpuOps::merge_states(float* d_out_a, float* d_lse_a, const float* d_out_b,
                          const float* d_lse_b, uint32_t rows, uint32_t heads, uint32_t head_size) {
  for (uint64_t i = 0; i < uint64_t{rows} * heads; ++i) {
    const float most = std::max(d_lse_a[i], d_lse_b[i]);
    if (std::isinf(most) && most < 0) continue;  // both empty: a stays out = 0, lse = -inf
    const float weight_a = std::exp(d_lse_a[i] - most);
    const float weight_b = std::exp(d_lse_b[i] - most);
    const float sum = weight_a + weight_b;
    inner_.scale_add(d_out_a + i * head_size, weight_a / sum, d_out_b + i * head_size,
                     weight_b / sum, head_size);
    d_lse_a[i] = most + std::log(sum);
  }
}

std::unique_ptr<Transfer> CpuOps::pack_records(const RecordBand& band, std::byte* frames) {
  parallel_ranges(band.records.size(), kGrainBytes / band.frame_bytes(),
                  [&](uint64_t begin, uint64_t end) { pack(band, begin, end, frames); });
  return std::make_unique<FinishedTransfer>();
}

std::unique_ptr<Transfer> CpuOps::unpack_records(const RecordBand& band, const std::byte* frames,
                                                 Frames are) {
  std::vector<uint8_t> refused(band.records.size(), 0);
  parallel_ranges(
      band.records.size(), kGrainBytes / band.frame_bytes(),
      [&](uint64_t begin, uint64_t end) { unpack(band, begin, end, frames, are, refused.data()); });
  std::vector<uint32_t> which;
  for (uint32_t i = 0; i < refused.size(); ++i) {
    if (refused[i] != 0) which.push_back(i);
  }
  return std::make_unique<FinishedTransfer>(std::move(which));
}

void CpuOps::make_lists(std::span<const ListArgs> items) {
  for (const ListArgs& item : items) {
    if (item.d_map == nullptr) {
      std::copy(item.positions.begin(), item.positions.end(), item.d_slots);
      continue;
    }
    for (size_t i = 0; i < item.positions.size(); ++i) {
      item.d_slots[i] = item.d_map[item.positions[i]];
    }
  }
}

void CpuOps::update_maps(std::span<const MapArgs> items) {
  for (const MapArgs& item : items) {
    EBB_CHECK(item.positions.size() == item.slots.size());
    for (size_t i = 0; i < item.positions.size(); ++i)
      item.d_map[item.positions[i]] = item.slots[i];
  }
}

void CpuOps::copy_rows(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> from,
                       std::span<const uint32_t> to) {
  EBB_CHECK(from.size() == to.size());
  const KvAccess access(shape, kv);
  for (size_t i = 0; i < from.size(); ++i) {
    std::memcpy(access.row(to[i]), access.row(from[i]), shape.row_bytes());
  }
}

}  // namespace ebb::kernels::cpu
