// The CPU backend under test, held to each instruction set.
#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {

const std::vector<const char*>& subjects() {
  static const std::vector<const char*> all = {"x86-64-v2", "avx2", "avx512"};
  return all;
}

Result<Backend> make_backend(const char* subject, uint32_t threads) {
  auto backend = EBB_TRY(make_cpu_backend({threads, threads, subject}));
  if (backend.device->info().isa != subject) return unsupported("capped by EBB_CPU_ISA");
  return backend;
}

bool runs_everywhere(const std::string& subject) { return subject == "x86-64-v2"; }

std::span<const Limit> subject_limits() { return {}; }

}  // namespace ebb::kernels
