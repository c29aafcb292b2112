#include "base/checksum.h"

#include <nmmintrin.h>
#include <openssl/evp.h>

#include <array>
#include <cstring>

#include "base/check.h"

namespace ebb {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}
constexpr auto kTable = make_table();

uint32_t crc_plain(const uint8_t* p, size_t n, uint32_t c) {
  for (size_t i = 0; i < n; ++i) c = kTable[(c ^ p[i]) & 0xff] ^ (c >> 8);
  return c;
}

__attribute__((target("sse4.2"))) uint32_t crc_sse42(const uint8_t* p, size_t n, uint32_t c) {
  uint64_t wide = c;
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  c = static_cast<uint32_t>(wide);
  for (; n > 0; ++p, --n) c = _mm_crc32_u8(c, *p);
  return c;
}

}  // namespace

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t running) {
  static const bool kHasSse42 = __builtin_cpu_supports("sse4.2");
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  const uint32_t c = ~running;
  return ~(kHasSse42 ? crc_sse42(p, bytes.size(), c) : crc_plain(p, bytes.size(), c));
}

DigestBuilder::DigestBuilder() : context_(EVP_MD_CTX_new()) {
  EBB_CHECK(context_ != nullptr);
  EBB_CHECK(EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) == 1);
}
DigestBuilder::~DigestBuilder() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

DigestBuilder& DigestBuilder::add(std::span<const std::byte> bytes) {
  EBB_CHECK(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()) == 1);
  return *this;
}
DigestBuilder& DigestBuilder::add(std::string_view text) {
  add_u64(text.size());
  return add(std::as_bytes(std::span(text)));
}
DigestBuilder& DigestBuilder::add_u64(uint64_t value) {
  std::array<std::byte, 8> bytes;
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
  return add(std::span<const std::byte>(bytes));
}
DigestBuilder& DigestBuilder::add(const Digest& digest) {
  return add(std::as_bytes(std::span(digest.bytes)));
}
Digest DigestBuilder::digest() {
  std::array<uint8_t, EVP_MAX_MD_SIZE> full;
  unsigned size = 0;
  EBB_CHECK(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), full.data(), &size) == 1);
  EBB_CHECK(size == 32);
  Digest cut;
  std::memcpy(cut.bytes.data(), full.data(), cut.bytes.size());
  return cut;
}

std::string to_hex(const Digest& digest) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (uint8_t b : digest.bytes) {
    out += kHex[b >> 4];
    out += kHex[b & 15];
  }
  return out;
}

}  // namespace ebb
