#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace ebb::worker {
namespace {

uint64_t split_mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

double log_sum_exp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float v : logits) sum += std::exp(static_cast<double>(v) - top);
  return top + std::log(sum);
}

/// Ids of the `count` best, best first; ties: lower id first.
std::vector<TokenId> best_ids(std::span<const float> logits, size_t count) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  count = std::min(count, ids.size());
  const auto better = [&](TokenId a, TokenId b) {
    const float la = logits[static_cast<size_t>(a)], lb = logits[static_cast<size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(count), ids.end(), better);
  ids.resize(count);
  return ids;
}

/// Sorts as much of the beginning as is needed for its weights to reach `wanted`; the rest goes.
/// Returns the weight of what is kept. Chunks grow: few tokens usually hold most of the weight.
template <class Candidate, class Before>
double keep_first(std::vector<Candidate>& kept, double wanted, Before before) {
  double reached = 0;
  size_t done = 0;
  for (size_t chunk = 32; done < kept.size(); chunk *= 8) {
    const size_t end = std::min(kept.size(), done + chunk);
    const auto first = kept.begin() + static_cast<ptrdiff_t>(done);
    const auto last = kept.begin() + static_cast<ptrdiff_t>(end);
    if (end < kept.size()) std::nth_element(first, last, kept.end(), before);
    std::sort(first, last, before);
    for (; done < end; ++done) {
      reached += kept[done].weight;
      if (reached < wanted) continue;
      kept.resize(done + 1);
      return reached;
    }
  }
  return reached;
}

template <class Candidate>
bool is_better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

}  // namespace

double keyed_uniform(uint64_t seed, uint64_t position) {
  return static_cast<double>(split_mix(split_mix(seed) ^ position) >> 11) * 0x1.0p-53;
}

control::TokenLogprob score_token(std::span<const float> logits, TokenId token, uint32_t top) {
  const double total = log_sum_exp(logits);
  control::TokenLogprob scored;
  scored.token = token;
  scored.logprob = static_cast<float>(logits[static_cast<size_t>(token)] - total);
  if (top > 0) {
    for (TokenId id : best_ids(logits, top)) {
      scored.top.emplace_back(id, static_cast<float>(logits[static_cast<size_t>(id)] - total));
    }
  }
  return scored;
}

uint32_t rank_of_token(std::span<const float> logits, TokenId token) {
  const float own = logits[static_cast<size_t>(token)];
  return 1 + static_cast<uint32_t>(
                 std::count_if(logits.begin(), logits.end(), [&](float v) { return v > own; }));
}

void adjust_logits(std::span<float> logits, const control::SamplingParams& params,
                   std::span<const SeenToken> seen) {
  for (const SeenToken& one : seen) {
    float& logit = logits[static_cast<size_t>(one.token)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (one.generated == 0) continue;
    logit -= params.presence_penalty + params.frequency_penalty * static_cast<float>(one.generated);
  }
  for (const control::TokenBias& bias : params.logit_bias) {
    logits[static_cast<size_t>(bias.token)] += bias.bias;
  }
}

/// Sets the weights; returns their sum.
double Sampler::weigh(float temperature) {
  float best = -std::numeric_limits<float>::infinity();
  for (const Candidate& candidate : kept_) best = std::max(best, candidate.logit);
  double sum = 0;
  for (Candidate& candidate : kept_) {
    candidate.weight = std::exp((static_cast<double>(candidate.logit) - best) / temperature);
    sum += candidate.weight;
  }
  return sum;
}

/// Those whose surprise -ln p is nearest to the mean surprise (the entropy).
double Sampler::keep_typical(double sum, double share) {
  double entropy = 0;
  for (const Candidate& candidate : kept_) {
    const double p = candidate.weight / sum;
    if (p > 0) entropy -= p * std::log(p);
  }
  std::erase_if(kept_, [](const Candidate& candidate) { return candidate.weight <= 0; });
  for (Candidate& candidate : kept_) {
    candidate.distance = std::abs(-std::log(candidate.weight / sum) - entropy);
  }
  return keep_first(kept_, share * sum, [&](const Candidate& a, const Candidate& b) {
    return a.distance != b.distance ? a.distance < b.distance : is_better(a, b);
  });
}

double Sampler::keep_nucleus(double sum, double share) {
  return keep_first(kept_, share * sum, is_better<Candidate>);
}

double Sampler::keep_likely(double share) {
  double best = 0;
  for (const Candidate& candidate : kept_) best = std::max(best, candidate.weight);
  std::erase_if(kept_, [&](const Candidate& c) { return c.weight < share * best; });
  double sum = 0;
  for (const Candidate& candidate : kept_) sum += candidate.weight;
  return sum;
}

TokenId Sampler::sample(std::span<const float> logits, const control::SamplingParams& params,
                        Position position) {
  EBB_CHECK(!logits.empty());
  if (params.temperature <= 0) {
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  kept_.clear();
  for (size_t id = 0; id < logits.size(); ++id) {
    if (logits[id] == -std::numeric_limits<float>::infinity()) continue;
    kept_.push_back({static_cast<TokenId>(id), logits[id]});
  }
  EBB_CHECK(!kept_.empty());
  const bool top_k = params.top_k > 0 && params.top_k < kept_.size();
  if (top_k) {
    const auto end = kept_.begin() + static_cast<ptrdiff_t>(params.top_k);
    std::nth_element(kept_.begin(), end, kept_.end(), is_better<Candidate>);
    kept_.resize(params.top_k);
  }
  double sum = weigh(params.temperature);
  const bool typical = params.typical_p < 1, nucleus = params.top_p<1, likely = params.min_p> 0;
  if (typical) sum = keep_typical(sum, params.typical_p);
  if (nucleus) sum = keep_nucleus(sum, params.top_p);
  if (likely) sum = keep_likely(params.min_p);
  // One order for the draw, whatever way the selection took.
  if (top_k || typical || nucleus || likely) {
    std::sort(kept_.begin(), kept_.end(), is_better<Candidate>);
  }
  double left = keyed_uniform(params.seed, position) * sum;
  for (const Candidate& candidate : kept_) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return kept_.back().token;
}

}  // namespace ebb::worker
