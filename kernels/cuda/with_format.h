// From the number of a weight format to code that is made for it.
#pragma once

#include "kernels/weight_format.h"

namespace ebb::kernels::cuda {

template <WeightFormat F>
struct FormatTag {
  static constexpr WeightFormat kFormat = F;
};

/// act(FormatTag<format>()): from the number of a format to code that is made for it.
template <class Act>
void with_format(WeightFormat format, Act act) {
  switch (format) {
    case WeightFormat::kF32:
      return act(FormatTag<WeightFormat::kF32>());
    case WeightFormat::kF16:
      return act(FormatTag<WeightFormat::kF16>());
    case WeightFormat::kBF16:
      return act(FormatTag<WeightFormat::kBF16>());
    case WeightFormat::kQ8_0:
      return act(FormatTag<WeightFormat::kQ8_0>());
    case WeightFormat::kQ4_0:
      return act(FormatTag<WeightFormat::kQ4_0>());
    case WeightFormat::kQ4_1:
      return act(FormatTag<WeightFormat::kQ4_1>());
    case WeightFormat::kQ5_0:
      return act(FormatTag<WeightFormat::kQ5_0>());
    case WeightFormat::kQ5_1:
      return act(FormatTag<WeightFormat::kQ5_1>());
    case WeightFormat::kQ2_K:
      return act(FormatTag<WeightFormat::kQ2_K>());
    case WeightFormat::kQ3_K:
      return act(FormatTag<WeightFormat::kQ3_K>());
    case WeightFormat::kQ4_K:
      return act(FormatTag<WeightFormat::kQ4_K>());
    case WeightFormat::kQ5_K:
      return act(FormatTag<WeightFormat::kQ5_K>());
    case WeightFormat::kQ6_K:
      return act(FormatTag<WeightFormat::kQ6_K>());
    case WeightFormat::kIQ4_NL:
      return act(FormatTag<WeightFormat::kIQ4_NL>());
  }
}

}  // namespace ebb::kernels::cuda
