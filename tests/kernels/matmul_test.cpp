#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {
namespace {

class Matmul : public KernelsTest {
 protected:
  static Floats multiply(Machine& m, const Floats& x, uint32_t rows, const WeightSource& w,
                         uint64_t stride) {
    float* out = m.upload(Floats(rows * stride, 7.0f));
    m.ops().matmul(m.upload(x), rows, m.weight(w), out, stride);
    return m.download(out, rows * stride);
  }
};

TEST_P(Matmul, EveryFormatMatchesForFewAndManyRowsAndStridedOutputs) {
  for (const WeightFormat format : all_formats()) {
    const uint64_t columns = some_columns(format);
    for (const uint64_t outputs : {1, 3, 41}) {
      const WeightData w = random_weight(random_, format, outputs, columns, 8);
      for (const uint32_t rows : {1u, 2u, 3u, 5u, 7u, 8u, 9u, 33u}) {
        const Floats x = random_floats(random_, rows * columns);
        Machine subject = make_subject(2);
        Machine reference = make_reference();
        expect_close("matmul", multiply(subject, x, rows, w.source, outputs + 5),
                     multiply(reference, x, rows, w.source, outputs + 5),
                     std::string(format_name(format)) + " " + std::to_string(outputs) + " rows " +
                         std::to_string(rows));
      }
    }
  }
}

TEST_P(Matmul, FloatFormatsTakeAnyWidth) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
    for (const uint64_t columns : {1, 5, 31, 33, 100}) {
      const WeightData w = random_weight(random_, format, 9, columns);
      for (const uint32_t rows : {1u, 4u, 12u}) {
        const Floats x = random_floats(random_, rows * columns);
        Machine subject = make_subject(1);
        Machine reference = make_reference();
        expect_close("matmul", multiply(subject, x, rows, w.source, 9),
                     multiply(reference, x, rows, w.source, 9), std::to_string(columns));
      }
    }
  }
}

TEST_P(Matmul, ModelShapesMatchAcrossThreadsAndPanels) {
  for (const WeightFormat format :
       {WeightFormat::kQ4_1, WeightFormat::kQ8_0, WeightFormat::kQ5_1, WeightFormat::kQ6_K}) {
    const uint64_t columns = weight_block(format).elements == 256 ? 768 : 576;
    const WeightData w = random_weight(random_, format, 1000, columns);
    for (const uint32_t rows : {1u, 40u}) {
      const Floats x = random_floats(random_, rows * columns);
      Machine subject = make_subject(2);
      Machine reference = make_reference();
      expect_close("matmul", multiply(subject, x, rows, w.source, 1000),
                   multiply(reference, x, rows, w.source, 1000), format_name(format));
    }
  }
}

TEST_P(Matmul, BitsOfARowDoNotDependOnItsCompanyUpToEightRows) {
  for (const WeightFormat format : all_formats()) {
    const uint64_t columns = some_columns(format);
    const WeightData w = random_weight(random_, format, 37, columns);
    const Floats x = random_floats(random_, 8 * columns);
    Machine subject = make_subject(1);
    const Floats together = multiply(subject, x, 8, w.source, 37);
    for (uint32_t rows = 1; rows < 8; ++rows) {
      const Floats fewer = multiply(subject, x, rows, w.source, 37);
      expect_same_bits(fewer, std::span(together).first(fewer.size()),
                       std::string(format_name(format)) + " rows " + std::to_string(rows));
    }
  }
}

TEST_P(Matmul, BitsDoNotDependOnTheNumberOfThreads) {
  for (const WeightFormat format : all_formats()) {
    const uint64_t columns = some_columns(format);
    const WeightData w = random_weight(random_, format, 501, columns);
    const Floats x = random_floats(random_, columns);
    Machine one = make_subject(1);
    Machine three = make_subject(3);
    expect_same_bits(multiply(three, x, 1, w.source, 501), multiply(one, x, 1, w.source, 501),
                     format_name(format));
  }
}

/// A file's last tensor: the page behind it does not exist.
TEST_P(Matmul, LastBlockMayEndWhereTheMappingDoes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* pages = mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  auto* end = static_cast<std::byte*>(pages) + 3 * page;
  ASSERT_EQ(mprotect(end, page, PROT_NONE), 0);
  for (const WeightFormat format : all_formats()) {
    WeightData w = random_weight(random_, format, 5, some_columns(format));
    std::copy(w.bytes.begin(), w.bytes.end(), end - w.bytes.size());
    w.source.data = end - w.bytes.size();
    for (const uint32_t rows : {1u, 3u, 9u}) {
      const Floats x = random_floats(random_, rows * w.source.columns);
      Machine subject = make_subject(1);
      Machine reference = make_reference();
      expect_close("matmul", multiply(subject, x, rows, w.source, 5),
                   multiply(reference, x, rows, w.source, 5), format_name(format));
    }
  }
  munmap(pages, 4 * page);
}

TEST_P(Matmul, BadWeightsAreRefusedByName) {
  Machine m = make_subject(1);
  const std::vector<std::byte> bytes(1000);
  const auto refusal = [&](WeightSource source) {
    auto weight = m.ops().load_weight(source);
    EXPECT_FALSE(weight);
    return weight ? Error{} : weight.error();
  };
  EXPECT_EQ(refusal({WeightFormat::kQ4_1, bytes.data(), 2, 33, 20}).code, Code::kInvalid);
  EXPECT_NE(refusal({WeightFormat::kQ4_1, bytes.data(), 2, 33, 20}).message.find("33"),
            std::string::npos);
  EXPECT_NE(refusal({WeightFormat::kQ6_K, bytes.data(), 2, 128, 210}).message.find("256"),
            std::string::npos);
  EXPECT_EQ(refusal({WeightFormat::kF32, nullptr, 2, 32, 128}).code, Code::kInvalid);
  EXPECT_EQ(refusal({WeightFormat::kF32, bytes.data(), 0, 32, 128}).code, Code::kInvalid);
  EXPECT_EQ(refusal({WeightFormat::kF32, bytes.data(), 2, 32, 64}).code, Code::kInvalid);
  const Error unknown = refusal({static_cast<WeightFormat>(99), bytes.data(), 2, 32, 64});
  EXPECT_EQ(unknown.code, Code::kUnsupported);
  EXPECT_NE(unknown.message.find("Q6_K and IQ4_NL"), std::string::npos);
}

EBB_ON_EVERY_SUBJECT(Matmul);

}  // namespace
}  // namespace ebb::kernels
