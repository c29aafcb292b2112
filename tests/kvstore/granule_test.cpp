// Names of granules are stable and distinct; a sealed record is bound to its payload, key and
// position.
#include "kvstore/granule.h"

#include <gtest/gtest.h>

#include <set>

namespace ebb::kvstore {
namespace {

Digest digest_of(uint8_t fill) {
  Digest digest;
  digest.bytes.fill(fill);
  return digest;
}

std::vector<std::byte> sealed_frame(size_t payload_bytes, const GranuleKey& key,
                                    Position position) {
  std::vector<std::byte> frame(framed_bytes(payload_bytes));
  for (size_t i = sizeof(RecordHead); i < frame.size(); ++i) frame[i] = std::byte(i * 7 + position);
  seal_record(frame, key, position);
  return frame;
}

TEST(Granule, NamesAreReadable) {
  GranuleKey key{digest_of(0xc3), 7, 0, 2, 0};
  EXPECT_EQ(to_text(key), std::string("c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3:b7:h0-2"));
  key.kind = 1;
  EXPECT_EQ(to_text(key), std::string("c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3:b7:h0-2:private"));
}

TEST(Granule, ContentNamesDependOnEveryInput) {
  const std::vector<TokenId> tokens{1, 2, 3};
  const std::vector<TokenId> others{1, 2, 4};
  std::set<Digest> names{
      content_digest(digest_of(1), "", {}, tokens),
      content_digest(digest_of(2), "", {}, tokens),
      content_digest(digest_of(1), "tenant", {}, tokens),
      content_digest(digest_of(1), "", digest_of(3), tokens),
      content_digest(digest_of(1), "", {}, others),
      content_digest(digest_of(1), "", {}, std::span(tokens).first(2)),
      private_digest(digest_of(1), SeqId{1}, 0, Epoch{1}),
      private_digest(digest_of(1), SeqId{2}, 0, Epoch{1}),
      private_digest(digest_of(1), SeqId{1}, 16, Epoch{1}),
      private_digest(digest_of(1), SeqId{1}, 0, Epoch{2}),
  };
  EXPECT_EQ(names.size(), 10u);
  EXPECT_EQ(content_digest(digest_of(1), "", {}, tokens),
            content_digest(digest_of(1), "", {}, tokens));
}

TEST(Granule, ContentNameIsTheSameOnEveryMachine) {
  // Computed with Python's hashlib from the documented byte order; a change breaks every stored
  // tier.
  const std::vector<TokenId> tokens{1, 2, 3};
  EXPECT_EQ(to_hex(content_digest(digest_of(1), "s", {}, tokens)),
            "a2679b9897071da0f9393a47f1623d71");
  EXPECT_EQ(to_hex(private_digest(digest_of(1), SeqId{5}, 16, Epoch{9})),
            "3169a266ac2bdc80b5e063542c3d019a");
}

TEST(Granule, SealedRecordVerifies) {
  const GranuleKey key{digest_of(9), 3, 0, 2, 0};
  EXPECT_TRUE(verify_record(sealed_frame(3072, key, 41), key, 41));
}

TEST(Granule, AnyFlippedBitIsSeen) {
  const GranuleKey key{digest_of(9), 3, 0, 2, 0};
  const auto good = sealed_frame(64, key, 41);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= std::byte(1u << (bit % 8));
    EXPECT_FALSE(verify_record(bad, key, 41)) << "bit " << bit;
  }
}

TEST(Granule, RecordIsBoundToItsKeyAndPosition) {
  const GranuleKey key{digest_of(9), 3, 0, 2, 0};
  const auto frame = sealed_frame(64, key, 41);
  EXPECT_FALSE(verify_record(frame, key, 42));
  EXPECT_FALSE(verify_record(frame, {digest_of(8), 3, 0, 2, 0}, 41));
  EXPECT_FALSE(verify_record(frame, {digest_of(9), 4, 0, 2, 0}, 41));
  EXPECT_FALSE(verify_record(frame, {digest_of(9), 3, 1, 2, 0}, 41));
  EXPECT_FALSE(verify_record(frame, {digest_of(9), 3, 0, 3, 0}, 41));
  EXPECT_FALSE(verify_record(frame, {digest_of(9), 3, 0, 2, 1}, 41));
}

TEST(Granule, TooShortAFrameDoesNotVerify) {
  const GranuleKey key{digest_of(9), 3, 0, 2, 0};
  EXPECT_FALSE(verify_record({}, key, 0));
  EXPECT_FALSE(verify_record(std::vector<std::byte>(7), key, 0));
}

}  // namespace
}  // namespace ebb::kvstore
