// See sampling.h. One block to a row of logits.
//
// All that top_k, top_p and min_p keep is a beginning of the tokens sorted by logit (ties: by id),
// and a draw is the token at which the mass of that order passes a bound. Both are found without
// sorting: the logit at which a bound is passed by a radix descent, eight bits at a time, over
// histograms of mass (or of tokens); then which of the tokens with that logit by a prefix sum in
// order of ids. typical_p keeps a beginning in another order: what it leaves out loses its mass.
#include "kernels/cuda/sampling.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kThreadsMax = 1024;
constexpr uint32_t kBins = 256;
/// 2^18 tokens of the best one's weight are still below 2^63.
constexpr double kUnitMass = 17592186044416.0;  // 2^44

/// kernels/draw.h, with its spans in device memory.
struct RowDraw {
  uint32_t row;
  uint32_t top_k;
  float repetition, presence, frequency;
  float temperature, typical_p, top_p, min_p;
  uint32_t seen_count, bias_count, allowed_words;
  double uniform;
  const SeenToken* seen;
  const LogitBias* biases;
  const uint64_t* allowed;
  bool adjusts;
};

struct DrawArgs {
  const float* d_logits;
  const RowDraw* d_draws;
  uint64_t* d_weights;  ///< [draws, vocabulary]
  float* d_adjusted;    ///< [draws, vocabulary]; null: nothing is adjusted
  uint32_t vocabulary;
  TokenId* d_tokens;
};

struct Room {
  unsigned long long bins[kBins];
  uint64_t sums[kWarp];
  double means[kWarp];
  uint64_t above;
  uint32_t chosen;
};

/// Greater logits have greater keys; both zeros have the same.
__device__ __forceinline__ uint32_t key_of(float logit) {
  const unsigned bits = __float_as_uint(logit + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float logit_of(uint32_t key) {
  return __uint_as_float((key >> 31) != 0 ? key & 0x7fffffffu : ~key);
}

/// Penalties, biases and mask, in this order, on a copy of a row; every factor rounds by itself, as
/// on the host.
__device__ void adjust(const RowDraw& d, const float* logits, uint32_t count, float* out) {
  for (uint32_t id = threadIdx.x; id < count; id += blockDim.x) out[id] = logits[id];
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < d.seen_count; i += blockDim.x) {
    const SeenToken seen = d.seen[i];
    float logit = out[seen.token];
    logit = logit > 0 ? logit / d.repetition : __fmul_rn(logit, d.repetition);
    if (seen.generated > 0) {
      const float often = __fmul_rn(d.frequency, static_cast<float>(seen.generated));
      logit = __fadd_rn(logit, -__fadd_rn(d.presence, often));
    }
    out[seen.token] = logit;
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < d.bias_count; i += blockDim.x) {
    out[d.biases[i].token] = __fadd_rn(out[d.biases[i].token], d.biases[i].bias);
  }
  __syncthreads();
  for (uint32_t id = threadIdx.x; d.allowed != nullptr && id < count; id += blockDim.x) {
    const bool in = id / 64 < d.allowed_words && (d.allowed[id / 64] >> (id % 64) & 1) != 0;
    if (!in) out[id] = -INFINITY;
  }
  __syncthreads();
}

/// A beginning of the sorted tokens: those with a greater key, and the first `ties` ids of this
/// one.
struct Beginning {
  uint32_t key = 0;
  uint64_t ties = 0;
  uint64_t measure = 0;  ///< of all of them
};

class Row {
 public:
  __device__ Row(const float* logits, uint64_t* weights, uint32_t count, Room& room)
      : logits_(logits), weights_(weights), count_(count), room_(room) {}

  /// The best token, if any may come; sets what weights are relative to.
  __device__ TokenId best() {
    uint64_t most = 0;
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
      const uint64_t packed = uint64_t{key_of(logits_[id])} << 32 | (0xffffffffu - id);
      most = packed > most ? packed : most;
    }
    most = block_max(most, room_.sums);
    best_ = logit_of(static_cast<uint32_t>(most >> 32));
    if (best_ == -INFINITY) return kNoToken;
    return static_cast<TokenId>(0xffffffffu - static_cast<uint32_t>(most));
  }

  __device__ uint64_t weight_of(float logit) const {
    return static_cast<uint64_t>(
        exp((static_cast<double>(logit) - best_) / temperature_) * kUnitMass + 0.5);
  }
  __device__ uint64_t weight_of_best() const { return weight_of(static_cast<float>(best_)); }
  __device__ uint64_t weight_of_key(uint32_t key) const {
    return key == 0 ? 0 : weight_of(logit_of(key));
  }

  /// Weighs all tokens; their mass.
  __device__ uint64_t weigh(float temperature) {
    temperature_ = temperature;
    uint64_t mass = 0;
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
      weights_[id] = weight_of(logits_[id]);
      mass += weights_[id];
    }
    return block_sum(mass, room_.sums);
  }

  template <class Measure>
  __device__ uint64_t sum(Measure measure) {
    uint64_t mine = 0;
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) mine += measure(id);
    return block_sum(mine, room_.sums);
  }

  /// The shortest beginning whose measure is at least `bound` (1 to that of all tokens). `of_key`:
  /// the measure of one token with that key.
  template <class Measure, class OfKey>
  __device__ Beginning reach(uint64_t bound, Measure measure, OfKey of_key) {
    const auto key = [&](uint32_t id) { return uint64_t{key_of(logits_[id])}; };
    const Passed passed = descend<32>(bound, key, measure);
    const auto known = static_cast<uint32_t>(passed.key);
    const uint64_t each = of_key(known);
    const uint64_t ties = (bound - passed.above + each - 1) / each;
    return {known, ties, passed.above + ties * each};
  }

  /// What is behind a beginning has no weight any more.
  __device__ void drop_behind(const Beginning& kept) {
    const uint32_t begin = first_of(threadIdx.x), end = first_of(threadIdx.x + 1);
    uint64_t tied = 0;
    for (uint32_t id = begin; id < end; ++id) tied += key_of(logits_[id]) == kept.key ? 1 : 0;
    uint64_t before = before_this_thread(tied);
    for (uint32_t id = begin; id < end; ++id) {
      const uint32_t key = key_of(logits_[id]);
      if (key == kept.key) ++before;
      if (key < kept.key || (key == kept.key && before > kept.ties)) weights_[id] = 0;
    }
    __syncthreads();
  }

  /// Leaves their weight to those tokens whose surprise -ln q is nearest to its mean, the entropy,
  /// as many as it takes for `share` of `mass`, which all have together; what they have.
  __device__ uint64_t keep_typical(uint64_t mass, float share) {
    const double all = log(static_cast<double>(mass) / kUnitMass);
    const auto surprise = [&](uint32_t id) {
      return (best_ - static_cast<double>(logits_[id])) / temperature_ + all;
    };
    double mine = 0;
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
      if (weights_[id] > 0) mine += static_cast<double>(weights_[id]) * surprise(id);
    }
    const double entropy = block_sum(mine, room_.means) / static_cast<double>(mass);
    // Bits of positive numbers are ordered as the numbers are.
    const auto nearness = [&](uint32_t id) {
      return ~static_cast<uint64_t>(__double_as_longlong(fabs(surprise(id) - entropy)));
    };
    const auto weight = [&](uint32_t id) { return weights_[id]; };
    const uint64_t wanted = share_of(mass, share);
    const Passed passed = descend<64>(wanted, nearness, weight);
    const TokenId last = first_id(wanted - passed.above, [&](uint32_t id) -> uint64_t {
      return weights_[id] > 0 && nearness(id) == passed.key ? weights_[id] : 0;
    });
    __syncthreads();  // everybody has read the weights
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
      if (weights_[id] == 0) continue;
      const uint64_t key = nearness(id);
      const bool behind = id > static_cast<uint32_t>(last);
      if (key < passed.key || (key == passed.key && behind)) weights_[id] = 0;
    }
    __syncthreads();
    return sum(weight);
  }

  __device__ uint64_t heaviest() {
    uint64_t most = 0;
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
      most = weights_[id] > most ? weights_[id] : most;
    }
    return block_max(most, room_.sums);
  }

  /// 1 to `mass`.
  __device__ static uint64_t share_of(uint64_t mass, float share) {
    const double wanted = ceil(share * static_cast<double>(mass));
    return wanted < 1 ? 1 : min(static_cast<uint64_t>(wanted), mass);
  }

  /// The first id at which the measure of the ids up to it reaches `bound`; in every thread.
  template <class Measure>
  __device__ TokenId first_id(uint64_t bound, Measure measure) {
    const uint32_t begin = first_of(threadIdx.x), end = first_of(threadIdx.x + 1);
    uint64_t mine = 0;
    for (uint32_t id = begin; id < end; ++id) mine += measure(id);
    uint64_t before = before_this_thread(mine);
    if (before < bound && bound <= before + mine) {
      uint32_t id = begin;
      for (; id + 1 < end; ++id) {
        before += measure(id);
        if (before >= bound) break;
      }
      room_.chosen = id;
    }
    __syncthreads();
    return static_cast<TokenId>(room_.chosen);
  }

  __device__ float logit(uint32_t id) const { return logits_[id]; }
  __device__ uint64_t weight(uint32_t id) const { return weights_[id]; }

 private:
  /// Where a bound is passed: the key, and the measure of all greater ones.
  struct Passed {
    uint64_t key;
    uint64_t above;
  };
  /// From the greatest key of `bits` bits down. A token without measure needs no key.
  template <uint32_t kBits, class Key, class Measure>
  __device__ Passed descend(uint64_t bound, Key key_of_id, Measure measure) {
    Passed passed{0, 0};
    for (uint32_t shift = kBits; shift > 0;) {
      shift -= 8;
      for (uint32_t i = threadIdx.x; i < kBins; i += blockDim.x) room_.bins[i] = 0;
      __syncthreads();
      for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
        const unsigned long long add = measure(id);
        if (add == 0) continue;
        const uint64_t key = key_of_id(id);
        if (shift < kBits - 8 && key >> (shift + 8) != passed.key) continue;
        atomicAdd(&room_.bins[key >> shift & (kBins - 1)], add);
      }
      __syncthreads();
      if (threadIdx.x == 0) choose_bin(bound, passed.above);
      __syncthreads();
      passed = {passed.key << 8 | room_.chosen, room_.above};
    }
    return passed;
  }

  /// The threads share the ids in order.
  __device__ uint32_t first_of(uint32_t thread) const {
    return min(thread * ((count_ + blockDim.x - 1) / blockDim.x), count_);
  }

  __device__ void choose_bin(uint64_t bound, uint64_t above) {
    uint32_t bin = kBins - 1;
    while (bin > 0 && above + room_.bins[bin] < bound) above += room_.bins[bin--];
    room_.chosen = bin;
    room_.above = above;
  }

  __device__ uint64_t before_this_thread(uint64_t mine) {
    uint64_t up_to = mine;  // this lane included
    for (unsigned step = 1; step < kWarp; step *= 2) {
      const uint64_t other = __shfl_up_sync(kAllLanes, up_to, step);
      if (lane_id() >= step) up_to += other;
    }
    __syncthreads();
    if (lane_id() == kWarp - 1) room_.sums[warp_id()] = up_to;
    __syncthreads();
    uint64_t before = up_to - mine;
    for (uint32_t w = 0; w < warp_id(); ++w) before += room_.sums[w];
    return before;
  }

  const float* logits_;
  uint64_t* weights_;
  uint32_t count_;
  Room& room_;
  double best_ = 0;
  double temperature_ = 1;
};

/// The filters, each on what the one before left; the mass that is left. False: none was asked for.
__device__ __forceinline__ bool filter(Row& row, const RowDraw& d, uint64_t& mass) {
  const auto weight = [&](uint32_t id) { return row.weight(id); };
  const auto of_key = [&](uint32_t key) { return row.weight_of_key(key); };
  Beginning kept;
  const auto exists = [&](uint32_t id) -> uint64_t { return row.logit(id) > -INFINITY ? 1 : 0; };
  const bool few = d.top_k > 0 && d.top_k < row.sum(exists);
  if (few) {
    kept = row.reach(d.top_k, exists, [](uint32_t) { return uint64_t{1}; });
    mass = row.sum([&](uint32_t id) {
      return key_of(row.logit(id)) > kept.key ? row.weight(id) : uint64_t{0};
    });
    mass += kept.ties * row.weight_of_key(kept.key);
  }
  uint64_t heaviest = row.weight_of_best();
  const bool typical = d.typical_p < 1;
  if (typical) {
    if (few) row.drop_behind(kept);
    kept = {};
    mass = row.keep_typical(mass, d.typical_p);
    heaviest = row.heaviest();
  }
  if (d.top_p < 1) {
    kept = row.reach(Row::share_of(mass, d.top_p), weight, of_key);
    mass = kept.measure;
  }
  const double least = d.min_p * static_cast<double>(heaviest);
  if (d.min_p > 0 && static_cast<double>(row.weight_of_key(kept.key)) < least) {
    mass = row.sum([&](uint32_t id) {
      return static_cast<double>(row.weight(id)) >= least ? row.weight(id) : uint64_t{0};
    });
  }
  return few || typical || d.top_p < 1 || d.min_p > 0;
}

__global__ void __launch_bounds__(kThreadsMax) draw_kernel(DrawArgs a) {
  __shared__ Room room;
  const RowDraw d = a.d_draws[blockIdx.x];
  const uint64_t at = uint64_t{blockIdx.x} * a.vocabulary;
  const float* logits = a.d_logits + uint64_t{d.row} * a.vocabulary;
  if (d.adjusts) {
    adjust(d, logits, a.vocabulary, a.d_adjusted + at);
    logits = a.d_adjusted + at;
  }
  Row row(logits, a.d_weights + at, a.vocabulary, room);
  TokenId token = row.best();
  if (d.temperature > 0 && token != kNoToken) {
    uint64_t mass = row.weigh(d.temperature);
    const bool sorted = filter(row, d, mass);
    const uint64_t bound =
        min(static_cast<uint64_t>(d.uniform * static_cast<double>(mass)) + 1, mass);
    const auto weight = [&](uint32_t id) { return row.weight(id); };
    if (sorted) {
      const Beginning drawn =
          row.reach(bound, weight, [&](uint32_t key) { return row.weight_of_key(key); });
      token = row.first_id(drawn.ties, [&](uint32_t id) -> uint64_t {
        return row.weight(id) > 0 && key_of(row.logit(id)) == drawn.key ? 1 : 0;
      });
    } else {
      __syncthreads();  // weights of other threads are there
      token = row.first_id(bound, weight);
    }
  }
  if (threadIdx.x == 0) a.d_tokens[blockIdx.x] = token;
}

}  // namespace

std::vector<TokenId> draw(CudaContext& context, const float* d_logits, uint32_t vocabulary,
                          std::span<const Draw> rows) {
  EBB_CHECK(vocabulary > 0);
  std::vector<TokenId> tokens(rows.size(), kNoToken);
  if (rows.empty() || context.failed()) return tokens;
  std::vector<RowDraw> draws;
  bool adjusts = false;
  for (const Draw& d : rows) {
    draws.push_back({d.row, d.top_k, d.repetition_penalty, d.presence_penalty, d.frequency_penalty,
                     d.temperature, d.typical_p, d.top_p, d.min_p,
                     static_cast<uint32_t>(d.seen.size()), static_cast<uint32_t>(d.biases.size()),
                     static_cast<uint32_t>(d.allowed.size()), d.uniform, nullptr, nullptr, nullptr,
                     d.adjusts()});
    if (!d.seen.empty()) draws.back().seen = context.upload(d.seen);
    if (!d.biases.empty()) draws.back().biases = context.upload(d.biases);
    if (!d.allowed.empty()) draws.back().allowed = context.upload(d.allowed);
    adjusts = adjusts || d.adjusts();
  }
  const size_t bytes = rows.size() * sizeof(TokenId), logits = rows.size() * vocabulary;
  DrawArgs args{};
  args.d_logits = d_logits;
  args.vocabulary = vocabulary;
  args.d_draws = context.upload(draws);
  args.d_weights = static_cast<uint64_t*>(
      context.scratch(CudaContext::kScores, logits * (adjusts ? 12 : sizeof(uint64_t))));
  if (adjusts) args.d_adjusted = reinterpret_cast<float*>(args.d_weights + logits);
  args.d_tokens = context.scratch_of<TokenId>(CudaContext::kSmall, rows.size());
  void* chosen = context.pinned(bytes);
  if (context.failed()) return tokens;
  launch(context.shape(static_cast<unsigned>(rows.size()), sampling_threads(vocabulary)),
         &draw_kernel, args);
  context.check_launch("drawing tokens");
  context.check(
      cudaMemcpyAsync(chosen, args.d_tokens, bytes, cudaMemcpyDeviceToHost, context.stream()),
      "reading tokens");
  context.wait("drawing tokens");
  if (!context.failed()) {
    std::copy_n(static_cast<const TokenId*>(chosen), tokens.size(), tokens.begin());
  }
  return tokens;
}

}  // namespace ebb::kernels::cuda
