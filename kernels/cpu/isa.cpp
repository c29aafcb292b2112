// See isa.h. The one place that asks the CPU what it is.
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>

namespace ebb::kernels::cpu {
namespace {

struct Level {
  const char* name;
  const InnerKernels& (*table)();
  dnnl::cpu_isa dnnl_cap;
};

constexpr int kLevels = 3;
constexpr Level kLevel[kLevels] = {
    {"x86-64-v2", inner_kernels_v2, dnnl::cpu_isa::sse41},
    {"avx2", inner_kernels_v3, dnnl::cpu_isa::avx2},
    {"avx512", inner_kernels_v4, dnnl::cpu_isa::all},
};

/// Index of the best level this CPU has; -1: less than x86-64-v2.
int best_present() {
  if (__builtin_cpu_supports("x86-64-v4")) return 2;
  if (__builtin_cpu_supports("x86-64-v3")) return 1;
  return __builtin_cpu_supports("x86-64-v2") ? 0 : -1;
}

Result<int> level_of(const std::string& name, const std::string& source, int best) {
  if (name.empty()) return best;
  for (int i = 0; i < kLevels; ++i) {
    if (name != kLevel[i].name) continue;
    if (i <= best) return i;
    return unsupported(source + " " + name + ": this CPU has at most " + kLevel[best].name);
  }
  return unsupported(source + " '" + name + "': unknown; known are x86-64-v2, avx2, avx512");
}

}  // namespace

Result<const InnerKernels*> choose_kernels(const std::string& isa_max) {
  const int best = best_present();
  if (best < 0) return unsupported("this CPU: less than x86-64-v2, the least the kernels need");
  const char* from_environment = std::getenv("EBB_CPU_ISA");
  const int option = EBB_TRY(level_of(isa_max, "isa_max", best));
  const int environment =
      EBB_TRY(level_of(from_environment == nullptr ? "" : from_environment, "EBB_CPU_ISA", best));
  const int chosen = std::min(option, environment);
  // Later calls in one process cannot change oneDNN's choice; it then keeps the first cap, which is
  // only slower or faster, not wrong.
  if (chosen < kLevels - 1) dnnl::set_max_cpu_isa(kLevel[chosen].dnnl_cap);
  return &kLevel[chosen].table();
}

}  // namespace ebb::kernels::cpu
