#include "worker/engine.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/temp_dir.h"
#include "tests/support/tiny_llama.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kVocabulary = 288;
// A last bit of difference in f32 can flip the rounding of a K or V element to bf16, which is 2^-9
// of it.
constexpr double kRounding = 5e-3;

models::SelectionProfile tiny_profile() {
  models::SelectionProfile p;
  p.name = "tiny";
  p.model_name = "tiny llama";
  p.layers = 6;
  p.anchors = {0, 2};
  p.budget_min = 32;
  p.sinks = 4;
  p.window = 8;
  return p;
}

std::vector<TokenId> random_prompt(uint64_t seed, uint32_t count) {
  ebb::testing::TinyRandom random(seed);
  std::vector<TokenId> ids;
  for (uint32_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(3 + random.next() % 256));
  return ids;
}

class EngineTest : public ::testing::Test {
 protected:
  std::string model(models::WeightType weights = models::WeightType::kQ4_1) {
    ebb::testing::TinyLlamaOptions options;
    options.layers = 6;
    options.width = 96;
    options.heads_q = 9;
    options.heads_kv = 3;
    options.head_size = 32;
    options.ffn_width = 192;
    options.vocabulary = kVocabulary;
    options.weights = weights;
    const std::string path =
        dir_.path("tiny-" + std::to_string(static_cast<int>(weights)) + ".gguf");
    ebb::testing::write_tiny_llama(path, options);
    return path;
  }
  GroupSetup setup(uint32_t ranks) {
    GroupSetup s;
    s.model_path = model();
    s.ranks = ranks;
    s.device_kv_bytes = 8 << 20;
    s.profile = tiny_profile();
    s.rows_max = 64;
    return s;
  }
  static control::OpenUnit open_unit(uint64_t seq, std::vector<TokenId> prompt,
                                     uint32_t max_tokens) {
    control::OpenUnit open;
    open.seq = SeqId{seq};
    open.prompt = std::move(prompt);
    open.max_tokens = max_tokens;
    open.sampling.temperature = 0;
    open.sampling.logprobs = kVocabulary;  // all of them: bits can be compared
    return open;
  }
  static control::PolicyParams tidal(uint32_t budget) {
    control::PolicyParams params;
    params.kind = control::PolicyKind::kTidal;
    params.budget = budget;
    params.window = 8;
    return params;
  }
  static void add_token(const std::vector<control::UnitResult>& results, size_t index,
                        std::vector<control::TokenLogprob>& out) {
    ASSERT_TRUE(results[0].failures.empty()) << results[0].failures[0].error.text();
    ASSERT_GT(results[0].sequences.size(), index);
    ASSERT_TRUE(results[0].sequences[index].has_token);
    out.push_back(results[0].sequences[index].token);
  }
  /// Prefills chunk by chunk and decodes `steps` tokens more.
  static std::vector<control::TokenLogprob> generate(RankGroup& group, control::OpenUnit open,
                                                     uint32_t steps) {
    const SeqId seq = open.seq;
    const auto tokens = static_cast<uint32_t>(open.prompt.size());
    std::vector<control::TokenLogprob> out;
    group.open(std::move(open));
    add_token(group.prefill(seq, tokens, 48), 0, out);
    for (uint32_t i = 0; i < steps; ++i) add_token(group.decode({seq}), 0, out);
    return out;
  }
  ebb::test::TempDir dir_;
};

void expect_same_bits(const std::vector<control::TokenLogprob>& a,
                      const std::vector<control::TokenLogprob>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token, b[i].token) << "token " << i;
    EXPECT_EQ(a[i].logprob, b[i].logprob) << "token " << i;
    EXPECT_EQ(a[i].top, b[i].top) << "token " << i;
  }
}

/// Largest difference of any log-probability.
double distance(const control::TokenLogprob& a, const control::TokenLogprob& b) {
  std::map<TokenId, float> other(b.top.begin(), b.top.end());
  double worst = 0;
  for (auto [id, logprob] : a.top)
    worst = std::max(worst, std::abs(double{logprob} - other.at(id)));
  return worst;
}

TEST_F(EngineTest, AnyNumberOfRanksGivesTheSameTokensAsOne) {
  const auto prompt = random_prompt(1, 100);
  RankGroup one(setup(1));
  const auto expected = generate(one, open_unit(1, prompt, 24), 20);
  // 3 KV heads: from 4 ranks on heads are copied; 9 query heads of 32, blocks of 32, FFN of 192.
  for (uint32_t ranks : {2u, 3u, 4u, 5u, 9u}) {
    RankGroup many(setup(ranks));
    const auto got = generate(many, open_unit(1, prompt, 24), 20);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].token, expected[i].token) << "ranks " << ranks << " token " << i;
      EXPECT_LT(distance(got[i], expected[i]), kRounding);
    }
  }
}

TEST_F(EngineTest, SharesThatEndInsideABlockOfWeightsAreExact) {
  // Heads of 16 in blocks of 32, and an FFN of 96 over 4 ranks: 24 columns each.
  ebb::testing::TinyLlamaOptions options;
  options.heads_q = 6;
  options.heads_kv = 2;
  options.head_size = 16;
  options.weights = models::WeightType::kQ8_0;
  GroupSetup s = setup(1);
  s.model_path = dir_.path("cut.gguf");
  s.profile = models::dense_profile(options.layers, "tiny llama");
  ebb::testing::write_tiny_llama(s.model_path, options);
  const auto prompt = random_prompt(13, 50);
  RankGroup one(s);
  const auto expected = generate(one, open_unit(1, prompt, 24), 10);
  for (uint32_t ranks : {2u, 3u, 4u, 6u}) {
    s.ranks = ranks;
    RankGroup many(s);
    const auto got = generate(many, open_unit(1, prompt, 24), 10);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].token, expected[i].token) << "ranks " << ranks << " token " << i;
      EXPECT_LT(distance(got[i], expected[i]), kRounding) << "ranks " << ranks;
    }
  }
}

TEST_F(EngineTest, TheDecodePathScoresThePromptAsTheBulkPathDoes) {
  const auto prompt = random_prompt(2, 90);
  RankGroup group(setup(2));
  control::OpenUnit whole = open_unit(1, prompt, 1);
  whole.sampling.prompt_logprobs = true;
  group.open(whole);
  group.prefill(SeqId{1}, 90, 48);
  const auto bulk_scores = group.prompt_scores;
  ASSERT_EQ(bulk_scores.size(), 89u);

  control::OpenUnit forced = open_unit(2, prompt, 1);
  forced.decode_from = 40;
  group.open(forced);
  group.prefill(SeqId{2}, 40, 48);
  std::vector<control::TokenLogprob> scores = group.prompt_scores;
  ASSERT_EQ(scores.size(), 1u) << "prompt[40] from the bulk pass's last row";
  for (uint32_t at = 40; at + 1 < 90; ++at) {
    const auto results = group.decode({SeqId{2}});
    ASSERT_TRUE(results[0].failures.empty());
    EXPECT_FALSE(results[0].sequences[0].has_token);
    ASSERT_EQ(results[0].sequences[0].prompt.size(), 1u);
    scores.push_back(results[0].sequences[0].prompt[0]);
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    EXPECT_EQ(scores[i].token, prompt[40 + i]);
    EXPECT_NEAR(scores[i].logprob, bulk_scores[39 + i].logprob, 1e-3);
  }
  const auto last = group.decode({SeqId{2}});
  EXPECT_TRUE(last[0].sequences[0].has_token) << "after the prompt it samples";
}

TEST_F(EngineTest, BandByBandGivesTheSameBitsAsChunkByChunk) {
  const auto prompt = random_prompt(3, 130);
  for (uint32_t ranks : {1u, 2u, 4u}) {
    RankGroup group(setup(ranks));
    const auto expected = generate(group, open_unit(1, prompt, 8), 6);
    group.open(open_unit(2, prompt, 8));
    std::vector<control::TokenLogprob> got;
    const auto bands = tiny_profile().bands();
    std::vector<control::UnitResult> last;
    for (const LayerRange band : bands) {
      for (uint32_t at = 0; at < 130; at += 48) {
        last = group.bulk(SeqId{2}, {at, std::min(at + 48, 130u)}, band);
      }
    }
    add_token(last, 0, got);
    for (int i = 0; i < 6; ++i) add_token(group.decode({SeqId{2}}), 0, got);
    expect_same_bits(got, expected);
  }
}

TEST_F(EngineTest, TidalWithABudgetOfEverythingIsDense) {
  const auto prompt = random_prompt(4, 120);
  RankGroup group(setup(2));
  const auto dense = generate(group, open_unit(1, prompt, 40), 30);
  control::OpenUnit open = open_unit(2, prompt, 40);
  open.policy = tidal(1000);
  expect_same_bits(generate(group, open, 30), dense);
}

TEST_F(EngineTest, SlidingWindowsHoldInBulkPassesAndInDecoding) {
  const auto prompt = random_prompt(14, 90);
  GroupSetup windowed = setup(2);
  windowed.windows = {20, 0, 20, 33, 1, 20};
  RankGroup group(windowed);
  control::OpenUnit whole = open_unit(1, prompt, 1);
  whole.sampling.prompt_logprobs = true;
  group.open(whole);
  group.prefill(SeqId{1}, 90, 48);
  const auto bulk_scores = group.prompt_scores;
  control::OpenUnit forced = open_unit(2, prompt, 1);
  forced.decode_from = 10;
  group.open(forced);
  group.prefill(SeqId{2}, 10, 48);
  RankGroup unbounded(setup(2));
  unbounded.open(whole);
  unbounded.prefill(SeqId{1}, 90, 48);
  double farthest = 0;
  for (uint32_t at = 10; at + 1 < 90; ++at) {
    const auto results = group.decode({SeqId{2}});
    ASSERT_TRUE(results[0].failures.empty());
    // Few tokens to average over: a rounding weighs more.
    EXPECT_LT(distance(results[0].sequences[0].prompt.at(0), bulk_scores[at]), 6 * kRounding);
    farthest = std::max(farthest, distance(bulk_scores[at], unbounded.prompt_scores[at]));
  }
  EXPECT_GT(farthest, 60 * kRounding) << "the windows change what is said";
}

TEST_F(EngineTest, WindowsThatReachTheFirstTokenChangeNoBit) {
  const auto prompt = random_prompt(15, 100);
  RankGroup plain(setup(1));
  GroupSetup wide = setup(1);
  wide.windows = {110, 200, 110, 4000000000u, 110, 0};
  RankGroup group(wide);
  expect_same_bits(generate(group, open_unit(1, prompt, 12), 9),
                   generate(plain, open_unit(1, prompt, 12), 9));
}

TEST_F(EngineTest, TidalReadsWindowsThatTheBudgetCoversWhole) {
  const auto prompt = random_prompt(16, 150);
  GroupSetup windowed = setup(2);
  windowed.windows = {0, 40, 0, 48, 48, 30};
  RankGroup group(windowed);
  const auto dense = generate(group, open_unit(1, prompt, 20), 15);
  control::OpenUnit open = open_unit(2, prompt, 20);
  open.policy = tidal(48);
  open.trace_selection = true;
  expect_same_bits(generate(group, open, 15), dense);
}

TEST_F(EngineTest, TidalChoosesInsideTheWindowsOfItsFollowers) {
  GroupSetup windowed = setup(1);
  windowed.windows = {0, 90, 70, 0, 60, 100};
  RankGroup group(windowed);
  control::OpenUnit open = open_unit(1, random_prompt(17, 150), 20);
  open.policy = tidal(48);
  open.trace_selection = true;
  group.open(open);
  group.prefill(SeqId{1}, 150, 64);
  for (uint32_t length = 151; length < 160; ++length) {
    const auto results = group.decode({SeqId{1}});
    ASSERT_TRUE(results[0].failures.empty()) << results[0].failures[0].error.text();
    const auto& trace = results[0].sequences[0].trace;
    ASSERT_EQ(trace.size(), 2u);
    EXPECT_EQ(trace[0].positions.size(), 48u);
    EXPECT_GE(trace[0].positions.front(), length - 90) << "its follower sees 90";
    EXPECT_EQ(trace[1].positions.front(), 0u) << "layer 3 sees the sinks";
    EXPECT_GE(trace[1].positions.at(4), length - 70) << "the anchor scores what it sees";
  }
}

TEST_F(EngineTest, TidalAttendsSparselyAndItsSetsDoNotDependOnTheRanks) {
  const auto prompt = random_prompt(5, 200);
  control::OpenUnit open = open_unit(1, prompt, 40);
  open.policy = tidal(48);
  open.trace_selection = true;
  using Scores = std::vector<std::pair<float, Position>>;
  std::vector<Scores> rounds[2];
  std::vector<std::vector<Position>> sets[2];
  for (uint32_t ranks : {1u, 2u}) {
    RankGroup group(setup(ranks));
    group.open(open);
    group.prefill(SeqId{1}, 200, 64);
    for (int i = 0; i < 10; ++i) {
      const auto results = group.decode({SeqId{1}});
      ASSERT_TRUE(results[0].failures.empty());
      for (size_t a = 0; a < 2; ++a) {
        const auto& first = results[0].sequences[0].trace.at(a);
        EXPECT_EQ(first.positions.size(), 48u);
        for (const auto& r : results) {
          EXPECT_EQ(r.sequences[0].trace.at(a).positions, first.positions)
              << "byte-equal across ranks";
        }
        rounds[ranks - 1].push_back(group.board().scores(group.last_unit(), first.anchor));
        sets[ranks - 1].push_back(first.positions);
      }
    }
  }
  const size_t take = 48 - 4 - 8;
  for (size_t round = 0; round < rounds[0].size(); ++round) {
    const float edge = rounds[0][round].at(take - 1).first;
    for (auto [score, position] : rounds[0][round]) {
      if (std::abs(score - edge) <= 0.01f * edge) continue;
      const auto& other = sets[1][round];
      EXPECT_EQ(std::binary_search(other.begin(), other.end(), position), score > edge)
          << "round " << round << " position " << position
          << ": only scores within 1 % of the edge may differ";
    }
  }
}

TEST_F(EngineTest, SequencesInABatchGetTheTokensTheyGetAlone) {
  RankGroup group(setup(2));
  std::vector<std::vector<control::TokenLogprob>> alone;
  for (uint64_t s = 1; s <= 3; ++s) {
    control::OpenUnit open =
        open_unit(s, random_prompt(10 + s, 60 + 20 * static_cast<uint32_t>(s)), 16);
    if (s == 2) open.policy = tidal(40);
    alone.push_back(generate(group, open, 10));
    group.close(SeqId{s});
  }
  std::vector<std::vector<control::TokenLogprob>> together(3);
  std::vector<SeqId> seqs;
  for (uint64_t s = 1; s <= 3; ++s) {
    control::OpenUnit open =
        open_unit(100 + s, random_prompt(10 + s, 60 + 20 * static_cast<uint32_t>(s)), 16);
    if (s == 2) open.policy = tidal(40);
    const auto tokens = static_cast<uint32_t>(open.prompt.size());
    group.open(open);
    seqs.push_back(open.seq);
    add_token(group.prefill(open.seq, tokens, 48), 0, together[s - 1]);
  }
  for (int i = 0; i < 10; ++i) {
    const auto results = group.decode(seqs);
    for (size_t s = 0; s < 3; ++s) add_token(results, s, together[s]);
  }
  for (size_t s = 0; s < 3; ++s) expect_same_bits(together[s], alone[s]);
}

TEST_F(EngineTest, AFailedExchangeEndsTheStepOnAllRanksAndAReplayGivesTheSameToken) {
  const auto prompt = random_prompt(6, 150);
  control::OpenUnit open = open_unit(1, prompt, 40);
  open.policy = tidal(40);
  RankGroup undisturbed(setup(2));
  const auto expected = generate(undisturbed, open, 8);

  RankGroup group(setup(2));
  group.open(open);
  std::vector<control::TokenLogprob> got;
  add_token(group.prefill(SeqId{1}, 150, 48), 0, got);
  for (int i = 0; i < 3; ++i) add_token(group.decode({SeqId{1}}), 0, got);
  group.board().fail(1, 1);
  const auto failed = group.decode({SeqId{1}});
  EXPECT_TRUE(failed[0].sequences.empty()) << "no token came out of a broken step";
  ASSERT_EQ(failed[1].failures.size(), 1u);
  EXPECT_EQ(failed[1].failures[0].seq, SeqId{1});
  for (int i = 0; i < 5; ++i) add_token(group.decode({SeqId{1}}), 0, got);
  expect_same_bits(got, expected);
}

TEST_F(EngineTest, EveryBlockComesBackWhenASequenceCloses) {
  RankGroup group(setup(2));
  control::OpenUnit open = open_unit(1, random_prompt(7, 150), 8);
  generate(group, open, 4);
  const auto closed = group.close(SeqId{1});
  EXPECT_EQ(closed[0].arena_blocks_used, 0u);
  EXPECT_GT(closed[0].arena_blocks_max, 0u);
  ASSERT_EQ(closed[0].maps.size(), 1u);
  EXPECT_EQ(closed[0].maps[0].length, 154u);
  EXPECT_EQ(closed[0].maps[0].counters.restored_host_records, 0u);
}

TEST_F(EngineTest, AnArenaTooSmallFailsTheSequenceOnAllRanksAndTheGroupGoesOn) {
  GroupSetup small = setup(2);
  small.device_kv_bytes = 6 * 6 * 16 * 3 * 2 * 32 * 2;  // six blocks a layer: 96 tokens
  RankGroup group(small);
  group.open(open_unit(1, random_prompt(8, 200), 8));
  const auto results = group.prefill(SeqId{1}, 200, 48);
  ASSERT_EQ(results[0].failures.size(), 1u);
  EXPECT_EQ(results[0].failures[0].error.code, Code::kExhausted);
  group.close(SeqId{1});
  generate(group, open_unit(2, random_prompt(9, 40), 8), 4);
}

TEST_F(EngineTest, RefusesUnitsThatMakeNoSense) {
  RankGroup group(setup(1));
  const auto refused = [&](control::OpenUnit open, const std::string& word) {
    const auto results = group.open(std::move(open));
    ASSERT_EQ(results[0].failures.size(), 1u) << word;
    EXPECT_NE(results[0].failures[0].error.message.find(word), std::string::npos)
        << results[0].failures[0].error.message;
  };
  refused(open_unit(1, {5, 9999}, 4), "vocabulary");
  refused(open_unit(1, random_prompt(1, 2000), 400), "context");
  control::OpenUnit bad = open_unit(1, random_prompt(1, 20), 4);
  bad.policy = tidal(10);
  refused(bad, "budget");
  bad = open_unit(1, random_prompt(1, 20), 4);
  bad.decode_from = 21;
  refused(bad, "decode_from");
  EXPECT_EQ(group.decode({SeqId{77}})[0].failures[0].error.code, Code::kNotFound);
  group.open(open_unit(2, random_prompt(1, 20), 4));
  EXPECT_FALSE(group.decode({SeqId{2}})[0].failures.empty()) << "decode before prefill";
  EXPECT_FALSE(group.bulk(SeqId{2}, {5, 10}, {0, 6})[0].failures.empty()) << "a hole in the prompt";
}

TEST_F(EngineTest, ANewEpochStartsEmptyAndOldUnitsAreRefused) {
  RankGroup group(setup(2));
  const auto prompt = random_prompt(11, 60);
  const auto first = generate(group, open_unit(1, prompt, 8), 4);
  group.form();
  EXPECT_FALSE(group.decode({SeqId{1}})[0].failures.empty());
  expect_same_bits(generate(group, open_unit(1, prompt, 8), 4), first);
}

TEST_F(EngineTest, WorksTheSameWithInstructionSetsCapped) {
  const auto prompt = random_prompt(12, 80);
  RankGroup best(setup(1));
  const auto expected = generate(best, open_unit(1, prompt, 16), 10);
  for (const char* isa : {"x86-64-v2", "avx2"}) {
    GroupSetup capped = setup(1);
    capped.isa = isa;
    RankGroup group(capped);
    const auto got = generate(group, open_unit(1, prompt, 16), 10);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].token, expected[i].token) << isa;
      EXPECT_LT(distance(got[i], expected[i]), kRounding) << isa;
    }
  }
}

}  // namespace
}  // namespace ebb::worker::testing
