// How many CPUs this process may really use: affinity mask and cgroup quota, not what the machine
// has.
#pragma once

#include <cstdint>
#include <string>

namespace ebb::worker {

/// At least 1. Reads sched_getaffinity, and cpu.max (cgroup v2) or cpu.cfs_quota_us (v1) below
/// `cgroup_root`.
uint32_t allowed_cpus(const std::string& cgroup_root = "/sys/fs/cgroup");

}  // namespace ebb::worker
