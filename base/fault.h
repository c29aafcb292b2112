// Named fault points. Disarmed, a point costs one relaxed load. Only tests arm them (in-process),
// by name.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace ebb {

class FaultPoint {
 public:
  explicit FaultPoint(const char* name);
  ~FaultPoint();
  /// True when this pass through the point shall fail.
  bool fires() { return armed_.load(std::memory_order_relaxed) > 0 && take(); }
  const char* name() const { return name_; }
  void arm(int64_t skip, int64_t count);

 private:
  bool take();
  const char* name_;
  std::atomic<int64_t> armed_{0};
  std::atomic<int64_t> skip_{0};
};

/// Arms the point called `name`: it lets `skip` passes through, then fails `count` times. A point
/// exists from the first time that code passes it; one that was not passed yet is armed when it
/// comes to be, and the answer is false.
bool arm_fault(const std::string& name, int64_t count = 1, int64_t skip = 0);
void disarm_all_faults();

}  // namespace ebb

/// True when the named point shall fail here: `if (EBB_FAULT("ssd_tier.write")) return
/// unavailable(...)`.
#define EBB_FAULT(name)                       \
  ([]() -> bool {                             \
    static ::ebb::FaultPoint ebb_point(name); \
    return ebb_point.fires();                 \
  }())
