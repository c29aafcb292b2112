#include "worker/allowed_cpus.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>

namespace ebb::worker {
namespace {

/// CPUs that a quota of `quota` per `period` allows; 0: no limit.
uint32_t cpus_of_quota(double quota, double period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<uint32_t>(std::max(1.0, std::floor(quota / period + 0.5)));
}

uint32_t quota_cpus(const std::string& root) {
  std::ifstream v2(root + "/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period)
    return quota == "max" ? 0 : cpus_of_quota(std::atof(quota.c_str()), period);
  std::ifstream v1_quota(root + "/cpu/cpu.cfs_quota_us"),
      v1_period(root + "/cpu/cpu.cfs_period_us");
  double v1 = 0;
  if (v1_quota >> v1 && v1_period >> period) return cpus_of_quota(v1, period);
  return 0;
}

}  // namespace

uint32_t allowed_cpus(const std::string& cgroup_root) {
  cpu_set_t set;
  CPU_ZERO(&set);
  uint32_t cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    cpus = static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
  }
  const uint32_t quota = quota_cpus(cgroup_root);
  return quota > 0 ? std::min(cpus, quota) : cpus;
}

}  // namespace ebb::worker
