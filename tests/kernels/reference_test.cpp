// The reference is what everything else is judged by: here it is judged by numbers worked out by
// hand and by loops in double that share nothing with it.
#include "tests/kernels/kernels_fixture.h"

#include <cmath>

namespace ebb::kernels {
namespace {

std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

Floats decoded(WeightFormat format, const std::vector<std::byte>& bytes, uint64_t columns) {
  Machine m(std::move(*make_reference_backend()));
  const Weight& w = m.weight({format, bytes.data(), 1, columns, bytes.size()});
  float* out = m.room(columns);
  const std::vector<TokenId> ids = {0};
  m.ops().embed(w, ids, out);
  return m.download(out, columns);
}

TEST(Reference, DecodesHalvesByTheirDefinition) {
  // 1, -2, 65504 (the largest), 2^-24 (the smallest), 1/3 rounded.
  const Floats values =
      decoded(WeightFormat::kF16,
              bytes_of({0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b, 0x01, 0x00, 0x55, 0x35}), 5);
  EXPECT_EQ(values, (Floats{1.0f, -2.0f, 65504.0f, 0x1p-24f, 0.333251953125f}));
  EXPECT_EQ(decoded(WeightFormat::kBF16, bytes_of({0x80, 0x3f, 0x40, 0xc0}), 2),
            (Floats{1.0f, -3.0f}));
}

TEST(Reference, DecodesQuantisedBlocksByTheirDefinition) {
  std::vector<std::byte> q8 = bytes_of({0x00, 0x38});  // scale 0.5
  for (int i = 0; i < 32; ++i) q8.push_back(static_cast<std::byte>(i - 16));
  const Floats eight = decoded(WeightFormat::kQ8_0, q8, 32);
  std::vector<std::byte> q4 = bytes_of({0x00, 0x40});  // scale 2
  for (int i = 0; i < 16; ++i) q4.push_back(static_cast<std::byte>(i | (15 - i) << 4));
  const Floats four = decoded(WeightFormat::kQ4_0, q4, 32);
  std::vector<std::byte> q41 = q4;
  q41.insert(q41.begin() + 2, {std::byte{0x00}, std::byte{0xbc}});  // minimum -1
  const Floats with_minimum = decoded(WeightFormat::kQ4_1, q41, 32);
  for (int i = 0; i < 32; ++i) {
    const int nibble = i < 16 ? i : 31 - i;
    EXPECT_EQ(eight[static_cast<size_t>(i)], 0.5f * static_cast<float>(i - 16));
    EXPECT_EQ(four[static_cast<size_t>(i)], 2.0f * static_cast<float>(nibble - 8));
    EXPECT_EQ(with_minimum[static_cast<size_t>(i)], 2.0f * static_cast<float>(nibble) - 1.0f);
  }
}

TEST(Reference, MatmulIsTheDoubleLoop) {
  Random random(1);
  constexpr size_t kRows = 3, kIn = 50, kOut = 7;
  const Floats x = random_floats(random, kRows * kIn);
  const Floats w = random_floats(random, kOut * kIn);
  Machine m(std::move(*make_reference_backend()));
  const WeightData data = float_weight(w, kOut);
  float* out = m.room(kRows * kOut);
  m.ops().matmul(m.upload(x), kRows, m.weight(data.source), out, kOut);
  const Floats got = m.download(out, kRows * kOut);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t n = 0; n < kOut; ++n) {
      double sum = 0;
      for (size_t k = 0; k < kIn; ++k) sum += double{x[r * kIn + k]} * w[n * kIn + k];
      EXPECT_FLOAT_EQ(got[r * kOut + n], static_cast<float>(sum));
    }
  }
}

/// Two heads over one KV head, two rows, the values of K and V small integers (exact in bf16).
TEST(Reference, AttentionIsTheFormula) {
  const KvShape shape{2, 1, 2, 4};
  const std::vector<uint32_t> blocks = {0};
  const Floats k = {1, 0, 0, 1, 1, 1};
  const Floats v = {1, 2, 3, 4, 5, 6};
  Machine m(std::move(*make_reference_backend()));
  std::byte* arena = m.upload_bytes(std::vector<std::byte>(shape.block_bytes()));
  const std::vector<uint32_t> slots = {0, 1, 2};
  const AppendArgs fresh{{arena, blocks}, m.upload(k), 2, m.upload(v), 2, slots};
  m.ops().append_kv(shape, std::span(&fresh, 1));
  const Floats q = {1, 2, 0, 3, -1, 1, 2, 2};
  AttendArgs args;
  args.d_q = m.upload(q);
  args.rows = 2;
  args.kv = {arena, blocks};
  args.count = 3;
  args.d_out = m.room(8);
  args.d_lse = m.room(4);
  m.ops().attend(shape, {&args, 1});
  const Floats out = m.download(args.d_out, 8);
  const Floats lse = m.download(args.d_lse, 4);
  for (size_t vector = 0; vector < 4; ++vector) {
    const size_t entries = vector < 2 ? 2 : 3;  // the first row sees two
    double sum = 0, first = 0, second = 0;
    for (size_t e = 0; e < entries; ++e) {
      const double dot =
          double{q[2 * vector]} * k[2 * e] + double{q[2 * vector + 1]} * k[2 * e + 1];
      const double weight = std::exp(dot / std::sqrt(2.0));
      sum += weight;
      first += weight * v[2 * e];
      second += weight * v[2 * e + 1];
    }
    EXPECT_NEAR(out[2 * vector], first / sum, 1e-6);
    EXPECT_NEAR(out[2 * vector + 1], second / sum, 1e-6);
    EXPECT_NEAR(lse[vector], std::log(sum), 1e-6);
  }
}

TEST(Reference, RopeTurnsByThePositionTimesTheFrequency) {
  Machine m(std::move(*make_reference_backend()));
  ASSERT_TRUE(m.ops().prepare_rope(plain_rope(100.0, 4, true, 10)));
  float* x = m.upload(Floats{1, 0, 0, 1});
  const std::vector<Position> positions = {3};
  m.ops().rope(x, 4, 1, 4, positions);
  const Floats got = m.download(x, 4);
  EXPECT_NEAR(got[0], std::cos(3.0), 1e-6);
  EXPECT_NEAR(got[1], std::sin(3.0), 1e-6);
  EXPECT_NEAR(got[2], -std::sin(0.3), 1e-6);  // 100^(-2/4) = 0.1
  EXPECT_NEAR(got[3], std::cos(0.3), 1e-6);
}

}  // namespace
}  // namespace ebb::kernels
