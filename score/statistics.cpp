#include "score/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace ebb::score {
namespace {

constexpr double kNormal975 = 1.959963984540054;

struct Piece {
  double count = 0;
  double mean = 0;
};

/// Pieces of nearly equal length, each of about `size` values.
void cut(const std::vector<double>& run, double size, std::vector<Piece>& pieces) {
  if (run.empty()) return;
  const auto parts =
      static_cast<size_t>(std::max(1.0, std::floor(static_cast<double>(run.size()) / size)));
  for (size_t i = 0; i < parts; ++i) {
    const auto begin = run.begin() + static_cast<std::ptrdiff_t>(run.size() * i / parts);
    const auto end = run.begin() + static_cast<std::ptrdiff_t>(run.size() * (i + 1) / parts);
    const auto count = static_cast<double>(end - begin);
    pieces.push_back({count, std::accumulate(begin, end, 0.0) / count});
  }
}

}  // namespace

double student_t_975(uint64_t freedom) {
  EBB_CHECK(freedom >= 1);
  static constexpr double kTable[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706,
                                      2.4469,  2.3646, 2.3060, 2.2622, 2.2281};
  if (freedom <= std::size(kTable)) return kTable[freedom - 1];
  const double z = kNormal975;
  const double z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
  const auto v = static_cast<double>(freedom);
  return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

Estimate batch_means(const std::vector<std::vector<double>>& runs) {
  Estimate out;
  double sum = 0;
  for (const auto& run : runs) {
    out.count += run.size();
    sum = std::accumulate(run.begin(), run.end(), sum);
  }
  if (out.count == 0) return out;
  const auto n = static_cast<double>(out.count);
  out.mean = out.low = out.high = sum / n;
  std::vector<Piece> pieces;
  for (const auto& run : runs) cut(run, std::floor(std::sqrt(n)), pieces);
  out.batches = pieces.size();
  if (pieces.size() < 2) return out;
  double variance = 0;
  for (const Piece& piece : pieces) {
    const double off = (piece.count / n) * (piece.mean - out.mean);
    variance += off * off;
  }
  const auto a = static_cast<double>(pieces.size());
  out.standard_error = std::sqrt(variance * a / (a - 1));
  const double reach = student_t_975(pieces.size() - 1) * out.standard_error;
  out.low = out.mean - reach;
  out.high = out.mean + reach;
  return out;
}

Proportion wilson(uint64_t successes, uint64_t trials) {
  if (trials == 0) return {0, 0, 1};
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double z2 = kNormal975 * kNormal975;
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double reach = kNormal975 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {p, std::max(0.0, middle - reach), std::min(1.0, middle + reach)};
}

}  // namespace ebb::score
