// What every kernel test shares: backends under test beside the reference, random inputs, one table
// of limits.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace ebb::kernels {

using Floats = std::vector<float>;
using Random = std::mt19937_64;

/// How far a backend may be from the reference: normalised mean square error and largest absolute
/// difference (relative to the largest expected magnitude when that is above 1).
struct Limit {
  const char* op;
  double nmse;
  double max_difference;
};
void expect_close(const char* op, std::span<const float> got, std::span<const float> expected,
                  const std::string& what);
/// Same bits, -0 and NaN included.
void expect_same_bits(std::span<const float> got, std::span<const float> expected,
                      const std::string& what);

Floats random_floats(Random& random, size_t count, float spread = 1.0f);

/// A weight's bytes, in any format, rows `gap` bytes further apart than they need to be.
struct WeightData {
  std::vector<std::byte> bytes;
  WeightSource source;
};
WeightData random_weight(Random& random, WeightFormat format, uint64_t rows, uint64_t columns,
                         uint64_t gap = 0);
WeightData float_weight(const Floats& values, uint64_t rows);
const std::vector<WeightFormat>& all_formats();
const char* format_name(WeightFormat format);
/// A few blocks' worth of columns.
uint64_t some_columns(WeightFormat format);
/// Unscaled frequencies base^(-2i / dims).
RopeArgs plain_rope(double base, uint32_t dims, bool interleaved, uint32_t positions_max);

/// KV rows of one sequence, in blocks that lie in any order in the arena.
struct Sequence {
  KvShape shape;
  std::vector<uint32_t> blocks;
  std::vector<std::byte> arena;
};
/// Random rows at `slots` slots and a few more.
Sequence random_sequence(Random& random, const KvShape& shape, uint32_t slots);

/// A backend and the memory given to it.
class Machine {
 public:
  explicit Machine(Backend backend) : backend_(std::move(backend)) {}
  Ops& ops() { return *backend_.ops; }
  Device& device() { return *backend_.device; }
  float* upload(std::span<const float> values);
  float* room(size_t floats);
  std::byte* upload_bytes(std::span<const std::byte> bytes);
  Floats download(const float* from, size_t count);
  std::vector<std::byte> download_bytes(const std::byte* from, size_t count);
  const Weight& weight(const WeightSource& source);

 private:
  Backend backend_;
  std::vector<Buffer> buffers_;
  std::vector<std::unique_ptr<Weight>> weights_;
};

/// What is under test: the CPU backend held to one instruction set after the other
/// (cpu_subject.cpp), or the CUDA backend (cuda_subject.cpp). Each test binary links one of the
/// two.
const std::vector<const char*>& subjects();
/// Errors: kUnsupported where this machine cannot run it: its cases are skipped, visibly.
Result<Backend> make_backend(const char* subject, uint32_t threads);
/// A subject that no machine may skip.
bool runs_everywhere(const std::string& subject);
/// Limits of this subject that are not those of all (kernels_fixture.cpp).
std::span<const Limit> subject_limits();

/// Parameter: one of subjects().
class KernelsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;
  Machine make_subject(uint32_t threads);
  static Machine make_reference();
  Random random_{20240607};
};

std::string subject_case_name(const ::testing::TestParamInfo<const char*>& info);

#define EBB_ON_EVERY_SUBJECT(Suite) \
  INSTANTIATE_TEST_SUITE_P(On, Suite, ::testing::ValuesIn(subjects()), subject_case_name)

}  // namespace ebb::kernels
