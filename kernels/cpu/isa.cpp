// See isa.h. The one place that asks the CPU what it is.
#include "kernels/cpu/isa.h"

#include <algorithm>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>

namespace ebb::kernels::cpu {
namespace {

using Table = const InnerKernels&();
struct Level {
  const char* name;
  Table* table;
  dnnl::cpu_isa dnnl_cap;
};

// Those that were built (kernels/CMakeLists.txt, EBB_KERNELS); null: not this one.
constexpr Table* kV2 =
#ifdef EBB_KERNELS_V2
    inner_kernels_v2;
#else
    nullptr;
#endif
constexpr Table* kV3 =
#ifdef EBB_KERNELS_V3
    inner_kernels_v3;
#else
    nullptr;
#endif
constexpr Table* kV4 =
#ifdef EBB_KERNELS_V4
    inner_kernels_v4;
#else
    nullptr;
#endif

constexpr int kLevels = 3;
constexpr Level kLevel[kLevels] = {
    {"x86-64-v2", kV2, dnnl::cpu_isa::sse41},
    {"avx2", kV3, dnnl::cpu_isa::avx2},
    {"avx512", kV4, dnnl::cpu_isa::all},
};

bool built(int level) { return kLevel[level].table != nullptr; }

/// Index of the best level that this CPU has and this build too; -1: none.
int best_present() {
  if (built(2) && __builtin_cpu_supports("x86-64-v4")) return 2;
  if (built(1) && __builtin_cpu_supports("x86-64-v3")) return 1;
  return built(0) && __builtin_cpu_supports("x86-64-v2") ? 0 : -1;
}

Result<int> level_of(const std::string& name, const std::string& source, int best) {
  if (name.empty()) return best;
  for (int i = 0; i < kLevels; ++i) {
    if (name != kLevel[i].name) continue;
    if (!built(i)) return unsupported(source + " " + name + ": not in this build (EBB_KERNELS)");
    if (i <= best) return i;
    return unsupported(source + " " + name + ": this CPU has at most " + kLevel[best].name);
  }
  return unsupported(source + " '" + name + "': unknown; known are x86-64-v2, avx2, avx512");
}

}  // namespace

Result<const InnerKernels*> choose_kernels(const std::string& isa_max) {
  const int best = best_present();
  if (best < 0) {
    return unsupported(built(0) ? "this CPU: less than x86-64-v2, the least the kernels need"
                                : "this CPU: less than that of the machine where this was built; "
                                  "EBB_KERNELS=all builds for every CPU");
  }
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
