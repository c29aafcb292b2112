// Compiled three times (EBB_INNER_TABLE names the result): x86-64-v2, -v3 and -v4. Everything but
// that one function has internal linkage; see inner.h for why.
#include "kernels/cpu/inner.h"

#include "kernels/cpu/inner_attention.h"
#include "kernels/cpu/inner_digest.h"
#include "kernels/cpu/inner_elementwise.h"
#include "kernels/cpu/inner_weights.h"

namespace ebb::kernels::cpu {

const InnerKernels& EBB_INNER_TABLE() {
  static constexpr InnerKernels table = {
      .isa = kLanes == 16  ? "avx512"
             : kLanes == 8 ? "avx2"
                           : "x86-64-v2",
      .dequantize = dequantize,
      .gemv = gemv,
      .rms_norm = rms_norm,
      .add = add,
      .silu_mul = silu_mul,
      .to_bf16 = to_bf16,
      .expand_rows = expand_rows,
      .attend_chunk = attend_chunk,
      .softmax_tile = softmax_tile,
      .score_max = score_max,
      .scale_add = scale_add,
      .turn_head = turn_head,
      .encode_digest = encode_digest,
      .round_query = round_query,
      .scan_chunk = scan_chunk,
  };
  return table;
}

}  // namespace ebb::kernels::cpu
