// Operations that are taken down and started in one piece: the same results, fewer calls, nothing
// that the host changes is missed, and nothing that was recorded outlives what it names.
#include "kernels/cuda/replay.h"

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/emulation/cuda_emulation.h"
#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {
namespace {

constexpr uint32_t kWidth = 96;
constexpr KvShape kShape{2, 1, 16, 16, KvElement::kBF16};
constexpr uint32_t kSlots = 800;
constexpr uint32_t kQ = kShape.heads_q * kShape.head_size;
constexpr uint32_t kKv = kShape.heads_kv * kShape.head_size;

class Replaying : public ::testing::Test {
 protected:
  Replaying() {
    auto rope = m_.ops().prepare_rope(plain_rope(10000, kShape.head_size, false, 4096));
    EXPECT_TRUE(rope);
  }
  void TearDown() override { emulation::heal(); }

  /// A norm and two products: no values of the host.
  void products(uint32_t rows = 2) {
    m_.ops().rms_norm(x_, rows, gain_, 1e-5f, normed_);
    m_.ops().matmul(normed_, rows, w_, a_, kWidth);
    m_.ops().matmul(a_, rows, w_, b_, kWidth);
  }
  /// What a layer does with the row at `position`: turns it, keeps it, and attends to everything
  /// (list empty) or to a list.
  void layer(uint32_t position, std::span<const uint32_t> list = {}) {
    const Position at[] = {position};
    m_.ops().rope(q_, kQ, kShape.heads_q, kShape.head_size, at);
    m_.ops().rope(k_, kKv, kShape.heads_kv, kShape.head_size, at);
    const uint32_t slot[] = {position};
    const AppendArgs fresh{rows(position + 1), k_, kKv, k_, kKv, slot};
    m_.ops().append_kv(kShape, std::span(&fresh, 1));
    AttendArgs args;
    args.d_q = q_;
    args.kv = rows(position + 1);
    args.list = list;
    args.count = list.empty() ? position + 1 : static_cast<uint32_t>(list.size());
    args.d_out = out_;
    args.d_lse = lse_;
    m_.ops().attend(kShape, std::span(&args, 1));
    m_.ops().add(q_, out_, kQ);
  }
  /// Only the blocks that a sequence of so many tokens has: its table grows.
  KvRows rows(uint32_t tokens) {
    const uint32_t blocks = (tokens + kShape.block_tokens - 1) / kShape.block_tokens;
    return {d_arena_, std::span(sequence_.blocks).first(blocks)};
  }
  void start_again() {
    const Floats q(kQ, 0.5f), k(kKv, 0.25f);
    m_.device().copy_to_device(q_, q.data(), q.size() * sizeof(float));
    m_.device().copy_to_device(k_, k.data(), k.size() * sizeof(float));
    m_.device().copy_to_device(d_arena_, sequence_.arena.data(), sequence_.arena.size());
  }
  void set_x() {
    const Floats x = random_floats(random_, 4 * kWidth);
    m_.device().copy_to_device(x_, x.data(), x.size() * sizeof(float));
  }
  Floats result() { return m_.download(b_, 2 * kWidth); }
  Floats attended() { return m_.download(q_, kQ); }
  void replay(uint64_t key, const std::function<void()>& body) { m_.ops().replayable(key, body); }
  /// What the host asks for while `body` runs.
  static emulation::Calls calls_of(const std::function<void()>& body) {
    const emulation::Calls before = emulation::calls();
    body();
    emulation::Calls calls = emulation::calls();
    calls.kernels -= before.kernels;
    calls.graphs -= before.graphs;
    calls.copies -= before.copies;
    calls.nodes -= before.nodes;
    return calls;
  }

  Random random_{7};
  Machine m_{std::move(*make_backend("cuda", 1))};
  WeightData gain_data_ = random_weight(random_, WeightFormat::kF32, 1, kWidth);
  WeightData w_data_ = random_weight(random_, WeightFormat::kQ4_1, kWidth, kWidth);
  const Weight& gain_ = m_.weight(gain_data_.source);
  const Weight& w_ = m_.weight(w_data_.source);
  Sequence sequence_ = random_sequence(random_, kShape, kSlots);
  std::byte* d_arena_ = m_.upload_bytes(sequence_.arena);
  float* x_ = m_.room(4 * kWidth);
  float* normed_ = m_.room(4 * kWidth);
  float* a_ = m_.room(4 * kWidth);
  float* b_ = m_.room(4 * kWidth);
  float* q_ = m_.room(kQ);
  float* k_ = m_.room(kKv);
  float* out_ = m_.room(kQ);
  float* lse_ = m_.room(kShape.heads_q);
};

TEST_F(Replaying, PlainRecordedAndReplayedHaveTheSameBits) {
  set_x();
  products();
  const Floats expected = result();
  for (int i = 0; i < 4; ++i) {
    const uint64_t before = emulation::launches();
    replay(1, [&] { products(); });
    EXPECT_EQ(emulation::launches() - before, 3u);
    expect_same_bits(result(), expected, "call " + std::to_string(i));
  }
  const emulation::Calls calls = calls_of([&] { replay(1, [&] { products(); }); });
  EXPECT_EQ(calls.graphs, 1u);
  EXPECT_EQ(calls.kernels + calls.nodes + calls.copies, 0u);
}

TEST_F(Replaying, AReplayReadsWhatIsThereNow) {
  for (int i = 0; i < 4; ++i) {
    set_x();
    replay(1, [&] { products(); });
  }
  const Floats replayed = result();
  products();
  expect_same_bits(replayed, result(), "plain");
}

TEST_F(Replaying, ASequenceThatGrowsByHundredsOfTokensStaysInOneRecording) {
  constexpr uint32_t kFirst = 100, kTokens = 300;
  start_again();
  for (uint32_t i = 0; i < kTokens; ++i) layer(kFirst + i);
  const Floats expected = attended();
  start_again();
  const auto body = [&](uint32_t i) { replay(1, [&] { layer(kFirst + i); }); };
  for (uint32_t i = 0; i < 4; ++i) body(i);
  const emulation::Calls calls = calls_of([&] {
    for (uint32_t i = 4; i < kTokens; ++i) body(i);
  });
  expect_same_bits(attended(), expected, "replayed");
  const uint32_t rounds = kTokens - 4;
  // Once in a while a chunk of attention more, or a block of values that has become too small.
  EXPECT_GE(calls.graphs, rounds - 10);
  EXPECT_LE(calls.kernels, 10 * 8u);
  EXPECT_LE(calls.nodes, rounds / 2);
  EXPECT_LE(calls.copies, rounds + 10 * 8u) << "all values of a stretch in one copy";
}

TEST_F(Replaying, ListsOfTheHostMayChange) {
  const std::vector<std::vector<uint32_t>> lists = {
      {1, 5, 9, 300}, {2, 5, 7, 299}, {0, 1, 2, 3, 4, 5, 6, 300}, {300}, {4, 8, 15, 16}};
  start_again();
  std::vector<Floats> expected;
  for (const auto& list : lists) {
    layer(300, list);
    expected.push_back(attended());
  }
  for (int round = 0; round < 3; ++round) {
    start_again();
    for (size_t i = 0; i < lists.size(); ++i) {
      replay(1, [&] { layer(300, lists[i]); });
      expect_same_bits(attended(), expected[i], "list " + std::to_string(i));
    }
  }
}

TEST_F(Replaying, OtherKernelsUnderTheSameNameAreRecordedToo) {
  set_x();
  std::vector<Floats> expected;
  for (const uint32_t rows : {1u, 2u, 4u}) {
    products(rows);
    expected.push_back(m_.download(b_, uint64_t{rows} * kWidth));
  }
  emulation::Calls calls;
  for (int round = 0; round < 4; ++round) {
    calls = calls_of([&] {
      for (size_t i = 0; i < 3; ++i) {
        const uint32_t rows = 1u << i;
        replay(1, [&] { products(rows); });
        expect_same_bits(m_.download(b_, uint64_t{rows} * kWidth), expected[i], "rows");
      }
    });
  }
  EXPECT_EQ(calls.graphs, 3u) << "each has its own";
  EXPECT_EQ(calls.kernels, 0u);
}

TEST_F(Replaying, MoreKindsOfKernelsThanAreKeptAreStillRight) {
  set_x();
  for (int round = 0; round < 3; ++round) {
    for (uint32_t extra = 0; extra < 7; ++extra) {
      products();
      for (uint32_t i = 0; i < extra; ++i) m_.ops().add(b_, a_, kWidth);
      const Floats expected = result();
      replay(1, [&] {
        products();
        for (uint32_t i = 0; i < extra; ++i) m_.ops().add(b_, a_, kWidth);
      });
      expect_same_bits(result(), expected, std::to_string(extra));
    }
  }
}

TEST_F(Replaying, TwoInterleavedStretchesKeepTheirValuesApart) {
  start_again();
  const auto plain = [&](uint32_t i) {
    layer(300 + i);
    layer(500 + i);
  };
  for (uint32_t i = 0; i < 6; ++i) plain(i);
  const Floats expected = attended();
  start_again();
  for (uint32_t i = 0; i < 6; ++i) {
    replay(1, [&] { layer(300 + i); });
    replay(2, [&] { layer(500 + i); });
  }
  expect_same_bits(attended(), expected, "interleaved");
}

TEST_F(Replaying, AResultInTheMiddleEndsAStretchAndBeginsAnother) {
  set_x();
  products();
  const Floats middle = result();
  products(4);
  const Floats end = result();
  emulation::Calls calls;
  for (int i = 0; i < 4; ++i) {
    calls = calls_of([&] {
      replay(1, [&] {
        products();
        expect_same_bits(result(), middle, "seen in the middle");
        products(4);
      });
    });
    expect_same_bits(result(), end, "end");
  }
  EXPECT_EQ(calls.graphs, 2u);
  EXPECT_EQ(calls.kernels, 0u);
}

TEST_F(Replaying, LongBodiesAreStartedInPiecesThatGrow) {
  set_x();
  constexpr uint64_t kLayers = 31;
  emulation::Calls calls;
  for (int i = 0; i < 3; ++i) {
    calls = calls_of([&] {
      replay(1, [&] {
        for (uint64_t l = 0; l < kLayers; ++l) replay(100 + l, [&] { products(); });
      });
    });
  }
  EXPECT_EQ(calls.kernels, 0u);
  // 1, 1, 2, 3, 6, 11 and 7 of them: the first ones soon, so that the device has something to do.
  EXPECT_EQ(calls.graphs, 7u);
}

TEST_F(Replaying, SubmitStartsWhatWasKeptBack) {
  set_x();
  replay(1, [&] {
    const uint64_t before = emulation::launches();
    products();
    EXPECT_EQ(emulation::launches(), before);
    m_.ops().submit();
    EXPECT_EQ(emulation::launches(), before + 3);
  });
}

TEST_F(Replaying, ScratchThatGrowsBetweenTwoOperationsOfAStretch) {
  start_again();
  for (const uint32_t position : {20u, 21u, 22u, 790u, 23u, 791u}) layer(position);
  const Floats expected = attended();
  Machine fresh(std::move(*make_backend("cuda", 1)));  // with no scratch memory yet
  std::swap(m_, fresh);
  ASSERT_TRUE(m_.ops().prepare_rope(plain_rope(10000, kShape.head_size, false, 4096)));
  start_again();
  for (const uint32_t position : {20u, 21u, 22u, 790u, 23u, 791u}) {
    replay(1, [&] { layer(position); });
  }
  expect_same_bits(attended(), expected, "scratch that grew");
  std::swap(m_, fresh);
}

TEST_F(Replaying, ScratchThatGrowsAfterAnOperationHasHandedOverItsValues) {
  const auto attend = [&](uint32_t count) {
    AttendArgs args;
    args.d_q = x_;
    args.kv = rows(count);
    args.count = count;
    args.d_out = out_;
    m_.ops().attend(kShape, std::span(&args, 1));  // the first operation of the stretch
    for (int i = 0; i < 3; ++i) m_.ops().add(out_, x_, kQ);
  };
  set_x();
  std::vector<Floats> expected;
  const std::vector<uint32_t> counts = {140, 141, 142, 300, 500, 799, 140};
  for (const uint32_t count : counts) {
    attend(count);
    expected.push_back(m_.download(out_, kQ));
  }
  Machine fresh(std::move(*make_backend("cuda", 1)));  // with no scratch memory yet
  std::swap(m_, fresh);
  for (size_t i = 0; i < counts.size(); ++i) {
    replay(1, [&] { attend(counts[i]); });
    expect_same_bits(m_.download(out_, kQ), expected[i], std::to_string(counts[i]));
  }
  std::swap(m_, fresh);
}

TEST_F(Replaying, MemoryThatIsGivenBackInABodyIsGivenBackAfterItsUse) {
  set_x();
  for (int i = 0; i < 4; ++i) {
    replay(1, [&] {
      auto buffer = m_.device().allocate(2 * kWidth * sizeof(float), MemoryKind::kDevice);
      ASSERT_TRUE(buffer);
      m_.ops().rms_norm(x_, 2, gain_, 1e-5f, buffer->floats());
      m_.ops().matmul(buffer->floats(), 2, w_, a_, kWidth);
      m_.ops().matmul(a_, 2, w_, b_, kWidth);
    });
    const Floats got = result();
    products();
    expect_same_bits(got, result(), "call " + std::to_string(i));
  }
}

TEST_F(Replaying, AWeightThatIsAnotherOneIsSeen) {
  set_x();
  for (int i = 0; i < 5; ++i) {
    const WeightData data = random_weight(random_, WeightFormat::kQ4_1, kWidth, kWidth);
    const auto weight = m_.ops().load_weight(data.source);
    ASSERT_TRUE(weight);
    const auto body = [&] {
      m_.ops().rms_norm(x_, 2, gain_, 1e-5f, normed_);
      m_.ops().matmul(normed_, 2, **weight, a_, kWidth);
      m_.ops().matmul(a_, 2, **weight, b_, kWidth);
    };
    replay(1, body);
    const Floats got = result();
    body();
    expect_same_bits(got, result(), "weight " + std::to_string(i));
  }
}

TEST_F(Replaying, ACopyOnTheDeviceIsPartOfAStretch) {
  set_x();
  emulation::Calls calls;
  for (const float* from : {a_, a_, a_, normed_, normed_}) {
    const auto body = [&] {
      products();
      m_.device().copy_on_device(b_, from, kWidth * sizeof(float));
      m_.ops().add(b_, x_, kWidth);
    };
    body();
    const Floats expected = result();
    calls = calls_of([&] { replay(1, body); });
    expect_same_bits(result(), expected, "copy");
  }
  EXPECT_EQ(calls.graphs, 1u);
}

TEST_F(Replaying, WhatCannotBeRecordedIsStartedPlainlyAndIsNoError) {
  start_again();
  layer(100);
  const Floats expected = attended();
  uint64_t key = 100;
  for (const char* call :
       {"cudaStreamBeginCapture", "cudaStreamGetCaptureInfo", "cudaStreamEndCapture",
        "cudaGraphInstantiate", "cudaGraphExecKernelNodeSetParams", "cudaMalloc"}) {
    ++key;
    for (int i = 0; i < 6; ++i) {
      start_again();
      // Attention over more or fewer entries: other arguments for the nodes.
      const uint32_t position = i % 2 == 0 ? 100 : 600;
      if (i == 1) emulation::fail_call(call, 0, 801);
      replay(key, [&] { layer(position); });
      if (position == 100) expect_same_bits(attended(), expected, call);
    }
    EXPECT_TRUE(m_.device().synchronize()) << call;
    emulation::heal();
  }
}

TEST_F(Replaying, ADeviceThatIsLostIsReportedWhereverItHappens) {
  for (const unsigned launches : {0u, 2u}) {
    for (const int rounds : {0, 1, 4}) {
      emulation::heal();
      Machine machine(std::move(*make_backend("cuda", 1)));
      std::swap(m_, machine);
      const auto rope = plain_rope(10000, kShape.head_size, false, 4096);
      ASSERT_TRUE(m_.ops().prepare_rope(rope));
      start_again();
      for (int i = 0; i < rounds; ++i) replay(1, [&] { layer(100); });
      if (rounds < 4) emulation::fail_call("lost", launches, 719);
      if (rounds == 4) emulation::lose_device(719);
      replay(1, [&] { layer(100); });
      const auto well = m_.device().synchronize();
      std::swap(m_, machine);
      ASSERT_FALSE(well) << launches << " launches, " << rounds << " rounds";
      EXPECT_NE(well.error().message.find("719"), std::string::npos);
    }
  }
}

TEST_F(Replaying, TheMemoryOfStretchesHasABound) {
  auto context = cuda::CudaContext::make(0);
  ASSERT_TRUE(context);
  cuda::Replay replay(**context);
  const std::vector<uint32_t> values = {1, 2, 3};
  const uint64_t keys = 2 * cuda::Replay::kStretches + 3;
  for (uint64_t key = 0; key < keys; ++key) {
    replay.run(key, [&] { (void)(*context)->upload(values); });
  }
  EXPECT_LE(replay.stretches(), cuda::Replay::kStretches);
  EXPECT_GE(replay.stretches(), cuda::Replay::kStretches / 2);
}

}  // namespace
}  // namespace ebb::kernels
