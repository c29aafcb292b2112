#include "worker/sampler.h"

#include <algorithm>
#include <cmath>
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

TokenId sample_token(std::span<const float> logits, const control::SamplingParams& params,
                     Position position) {
  EBB_CHECK(!logits.empty());
  if (params.temperature <= 0) {
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  const bool filtered = params.top_k > 0 || params.top_p < 1.0f;
  const size_t keep = params.top_k > 0 ? params.top_k : logits.size();
  std::vector<TokenId> ids;
  if (filtered) {
    ids = best_ids(logits, keep);
  } else {
    ids.resize(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
  }
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> weight(ids.size());
  double sum = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    weight[i] = std::exp((static_cast<double>(logits[static_cast<size_t>(ids[i])]) - top) /
                         params.temperature);
    sum += weight[i];
  }
  if (params.top_p < 1.0f) {
    double reached = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      reached += weight[i];
      if (reached >= params.top_p * sum) {
        weight.resize(i + 1);
        sum = reached;
        break;
      }
    }
  }
  double left = keyed_uniform(params.seed, position) * sum;
  for (size_t i = 0; i < weight.size(); ++i) {
    left -= weight[i];
    if (left < 0) return ids[i];
  }
  return ids[weight.size() - 1];
}

}  // namespace ebb::worker
