// Release and restore against a real store process: whether rows live on the device or come back
// from a tier, the bits are the same; and what a dead store does to a sequence.
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"
#include "tests/worker/rank_group.h"
#include "tests/worker/scorers.h"
#include "tests/worker/store_process.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kVocabulary = 288;
constexpr uint32_t kPrompt = 600;
// With two granules more, and rounded up to whole blocks, a pool of 128 rows: 4 records in 5 are
// released.
constexpr uint32_t kHotRows = 92;

class TieredTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ebb::testing::TinyLlamaOptions options;
    options.layers = 6;
    options.width = 96;
    options.heads_q = 9;
    options.heads_kv = 3;
    options.head_size = 32;
    options.ffn_width = 192;
    options.vocabulary = kVocabulary;
    model_ = dir_.path("tiny.gguf");
    ebb::testing::write_tiny_llama(model_, options);
  }
  GroupSetup setup(uint32_t ranks) {
    GroupSetup s;
    s.model_path = model_;
    s.ranks = ranks;
    s.device_kv_bytes = 16 << 20;
    s.profile.name = "tiny";
    s.profile.model_name = "tiny llama";
    s.profile.layers = 6;
    s.profile.anchors = {0, 2};
    s.profile.budget_min = 32;
    s.profile.sinks = 4;
    s.profile.window = 8;
    s.rows_max = 128;
    s.store = store_.address();
    s.restore_deadline = Millis(2000);
    s.scorer = std::make_shared<const ParityScorer>(96);
    return s;
  }
  control::OpenUnit open_unit(uint64_t seq) {
    control::OpenUnit open;
    open.seq = SeqId{seq};
    ebb::testing::TinyRandom random(77);
    for (uint32_t i = 0; i < kPrompt; ++i)
      open.prompt.push_back(static_cast<TokenId>(3 + random.next() % 256));
    open.max_tokens = 100;
    open.sampling.temperature = 0;
    open.sampling.logprobs = kVocabulary;
    open.policy.kind = control::PolicyKind::kTidal;
    open.policy.budget = 75;
    open.policy.window = 8;
    return open;
  }
  static control::TokenLogprob token(const std::vector<control::UnitResult>& results) {
    for (const auto& r : results) {
      for (const auto& f : r.failures) ADD_FAILURE() << f.error.text();
    }
    if (results[0].sequences.empty() || !results[0].sequences[0].has_token) {
      ADD_FAILURE() << "no token";
      return {};
    }
    return results[0].sequences[0].token;
  }
  /// Bands that follow anchors 0 and 2: layers 1, and 3 to 5.
  static std::vector<uint16_t> follower_bands() { return {1, 3}; }

  ebb::test::TempDir dir_;
  std::string model_;
  StoreProcess store_{"2MiB"};
};

void expect_same_bits(const control::TokenLogprob& a, const control::TokenLogprob& b, int step) {
  EXPECT_EQ(a.token, b.token) << "step " << step;
  EXPECT_EQ(a.top, b.top) << "step " << step;
}

TEST_F(TieredTest, ReleasedAndResidentRowsGiveTheSameLogitsBitForBit) {
  for (uint32_t ranks : {1u, 2u, 4u}) {  // with 4, two ranks hold copies of one KV head
    GroupSetup many = setup(ranks);
    many.epochs_before = ranks;
    RankGroup group(many);
    group.open(open_unit(1));
    group.open(open_unit(2));
    const auto first = token(group.prefill(SeqId{1}, kPrompt, 128));
    expect_same_bits(token(group.prefill_by_band(SeqId{2}, kPrompt, 128, kHotRows)), first, 0);
    for (int step = 1; step <= 64; ++step) {
      const auto resident = token(group.decode({SeqId{1}}));
      expect_same_bits(token(group.decode({SeqId{2}})), resident, step);
    }
    const auto kept = group.close(SeqId{1})[0].maps[0].counters;
    EXPECT_EQ(kept.released_records, 0u);
    EXPECT_EQ(kept.restored_host_records + kept.restored_ssd_records, 0u);
    const auto moved = group.close(SeqId{2})[0].maps[0].counters;
    EXPECT_GE(moved.released_records, 2 * (kPrompt * 4 / 5) - 2 * 16);
    EXPECT_GT(moved.restored_host_records + moved.restored_ssd_records, 0u);
  }
}

TEST_F(TieredTest, EveryPolicyThatMayBeReleasedGivesTheSameBits) {
  control::PolicyParams united = open_unit(1).policy;
  united.rank_union = true;
  control::PolicyParams strided = open_unit(1).policy;
  strided.kind = control::PolicyKind::kComposed;
  strided.stride = 4;
  control::PolicyParams turning = strided;
  turning.stride = 0;
  turning.check_every = 3;
  turning.similarity = 0.8f;
  control::PolicyParams adore;
  adore.kind = control::PolicyKind::kAdore;
  adore.budget = 70;
  adore.sinks = adore.window = 0;
  adore.rebuild = 5;
  adore.restores = true;
  RankGroup group(setup(2));
  uint64_t seq = 0;
  for (const auto& policy : {united, strided, turning, adore}) {
    control::OpenUnit resident = open_unit(++seq), released = open_unit(++seq);
    resident.policy = released.policy = policy;
    group.open(resident);
    group.open(released);
    expect_same_bits(token(group.prefill_by_band(released.seq, kPrompt, 128, kHotRows)),
                     token(group.prefill(resident.seq, kPrompt, 128)), 0);
    for (int step = 1; step <= 24; ++step) {
      const auto kept = token(group.decode({resident.seq}));
      expect_same_bits(token(group.decode({released.seq})), kept, step);
    }
    EXPECT_GT(group.close(released.seq)[0].maps[0].counters.restored_bytes, 0u);
    group.close(resident.seq);
  }
}

TEST_F(TieredTest, AnchoredGivesTheSameBitsWithEverythingAboveItsFirstLayersReleased) {
  control::PolicyParams every = open_unit(1).policy;
  every.kind = control::PolicyKind::kAnchored;
  every.digest = control::DigestKind::kH3;
  every.select_layers = {1, 2, 3, 4, 5};
  every.left_out = true;
  every.boost = 1;
  every.boost_steps = 4;
  control::PolicyParams within = every;  // layer 4 chooses within the band of layers 3 to 5
  within.select_layers = {2, 4};
  control::PolicyParams predicted = every;
  predicted.select_layers = {2};
  predicted.predict = true;
  control::PolicyParams dense_anchors = every;
  dense_anchors.digest = control::DigestKind::kNone;
  dense_anchors.select_layers = {};
  control::PolicyParams dealt = every;  // the band of layers 3 to 5 has sets of three sizes
  dealt.layer_budgets = {75, 90, 60, 40, 110, 75};
  RankGroup group(setup(2));
  uint64_t seq = 0;
  for (const auto& policy : {every, within, predicted, dense_anchors, dealt}) {
    control::OpenUnit resident = open_unit(++seq), released = open_unit(++seq);
    resident.policy = released.policy = policy;
    group.open(resident);
    group.open(released);
    const uint32_t hot_from = policy.select_layers.empty() ? 0 : policy.select_layers[0];
    expect_same_bits(token(group.prefill_by_band(released.seq, kPrompt, 128, kHotRows, hot_from)),
                     token(group.prefill(resident.seq, kPrompt, 128)), 0);
    for (int step = 1; step <= 40; ++step) {
      const auto kept = token(group.decode({resident.seq}));
      expect_same_bits(token(group.decode({released.seq})), kept, step);
    }
    const auto moved = group.close(released.seq)[0].maps[0].counters;
    EXPECT_GT(moved.restored_bytes, 0u);
    EXPECT_LT(moved.device_blocks, group.close(resident.seq)[0].maps[0].counters.device_blocks);
  }
}

TEST_F(TieredTest, SlidingWindowsBringBackNothingThatIsOutOfSight) {
  // Anchors 0 and 2, followers 1 and 3 to 5: one band sees 300 tokens, of the other one layer all.
  GroupSetup windowed = setup(2);
  windowed.windows = {0, 300, 400, 250, 0, 70};
  RankGroup group(windowed);
  group.open(open_unit(1));
  group.open(open_unit(2));
  expect_same_bits(token(group.prefill_by_band(SeqId{2}, kPrompt, 128, kHotRows)),
                   token(group.prefill(SeqId{1}, kPrompt, 128)), 0);
  for (int step = 1; step <= 40; ++step) {
    const auto resident = token(group.decode({SeqId{1}}));
    expect_same_bits(token(group.decode({SeqId{2}})), resident, step);
  }
  EXPECT_GT(group.close(SeqId{2})[0].maps[0].counters.restored_bytes, 0u);
}

TEST_F(TieredTest, AHotPoolHoldsTheWholeWindowOfADenseRead) {
  // All followers see 70 tokens, within the budget of 75: dense reads out of pools of 128 rows.
  GroupSetup windowed = setup(1);
  windowed.windows = {0, 70, 0, 70, 50, 70};
  RankGroup group(windowed);
  group.open(open_unit(1));
  group.open(open_unit(2));
  expect_same_bits(token(group.prefill_by_band(SeqId{2}, kPrompt, 128, kHotRows)),
                   token(group.prefill(SeqId{1}, kPrompt, 128)), 0);
  for (int step = 1; step <= 40; ++step) {
    const auto resident = token(group.decode({SeqId{1}}));
    expect_same_bits(token(group.decode({SeqId{2}})), resident, step);
  }
  EXPECT_EQ(group.close(SeqId{2})[0].maps[0].counters.restored_bytes, 0u)
      << "the newest rows never left";
}

TEST_F(TieredTest, AFirstPrefillRestoresNothing) {
  RankGroup group(setup(2));
  group.open(open_unit(1));
  const auto results = group.prefill_by_band(SeqId{1}, kPrompt, 128, 128);
  token(results);
  const auto counters = group.close(SeqId{1})[0].maps[0].counters;
  EXPECT_EQ(counters.restored_host_records + counters.restored_ssd_records, 0u);
  EXPECT_GT(counters.released_records, 0u);
}

TEST_F(TieredTest, ReleaseUnderPressureInTheMiddleOfADecodeChangesNoBit) {
  RankGroup group(setup(2));
  group.open(open_unit(1));
  group.open(open_unit(2));
  expect_same_bits(token(group.prefill(SeqId{2}, kPrompt, 128)),
                   token(group.prefill(SeqId{1}, kPrompt, 128)), 0);
  for (int step = 1; step <= 40; ++step) {
    if (step == 10) {
      const auto before = group.release(SeqId{2}, {}, 0)[0].arena_blocks_used;
      const auto after = group.release(SeqId{2}, follower_bands(), 128);
      EXPECT_TRUE(after[0].failures.empty());
      EXPECT_LT(after[0].arena_blocks_used, before);
    }
    const auto resident = token(group.decode({SeqId{1}}));
    expect_same_bits(token(group.decode({SeqId{2}})), resident, step);
  }
}

TEST_F(TieredTest, TheMapSaysWhereEveryTokenIs) {
  RankGroup group(setup(2));
  group.open(open_unit(1));
  group.prefill_by_band(SeqId{1}, kPrompt, 128, 128);
  for (int i = 0; i < 5; ++i) token(group.decode({SeqId{1}}));
  const auto map = group.close(SeqId{1})[0].maps[0];
  ASSERT_EQ(map.bands.size(), 4u);
  for (const control::BandMap& band : map.bands) {
    uint32_t covered = 0, device = 0, missing = 0;
    for (const auto& run : band.runs) {
      EXPECT_EQ(run.begin, covered);
      covered += run.count;
      if (run.place == control::Place::kDevice) device += run.count;
      if (run.place == control::Place::kMissing) missing += run.count;
    }
    EXPECT_EQ(covered, map.length);
    EXPECT_EQ(missing, 0u);
    if (band.band % 2 == 0) {
      EXPECT_FALSE(band.hot);
      EXPECT_EQ(device, map.length);
    } else {
      EXPECT_TRUE(band.hot);
      EXPECT_LT(device, map.length / 2);
    }
  }
}

TEST_F(TieredTest, ADeadStoreEndsWhatNeedsItWithAnErrorAndDenseGoesOn) {
  RankGroup group(setup(2));
  group.open(open_unit(1));
  token(group.prefill_by_band(SeqId{1}, kPrompt, 128, 96));
  for (int i = 0; i < 3; ++i) token(group.decode({SeqId{1}}));
  control::OpenUnit dense = open_unit(2);
  dense.policy = {};
  group.open(dense);
  token(group.prefill(SeqId{2}, kPrompt, 128));

  store_.kill_hard();
  std::vector<control::UnitFailure> failures;
  for (int i = 0; i < 40 && failures.empty(); ++i) {
    for (const auto& r : group.decode({SeqId{1}})) {
      failures.insert(failures.end(), r.failures.begin(), r.failures.end());
    }
  }
  ASSERT_FALSE(failures.empty()) << "records that are only in the store were needed";
  EXPECT_EQ(failures[0].seq, SeqId{1});
  EXPECT_NE(failures[0].error.message.find("restore"), std::string::npos)
      << failures[0].error.text();
  for (int i = 0; i < 5; ++i) token(group.decode({SeqId{2}}));
  group.close(SeqId{1});

  store_.start();
  control::OpenUnit again = open_unit(3);
  const Deadline by = Deadline::after(Millis(10000));
  for (;;) {
    again.seq.value += 1;
    group.open(again);
    const auto results = group.prefill_by_band(again.seq, kPrompt, 128, 96);
    const bool worked =
        std::all_of(results.begin(), results.end(), [](auto& r) { return r.failures.empty(); });
    if (worked) break;
    group.close(again.seq);
    ASSERT_FALSE(by.passed()) << "the restarted store was not used again: "
                              << results[0].failures[0].error.text();
  }
  for (int i = 0; i < 10; ++i) token(group.decode({again.seq}));
}

}  // namespace
}  // namespace ebb::worker::testing
