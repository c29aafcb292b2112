// The list of fault points of this process, and the arms that wait for points not passed yet.
#include "base/fault.h"

#include <map>
#include <mutex>
#include <vector>

namespace ebb {
namespace {

struct Arm {
  int64_t count = 0;
  int64_t skip = 0;
};

/// Points are function-local statics all over the process, so their list has to be one too; it is
/// never destroyed, because some of them are destroyed after it would be.
struct Registry {
  std::mutex mutex;
  std::vector<FaultPoint*> points;
  std::map<std::string, Arm> waiting;
};
Registry& registry() {
  static Registry* const kRegistry = new Registry;
  return *kRegistry;
}

}  // namespace

FaultPoint::FaultPoint(const char* name) : name_(name) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.points.push_back(this);
  // The arm stays: several points may share one name (the same line, instantiated twice).
  if (auto it = all.waiting.find(name); it != all.waiting.end())
    arm(it->second.skip, it->second.count);
}

FaultPoint::~FaultPoint() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::erase(all.points, this);
}

void FaultPoint::arm(int64_t skip, int64_t count) {
  skip_.store(skip, std::memory_order_relaxed);
  armed_.store(count, std::memory_order_release);
}

bool FaultPoint::take() {
  if (skip_.fetch_sub(1, std::memory_order_relaxed) > 0) return false;
  return armed_.fetch_sub(1, std::memory_order_relaxed) > 0;
}

bool arm_fault(const std::string& name, int64_t count, int64_t skip) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  bool found = false;
  for (FaultPoint* point : all.points) {
    if (name != point->name()) continue;
    point->arm(skip, count);
    found = true;
  }
  if (!found) all.waiting[name] = {count, skip};
  return found;
}

void disarm_all_faults() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.waiting.clear();
  for (FaultPoint* point : all.points) point->arm(0, 0);
}

}  // namespace ebb
