// Sums over runs of tokens, and the estimate of what a list leaves out.
#include <cmath>

#include "tests/kernels/digest_fixture.h"

namespace ebb::kernels {
namespace {

constexpr KvShape kModel{9, 3, 64, 16};

/// Rows of a sequence at scattered slots, and pages for its sums.
struct Runs {
  Runs(Random& random, const KvShape& shape, uint32_t tokens)
      : rows(random_sequence(random, shape, tokens + 20)), slots(ascending(tokens + 20)) {
    std::shuffle(slots.begin(), slots.end(), random);
    slots.resize(tokens);
    const uint32_t runs = (tokens + kSumTokens - 1) / kSumTokens;
    const uint32_t page_runs = SumRows::page_runs(shape);
    pages = ascending((runs + page_runs - 1) / page_runs);
    std::shuffle(pages.begin(), pages.end(), random);
  }
  const KvShape& shape() const { return rows.shape; }
  uint32_t tokens() const { return static_cast<uint32_t>(slots.size()); }
  size_t page_bytes() const { return pages.size() * shape().block_bytes(); }
  size_t at(uint32_t run) const {
    const uint32_t page_runs = SumRows::page_runs(shape());
    return pages[run / page_runs] * shape().block_bytes() +
           size_t{run % page_runs} * SumRows::run_bytes(shape());
  }
  Sequence rows;
  std::vector<uint32_t> slots;
  std::vector<uint32_t> pages;
};

/// One sequence on one machine, its sums added in chunks of `step` tokens (0: all at once).
struct Loaded {
  Loaded(Machine& machine, const Runs& of, uint32_t step = 0) : m(machine), runs(of) {
    kv = {m.upload_bytes(runs.rows.arena), runs.rows.blocks};
    // What was there before must not count: bytes of 0xff are NaN.
    sums = {m.upload_bytes(std::vector<std::byte>(runs.page_bytes(), std::byte{0xff})), runs.pages};
    const uint32_t all = runs.tokens();
    for (uint32_t first = 0; first < all; first += step == 0 ? all : step) {
      const uint32_t here = step == 0 ? all : std::min(step, all - first);
      const SumArgs tokens{kv, std::span(runs.slots).subspan(first, here), first, sums};
      m.ops().add_sums(runs.shape(), {&tokens, 1});
    }
  }
  Machine& m;
  const Runs& runs;
  KvRows kv;
  SumRows sums;
};

struct Answer {
  Floats out, lse;
};

std::vector<uint32_t> slots_of(const Runs& runs, std::span<const Position> positions) {
  std::vector<uint32_t> slots;
  for (const Position p : positions) slots.push_back(runs.slots[p]);
  return slots;
}

/// Attention over the tokens at `positions`.
Answer attend(const Loaded& on, const Floats& q, std::span<const Position> positions) {
  const KvShape& shape = on.runs.shape();
  const std::vector<uint32_t> slots = slots_of(on.runs, positions);
  AttendArgs args;
  args.d_q = on.m.upload(q);
  args.kv = on.kv;
  args.count = static_cast<uint32_t>(slots.size());
  args.list = slots;
  args.d_out = on.m.room(q.size());
  args.d_lse = on.m.room(shape.heads_q);
  on.m.ops().attend(shape, {&args, 1});
  return {on.m.download(args.d_out, q.size()), on.m.download(args.d_lse, shape.heads_q)};
}

/// The same with the estimate of what is left out of the first `length` tokens.
Answer estimate(const Loaded& on, const Floats& q, std::span<const Position> positions,
                uint32_t length, bool lists_on_device = false) {
  const Answer listed = attend(on, q, positions);
  const std::vector<uint32_t> slots = slots_of(on.runs, positions);
  LeftOutArgs args;
  args.d_q = on.m.upload(q);
  args.kv = on.kv;
  if (lists_on_device) {
    const auto upload = [&](std::span<const uint32_t> list) {
      return reinterpret_cast<const uint32_t*>(on.m.upload_bytes(std::as_bytes(list)));
    };
    args.d_slots = upload(slots);
    args.d_positions = upload(positions);
  } else {
    args.slots = slots;
  }
  args.positions = positions;
  args.length = length;
  args.sums = on.sums;
  args.d_out = on.m.upload(listed.out);
  args.d_lse = on.m.upload(listed.lse);
  on.m.ops().attend_left_out(on.runs.shape(), {&args, 1});
  return {on.m.download(args.d_out, q.size()), on.m.download(args.d_lse, on.runs.shape().heads_q)};
}

class LeftOut : public KernelsTest {
 protected:
  Floats query(const KvShape& shape) {
    return random_floats(random_, size_t{shape.heads_q} * shape.head_size);
  }
  /// About `share` of the first `tokens`, ascending.
  std::vector<Position> some(uint32_t tokens, double share) {
    std::vector<Position> positions;
    for (Position p = 0; p < tokens; ++p) {
      if (std::uniform_real_distribution<>()(random_) < share) positions.push_back(p);
    }
    return positions;
  }
  /// All of the first `tokens`, except one of each run.
  std::vector<Position> all_but_one_each(uint32_t tokens) {
    std::vector<Position> positions;
    Position skipped = 0;
    for (Position p = 0; p < tokens; ++p) {
      if (p % kSumTokens == 0) skipped = p + random_() % kSumTokens;
      if (p != skipped) positions.push_back(p);
    }
    return positions;
  }
};

TEST_P(LeftOut, SumsHaveTheSameBitsInAnyChunks) {
  Machine m = make_subject(2);
  Machine reference = make_reference();
  for (const KvShape& shape : digest_shapes()) {
    const Runs runs(random_, shape, 300);
    const auto sums = [&](Machine& on, uint32_t step) {
      const Loaded loaded(on, runs, step);
      return on.download_bytes(loaded.sums.d_arena, runs.page_bytes());
    };
    const auto expected = sums(m, 0);
    for (const uint32_t step : {1u, 7u, 63u, 64u, 65u}) {
      EXPECT_EQ(sums(m, step), expected) << text_of(shape, DigestFormat::kH3) << ", " << step;
    }
    EXPECT_EQ(sums(reference, 5), expected) << "f32 sums in ascending order are one result";
  }
}

TEST_P(LeftOut, ListsOnTheDeviceChangeNoBit) {
  Machine m = make_subject(2);
  const Runs runs(random_, {6, 2, 64, 16}, 400);
  const Loaded loaded(m, runs);
  const Floats q = query(runs.shape());
  const auto positions = some(400, 0.3);
  const Answer from_host = estimate(loaded, q, positions, 400);
  const Answer from_device = estimate(loaded, q, positions, 400, true);
  expect_same_bits(from_device.out, from_host.out, "out");
  expect_same_bits(from_device.lse, from_host.lse, "lse");
}

TEST_P(LeftOut, SeveralSequencesInOneCallHaveTheSumsOfThoseAlone) {
  Machine m = make_subject(2);
  const KvShape shape{6, 2, 64, 16};
  std::vector<Runs> all;
  for (const uint32_t tokens : {1u, 200u, 64u}) all.emplace_back(random_, shape, tokens);
  std::vector<SumArgs> items;
  for (const Runs& runs : all) {
    const std::vector<std::byte> before(runs.page_bytes(), std::byte{0xff});
    items.push_back({{m.upload_bytes(runs.rows.arena), runs.rows.blocks},
                     runs.slots,
                     0,
                     {m.upload_bytes(before), runs.pages}});
  }
  m.ops().add_sums(shape, items);
  for (size_t i = 0; i < all.size(); ++i) {
    const Loaded alone(m, all[i]);
    EXPECT_EQ(m.download_bytes(items[i].sums.d_arena, all[i].page_bytes()),
              m.download_bytes(alone.sums.d_arena, all[i].page_bytes()))
        << "sequence " << i;
  }
}

TEST_P(LeftOut, SumsAreThoseOfTheRowsOfTheirRun) {
  Machine m = make_subject(1);
  const Runs runs(random_, {2, 1, 64, 16, KvElement::kF32}, 130);
  const Loaded loaded(m, runs, 50);
  const auto bytes = m.download_bytes(loaded.sums.d_arena, runs.page_bytes());
  for (uint32_t run = 0; run < 3; ++run) {
    std::vector<double> expected(128, 0.0);
    for (uint32_t t = run * 64; t < std::min(run * 64 + 64, 130u); ++t) {
      const uint32_t slot = runs.slots[t];
      const std::byte* row = runs.rows.arena.data() +
                             runs.rows.blocks[slot / 16] * runs.shape().block_bytes() +
                             slot % 16 * 512;
      for (size_t j = 0; j < 128; ++j) {
        float value;
        std::memcpy(&value, row + 4 * j, 4);
        expected[j] += value;
      }
    }
    for (size_t j = 0; j < 128; ++j) {
      float got;
      std::memcpy(&got, bytes.data() + runs.at(run) + 4 * j, 4);
      EXPECT_NEAR(got, expected[j], 1e-4) << "run " << run << ", element " << j;
    }
  }
}

TEST_P(LeftOut, MatchesTheReferenceInEveryShape) {
  Machine subject = make_subject(2);
  Machine reference = make_reference();
  for (const KvShape& shape : digest_shapes()) {
    const Runs runs(random_, shape, 330);
    const Loaded a(subject, runs), b(reference, runs);
    for (const double share : {0.0, 0.1, 0.9}) {
      const Floats q = query(shape);
      const std::vector<Position> positions = some(330, share);
      const Answer got = estimate(a, q, positions, 330);
      const Answer expected = estimate(b, q, positions, 330);
      const std::string what = text_of(shape, DigestFormat::kH3) + ", " + std::to_string(share);
      expect_close("attend", got.out, expected.out, what);
      expect_close("lse", got.lse, expected.lse, what);
    }
  }
}

TEST_P(LeftOut, MatchesTheReferenceAtTheEdgesOfRuns) {
  Machine subject = make_subject(2);
  Machine reference = make_reference();
  const Runs runs(random_, kModel, 260);
  const Loaded a(subject, runs), b(reference, runs);
  const std::vector<std::vector<Position>> lists = {{},
                                                    {0},
                                                    {63},
                                                    {64},
                                                    {0, 63, 64, 127, 128},
                                                    ascending(64),
                                                    ascending(64, 64),
                                                    ascending(63),
                                                    ascending(66, 63),
                                                    ascending(4, 256),
                                                    all_but_one_each(256)};
  for (const uint32_t length : {0u, 1u, 63u, 64u, 65u, 128u, 255u, 256u, 260u}) {
    for (const auto& list : lists) {
      const auto end = std::lower_bound(list.begin(), list.end(), length);
      const std::vector<Position> positions(list.begin(), end);
      const Floats q = query(kModel);
      const Answer got = estimate(a, q, positions, length);
      const Answer expected = estimate(b, q, positions, length);
      const std::string what =
          "length " + std::to_string(length) + ", listed " + std::to_string(positions.size());
      expect_close("attend", got.out, expected.out, what);
      expect_close("lse", got.lse, expected.lse, what);
    }
  }
}

TEST_P(LeftOut, WithNothingLeftOutNoBitChanges) {
  Machine m = make_subject(2);
  const Runs runs(random_, kModel, 300);
  const Loaded loaded(m, runs);
  const Floats q = query(kModel);
  // All; all that lie in complete runs; no complete run.
  for (const auto& [listed, length] :
       {std::pair{300u, 300u}, {256u, 300u}, {256u, 256u}, {5u, 63u}, {0u, 63u}, {0u, 0u}}) {
    const std::vector<Position> positions = ascending(listed);
    const Answer expected = attend(loaded, q, positions);
    const Answer got = estimate(loaded, q, positions, length);
    expect_same_bits(got.out, expected.out, "out of " + std::to_string(listed));
    expect_same_bits(got.lse, expected.lse, "lse of " + std::to_string(listed));
  }
}

TEST_P(LeftOut, ARunWithOneTokenLeftGivesThatTokensAttention) {
  Machine m = make_subject(2);
  for (const KvShape& shape : digest_shapes()) {
    const Runs runs(random_, shape, 256);
    const Loaded loaded(m, runs);
    const Floats q = query(shape);
    const Answer dense = attend(loaded, q, ascending(256));
    const Answer got = estimate(loaded, q, all_but_one_each(256), 256);
    const std::string what = text_of(shape, DigestFormat::kH3);
    expect_close("attend", got.out, dense.out, what);
    expect_close("lse", got.lse, dense.lse, what);
  }
}

/// Equal keys have equal weights: means of values are then all that attention needs.
TEST_P(LeftOut, WithOneKeyARunTheEstimateIsDenseAttention) {
  Machine m = make_subject(2);
  Runs runs(random_, {6, 2, 64, 16, KvElement::kF32}, 256);
  const auto row = [&](Position p) {
    const uint32_t slot = runs.slots[p];
    return runs.rows.arena.begin() +
           static_cast<long>(runs.rows.blocks[slot / 16] * runs.shape().block_bytes() +
                             slot % 16 * runs.shape().row_bytes());
  };
  for (Position p = 0; p < 256; ++p) {
    for (long head : {0, 512}) std::copy_n(row(p / 64 * 64) + head, 256, row(p) + head);
  }
  const Loaded loaded(m, runs);
  const Floats q = query(runs.shape());
  const Answer dense = attend(loaded, q, ascending(256));
  for (const double share : {0.0, 0.3}) {
    const Answer got = estimate(loaded, q, some(256, share), 256);
    expect_close("attend", got.out, dense.out, "share " + std::to_string(share));
    expect_close("lse", got.lse, dense.lse, "share " + std::to_string(share));
  }
}

TEST_P(LeftOut, LogitsBeyondTheRangeOfExpStayFinite) {
  Machine subject = make_subject(1);
  Machine reference = make_reference();
  const Runs runs(random_, kModel, 200);
  const Loaded a(subject, runs), b(reference, runs);
  const Floats q = random_floats(random_, 9 * 64, 300.0f);
  const std::vector<Position> positions = some(200, 0.2);
  const Answer got = estimate(a, q, positions, 200);
  const Answer expected = estimate(b, q, positions, 200);
  expect_close("attend", got.out, expected.out, "large logits");
  expect_close("lse", got.lse, expected.lse, "large logits");
}

TEST_P(LeftOut, SeveralSequencesAndThreadsGiveTheBitsOfOneAlone) {
  Machine one = make_subject(1);
  Machine three = make_subject(3);
  std::vector<Runs> runs;
  for (const uint32_t tokens : {3000u, 64u, 20u}) runs.emplace_back(random_, kModel, tokens);
  std::vector<Answer> alone;
  std::vector<std::vector<Position>> positions;
  std::vector<std::vector<uint32_t>> slots;
  std::vector<LeftOutArgs> items;
  for (const Runs& r : runs) {
    positions.push_back(some(r.tokens(), 0.1));
    slots.push_back(slots_of(r, positions.back()));
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    const Floats q = query(kModel);
    alone.push_back(estimate(Loaded(one, runs[i]), q, positions[i], runs[i].tokens()));
    const Loaded loaded(three, runs[i]);
    const Answer listed = attend(loaded, q, positions[i]);
    items.push_back({three.upload(q), loaded.kv, slots[i], positions[i], nullptr, nullptr,
                     runs[i].tokens(), loaded.sums, three.upload(listed.out),
                     three.upload(listed.lse)});
  }
  three.ops().attend_left_out(kModel, items);
  for (size_t i = 0; i < items.size(); ++i) {
    expect_same_bits(three.download(items[i].d_out, 9 * 64), alone[i].out, "out");
    expect_same_bits(three.download(items[i].d_lse, 9), alone[i].lse, "lse");
  }
}

EBB_ON_EVERY_SUBJECT(LeftOut);

}  // namespace
}  // namespace ebb::kernels
