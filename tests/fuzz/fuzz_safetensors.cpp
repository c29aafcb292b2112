// Any bytes as a .safetensors file, and as the two JSON texts around safetensors weights.
#include "models/safetensors.h"
#include "models/safetensors_json.h"
#include "tests/fuzz/fuzz_target.h"

using ebb::fuzz::check_refusal;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tensors = ebb::models::parse_safetensors(ebb::fuzz::bytes_of(data, size));
  check_refusal(tensors);
  uint64_t covered = 0;
  if (tensors) {
    for (const auto& tensor : *tensors) {
      ebb::fuzz::touch({tensor.view.data, tensor.view.bytes});
      covered += tensor.view.bytes;
    }
  }
  EBB_CHECK(covered <= size);
  const std::string_view text = ebb::fuzz::text_of(data, size);
  check_refusal(ebb::models::read_safetensors_json(text));
  check_refusal(ebb::models::read_weight_map(text));
  return 0;
}
