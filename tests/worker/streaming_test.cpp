// StreamingLLM against its paper: each test carries the number of the property that it holds.
#include "kernels/ops.h"
#include "tests/worker/policy_fixture.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kSinks = 4;
constexpr uint32_t kWindow = 12;
constexpr uint32_t kChunk = 16;

PolicyParams streaming(uint32_t sinks = kSinks, uint32_t window = kWindow) {
  PolicyParams params;
  params.kind = PolicyKind::kStreaming;
  params.sinks = sinks;
  params.window = window;
  params.budget = sinks + window;
  params.kept = params.budget + kChunk;
  return params;
}

std::vector<Position> held(uint32_t sinks, uint32_t window, Position newest) {
  std::vector<Position> list;
  for (Position p = 0; p <= newest; ++p) {
    if (p < sinks || p + window >= newest) list.push_back(p);
  }
  return list;
}

class StreamingTest : public PolicyFixture {
 protected:
  StreamingTest() { model_.layers = 3; }
  /// The published form: positions are places in the cache.
  std::vector<Vector> in_slots(const std::vector<TokenId>& ids, uint32_t sinks, uint32_t window) {
    ReferenceModel model = reference();
    std::vector<Vector> steps;
    for (TokenId id : ids) {
      const auto list = held(sinks, window, model.tokens());
      const auto reads = [&](const LayerScores& scores) {
        return std::vector<std::vector<Position>>(scores.logits.size(), list);
      };
      steps.push_back(model.step(id, reads, true));
    }
    return steps;
  }
};

TEST_F(StreamingTest, Property1EqualsDenseBitForBitUntilSomethingIsEvicted) {
  const auto ids = tokens(1, 24);
  const auto dense = run(group(), ids, 6, {});
  const auto stream = run(group(), ids, 6, streaming());
  const uint32_t same = kSinks + kWindow + 1 - 6;  // steps with at most S + W + 1 tokens
  for (uint32_t i = 0; i < same; ++i) EXPECT_EQ(stream[i].logprobs, dense[i].logprobs) << i;
  EXPECT_NE(stream[same].logprobs, dense[same].logprobs);
}

TEST_F(StreamingTest, Property2OneLayerSeesAShortTextAtItsSlots) {
  model_.layers = 1;
  const auto ids = tokens(2, 70);
  const auto stream = run(group(), ids, 6, streaming());
  for (uint32_t n : {20u, 45u, 70u}) {
    std::vector<TokenId> short_text;
    for (Position p : held(kSinks, kWindow, n - 1)) short_text.push_back(ids[p]);
    const auto dense = run(group(), short_text, 6, {});
    // Keys rotated elsewhere are rounded elsewhere, all of them.
    EXPECT_LT(distance(stream[n - 7].logprobs, dense.back().logprobs), 4 * kRounding) << n;
  }
}

TEST_F(StreamingTest, Property3DeeperLayersRememberWhatWasEvicted) {
  const auto ids = tokens(2, 40);
  const auto stream = run(group(), ids, 6, streaming());
  std::vector<TokenId> short_text;
  for (Position p : held(kSinks, kWindow, 39)) short_text.push_back(ids[p]);
  const auto again = run(group(), short_text, 6, {});
  EXPECT_GT(distance(stream.back().logprobs, again.back().logprobs), 2 * kRounding)
      << "recomputing what is kept is another method";
}

TEST_F(StreamingTest, Property4EqualsPlainAttentionAtPositionsInTheCache) {
  const auto ids = tokens(3, 80);
  const auto stream = run(group(), ids, 1, streaming());
  const auto slots = in_slots(ids, kSinks, kWindow);
  for (size_t i = 0; i < stream.size(); ++i) {
    EXPECT_LT(distance(stream[i].logprobs, slots[i + 1]), kRounding) << "step " << i;
  }
}

/// Rotations by the kernels, logits in double.
class RotationTest : public ::testing::Test {
 protected:
  RotationTest() {
    auto made = kernels::make_cpu_backend({});
    EBB_CHECK(made.has_value());
    backend_ = std::move(*made);
    kernels::RopeArgs rope;
    for (uint32_t i = 0; i < kSize / 2; ++i) {
      rope.frequencies.push_back(std::pow(10000.0, -2.0 * i / kSize));
    }
    rope.positions_max = 2048;
    EBB_CHECK(backend_.ops->prepare_rope(rope).has_value());
  }
  std::vector<float> at(std::vector<float> x, Position position) {
    backend_.ops->rope(x.data(), kSize, 1, kSize, std::span(&position, 1));
    return x;
  }
  static double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
    return sum;
  }
  static constexpr uint32_t kSize = 64;
  kernels::Backend backend_;
  ebb::testing::TinyRandom random_{7};
};

TEST_F(RotationTest, Property4TurningTwiceIsTurningOnce) {
  const auto key = random_.values(kSize, 1);
  const auto once = at(key, 1900);
  const auto twice = at(at(key, 1200), 700);
  for (uint32_t i = 0; i < kSize; ++i) EXPECT_NEAR(once[i], twice[i], 2e-6);
}

TEST_F(RotationTest, Property5TwoQueriesEqualTheSlotFormFarPastTheTable) {
  const auto query = random_.values(kSize, 1), key = random_.values(kSize, 1);
  for (Position newest : {5000u, 1000003u, 40000001u, 4000000007u}) {
    const Position slot = kSinks + kWindow;
    for (Position back : {0u, 1u, 5u, kWindow}) {  // the window: one rotation each, absolute
      EXPECT_NEAR(dot(at(query, newest), at(key, newest - back)),
                  dot(at(query, slot), at(key, slot - back)), 2e-5)
          << newest << " back " << back;
    }
  }
}

TEST_F(RotationTest, Property6AddingAConstantToAllPositionsChangesNothing) {
  const auto query = random_.values(kSize, 1), key = random_.values(kSize, 1);
  const double near = dot(at(query, 40), at(key, 3));
  for (Position shift : {1u, 100u, 1900u, 70000u, 3000000u}) {
    EXPECT_NEAR(dot(at(query, 40 + shift), at(key, 3 + shift)), near, 2e-5) << shift;
  }
}

TEST_F(StreamingTest, Property7WhatIsHeldDoesNotGrow) {
  const auto ids = tokens(4, 300);
  const SeqId seq = next_seq();
  open(group(), seq, ids, 40, streaming());
  uint64_t full = 0;
  for (uint32_t n = 41; n <= 300; ++n) {
    const auto results = group().decode({seq});
    const uint64_t blocks = results[0].sequences.at(0).counters.device_blocks;
    if (n == 64) full = blocks;
    if (n > 64) {
      ASSERT_EQ(blocks, full) << n;
    }
  }
  EXPECT_EQ(full, model_.layers * 2u) << "32 rows in blocks of 16";
  const auto map = group().close(seq)[0].maps.at(0);
  EXPECT_EQ(map.length, 300u);
  ASSERT_EQ(map.bands[0].runs.front().begin, 0u);
  uint32_t on_device = 0;
  for (const auto& run : map.bands[0].runs) {
    if (run.place == control::Place::kDevice) on_device += run.count;
  }
  EXPECT_EQ(on_device, kSinks + kWindow + kChunk);
}

TEST(Ring, Property8SinksKeepTheirSlotsAndTheOldestOfTheOthersGoes) {
  for (uint32_t sinks : {0u, 1u, 4u}) {
    BandResidency ring;
    ring.make_ring(sinks, 13);
    for (Position p = 0; p < 200; ++p) {
      ASSERT_TRUE(ring.place(p, p));
      for (Position s = 0; s < sinks && s <= p; ++s) EXPECT_EQ(ring.slot(s), s);
      std::vector<uint32_t> slots;
      for (Position q = 0; q <= p; ++q) {
        if (ring.slot(q) == kNoSlot) continue;
        EXPECT_TRUE(q < sinks || q + 13 > p);
        slots.push_back(ring.slot(q));
      }
      std::sort(slots.begin(), slots.end());
      EXPECT_EQ(std::adjacent_find(slots.begin(), slots.end()), slots.end()) << "one row a slot";
      EXPECT_EQ(slots.size(), std::min<size_t>(p + 1, sinks + 13));
    }
  }
}

TEST_F(StreamingTest, Property8WithoutSinksItIsWindowAttention) {
  const auto ids = tokens(5, 60);
  const auto stream = run(group(), ids, 1, streaming(0, 16));
  const auto slots = in_slots(ids, 0, 16);
  for (size_t i = 0; i < stream.size(); ++i) {
    EXPECT_LT(distance(stream[i].logprobs, slots[i + 1]), kRounding) << "step " << i;
  }
}

TEST_F(StreamingTest, Property9ChunksOfALongPromptEqualTokenByToken) {
  const auto ids = tokens(6, 120);
  const auto one_by_one = run(group(), ids, 1, streaming());
  for (uint32_t chunk : {1u, 7u, 16u}) {
    const auto chunked = run(group(), ids, 100, streaming(), chunk);
    for (size_t i = 0; i < chunked.size(); ++i) {
      EXPECT_LT(distance(chunked[i].logprobs, one_by_one[99 + i].logprobs), kRounding)
          << "chunk " << chunk << " step " << i;
    }
  }
  const auto dense = run(group(), ids, 100, {});
  EXPECT_GT(distance(dense[0].logprobs, one_by_one[99].logprobs), 2 * kRounding)
      << "a dense prompt is another thing";
}

TEST_F(StreamingTest, GoesOnFarPastTheContextOfTheModel) {
  model_.context_length = 64;
  const auto ids = tokens(8, 200);
  const auto stream = run(group(), ids, 100, streaming());
  const auto slots = in_slots(ids, kSinks, kWindow);
  for (size_t i = 0; i < stream.size(); ++i) {
    EXPECT_LT(distance(stream[i].logprobs, slots[100 + i]), kRounding) << "step " << i;
  }
  control::OpenUnit dense;
  dense.seq = next_seq();
  dense.prompt = ids;
  EXPECT_FALSE(group().open(dense)[0].failures.empty()) << "no other policy may";
}

TEST_F(StreamingTest, RefusesChunksThatWouldOverwriteWhatTheyRead) {
  control::OpenUnit unit;
  unit.seq = next_seq();
  unit.prompt = tokens(9, 100);
  unit.max_tokens = 1;
  unit.policy = streaming();
  ASSERT_TRUE(group().open(unit)[0].failures.empty());
  const auto results = group().prefill(unit.seq, 100, 40);
  ASSERT_EQ(results[0].failures.size(), 1u);
  EXPECT_NE(results[0].failures[0].error.message.find("overwrite"), std::string::npos);
}

TEST_F(StreamingTest, OnlyTokensThatSawEverythingAreMarkedExact) {
  run(group(), tokens(10, 60), 30, streaming());
  for (const auto& band : map_.bands) {
    uint32_t exact = 0;
    for (const auto& run : band.runs) exact += run.exact ? run.count : 0;
    EXPECT_EQ(exact, band.layers.begin == 0 ? 60u : kSinks + kWindow + 1)
        << "layer 0's keys come from the token alone";
  }
}

}  // namespace
}  // namespace ebb::worker::testing
