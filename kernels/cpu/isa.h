// Which instruction set the kernels are dispatched to.
#pragma once

#include <string>

#include "base/result.h"
#include "kernels/cpu/inner.h"

namespace ebb::kernels::cpu {

/// The best table that this CPU runs and that neither `isa_max` nor $EBB_CPU_ISA excludes ("": no
/// cap; of two caps the lower). Caps oneDNN to the same set, which works only before its first use
/// in the process. Errors: kUnsupported (an unknown name: lists the known ones; more than this CPU
/// has).
Result<const InnerKernels*> choose_kernels(const std::string& isa_max);

}  // namespace ebb::kernels::cpu
