// See cpu_device.h.
#include "kernels/cpu/cpu_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace ebb::kernels::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLine = 64;

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

}  // namespace

CpuDevice::CpuDevice(const char* isa) {
  info_.isa = isa;
  info_.host_reachable = true;
  info_.name = std::string("cpu ") + isa + " (" + cpu_model() + ")";
  info_.memory_bytes =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

DeviceInfo CpuDevice::info() const { return info_; }

Result<Buffer> CpuDevice::allocate(size_t bytes, MemoryKind) {
  // The system promises more than it has; a request beyond all memory is refused here rather than
  // killed later.
  if (bytes > info_.memory_bytes) {
    return exhausted("cpu device: " + std::to_string(bytes) + " bytes asked, the machine has " +
                     std::to_string(info_.memory_bytes));
  }
  const bool large = bytes >= kHugePage;
  const size_t unit = large ? kHugePage : kLine;
  const size_t rounded = bytes == 0 ? unit : (bytes + unit - 1) / unit * unit;
  void* data = std::aligned_alloc(unit, rounded);
  if (data == nullptr) {
    return exhausted("cpu device: no memory for " + std::to_string(bytes) + " bytes");
  }
  // Advice only: rows scattered over many small pages cost a quarter of the read rate in TLB
  // misses.
  if (large) (void)madvise(data, rounded, MADV_HUGEPAGE);
  return Buffer(
      data, bytes, [](void*, void* owned, size_t) { std::free(owned); }, this);
}

void CpuDevice::copy_to_device(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void CpuDevice::copy_on_device(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void CpuDevice::copy_to_host(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

Result<void> CpuDevice::synchronize() { return {}; }

}  // namespace ebb::kernels::cpu
