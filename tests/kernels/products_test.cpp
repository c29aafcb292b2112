// What the CUDA backend promises of weights and memory beyond kernels/ops.h: exact values, products
// through panels and with bf16 inputs, copies that do not wait.
#include <algorithm>
#include <numeric>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/plugin.h"
#include "tests/kernels/kernels_fixture.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1();

namespace ebb::kernels {
namespace {

class Products : public ::testing::Test {
 protected:
  static Machine make(bool bf16) {
    CudaOptions options;
    options.gemm_bf16 = bf16;
    return Machine(std::move(*ebb_cuda_backend_v1()->make_backend(options)));
  }
  static Machine reference() { return Machine(std::move(*make_reference_backend())); }
  static Floats embed(Machine& m, const WeightSource& w, const std::vector<TokenId>& ids) {
    float* out = m.room(ids.size() * w.columns);
    m.ops().embed(m.weight(w), ids, out);
    return m.download(out, ids.size() * w.columns);
  }
  static Floats multiply(Machine& m, const Floats& x, uint32_t rows, const WeightSource& w) {
    float* out = m.room(rows * w.rows);
    m.ops().matmul(m.upload(x), rows, m.weight(w), out, w.rows);
    return m.download(out, rows * w.rows);
  }
  Random random_{3};
};

TEST_F(Products, ValuesOfEveryFormatAreTheReferencesBitByBit) {
  for (const WeightFormat format : all_formats()) {
    const WeightData w = random_weight(random_, format, 7, some_columns(format), 6);
    Machine subject = make(false), expected = reference();
    const std::vector<TokenId> ids = {6, 0, 3, 3};
    expect_same_bits(embed(subject, w.source, ids), embed(expected, w.source, ids),
                     format_name(format));
  }
}

TEST_F(Products, AVectorInAnyFormatIsTheReferencesBitByBit) {
  for (const WeightFormat format : all_formats()) {
    const WeightData w = random_weight(random_, format, 1, some_columns(format));
    const auto add = [&](Machine& m) {
      float* x = m.upload(Floats(w.source.columns, 0.0f));
      m.ops().add_bias(x, w.source.columns, 1, m.weight(w.source));
      return m.download(x, w.source.columns);
    };
    Machine subject = make(false), expected = reference();
    expect_same_bits(add(subject), add(expected), format_name(format));
  }
}

TEST_F(Products, ManyRowsOfEveryFormatMatch) {
  for (const WeightFormat format : all_formats()) {
    const WeightData w = random_weight(random_, format, 67, some_columns(format));
    const Floats x = random_floats(random_, 35 * w.source.columns);
    Machine subject = make(false), expected = reference();
    expect_close("matmul", multiply(subject, x, 35, w.source), multiply(expected, x, 35, w.source),
                 format_name(format));
  }
}

TEST_F(Products, TensorCoresMultiplyBf16WeightsAsExactlyAsFloats) {
  for (const uint64_t columns : {64, 192, 640}) {
    for (const uint64_t outputs : {1, 16, 41}) {
      const WeightData w = random_weight(random_, WeightFormat::kBF16, outputs, columns, 2);
      Floats x = random_floats(random_, 37 * columns);
      x[3] = 1e-30f;
      x[4] = 3e4f;
      for (const uint32_t rows : {9u, 16u, 17u, 37u}) {
        Machine subject = make(false), expected = reference();
        expect_close("matmul", multiply(subject, x, rows, w.source),
                     multiply(expected, x, rows, w.source),
                     std::to_string(columns) + " x " + std::to_string(outputs));
      }
    }
  }
}

TEST_F(Products, InputsMayBeBf16WhereThatIsAskedFor) {
  const WeightData exact = random_weight(random_, WeightFormat::kBF16, 67, 100);
  const WeightData rounded = random_weight(random_, WeightFormat::kQ8_0, 67, 96);
  Machine subject = make(true), expected = reference();
  Floats x = random_floats(random_, 40 * 100);
  expect_close("matmul", multiply(subject, x, 40, exact.source),
               multiply(expected, x, 40, exact.source), "a bf16 weight is taken as it is");
  x.resize(40 * 96);
  const Floats got = multiply(subject, x, 40, rounded.source);
  const Floats wanted = multiply(expected, x, 40, rounded.source);
  double error = 0, energy = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - wanted[i]) * (got[i] - wanted[i]);
    energy += wanted[i] * wanted[i];
  }
  EXPECT_LT(error, energy * 1e-5) << "eight bits of mantissa";
}

TEST_F(Products, ABackendSaysWhatMultipliesManyRows) {
  const auto context = cuda::CudaContext::make(0);
  ASSERT_TRUE(context);
  const auto gemm = cuda::Gemm::make(**context, cuda::GemmInputs::kTf32);
  EXPECT_EQ(gemm->name(), "own kernel (emulated)");
}

TEST_F(Products, ManySmallCopiesArriveThoughTheirSourceChangesAtOnce) {
  Machine m = make(false);
  constexpr size_t kSize = 5000, kCopies = 700;  // three times the ring
  float* to = m.room(kSize * kCopies);
  Floats values(kSize);
  for (size_t i = 0; i < kCopies; ++i) {
    std::iota(values.begin(), values.end(), static_cast<float>(i));
    m.device().copy_to_device(to + i * kSize, values.data(), kSize * sizeof(float));
  }
  const Floats all = m.download(to, kSize * kCopies);
  for (size_t i = 0; i < kCopies; ++i) {
    ASSERT_EQ(all[i * kSize], static_cast<float>(i));
    ASSERT_EQ(all[i * kSize + kSize - 1], static_cast<float>(i + kSize - 1));
  }
}

TEST_F(Products, WhatAnOperationUploadedStaysWhenTheRingGrows) {
  const auto context = cuda::CudaContext::make(0);
  ASSERT_TRUE(context);
  const std::vector<uint32_t> small = {1, 2, 3}, large(3u << 20, 7u);
  const uint32_t* d_small = (*context)->upload(small);
  const uint32_t* d_large = (*context)->upload(large);
  std::vector<uint32_t> got(3), last(1);
  (void)cudaMemcpy(got.data(), d_small, 12, cudaMemcpyDeviceToHost);
  (void)cudaMemcpy(last.data(), d_large + large.size() - 1, 4, cudaMemcpyDeviceToHost);
  EXPECT_EQ(got, small);
  EXPECT_EQ(last[0], 7u);
}

}  // namespace
}  // namespace ebb::kernels
