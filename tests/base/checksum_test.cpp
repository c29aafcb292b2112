#include "base/checksum.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ebb {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Crc32c, MatchesThePublishedVectors) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c({}), 0u);
  // RFC 3720, B.4: 32 zero bytes, 32 bytes of ones, 0..31.
  EXPECT_EQ(crc32c(std::vector<std::byte>(32)), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  std::vector<std::byte> ascending(32);
  for (int i = 0; i < 32; ++i) ascending[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eu);
}

TEST(Crc32c, ContinuesAtEveryCut) {
  const std::string text = "a record is checked in two pieces, wherever it was cut";
  const uint32_t whole = crc32c(bytes_of(text));
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const uint32_t first = crc32c(bytes_of(text).first(cut));
    EXPECT_EQ(crc32c(bytes_of(text).subspan(cut), first), whole) << "cut at " << cut;
  }
}

TEST(Crc32c, ChangesWithEveryBit) {
  std::vector<std::byte> record(64, std::byte{0x5a});
  const uint32_t good = crc32c(record);
  for (size_t bit = 0; bit < record.size() * 8; ++bit) {
    record[bit / 8] ^= std::byte(1 << (bit % 8));
    EXPECT_NE(crc32c(record), good) << "bit " << bit;
    record[bit / 8] ^= std::byte(1 << (bit % 8));
  }
}

TEST(Digest, IsSha256CutTo128Bits) {
  DigestBuilder builder;
  builder.add(bytes_of("abc"));
  // FIPS 180-2, B.1: ba7816bf 8f01cfea 414140de 5dae2223 ...
  EXPECT_EQ(to_hex(builder.digest()), "ba7816bf8f01cfea414140de5dae2223");
}

TEST(Digest, KeepsNeighbouringTextsApart) {
  DigestBuilder left, right;
  left.add(std::string_view("ab")).add(std::string_view("c"));
  right.add(std::string_view("a")).add(std::string_view("bc"));
  EXPECT_NE(left.digest(), right.digest());
}

TEST(Digest, AddsIntegersInLittleEndianOrder) {
  DigestBuilder number, spelled;
  number.add_u64(0x0102030405060708);
  spelled.add(bytes_of("\x08\x07\x06\x05\x04\x03\x02\x01"));
  EXPECT_EQ(number.digest(), spelled.digest());
}

}  // namespace
}  // namespace ebb
