// How granules are named and how records are sealed. The byte order of everything hashed or summed
// here is fixed (little-endian): names and checksums made on one machine must hold on another.
#include "kvstore/granule.h"

#include <bit>
#include <type_traits>

#include "base/check.h"

namespace ebb::kvstore {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little-endian in place");
static_assert(std::has_unique_object_representations_v<GranuleKey>, "keys are hashed as bytes");

std::span<const std::byte> bytes_of(const GranuleKey& key) {
  return std::as_bytes(std::span<const GranuleKey, 1>(&key, 1));
}

}  // namespace

std::string to_text(const GranuleKey& key) {
  std::string text = to_hex(key.digest) + ":b" + std::to_string(key.band) + ":h" +
                     std::to_string(key.head_begin) + "-" + std::to_string(key.head_end);
  if (key.kind != 0) text += ":private";
  return text;
}

Digest content_digest(const Digest& layout, std::string_view salt, const Digest& parent,
                      std::span<const TokenId> tokens) {
  DigestBuilder builder;
  builder.add(std::string_view("ebb granule content 1")).add(layout).add(salt).add(parent);
  builder.add_u64(tokens.size()).add(std::as_bytes(tokens));
  return builder.digest();
}

Digest private_digest(const Digest& layout, SeqId sequence, Position first, Epoch epoch) {
  DigestBuilder builder;
  builder.add(std::string_view("ebb granule private 1")).add(layout);
  builder.add_u64(sequence.value).add_u64(first).add_u64(epoch.value);
  return builder.digest();
}

uint32_t record_crc(std::span<const std::byte> payload, const GranuleKey& key, Position position) {
  uint32_t crc = crc32c(payload);
  crc = crc32c(bytes_of(key), crc);
  return crc32c(std::as_bytes(std::span<const Position, 1>(&position, 1)), crc);
}

void seal_record(std::span<std::byte> frame, const GranuleKey& key, Position position) {
  EBB_CHECK(frame.size() >= sizeof(RecordHead));
  const RecordHead head{record_crc(frame.subspan(sizeof(RecordHead)), key, position), position};
  std::memcpy(frame.data(), &head, sizeof head);
}

bool verify_record(std::span<const std::byte> frame, const GranuleKey& key, Position position) {
  if (frame.size() < sizeof(RecordHead)) return false;
  RecordHead head;  // frames are not aligned
  std::memcpy(&head, frame.data(), sizeof head);
  return head.position == position &&
         head.crc == record_crc(frame.subspan(sizeof head), key, position);
}

const char* tier_name(TierKind tier) {
  switch (tier) {
    case TierKind::kNone:
      return "none";
    case TierKind::kHost:
      return "host";
    case TierKind::kSsd:
      return "ssd";
  }
  return "unknown";
}

}  // namespace ebb::kvstore
