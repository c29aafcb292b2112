// What may be replayed gives the bits of what was not, on every subject: layers of a decode step as
// a worker has them, with positions, lists and lengths that change with every step. On a GPU this
// is what says that graphs are right.
#include "kernels/ops.h"

#include <cmath>

#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {
namespace {

constexpr KvShape kShape{4, 2, 32, 16, KvElement::kBF16};
constexpr uint32_t kWidth = kShape.heads_q * kShape.head_size;
constexpr uint32_t kKv = kShape.heads_kv * kShape.head_size;
constexpr uint32_t kLayers = 4;
constexpr uint32_t kSlots = 700;

class Replayable : public KernelsTest {
 protected:
  struct Step {
    uint32_t rows;
    uint32_t position;
    std::vector<uint32_t> list;  ///< of the first layers; empty: everything
  };
  struct State {
    Machine m;
    const Weight *norm, *product;
    float *x, *normed, *q, *k, *out, *part;
    std::vector<std::byte*> arenas;
  };

  State state_of(Machine machine) {
    State s{std::move(machine),
            nullptr,
            nullptr,
            nullptr,
            nullptr,
            nullptr,
            nullptr,
            nullptr,
            nullptr,
            {}};
    s.norm = &s.m.weight(norm_.source);
    s.product = &s.m.weight(product_.source);
    for (float** room : {&s.normed, &s.q, &s.k, &s.out, &s.part}) *room = s.m.room(4 * kWidth);
    s.x = s.m.upload(x_);
    for (uint32_t l = 0; l < kLayers; ++l) s.arenas.push_back(s.m.upload_bytes(sequence_.arena));
    EXPECT_TRUE(s.m.ops().prepare_rope(plain_rope(10000, kShape.head_size, false, 4096)));
    return s;
  }

  void layer(State& s, const Step& step, uint32_t l) {
    Ops& ops = s.m.ops();
    ops.rms_norm(s.x, step.rows, *s.norm, 1e-5f, s.normed);
    ops.matmul(s.normed, step.rows, *s.product, s.q, kWidth);
    ops.matmul(s.normed, step.rows, *s.product, s.k, kWidth);
    const std::vector<Position> positions(step.rows, step.position);
    ops.rope(s.q, kWidth, kShape.heads_q, kShape.head_size, positions);
    const KvRows kv{s.arenas[l], sequence_.blocks};
    const AppendArgs fresh{kv, s.k, kWidth, s.k + kKv, kWidth, std::span(&step.position, 1)};
    ops.append_kv(kShape, std::span(&fresh, 1));
    std::vector<AttendArgs> items(step.rows);
    for (uint32_t r = 0; r < step.rows; ++r) {
      items[r].d_q = s.q + r * kWidth;
      items[r].d_out = s.out + r * kWidth;
      items[r].kv = kv;
      if (l < 2) items[r].list = step.list;
      items[r].count =
          items[r].list.empty() ? step.position + 1 : static_cast<uint32_t>(items[r].list.size());
    }
    ops.attend(kShape, items);
    ops.matmul(s.out, step.rows, *s.product, s.part, kWidth);
    ops.add(s.x, s.part, uint64_t{step.rows} * kWidth);
  }

  /// Steps one after the other; what each leaves, and what the host saw in the middle of it.
  std::vector<Floats> run(Machine machine, const std::vector<Step>& steps, bool replayable) {
    State s = state_of(std::move(machine));
    std::vector<Floats> seen;
    for (const Step& step : steps) {
      s.m.device().copy_to_device(s.x, x_.data(), x_.size() * sizeof(float));
      const auto whole = [&] {
        for (uint32_t l = 0; l < kLayers; ++l) {
          const auto one = [&] { layer(s, step, l); };
          if (replayable) s.m.ops().replayable(10 + l, one);
          if (!replayable) one();
          if (l == 1) seen.push_back(s.m.download(s.x, uint64_t{step.rows} * kWidth));
        }
      };
      if (replayable) s.m.ops().replayable(1, whole);
      if (!replayable) whole();
      seen.push_back(s.m.download(s.x, uint64_t{step.rows} * kWidth));
    }
    return seen;
  }

  WeightData norm_ = random_weight(random_, WeightFormat::kF32, 1, kWidth);
  WeightData product_ = random_weight(random_, WeightFormat::kBF16, kWidth, kWidth);
  Sequence sequence_ = random_sequence(random_, kShape, kSlots);
  Floats x_ = random_floats(random_, 4 * kWidth);
};

TEST_P(Replayable, StepsThatChangeEveryTimeKeepTheirBits) {
  std::vector<Step> steps;
  for (uint32_t i = 0; i < 6; ++i) steps.push_back({1, 120 + i, {}});
  for (uint32_t i = 0; i < 5; ++i) steps.push_back({1, 380 + i, {i, 40 + i, 7 * i + 60, 380 + i}});
  for (uint32_t i = 0; i < 8; ++i) steps.push_back({1 + i % 4, 600 + i, {}});
  for (uint32_t i = 0; i < 4; ++i) steps.push_back({2, 130 + i, {3, 5, 130 + i}});
  const auto plain = run(make_subject(1), steps, false);
  const auto replayed = run(make_subject(1), steps, true);
  ASSERT_EQ(replayed.size(), plain.size());
  for (const float value : plain.back()) ASSERT_TRUE(std::isfinite(value)) << "says nothing";
  for (size_t i = 0; i < plain.size(); ++i) {
    expect_same_bits(replayed[i], plain[i], "step " + std::to_string(i / 2));
  }
}

EBB_ON_EVERY_SUBJECT(Replayable);

}  // namespace
}  // namespace ebb::kernels
