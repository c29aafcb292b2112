#include "score/anchor_search.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <set>

#include "base/check.h"

namespace ebb::score {
namespace {

/// Errors of the layers behind anchor `a` and before `end`.
double segment_cost(const ErrorMatrix& errors, size_t a, size_t end) {
  double sum = 0;
  for (size_t layer = a + 1; layer < end; ++layer) sum += errors[layer][a];
  return sum;
}

bool ascends(const Anchors& anchors, size_t layers) {
  for (size_t i = 1; i < anchors.size(); ++i)
    if (anchors[i] <= anchors[i - 1]) return false;
  return !anchors.empty() && anchors.front() == 0 && anchors.back() < layers;
}

/// All that one move of one anchor makes.
std::set<Anchors> moved(const Anchors& anchors, size_t layers) {
  std::set<Anchors> out;
  for (size_t i = 1; i < anchors.size(); ++i) {
    for (const int step : {-2, -1, 1, 2}) {
      const int64_t layer = int64_t{anchors[i]} + step;
      if (layer < 1 || layer >= static_cast<int64_t>(layers)) continue;
      Anchors other = anchors;
      other[i] = static_cast<uint32_t>(layer);
      if (ascends(other, layers)) out.insert(std::move(other));
    }
  }
  return out;
}

std::set<Anchors> swapped(const Anchors& anchors, size_t layers) {
  std::set<Anchors> out;
  for (size_t i = 1; i < anchors.size(); ++i) {
    for (uint32_t layer = 1; layer < layers; ++layer) {
      if (std::binary_search(anchors.begin(), anchors.end(), layer)) continue;
      Anchors other = anchors;
      other[i] = layer;
      std::sort(other.begin(), other.end());
      out.insert(std::move(other));
    }
  }
  return out;
}

std::vector<Anchors> by_cost(const ErrorMatrix& errors, const std::set<Anchors>& some) {
  std::vector<std::pair<double, Anchors>> order;
  for (const Anchors& anchors : some) order.emplace_back(cost_of(errors, anchors), anchors);
  std::sort(order.begin(), order.end());
  std::vector<Anchors> out;
  for (auto& entry : order) out.push_back(std::move(entry.second));
  return out;
}

/// A search under way.
class Search {
 public:
  Search(const ErrorMatrix& errors, const SearchLimits& limits, const Judge& judge)
      : errors_(errors), limits_(limits), judge_(judge) {}

  Result<SearchOutcome> run(const Anchors& start) {
    EBB_TRY_VOID(judge(std::span(&start, 1)));
    out_.best = start;
    out_.loss = losses_.at(start);
    out_.rounds.push_back({1, start, out_.loss});
    for (uint32_t round = 0; round < limits_.rounds && !out_.is_local_best; ++round) {
      const size_t before = losses_.size();
      const Result<void> done = this->round();
      if (!done && done.error().code != Code::kCancelled) return done.error();
      const auto judged = static_cast<uint32_t>(losses_.size() - before);
      if (judged > 0) out_.rounds.push_back({judged, out_.best, out_.loss});
      if (!done) break;
    }
    return std::move(out_);
  }

 private:
  /// Judges what was not judged before, and takes the best of all.
  Result<void> judge(std::span<const Anchors> asked) {
    std::vector<Anchors> fresh;
    for (const Anchors& anchors : asked)
      if (!losses_.contains(anchors)) fresh.push_back(anchors);
    if (fresh.empty()) return {};
    const std::vector<double> losses = EBB_TRY(judge_(fresh));
    EBB_CHECK(losses.size() == fresh.size());
    for (size_t i = 0; i < fresh.size(); ++i) losses_[fresh[i]] = losses[i];
    return {};
  }
  void take_best(const std::vector<Anchors>& judged) {
    for (const Anchors& anchors : judged) {
      const double loss = losses_.at(anchors);
      if (loss >= out_.loss) continue;
      out_.best = anchors;
      out_.loss = loss;
    }
  }

  Result<void> round() {
    const Anchors from = out_.best;
    const double loss = out_.loss;
    // Small portions: a search that runs out of time has judged the likely ones.
    const std::vector<Anchors> all = neighbours(errors_, from, limits_.swaps);
    constexpr size_t kPortion = 4;
    for (size_t at = 0; at < all.size(); at += kPortion) {
      const size_t count = std::min(kPortion, all.size() - at);
      EBB_TRY_VOID(judge(std::span(all).subspan(at, count)));
      take_best({all.begin() + static_cast<std::ptrdiff_t>(at),
                 all.begin() + static_cast<std::ptrdiff_t>(at + count)});
    }
    const std::vector<Anchors> together = {combined(from, loss)};
    if (ascends(together[0], errors_.size())) {
      EBB_TRY_VOID(judge(together));
      take_best(together);
    }
    out_.is_local_best = out_.best == from;
    return {};
  }

  /// Every anchor where its own best move takes it; not ascending when moves collide.
  Anchors combined(const Anchors& from, double loss) const {
    Anchors out = from;
    for (size_t i = 1; i < from.size(); ++i) {
      double best = loss;
      for (const int step : {-2, -1, 1, 2}) {
        Anchors other = from;
        other[i] = static_cast<uint32_t>(int64_t{other[i]} + step);
        const auto found = losses_.find(other);
        if (found == losses_.end() || found->second >= best) continue;
        best = found->second;
        out[i] = other[i];
      }
    }
    return out;
  }

  const ErrorMatrix& errors_;
  const SearchLimits& limits_;
  const Judge& judge_;
  std::map<Anchors, double> losses_;
  SearchOutcome out_;
};

}  // namespace

std::string anchors_text(const Anchors& anchors) {
  std::string out;
  for (const uint32_t layer : anchors) out += (out.empty() ? "" : ",") + std::to_string(layer);
  return out;
}

Result<Anchors> parse_anchors(const std::string& option, const std::string& text, uint32_t layers) {
  Anchors out;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at <= end) {
    uint32_t layer = 0;
    const auto [stop, error] = std::from_chars(at, end, layer);
    if (error != std::errc{} || (stop != end && *stop != ','))
      return invalid(option + " \"" + text + "\" is not a list of layers such as 0,2,7");
    if (layer >= layers)
      return invalid(option + " " + text + ": layer " + std::to_string(layer) + ", the model has " +
                     std::to_string(layers) + " (0 to " + std::to_string(layers - 1) + ")");
    out.push_back(layer);
    at = stop + 1;
  }
  if (!ascends(out, layers))
    return invalid(option + " " + text + ": layers must ascend, and 0 must be the first");
  return out;
}

double cost_of(const ErrorMatrix& errors, const Anchors& anchors) {
  double sum = 0;
  for (size_t i = 0; i < anchors.size(); ++i) {
    const size_t end = i + 1 < anchors.size() ? anchors[i + 1] : errors.size();
    sum += segment_cost(errors, anchors[i], end);
  }
  return sum;
}

std::vector<Anchors> best_anchors(const ErrorMatrix& errors, uint32_t most) {
  const size_t layers = errors.size();
  EBB_CHECK(layers > 0);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  // cost[b]: the least of the layers below b with as many anchors as the round says, the last of
  // them at b.
  std::vector<double> cost(layers, kNever);
  cost[0] = 0;
  std::vector<std::vector<uint32_t>> before;  // [anchors - 1][b]: the anchor before b
  before.emplace_back(layers, 0);
  std::vector<Anchors> out;
  for (uint32_t count = 1; count <= std::min<size_t>(most, layers); ++count) {
    // 1. The whole model with `count` anchors.
    double least = kNever;
    uint32_t last = 0;
    for (uint32_t b = 0; b < layers; ++b) {
      const double whole = cost[b] + segment_cost(errors, b, layers);
      if (whole >= least) continue;
      least = whole;
      last = b;
    }
    Anchors anchors(count);
    for (uint32_t i = count; i-- > 0; last = before[i][last]) anchors[i] = last;
    out.push_back(std::move(anchors));
    // 2. One anchor more.
    std::vector<double> next(layers, kNever);
    before.emplace_back(layers, 0);
    for (uint32_t b = 1; b < layers; ++b) {
      for (uint32_t a = 0; a < b; ++a) {
        const double sum = cost[a] + segment_cost(errors, a, b);
        if (sum >= next[b]) continue;
        next[b] = sum;
        before.back()[b] = a;
      }
    }
    cost = std::move(next);
  }
  return out;
}

std::vector<Anchors> neighbours(const ErrorMatrix& errors, const Anchors& anchors, uint32_t swaps) {
  std::set<Anchors> some = moved(anchors, errors.size());
  some.erase(anchors);
  uint32_t taken = 0;
  for (const Anchors& other : by_cost(errors, swapped(anchors, errors.size()))) {
    if (taken == swaps) break;
    if (some.insert(other).second) ++taken;
  }
  return by_cost(errors, some);
}

Result<SearchOutcome> search_anchors(const Anchors& start, const ErrorMatrix& errors,
                                     const SearchLimits& limits, const Judge& judge) {
  EBB_CHECK(ascends(start, errors.size()));
  return Search(errors, limits, judge).run(start);
}

}  // namespace ebb::score
