// Tokens with digests, for the tests of what is written and of what is read.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/reference/reference_digest.h"
#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {

constexpr DigestFormat kDigestFormats[] = {DigestFormat::kInt4, DigestFormat::kH3,
                                           DigestFormat::kH2};
inline const char* digest_name(DigestFormat format) {
  return format == DigestFormat::kInt4 ? "int4" : format == DigestFormat::kH3 ? "h3" : "h2";
}

/// Models' shapes and hostile ones: odd numbers of heads, sizes that are no power of two, blocks of
/// few or odd numbers of rows, both elements.
inline const std::vector<KvShape>& digest_shapes() {
  static const std::vector<KvShape> shapes = {
      {9, 3, 64, 16},  {8, 1, 128, 8, KvElement::kF32},  {4, 4, 80, 16},
      {15, 3, 96, 7},  {2, 2, 256, 16, KvElement::kF32}, {7, 7, 10, 16, KvElement::kF32},
      {14, 2, 64, 33},
  };
  return shapes;
}

inline std::string text_of(const KvShape& shape, DigestFormat format) {
  return std::string(digest_name(format)) + ", heads " + std::to_string(shape.heads_q) + "/" +
         std::to_string(shape.heads_kv) + " of " + std::to_string(shape.head_size);
}

inline std::vector<uint32_t> ascending(uint32_t count, uint32_t first = 0) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

/// Rows of `tokens` tokens, at scattered slots, and pages for their digests.
struct Tokens {
  Tokens(Random& random, const KvShape& shape, DigestFormat format, uint32_t count)
      : digest{format, shape.heads_kv, shape.head_size},
        rows(random_sequence(random, shape, count + 20)),
        slots(ascending(count + 20)) {
    std::shuffle(slots.begin(), slots.end(), random);
    slots.resize(count);
    center = random_floats(random, size_t{shape.heads_kv} * shape.head_size, 0.3f);
    const uint32_t page_tokens = digest.page_tokens(shape.block_bytes());
    pages = ascending((count + page_tokens - 1) / page_tokens);
    std::shuffle(pages.begin(), pages.end(), random);
  }
  const KvShape& shape() const { return rows.shape; }
  uint32_t count() const { return static_cast<uint32_t>(slots.size()); }
  size_t page_bytes() const { return pages.size() * shape().block_bytes(); }
  /// Where token t's digest begins.
  size_t at(uint32_t t) const {
    const uint32_t page_tokens = digest.page_tokens(shape().block_bytes());
    return pages[t / page_tokens] * shape().block_bytes() +
           size_t{t % page_tokens} * digest.token_bytes();
  }
  /// K of a head as it is stored.
  std::vector<double> key(uint32_t t, uint32_t head) const {
    const uint32_t slot = slots[t];
    const KvShape& s = rows.shape;
    const std::byte* from =
        rows.arena.data() + rows.blocks[slot / s.block_tokens] * s.block_bytes() +
        size_t{slot % s.block_tokens} * s.row_bytes() + size_t{head} * 2 * s.vector_bytes();
    std::vector<double> values(s.head_size);
    for (uint32_t j = 0; j < s.head_size; ++j) {
      float value = 0;
      const bool wide = s.element == KvElement::kF32;
      std::memcpy(reinterpret_cast<char*>(&value) + (wide ? 0 : 2),
                  from + size_t{j} * kv_element_bytes(s.element), wide ? 4 : 2);
      values[j] = value;
    }
    return values;
  }
  /// Digests of all tokens, written in one call; memory that nobody writes is 0x5a.
  std::vector<std::byte> written(Machine& m) const {
    std::byte* arena = m.upload_bytes(std::vector<std::byte>(page_bytes(), std::byte{0x5a}));
    const DigestArgs all{
        {m.upload_bytes(rows.arena), rows.blocks}, slots, 0, {arena, pages}, m.upload(center)};
    m.ops().write_digest(shape(), digest, {&all, 1});
    return m.download_bytes(arena, page_bytes());
  }

  DigestShape digest;
  Sequence rows;
  std::vector<uint32_t> slots;
  std::vector<uint32_t> pages;
  Floats center;
};

}  // namespace ebb::kernels
