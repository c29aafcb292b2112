// See sampling.h. One block to a row of logits.
//
// All that is kept by a filter is a beginning of the tokens sorted by logit (ties: by id), and a
// draw is the token at which the mass of that order passes a bound. Both are found without sorting:
// the logit at which a bound is passed by a radix descent, eight bits at a time, over histograms of
// mass (or of tokens); then which of the tokens with that logit by a prefix sum in order of ids.
#include "kernels/cuda/sampling.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kThreadsMax = 1024;
constexpr uint32_t kBins = 256;
/// 2^18 tokens of the best one's weight are still below 2^63.
constexpr double kUnitMass = 17592186044416.0;  // 2^44

struct SampleArgs {
  const float* d_logits;
  const Sampling* d_samplings;
  uint64_t* d_weights;  ///< [rows, vocabulary]
  uint32_t vocabulary;
  TokenId* d_tokens;
};

struct Room {
  unsigned long long bins[kBins];
  uint64_t sums[kWarp];
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

/// A beginning of the sorted tokens: those with a greater key, and the first `ties` ids of this
/// one.
struct Beginning {
  uint32_t key = 0;
  uint64_t ties = 0;
  uint64_t measure = 0;  ///< of all of them
};

class Row {
 public:
  __device__ Row(const SampleArgs& a, Room& room)
      : logits_(a.d_logits + uint64_t{blockIdx.x} * a.vocabulary),
        weights_(a.d_weights + uint64_t{blockIdx.x} * a.vocabulary),
        count_(a.vocabulary),
        room_(room) {}

  /// The best token; sets what weights are relative to.
  __device__ TokenId best() {
    uint64_t most = 0;
    for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
      const uint64_t packed = uint64_t{key_of(logits_[id])} << 32 | (0xffffffffu - id);
      most = packed > most ? packed : most;
    }
    most = block_max(most, room_.sums);
    best_ = logit_of(static_cast<uint32_t>(most >> 32));
    return static_cast<TokenId>(0xffffffffu - static_cast<uint32_t>(most));
  }

  __device__ uint64_t weight_of(float logit) const {
    return static_cast<uint64_t>(
        exp((static_cast<double>(logit) - best_) / temperature_) * kUnitMass + 0.5);
  }
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
    uint32_t known = 0;
    uint64_t above = 0;
    for (uint32_t shift = 32; shift > 0;) {
      shift -= 8;
      for (uint32_t i = threadIdx.x; i < kBins; i += blockDim.x) room_.bins[i] = 0;
      __syncthreads();
      for (uint32_t id = threadIdx.x; id < count_; id += blockDim.x) {
        const uint32_t key = key_of(logits_[id]);
        if (shift < 24 && key >> (shift + 8) != known) continue;
        const unsigned long long add = measure(id);
        if (add != 0) atomicAdd(&room_.bins[key >> shift & (kBins - 1)], add);
      }
      __syncthreads();
      if (threadIdx.x == 0) choose_bin(bound, above);
      __syncthreads();
      known = known << 8 | room_.chosen;
      above = room_.above;
    }
    const uint64_t each = of_key(known);
    const uint64_t ties = (bound - above + each - 1) / each;
    return {known, ties, above + ties * each};
  }

  /// The first id at which the measure of the ids up to it reaches `bound`; in every thread.
  template <class Measure>
  __device__ TokenId first_id(uint64_t bound, Measure measure) {
    const uint32_t each = (count_ + blockDim.x - 1) / blockDim.x;
    const uint32_t begin = min(threadIdx.x * each, count_), end = min(begin + each, count_);
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
__device__ __forceinline__ bool filter(Row& row, const Sampling& s, uint64_t& mass) {
  const auto weight = [&](uint32_t id) { return row.weight(id); };
  const auto of_key = [&](uint32_t key) { return row.weight_of_key(key); };
  Beginning kept;
  const auto exists = [&](uint32_t id) -> uint64_t { return row.logit(id) > -INFINITY ? 1 : 0; };
  const bool few = s.top_k > 0 && s.top_k < row.sum(exists);
  if (few) {
    kept = row.reach(s.top_k, exists, [](uint32_t) { return uint64_t{1}; });
    mass = row.sum([&](uint32_t id) {
      return key_of(row.logit(id)) > kept.key ? row.weight(id) : uint64_t{0};
    });
    mass += kept.ties * row.weight_of_key(kept.key);
  }
  if (s.top_p < 1) {
    const double wanted = ceil(s.top_p * static_cast<double>(mass));
    kept = row.reach(wanted < 1 ? 1 : min(static_cast<uint64_t>(wanted), mass), weight, of_key);
    mass = kept.measure;
  }
  const double least = s.min_p * kUnitMass;
  if (s.min_p > 0 && static_cast<double>(row.weight_of_key(kept.key)) < least) {
    mass = row.sum([&](uint32_t id) {
      return static_cast<double>(row.weight(id)) >= least ? row.weight(id) : uint64_t{0};
    });
  }
  return few || s.top_p < 1 || s.min_p > 0;
}

__global__ void __launch_bounds__(kThreadsMax) sample_kernel(SampleArgs a) {
  __shared__ Room room;
  const Sampling s = a.d_samplings[blockIdx.x];
  Row row(a, room);
  TokenId token = row.best();
  if (s.temperature > 0) {
    uint64_t mass = row.weigh(s.temperature);
    const bool sorted = filter(row, s, mass);
    const uint64_t bound =
        min(static_cast<uint64_t>(s.uniform * static_cast<double>(mass)) + 1, mass);
    const auto weight = [&](uint32_t id) { return row.weight(id); };
    if (sorted) {
      const Beginning drawn =
          row.reach(bound, weight, [&](uint32_t key) { return row.weight_of_key(key); });
      token = row.first_id(drawn.ties, [&](uint32_t id) -> uint64_t {
        return key_of(row.logit(id)) == drawn.key ? 1 : 0;
      });
    } else {
      __syncthreads();  // weights of other threads are there
      token = row.first_id(bound, weight);
    }
  }
  if (threadIdx.x == 0) a.d_tokens[blockIdx.x] = token;
}

}  // namespace

std::vector<TokenId> sample(CudaContext& context, const float* d_logits, uint32_t vocabulary,
                            std::span<const Sampling> samplings) {
  EBB_CHECK(vocabulary > 0);
  std::vector<TokenId> tokens(samplings.size());
  if (samplings.empty() || context.failed()) return tokens;
  const size_t bytes = samplings.size() * sizeof(TokenId);
  SampleArgs args{};
  args.d_logits = d_logits;
  args.vocabulary = vocabulary;
  args.d_samplings = context.upload(samplings);
  args.d_weights =
      context.scratch_of<uint64_t>(CudaContext::kScores, samplings.size() * vocabulary);
  args.d_tokens = context.scratch_of<TokenId>(CudaContext::kSmall, samplings.size());
  void* chosen = context.pinned(bytes);
  if (context.failed()) return tokens;
  launch(context.shape(static_cast<unsigned>(samplings.size()), sampling_threads(vocabulary)),
         &sample_kernel, args);
  context.check_launch("sampling");
  context.check(
      cudaMemcpyAsync(chosen, args.d_tokens, bytes, cudaMemcpyDeviceToHost, context.stream()),
      "reading tokens");
  context.wait("sampling");
  if (!context.failed())
    std::copy_n(static_cast<const TokenId*>(chosen), tokens.size(), tokens.begin());
  return tokens;
}

}  // namespace ebb::kernels::cuda
