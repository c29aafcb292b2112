// Means and how far they can be trusted. Pure: numbers in, numbers out.
#pragma once

#include <cstdint>
#include <vector>

namespace ebb::score {

/// A mean with its 95 % confidence interval.
struct Estimate {
  double mean = 0;
  double standard_error = 0;  ///< 0 when there are fewer than two batches: nothing is known of it
  double low = 0;
  double high = 0;
  uint64_t count = 0;
  uint64_t batches = 0;
};

/// The mean of serially dependent values, by non-overlapping batch means: each run is cut into
/// pieces of about sqrt(n) values (n over all runs), which never reach over a run's end; with
/// n_j values of mean m_j in piece j of `a` pieces,
///
///   SE^2 = a / (a - 1) * sum_j (n_j / n)^2 (m_j - mean)^2,  interval: mean -+ t(a - 1) SE.
///
/// For equal pieces this is s^2 / a of the batch means (G. S. Fishman, "Grouping observations in
/// digital simulation", Management Science 24, 1978; the size sqrt(n) as in Flegal and Jones,
/// arXiv:0811.1729); the weights are those of the ratio estimator over clusters of unequal size
/// (Cochran, Sampling Techniques, 1977, chapter 9). Independent values in runs of their own give
/// the usual standard error of a mean.
Estimate batch_means(const std::vector<std::vector<double>>& runs);

/// 0.975 quantile of Student's t; `freedom` is 1 or more. Exact table up to 10, above that the
/// Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), off by less than 2e-4.
double student_t_975(uint64_t freedom);

struct Proportion {
  double share = 0;
  double low = 0;
  double high = 0;
};
/// 95 % score interval of a proportion (E. B. Wilson, 1927): sensible at 0 and at 1 as well.
Proportion wilson(uint64_t successes, uint64_t trials);

}  // namespace ebb::score
