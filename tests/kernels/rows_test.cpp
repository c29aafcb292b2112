#include "tests/kernels/kernels_fixture.h"

#include <limits>

namespace ebb::kernels {
namespace {

class Rows : public KernelsTest {
 protected:
  static constexpr KvShape kShape{6, 2, 10, 4};
  const std::vector<uint32_t> blocks_{2, 0, 1};
};

TEST_P(Rows, AppendRoundsToNearestEvenAndKeepsNan) {
  Floats k = random_floats(random_, 3 * 25);
  k[0] = std::numeric_limits<float>::quiet_NaN();
  const uint32_t hidden_nan = 0x7f800001;  // a NaN whose payload rounding would carry away
  std::memcpy(&k[1], &hidden_nan, 4);
  k[2] = std::numeric_limits<float>::infinity();
  k[3] = std::numeric_limits<float>::max();  // rounds to infinity
  k[4] = -0.0f;
  k[5] = 1.00390625f;  // halfway between two bf16: to even
  k[6] = 1.01171875f;
  const Floats v = random_floats(random_, 3 * 21);
  const std::vector<std::byte> arena(3 * kShape.block_bytes(), std::byte{0x5a});
  const std::vector<uint32_t> slots = {11, 0, 6};
  const auto run = [&](Machine& m) {
    std::byte* base = m.upload_bytes(arena);
    const AppendArgs fresh{{base, blocks_}, m.upload(k), 25, m.upload(v), 21, slots};
    m.ops().append_kv(kShape, std::span(&fresh, 1));
    return m.download_bytes(base, arena.size());
  };
  Machine subject = make_subject(1);
  Machine reference = make_reference();
  EXPECT_EQ(run(subject), run(reference));
}

TEST_P(Rows, AppendKeepsEveryBitOfF32) {
  KvShape shape = kShape;
  shape.element = KvElement::kF32;
  const Floats k = random_floats(random_, 2 * 20), v = random_floats(random_, 2 * 20);
  Machine m = make_subject(1);
  const std::vector<std::byte> arena(3 * shape.block_bytes(), std::byte{0x5a});
  std::byte* base = m.upload_bytes(arena);
  const std::vector<uint32_t> slots = {9, 1};
  const AppendArgs fresh{{base, blocks_}, m.upload(k), 20, m.upload(v), 20, slots};
  m.ops().append_kv(shape, std::span(&fresh, 1));
  const std::vector<std::byte> after = m.download_bytes(base, arena.size());
  for (uint32_t r = 0; r < 2; ++r) {
    const size_t row =
        blocks_[slots[r] / 4] * shape.block_bytes() + slots[r] % 4 * shape.row_bytes();
    for (uint32_t h = 0; h < 2; ++h) {
      const size_t at = row + h * 2 * shape.vector_bytes();
      EXPECT_EQ(std::memcmp(after.data() + at, &k[r * 20 + h * 10], 40), 0);
      EXPECT_EQ(std::memcmp(after.data() + at + 40, &v[r * 20 + h * 10], 40), 0);
    }
  }
}

TEST_P(Rows, CopiedRowsAreTheSameAndNothingElseChanges) {
  for (const KvShape& shape : {kShape, KvShape{8, 2, 64, 4}, KvShape{1, 1, 2, 4}}) {
    Machine m = make_subject(1);
    std::vector<std::byte> arena(3 * shape.block_bytes());
    for (std::byte& b : arena) b = static_cast<std::byte>(random_() & 0xff);
    std::byte* base = m.upload_bytes(arena);
    const auto offset = [&](uint32_t slot) {
      return blocks_[slot / 4] * shape.block_bytes() + slot % 4 * shape.row_bytes();
    };
    const std::vector<uint32_t> from = {5, 0, 11}, to = {8, 9, 10};
    m.ops().copy_rows(shape, {base, blocks_}, from, to);
    for (uint32_t i = 0; i < 3; ++i) {
      std::memcpy(arena.data() + offset(to[i]), arena.data() + offset(from[i]), shape.row_bytes());
    }
    EXPECT_EQ(m.download_bytes(base, arena.size()), arena) << shape.head_size;
  }
}

EBB_ON_EVERY_SUBJECT(Rows);

}  // namespace
}  // namespace ebb::kernels
