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

TEST_P(Elementwise, ClearLeavesWhatIsBehind) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{70'001}}) {
    Machine subject = make_subject(2);
    Floats values = random_floats(random_, count + 1);
    float* d_values = subject.upload(values);
    subject.ops().clear(d_values, count);
    std::fill_n(values.begin(), count, 0.0f);
    expect_same_bits(subject.download(d_values, count + 1), values, std::to_string(count));
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
        EXPECT_TRUE(m.ops().prepare_rope(plain_rope(100000.0, dims, interleaved, 8192)));
        float* values = m.upload(x);
        m.ops().rope(values, kStride, kHeads, kSize, positions);
        return m.download(values, x.size());
      });
    }
  }
}

TEST_P(Elementwise, RopeTakesAnyFrequenciesAndAMagnitude) {
  const std::vector<Position> positions = {0, 255, 256, 70'001, 131'071};
  RopeArgs args = plain_rope(10000.0, 32, false, 131'072);
  for (double& frequency : args.frequencies) {
    frequency *= std::uniform_real_distribution<>(0.03, 1)(random_);
  }
  args.magnitude = 1.138f;
  const Floats x = random_floats(random_, positions.size() * 64);
  compare("rope", "scaled", [&](Machine& m) {
    EXPECT_TRUE(m.ops().prepare_rope(args));
    float* values = m.upload(x);
    m.ops().rope(values, 64, 2, 32, positions);
    return m.download(values, x.size());
  });
}

TEST_P(Elementwise, RopeRefusesWhatIsNoRotation) {
  Machine m = make_subject(1);
  const auto refusal = [&](const std::function<void(RopeArgs&)>& change) {
    RopeArgs args = plain_rope(10000.0, 64, true, 16);
    change(args);
    const auto result = m.ops().prepare_rope(args);
    return result ? Code::kInternal : result.error().code;
  };
  EXPECT_EQ(refusal([](RopeArgs& args) { args.frequencies.clear(); }), Code::kInvalid);
  EXPECT_EQ(refusal([](RopeArgs& args) { args.frequencies.resize(129, 0.5); }), Code::kInvalid);
  EXPECT_EQ(refusal([](RopeArgs& args) { args.frequencies[3] = std::nan(""); }), Code::kInvalid);
  EXPECT_EQ(refusal([](RopeArgs& args) { args.magnitude = 0; }), Code::kInvalid);
}

TEST_P(Elementwise, RmsNormHeadsNormsEachHeadByItself) {
  for (const uint32_t size : {2u, 10u, 64u, 128u}) {
    constexpr uint32_t kRows = 3, kHeads = 5;
    const uint32_t stride = kHeads * size + 7;
    const Floats x = random_floats(random_, kRows * stride);
    const WeightData gain = random_weight(random_, WeightFormat::kBF16, 1, size);
    compare("rms_norm", "heads of " + std::to_string(size), [&](Machine& m) {
      float* values = m.upload(x);
      m.ops().rms_norm_heads(values, stride, kRows, kHeads, size, m.weight(gain.source), 1e-6f);
      return m.download(values, x.size());
    });
  }
}

TEST_P(Elementwise, AddBiasAddsToEachRowAndNothingBetween) {
  for (const uint32_t width : {1u, 33u, 576u}) {
    constexpr uint32_t kRows = 4;
    const Floats x = random_floats(random_, kRows * (width + 3));
    const WeightData bias = random_weight(random_, WeightFormat::kF16, 1, width);
    compare("add_bias", "width " + std::to_string(width), [&](Machine& m) {
      float* values = m.upload(x);
      m.ops().add_bias(values, width + 3, kRows, m.weight(bias.source));
      return m.download(values, x.size());
    });
  }
}

TEST_P(Elementwise, VectorsOfEveryFloatFormatAreCopiedAtLoad) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16}) {
    WeightData gain = random_weight(random_, format, 1, 100);
    const Floats x = random_floats(random_, 200);
    compare("rms_norm", format_name(format), [&](Machine& m) {
      const WeightData kept = gain;
      std::vector<std::byte> mapping = gain.bytes;
      WeightSource source = kept.source;
      source.data = mapping.data();
      const Weight& weight = m.weight(source);
      // What has memory of its own may not need the mapping.
      if (weight.resident_bytes() > 0) std::fill(mapping.begin(), mapping.end(), std::byte{0xff});
      float* values = m.upload(x);
      m.ops().rms_norm(values, 2, weight, 1e-5f, values);
      return m.download(values, x.size());
    });
  }
}

TEST_P(Elementwise, EmbedMatchesInEveryFormat) {
  const std::vector<TokenId> ids = {0, 4, 4, 2};
  for (const WeightFormat format : all_formats()) {
    const uint64_t columns = some_columns(format);
    const WeightData table = random_weight(random_, format, 5, columns, 6);
    compare("embed", format_name(format), [&](Machine& m) {
      float* out = m.room(ids.size() * columns);
      m.ops().embed(m.weight(table.source), ids, out);
      return m.download(out, ids.size() * columns);
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

EBB_ON_EVERY_SUBJECT(Elementwise);

}  // namespace
}  // namespace ebb::kernels
