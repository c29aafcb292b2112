#include "tests/kernels/kernels_fixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ebb::kernels {
namespace {

/// Sums of a few hundred f32 products against double ones; exp within 2e-7.
constexpr Limit kLimits[] = {
    {"embed", 1e-14, 1e-6},
    {"rms_norm", 1e-12, 2e-6},
    {"matmul", 1e-11, 2e-5},
    {"add_bias", 1e-15, 1e-7},
    {"add", 1e-15, 1e-7},
    {"silu_mul", 1e-12, 1e-6},
    {"rope", 1e-12, 1e-6},
    {"attend", 1e-11, 1e-5},
    {"lse", 1e-11, 1e-5},
    {"logits", 1e-11, 1e-5},
    {"score_max", 1e-11, 2e-6},
    {"merge_states", 1e-12, 1e-6},
    {"mean_key", 1e-12, 1e-6},
    {"token_gru", 1e-10, 2e-5},
    // The query in 16 and in 8 bits: digests themselves are a hundred times as far from K.
    {"scan int4", 1e-8, 1e-3},
    {"scan h", 2e-4, 5e-2},
};

const Limit& limit_of(const char* op) {
  const auto is_of_op = [&](const Limit& limit) { return std::strcmp(limit.op, op) == 0; };
  const std::span<const Limit> own = subject_limits();
  if (const auto found = std::find_if(own.begin(), own.end(), is_of_op); found != own.end()) {
    return *found;
  }
  const auto* found = std::find_if(std::begin(kLimits), std::end(kLimits), is_of_op);
  EXPECT_NE(found, std::end(kLimits)) << "no limit for " << op;
  return *found;
}

/// Positive and negative binary16 of moderate size, one in sixteen subnormal or zero.
uint16_t random_f16(Random& random) {
  const uint64_t bits = random();
  const uint64_t exponent = bits % 16 == 0 ? 0 : 8 + (bits >> 8) % 6;
  return static_cast<uint16_t>((bits >> 16 & 0x83ff) | exponent << 10);
}

void put16(std::byte* to, uint16_t bits) { std::memcpy(to, &bits, sizeof bits); }

/// Where the binary16 fields of a block lie; 0xffff: no (further) one.
struct HalfFields {
  uint16_t at[2] = {0xffff, 0xffff};
};
HalfFields half_fields(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
    case WeightFormat::kBF16:
      return {};
    case WeightFormat::kF16:
    case WeightFormat::kQ8_0:
    case WeightFormat::kQ4_0:
    case WeightFormat::kQ5_0:
    case WeightFormat::kIQ4_NL:
      return {{0, 0xffff}};
    case WeightFormat::kQ4_1:
    case WeightFormat::kQ5_1:
    case WeightFormat::kQ4_K:
    case WeightFormat::kQ5_K:
      return {{0, 2}};
    case WeightFormat::kQ2_K:
      return {{80, 82}};
    case WeightFormat::kQ3_K:
      return {{108, 0xffff}};
    case WeightFormat::kQ6_K:
      return {{208, 0xffff}};
  }
  return {};
}

void fill_block(Random& random, WeightFormat format, std::byte* block) {
  const uint32_t bytes = weight_block(format).bytes;
  for (uint32_t i = 0; i < bytes; ++i) block[i] = static_cast<std::byte>(random() & 0xff);
  const float value = std::normal_distribution<float>(0, 0.1f)(random);
  if (format == WeightFormat::kF32) std::memcpy(block, &value, 4);
  if (format == WeightFormat::kBF16) {
    std::memcpy(block, reinterpret_cast<const char*>(&value) + 2, 2);
  }
  for (const uint16_t at : half_fields(format).at) {
    if (at != 0xffff) put16(block + at, random_f16(random));
  }
}

}  // namespace

void expect_close(const char* op, std::span<const float> got, std::span<const float> expected,
                  const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  const Limit& limit = limit_of(op);
  double error = 0, energy = 0, worst = 0, largest = 1;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(got[i], expected[i]) << op << ", " << what << ", element " << i;
      continue;
    }
    ASSERT_FALSE(std::isnan(got[i])) << op << ", " << what << ", element " << i;
    const double difference = double{got[i]} - expected[i];
    error += difference * difference;
    energy += double{expected[i]} * expected[i];
    worst = std::max(worst, std::abs(difference));
    largest = std::max(largest, std::abs(double{expected[i]}));
  }
  EXPECT_LE(error, energy * limit.nmse) << op << ", " << what;
  EXPECT_LE(worst / largest, limit.max_difference) << op << ", " << what;
}

void expect_same_bits(std::span<const float> got, std::span<const float> expected,
                      const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  EXPECT_TRUE(got.empty() || std::memcmp(got.data(), expected.data(), got.size_bytes()) == 0)
      << what;
}

Floats random_floats(Random& random, size_t count, float spread) {
  std::normal_distribution<float> normal(0, spread);
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

WeightData random_weight(Random& random, WeightFormat format, uint64_t rows, uint64_t columns,
                         uint64_t gap) {
  const WeightBlock block = weight_block(format);
  const uint64_t row_bytes = weight_row_bytes(format, columns);
  WeightData data;
  // The last row ends where the memory does: reading past it would show.
  data.bytes.resize(rows * (row_bytes + gap) - gap, std::byte{0xff});
  data.source = {format, data.bytes.data(), rows, columns, row_bytes + gap};
  for (uint64_t r = 0; r < rows; ++r) {
    for (uint64_t at = 0; at < row_bytes; at += block.bytes) {
      fill_block(random, format, data.bytes.data() + r * (row_bytes + gap) + at);
    }
  }
  return data;
}

WeightData float_weight(const Floats& values, uint64_t rows) {
  WeightData data;
  data.bytes.resize(values.size() * 4);
  std::memcpy(data.bytes.data(), values.data(), data.bytes.size());
  const uint64_t columns = values.size() / rows;
  data.source = {WeightFormat::kF32, data.bytes.data(), rows, columns, columns * 4};
  return data;
}

const std::vector<WeightFormat>& all_formats() {
  static const std::vector<WeightFormat> formats = [] {
    std::vector<WeightFormat> all;
    for (uint32_t i = 0; i < kWeightFormats; ++i) all.push_back(static_cast<WeightFormat>(i));
    return all;
  }();
  return formats;
}

const char* format_name(WeightFormat format) { return weight_block(format).name; }

uint64_t some_columns(WeightFormat format) {
  return weight_block(format).elements == 256 ? 512 : 96;
}

RopeArgs plain_rope(double base, uint32_t dims, bool interleaved, uint32_t positions_max) {
  RopeArgs args;
  for (uint32_t i = 0; i < dims / 2; ++i)
    args.frequencies.push_back(std::pow(base, -2.0 * i / dims));
  args.interleaved = interleaved;
  args.positions_max = positions_max;
  return args;
}

Sequence random_sequence(Random& random, const KvShape& shape, uint32_t slots) {
  Sequence s{shape, {}, {}};
  const uint32_t blocks = (slots + shape.block_tokens - 1) / shape.block_tokens + 1;
  s.blocks.resize(blocks);
  std::iota(s.blocks.begin(), s.blocks.end(), 0u);
  std::shuffle(s.blocks.begin(), s.blocks.end(), random);
  s.arena.resize(blocks * shape.block_bytes());
  const Floats values = random_floats(random, s.arena.size() / kv_element_bytes(shape.element));
  if (shape.element == KvElement::kF32) {
    std::memcpy(s.arena.data(), values.data(), s.arena.size());
    return s;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    std::memcpy(s.arena.data() + 2 * i, reinterpret_cast<const char*>(&values[i]) + 2, 2);
  }
  return s;
}

float* Machine::room(size_t floats) {
  auto buffer = device().allocate(floats * sizeof(float), MemoryKind::kDevice);
  EXPECT_TRUE(buffer);
  buffers_.push_back(std::move(*buffer));
  // Results that nobody writes must show.
  const Floats poison(floats, std::nanf(""));
  device().copy_to_device(buffers_.back().data(), poison.data(), floats * sizeof(float));
  return buffers_.back().floats();
}

float* Machine::upload(std::span<const float> values) {
  float* to = room(values.size());
  device().copy_to_device(to, values.data(), values.size_bytes());
  return to;
}

std::byte* Machine::upload_bytes(std::span<const std::byte> bytes) {
  auto buffer = device().allocate(bytes.size(), MemoryKind::kDevice);
  EXPECT_TRUE(buffer);
  buffers_.push_back(std::move(*buffer));
  device().copy_to_device(buffers_.back().data(), bytes.data(), bytes.size());
  return buffers_.back().bytes_ptr();
}

Floats Machine::download(const float* from, size_t count) {
  Floats values(count);
  device().copy_to_host(values.data(), from, count * sizeof(float));
  return values;
}

std::vector<std::byte> Machine::download_bytes(const std::byte* from, size_t count) {
  std::vector<std::byte> bytes(count);
  device().copy_to_host(bytes.data(), from, count);
  return bytes;
}

const Weight& Machine::weight(const WeightSource& source) {
  auto weight = ops().load_weight(source);
  EXPECT_TRUE(weight) << weight.error().text();
  weights_.push_back(std::move(*weight));
  return *weights_.back();
}

std::string subject_case_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
}

void KernelsTest::SetUp() {
  const auto backend = make_backend(GetParam(), 1);
  if (backend) return;
  // A backend that is broken must not look like one that this machine cannot have.
  ASSERT_EQ(backend.error().code, Code::kUnsupported) << backend.error().text();
  ASSERT_FALSE(runs_everywhere(GetParam())) << backend.error().text();
  GTEST_SKIP() << backend.error().text();
}

Machine KernelsTest::make_subject(uint32_t threads) {
  return Machine(std::move(*make_backend(GetParam(), threads)));
}

Machine KernelsTest::make_reference() { return Machine(std::move(*make_reference_backend())); }

}  // namespace ebb::kernels
