#include "kvstore/tier.h"

#include <cstring>

namespace ebb::kvstore {

ReadOutcome verify_frames(const GetItem& item, std::span<const std::byte> frames) {
  ReadOutcome outcome;
  const uint64_t frame = framed_bytes(item.payload_bytes);
  uint64_t place = 0;
  for (uint32_t rest = item.bitmap; rest != 0; rest &= rest - 1) {
    const auto bit = static_cast<uint32_t>(std::countr_zero(rest));
    if (verify_record(frames.subspan(place, frame), item.key, item.first + bit)) {
      outcome.present |= 1u << bit;
    } else {
      ++outcome.corrupt;
    }
    place += frame;
  }
  return outcome;
}

void copy_frames(const GetItem& item, std::span<const std::byte> body, std::span<std::byte> out) {
  const uint64_t frame = framed_bytes(item.payload_bytes);
  uint64_t place = 0;
  for (uint32_t rest = item.bitmap; rest != 0; rest &= rest - 1, place += frame) {
    std::memcpy(out.data() + place, body.data() + std::countr_zero(rest) * frame, frame);
  }
}

GetItem whole(const GranuleInfo& info) {
  const uint32_t bitmap = info.records >= 32 ? ~uint32_t{0} : (uint32_t{1} << info.records) - 1;
  return {info.key, info.first, info.payload_bytes, bitmap};
}

}  // namespace ebb::kvstore
