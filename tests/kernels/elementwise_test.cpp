#include "tests/kernels/kernels_fixture.h"

#include <cmath>
#include <limits>

namespace ebb::kernels {
namespace {

class Elementwise : public KernelsTest {
 protected:
  /// Runs `work` (upload, op, download) on both sides and compares.
  void compare(const char* op, const std::string& what,
               const std::function<Floats(Machine&)>& work) {
    Machine subject = make_subject(2);
    Machine reference = make_reference();
    expect_close(op, work(subject), work(reference), what);
  }
};

TEST_P(Elementwise, RmsNormMatchesForOddWidthsAndHardRows) {
  for (const uint32_t width : {1u, 7u, 64u, 576u, 1001u}) {
    Floats x = random_floats(random_, 3 * width);
    std::fill(x.begin(), x.begin() + width, 2.5f);    // all equal
    x[width] = 30000.0f;                              // one huge
    std::fill(x.begin() + 2 * width, x.end(), 0.0f);  // all zero: epsilon alone
    const WeightData gain = float_weight(random_floats(random_, width), 1);
    compare("rms_norm", "width " + std::to_string(width), [&](Machine& m) {
      float* values = m.upload(x);
      m.ops().rms_norm(values, 3, m.weight(gain.source), 1e-5f, values);  // in place
      return m.download(values, x.size());
    });
  }
}

TEST_P(Elementwise, AddMatchesBelowAndAboveTheParallelSize) {
  for (const size_t count : {size_t{1}, size_t{17}, size_t{200'003}}) {
    const Floats x = random_floats(random_, count);
    const Floats y = random_floats(random_, count);
    compare("add", std::to_string(count), [&](Machine& m) {
      float* values = m.upload(x);
      m.ops().add(values, m.upload(y), count);
      return m.download(values, count);
    });
  }
}

TEST_P(Elementwise, SiluMulMatchesAndSurvivesExtremeGates) {
  for (const uint32_t width : {1u, 19u, 1536u}) {
    Floats gate_up = random_floats(random_, 5 * 2 * width, 3.0f);
    gate_up[0] = -2000.0f;
    gate_up[2 * width] = 2000.0f;
    compare("silu_mul", "width " + std::to_string(width), [&](Machine& m) {
      float* out = m.room(5 * width);
      m.ops().silu_mul(m.upload(gate_up), 5, width, out);
      return m.download(out, 5 * width);
    });
  }
}

TEST_P(Elementwise, RopeMatchesInBothLayoutsWithPassThroughDims) {
  const std::vector<Position> positions = {0, 1, 4097, 8191};
  for (const bool interleaved : {true, false}) {
    for (const uint32_t dims : {64u, 32u}) {
      constexpr uint32_t kHeads = 3, kSize = 64, kStride = kHeads * kSize + 11;
      const Floats x = random_floats(random_, positions.size() * kStride);
      compare("rope", interleaved ? "interleaved" : "halves", [&](Machine& m) {
        EXPECT_TRUE(m.ops().prepare_rope({100000.0, dims, interleaved, 8192}));
        float* values = m.upload(x);
        m.ops().rope(values, kStride, kHeads, kSize, positions);
        return m.download(values, x.size());
      });
    }
  }
}

TEST_P(Elementwise, RopeRefusesOddDims) {
  Machine m = make_subject(1);
  EXPECT_EQ(m.ops().prepare_rope({10000.0, 7, true, 16}).error().code, Code::kInvalid);
}

TEST_P(Elementwise, EmbedMatchesInEveryFormat) {
  const std::vector<TokenId> ids = {0, 4, 4, 2};
  for (const WeightFormat format : all_formats()) {
    const WeightData table = random_weight(random_, format, 5, 96, 6);
    compare("embed", format_name(format), [&](Machine& m) {
      float* out = m.room(ids.size() * 96);
      m.ops().embed(m.weight(table.source), ids, out);
      return m.download(out, ids.size() * 96);
    });
  }
}

TEST_P(Elementwise, MergeStatesMatchesWithEmptySides) {
  constexpr uint32_t kRows = 2, kHeads = 4, kSize = 10;
  constexpr float kEmpty = -std::numeric_limits<float>::infinity();
  const Floats out_a = random_floats(random_, kRows * kHeads * kSize);
  const Floats out_b = random_floats(random_, kRows * kHeads * kSize);
  const Floats lse_a = {0, 3, kEmpty, kEmpty, 100, -100, 5, 5};
  const Floats lse_b = {0, -3, 2, kEmpty, -100, 100, kEmpty, 5};
  for (const bool want_lse : {false, true}) {
    compare("merge_states", want_lse ? "lse" : "out", [&](Machine& m) {
      float* out = m.upload(out_a);
      float* lse = m.upload(lse_a);
      m.ops().merge_states(out, lse, m.upload(out_b), m.upload(lse_b), kRows, kHeads, kSize);
      return want_lse ? m.download(lse, lse_a.size()) : m.download(out, out_a.size());
    });
  }
}

EBB_ON_EVERY_ISA(Elementwise);

}  // namespace
}  // namespace ebb::kernels
