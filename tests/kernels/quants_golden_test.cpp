// The meaning of every stored format, against the floats that the formats' own package makes of the
// same bytes (tests/golden/make_quants.py).
#include <fstream>
#include <sstream>

#include "tests/kernels/kernels_fixture.h"
#include "tests/support/tree_paths.h"

namespace ebb::kernels {
namespace {

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  }
  return bytes;
}

struct GoldenBlock {
  WeightFormat format;
  std::vector<std::byte> block;
  Floats values;
};

std::vector<GoldenBlock> golden_blocks() {
  std::ifstream file(ebb::test::source_path("tests/golden/quants.txt"));
  std::vector<GoldenBlock> blocks;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream fields(line);
    std::string name, block, values;
    fields >> name >> block >> values;
    for (const WeightFormat format : all_formats()) {
      if (name != format_name(format)) continue;
      GoldenBlock golden{format, from_hex(block), Floats(values.size() / 8)};
      std::memcpy(golden.values.data(), from_hex(values).data(), values.size() / 2);
      blocks.push_back(std::move(golden));
    }
  }
  return blocks;
}

Floats decode(Machine& m, const GoldenBlock& golden, uint64_t rows) {
  std::vector<std::byte> bytes;
  for (uint64_t r = 0; r < rows; ++r) {
    bytes.insert(bytes.end(), golden.block.begin(), golden.block.end());
  }
  const uint64_t columns = golden.values.size();
  const Weight& w = m.weight({golden.format, bytes.data(), rows, columns, golden.block.size()});
  float* out = m.room(columns);
  const std::vector<TokenId> ids = {static_cast<TokenId>(rows - 1)};
  m.ops().embed(w, ids, out);
  return m.download(out, columns);
}

TEST(QuantsGolden, CoversEveryFormatButPlainFloats) {
  std::vector<uint32_t> found(kWeightFormats);
  for (const GoldenBlock& golden : golden_blocks()) ++found[static_cast<size_t>(golden.format)];
  for (const WeightFormat format : all_formats()) {
    if (format == WeightFormat::kF32) continue;
    EXPECT_GE(found[static_cast<size_t>(format)], 10u) << format_name(format);
  }
}

TEST(QuantsGolden, ReferenceDecodesEveryBlockBitByBit) {
  for (const GoldenBlock& golden : golden_blocks()) {
    Machine m(std::move(*make_reference_backend()));
    expect_same_bits(decode(m, golden, 1), golden.values, format_name(golden.format));
  }
}

class QuantsOnCpu : public KernelsTest {};

TEST_P(QuantsOnCpu, DecodeWithinOneRoundingOfTheBlocksLargest) {
  for (const GoldenBlock& golden : golden_blocks()) {
    Machine m = make_subject(1);
    const Floats got = decode(m, golden, 2);
    float largest = 0;
    for (const float value : golden.values) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], golden.values[i], largest * 2.5e-7f)
          << format_name(golden.format) << ", element " << i;
    }
  }
}

EBB_ON_EVERY_SUBJECT(QuantsOnCpu);

}  // namespace
}  // namespace ebb::kernels
