// See reference_records.h. The checksum bit by bit, as RFC 3720 defines it: reflected, polynomial
// 0x1edc6f41, all ones before and inverted after.
#include "kernels/reference/reference_records.h"

#include <cstring>

namespace ebb::kernels {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected
constexpr uint64_t kHeadBytes = 8;

uint32_t add_bytes(uint32_t crc, const void* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    crc ^= static_cast<const uint8_t*>(bytes)[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? crc >> 1 ^ kPolynomial : crc >> 1;
  }
  return crc;
}

uint32_t crc_of(const RecordBand& band, const Record& record, const std::byte* payload) {
  uint32_t crc = add_bytes(0xffffffffu, payload, band.payload_bytes());
  crc = add_bytes(crc, band.names[record.name].data(), sizeof(RecordName));
  return ~add_bytes(crc, &record.position, sizeof record.position);
}

}  // namespace

void reference_pack(const RecordBand& band, const RowOf& row_of, std::byte* frames) {
  for (size_t i = 0; i < band.records.size(); ++i) {
    const Record& record = band.records[i];
    std::byte* frame = frames + i * band.frame_bytes();
    for (size_t l = 0; l < band.layers.size(); ++l) {
      std::memcpy(frame + kHeadBytes + l * band.shape.row_bytes(),
                  row_of(band.layers[l], record.slot), band.shape.row_bytes());
    }
    const uint32_t crc = crc_of(band, record, frame + kHeadBytes);
    std::memcpy(frame, &crc, 4);
    std::memcpy(frame + 4, &record.position, 4);
  }
}

std::vector<uint32_t> reference_unpack(const RecordBand& band, const RowOf& row_of,
                                       const std::byte* frames, Frames are) {
  std::vector<uint32_t> refused;
  for (size_t i = 0; i < band.records.size(); ++i) {
    const Record& record = band.records[i];
    const std::byte* frame = frames + i * band.frame_bytes();
    const uint32_t crc = crc_of(band, record, frame + kHeadBytes);
    const bool good =
        std::memcmp(frame, &crc, 4) == 0 && std::memcmp(frame + 4, &record.position, 4) == 0;
    if (!good && are == Frames::kUnchecked) {
      refused.push_back(static_cast<uint32_t>(i));
      continue;
    }
    for (size_t l = 0; l < band.layers.size(); ++l) {
      std::memcpy(row_of(band.layers[l], record.slot),
                  frame + kHeadBytes + l * band.shape.row_bytes(), band.shape.row_bytes());
    }
  }
  return refused;
}

}  // namespace ebb::kernels
