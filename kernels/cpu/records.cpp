#include "kernels/cpu/records.h"

#include <cstring>

#include "base/check.h"
#include "base/checksum.h"
#include "kernels/cpu/kv_access.h"

namespace ebb::kernels::cpu {
namespace {

struct Head {
  uint32_t crc = 0;
  Position position = 0;
};
static_assert(sizeof(Head) == 8);

std::vector<KvAccess> layers_of(const RecordBand& band) {
  std::vector<KvAccess> layers;
  layers.reserve(band.layers.size());
  for (const KvRows& layer : band.layers) layers.emplace_back(band.shape, layer);
  return layers;
}

Head head_of(const RecordBand& band, const Record& record, const std::byte* payload) {
  EBB_CHECK(record.name < band.names.size());
  uint32_t crc = crc32c({payload, band.payload_bytes()});
  crc = crc32c(std::as_bytes(std::span(band.names[record.name])), crc);
  return {crc32c(std::as_bytes(std::span(&record.position, 1)), crc), record.position};
}

}  // namespace

void pack(const RecordBand& band, uint64_t begin, uint64_t end, std::byte* frames) {
  const std::vector<KvAccess> layers = layers_of(band);
  const uint64_t row_bytes = band.shape.row_bytes();
  for (uint64_t i = begin; i < end; ++i) {
    const Record& record = band.records[i];
    std::byte* frame = frames + i * band.frame_bytes();
    std::byte* row = frame + sizeof(Head);
    for (const KvAccess& layer : layers) {
      std::memcpy(row, layer.row(record.slot), row_bytes);
      row += row_bytes;
    }
    const Head head = head_of(band, record, frame + sizeof(Head));
    std::memcpy(frame, &head, sizeof head);
  }
}

void unpack(const RecordBand& band, uint64_t begin, uint64_t end, const std::byte* frames,
            Frames are, uint8_t* refused) {
  const std::vector<KvAccess> layers = layers_of(band);
  const uint64_t row_bytes = band.shape.row_bytes();
  for (uint64_t i = begin; i < end; ++i) {
    const Record& record = band.records[i];
    const std::byte* frame = frames + i * band.frame_bytes();
    const std::byte* row = frame + sizeof(Head);
    if (are == Frames::kUnchecked) {
      const Head head = head_of(band, record, row);
      refused[i] = std::memcmp(frame, &head, sizeof head) != 0 ? 1 : 0;
      if (refused[i] != 0) continue;
    }
    for (const KvAccess& layer : layers) {
      std::memcpy(layer.row(record.slot), row, row_bytes);
      row += row_bytes;
    }
  }
}

}  // namespace ebb::kernels::cpu
