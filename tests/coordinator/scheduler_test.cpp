// The scheduler as a story: units out, outcomes in, events to requests.
#include "coordinator/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/engine_samples.h"

namespace ebb::coordinator::test {
namespace {

using control::PolicyKind;
using control::Unit;
using control::UnitKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What a unit is, in one word: "open 1", "bulk 1 0-8 L0-8", "release 1 b1 64", "decode 1 2",
/// "close 1".
std::string word(const Unit& unit) {
  const auto number = [](auto n) { return std::to_string(n); };
  switch (unit.kind) {
    case UnitKind::kOpen:
      return "open " + number(unit.open.seq.value);
    case UnitKind::kBulk:
      return "bulk " + number(unit.bulk.seq.value) + " " + number(unit.bulk.tokens.begin) + "-" +
             number(unit.bulk.tokens.end) + " L" + number(unit.bulk.layers.begin) + "-" +
             number(unit.bulk.layers.end);
    case UnitKind::kRelease: {
      std::string text = "release " + number(unit.release.seq.value);
      for (const uint16_t band : unit.release.bands) text += " b" + number(band);
      return text + " " + number(unit.release.hot_tokens);
    }
    case UnitKind::kDecode: {
      std::string text = "decode";
      for (const SeqId seq : unit.decode.seqs) text += " " + number(seq.value);
      return text;
    }
    case UnitKind::kClose:
      return "close " + number(unit.close.seq.value);
  }
  return "?";
}

/// A scheduler and workers that always succeed, unless told otherwise.
class Bench {
 public:
  explicit Bench(uint64_t arena_blocks, ReleaseWhen release = ReleaseWhen::kPressure,
                 SchedulerLimits limits = {8, 256, 16})
      : rules(small_rules(release)), arena(small_arena(arena_blocks)), scheduler(arena, limits) {}

  Result<void> submit(uint64_t seq, GenerateRequest request) {
    auto checked = check_request(rules, arena, std::move(request));
    if (!checked) return checked.error();
    sizes[{seq}] = checked->size;
    max_tokens[{seq}] = checked->open.max_tokens;
    prompts[{seq}] = static_cast<uint32_t>(checked->open.prompt.size());
    return scheduler.submit({seq}, *std::move(checked), now);
  }

  /// Runs one unit to its end; empty when there is none.
  std::string step() {
    now += std::chrono::milliseconds(10);
    const auto unit = scheduler.next(now);
    if (!unit) return "";
    take(scheduler.finish(outcome_of(*unit), now));
    return word(*unit);
  }
  std::vector<std::string> steps(size_t most = 1000) {
    std::vector<std::string> words;
    while (words.size() < most) {
      const std::string next = step();
      if (next.empty()) break;
      words.push_back(next);
    }
    return words;
  }

  UnitOutcome outcome_of(const Unit& unit) {
    UnitOutcome outcome;
    switch (unit.kind) {
      case UnitKind::kOpen:
        answer(outcome, unit.open.seq, false, false);
        break;
      case UnitKind::kBulk: {
        const bool last = unit.bulk.layers.end == arena.layers() &&
                          unit.bulk.tokens.end == sizes[unit.bulk.seq].bulk_tokens;
        answer(outcome, unit.bulk.seq, last, false);
        break;
      }
      case UnitKind::kRelease:
        answer(outcome, unit.release.seq, false, false);
        break;
      case UnitKind::kDecode:
        // As the workers do: a step that one sequence cannot do is given up for all.
        for (const SeqId seq : unit.decode.seqs) {
          if (fails == seq) answer(outcome, seq, true, true);
        }
        if (!outcome.failures.empty()) break;
        for (const SeqId seq : unit.decode.seqs) answer(outcome, seq, true, true);
        break;
      case UnitKind::kClose:
        outcome.maps.push_back({});
        outcome.maps.back().seq = unit.close.seq;
        outcome.maps.back().length = 99;
        break;
    }
    return outcome;
  }

  void take(Events events) {
    for (auto& event : events) all.push_back(std::move(event));
  }
  template <class T>
  std::vector<T> events_of(uint64_t seq) const {
    std::vector<T> found;
    for (const auto& event : all) {
      const T* one = std::get_if<T>(&event);
      if (one != nullptr && one->seq.value == seq) found.push_back(*one);
    }
    return found;
  }

  RequestRules rules;
  ArenaModel arena;
  Scheduler scheduler;
  TimePoint now = TimePoint(std::chrono::seconds(1000));
  Events all;
  std::map<SeqId, SequenceSize> sizes;
  std::map<SeqId, uint32_t> max_tokens;
  std::map<SeqId, uint32_t> prompts;
  std::map<SeqId, uint32_t> decoded;
  std::optional<SeqId> stops;      ///< whose next sampled token is a stop token
  std::optional<SeqId> fails;      ///< who fails in its next unit
  std::optional<SeqId> completes;  ///< whose next sampled token ends its constraint
  std::optional<SeqId> cannot;     ///< for whom no token can be sampled

 private:
  void answer(UnitOutcome& outcome, SeqId seq, bool logits, bool is_step) {
    if (fails == seq) {
      outcome.failures.push_back({seq, unavailable("store s0 is gone")});
      fails.reset();
      return;
    }
    SequenceOutcome of_sequence;
    of_sequence.result.seq = seq;
    of_sequence.result.counters.restored_bytes = 1000;
    of_sequence.device_bytes_max = 4242;
    if (is_step) ++decoded[seq];
    if (logits) {
      const uint32_t next = sizes[seq].bulk_tokens + decoded[seq];
      if (next < prompts[seq]) {
        of_sequence.result.prompt.push_back({static_cast<TokenId>(next), -1.0f, {}});
      } else if (max_tokens[seq] > 0) {
        of_sequence.result.has_token = true;
        of_sequence.result.token.token = static_cast<TokenId>(next);
        of_sequence.result.finished = stops == seq;
        of_sequence.result.complete = completes == seq;
      }
      if (cannot == seq) {
        of_sequence.result.has_token = false;
        of_sequence.result.problem = "no token fits";
      }
    }
    outcome.sequences.push_back(std::move(of_sequence));
  }
};

TEST(Scheduler, ATokenThatCompletesAConstraintIsDeliveredAndTheLast) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(10, 9)));
  bench.steps(3);
  bench.completes = SeqId{1};
  EXPECT_THAT(bench.steps(), ElementsAre("decode 1", "close 1"));
  EXPECT_EQ(bench.events_of<TokenMade>(1).size(), 3u);
  ASSERT_EQ(bench.events_of<Finished>(1).size(), 1u);
  EXPECT_EQ(bench.events_of<Finished>(1)[0].reason, FinishReason::kStop);
  EXPECT_EQ(bench.events_of<Finished>(1)[0].usage.completion_tokens, 3u);
}

TEST(Scheduler, ASequenceForWhichNoTokenFitsFailsAlone) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(10, 9)));
  ASSERT_TRUE(bench.submit(2, request_of(10, 3)));
  bench.cannot = SeqId{1};
  bench.steps();
  ASSERT_EQ(bench.events_of<Failed>(1).size(), 1u);
  EXPECT_EQ(bench.events_of<Failed>(1)[0].error.code, Code::kUnsupported);
  EXPECT_THAT(bench.events_of<Failed>(1)[0].error.message, HasSubstr("no token fits"));
  EXPECT_EQ(bench.events_of<Finished>(2).size(), 1u);
}

TEST(Scheduler, TakesOneRequestFromOpenToClose) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(40, 3)));
  EXPECT_THAT(bench.steps(), ElementsAre("open 1", "bulk 1 0-16 L0-8", "bulk 1 16-32 L0-8",
                                         "bulk 1 32-40 L0-8", "decode 1", "decode 1", "close 1"));
  EXPECT_EQ(bench.events_of<TokenMade>(1).size(), 3u);
  const auto finished = bench.events_of<Finished>(1);
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].reason, FinishReason::kLength);
  EXPECT_EQ(finished[0].usage.prompt_tokens, 40u);
  EXPECT_EQ(finished[0].usage.completion_tokens, 3u);
  EXPECT_EQ(finished[0].usage.counters.restored_bytes, 1000u);
  EXPECT_EQ(finished[0].usage.device_bytes_max, 4242u);
  EXPECT_NEAR(finished[0].usage.queue_seconds, 0.01, 1e-9);
  EXPECT_NEAR(finished[0].usage.prefill_seconds, 0.03, 1e-9);
  EXPECT_NEAR(finished[0].usage.decode_seconds, 0.02, 1e-9);
  const auto closed = bench.events_of<Closed>(1);
  ASSERT_EQ(closed.size(), 1u);
  EXPECT_EQ(closed[0].map->length, 99u);
  EXPECT_TRUE(bench.scheduler.idle());
  EXPECT_EQ(bench.scheduler.reserved_blocks(), 0u);
}

TEST(Scheduler, HasOneUnitInFlight) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(40, 3)));
  ASSERT_TRUE(bench.scheduler.next(bench.now));
  EXPECT_FALSE(bench.scheduler.next(bench.now));
}

TEST(Scheduler, LetsDecodingSequencesStepBetweenBulkUnits) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(16, 50)));
  EXPECT_THAT(bench.steps(2), ElementsAre("open 1", "bulk 1 0-16 L0-8"));
  ASSERT_TRUE(bench.submit(2, request_of(48, 50)));
  EXPECT_THAT(bench.steps(7), ElementsAre("decode 1", "open 2", "bulk 2 0-16 L0-8", "decode 1",
                                          "bulk 2 16-32 L0-8", "decode 1", "bulk 2 32-48 L0-8"));
  EXPECT_EQ(bench.step(), "decode 1 2");
}

TEST(Scheduler, RunsOneBulkPassAtATimeInOrder) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(20, 1)));
  ASSERT_TRUE(bench.submit(2, request_of(10, 1)));
  EXPECT_THAT(bench.steps(), ElementsAre("open 1", "bulk 1 0-16 L0-8", "bulk 1 16-20 L0-8",
                                         "close 1", "open 2", "bulk 2 0-10 L0-8", "close 2"));
}

TEST(Scheduler, EndsAtAStopTokenWithoutDeliveringIt) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(10, 50)));
  bench.steps(4);
  bench.stops = SeqId{1};
  bench.steps();
  EXPECT_EQ(bench.events_of<TokenMade>(1).size(), 3u);
  EXPECT_EQ(bench.events_of<Finished>(1)[0].reason, FinishReason::kStop);
}

TEST(Scheduler, ForcesPromptTokensThroughTheDecodePath) {
  Bench bench(1000);
  auto request = request_of(12, 2);
  request.decode_from = 9;
  ASSERT_TRUE(bench.submit(1, request));
  // Bulk scores token 9, steps score 10 and 11, then two are sampled.
  EXPECT_THAT(bench.steps(), ElementsAre("open 1", "bulk 1 0-9 L0-8", "decode 1", "decode 1",
                                         "decode 1", "decode 1", "close 1"));
  std::vector<TokenId> scored;
  for (const auto& event : bench.events_of<PromptScored>(1))
    scored.push_back(event.scored[0].token);
  EXPECT_THAT(scored, ElementsAre(9, 10, 11));
  std::vector<TokenId> made;
  for (const auto& event : bench.events_of<TokenMade>(1)) made.push_back(event.token.token);
  EXPECT_THAT(made, ElementsAre(12, 13));
}

TEST(Scheduler, EndsAfterTheLastForcedTokenWhenNoneIsAskedFor) {
  Bench bench(1000);
  auto request = request_of(12, 0);
  request.decode_from = 9;
  ASSERT_TRUE(bench.submit(1, request));
  EXPECT_THAT(bench.steps(),
              ElementsAre("open 1", "bulk 1 0-9 L0-8", "decode 1", "decode 1", "close 1"));
  EXPECT_EQ(bench.events_of<PromptScored>(1).size(), 3u);
  EXPECT_EQ(bench.events_of<Finished>(1)[0].reason, FinishReason::kLength);
  for (const uint32_t from : {11u, 12u}) {
    Bench short_one(1000);
    request.decode_from = from;
    ASSERT_TRUE(short_one.submit(1, request));
    EXPECT_EQ(short_one.steps().size(), 3u) << "open, bulk, close";
    EXPECT_EQ(short_one.events_of<Finished>(1).size(), 1u);
  }
}

TEST(Scheduler, GoesBandByBandWhenToldTo) {
  Bench bench(10000, ReleaseWhen::kAlways, {8, 256, 100});
  ASSERT_TRUE(bench.submit(1, request_of(160, 2, PolicyKind::kTidal)));
  EXPECT_THAT(bench.steps(),
              ElementsAre("open 1", "bulk 1 0-100 L0-1", "bulk 1 100-160 L0-1", "bulk 1 0-100 L1-3",
                          "bulk 1 100-160 L1-3", "release 1 b1 64", "bulk 1 0-100 L3-4",
                          "bulk 1 100-160 L3-4", "bulk 1 0-100 L4-8", "bulk 1 100-160 L4-8",
                          "release 1 b3 64", "decode 1", "close 1"));
}

TEST(Scheduler, SkipsTheLastReleaseOfASequenceThatIsDone) {
  Bench bench(10000, ReleaseWhen::kAlways, {8, 256, 1000});
  ASSERT_TRUE(bench.submit(1, request_of(160, 1, PolicyKind::kTidal)));
  EXPECT_EQ(bench.steps().back(), "close 1");
  EXPECT_EQ(bench.events_of<Finished>(1).size(), 1u);
}

TEST(Scheduler, ReleasesOldSequencesUnderPressure) {
  // Each: 8 * 26 = 208 resident; 2 * 26 + 6 * 10 = 112 hot, 202 at the peak of its pass.
  Bench bench(420, ReleaseWhen::kPressure, {8, 256, 1000});
  for (uint64_t seq : {1, 2})
    ASSERT_TRUE(bench.submit(seq, request_of(160, 48, PolicyKind::kTidal)));
  EXPECT_THAT(bench.steps(4), ElementsAre("open 1", "bulk 1 0-160 L0-8", "decode 1", "open 2"));
  EXPECT_THAT(bench.steps(2), ElementsAre("bulk 2 0-160 L0-8", "decode 1 2"));
  // 8 * 24 = 192 resident; 4 blocks are free, 196 when both others have released.
  ASSERT_TRUE(bench.submit(3, request_of(160, 32)));
  EXPECT_THAT(bench.steps(5), ElementsAre("release 1 b1 b3 64", "decode 1 2", "release 2 b1 b3 64",
                                          "decode 1 2", "open 3"));
  EXPECT_EQ(bench.scheduler.reserved_blocks(), 2u * 112 + 192);
  bench.steps();
  EXPECT_EQ(bench.events_of<Finished>(3).size(), 1u);
}

TEST(Scheduler, ReleasesNothingWhenThatWouldNotHelp) {
  Bench bench(420, ReleaseWhen::kPressure, {8, 256, 1000});
  ASSERT_TRUE(bench.submit(1, request_of(160, 48, PolicyKind::kTidal)));
  bench.steps(3);
  ASSERT_TRUE(bench.submit(2, request_of(360, 48)));
  for (const std::string& step : bench.steps(10)) EXPECT_EQ(step, "decode 1");
}

TEST(Scheduler, WaitsInOrderEvenIfALaterOneWouldFit) {
  Bench bench(300, ReleaseWhen::kPressure, {8, 256, 1000});
  ASSERT_TRUE(bench.submit(1, request_of(160, 40)));
  bench.steps(2);
  ASSERT_TRUE(bench.submit(2, request_of(160, 40)));
  ASSERT_TRUE(bench.submit(3, request_of(8, 1)));
  const auto steps = bench.steps();
  const auto at = [&](const char* what) { return std::find(steps.begin(), steps.end(), what); };
  EXPECT_LT(at("close 1"), at("open 2"));
  EXPECT_LT(at("open 2"), at("open 3"));
}

TEST(Scheduler, KeepsToMaxNumSeqsAndQueueMax) {
  Bench bench(100000, ReleaseWhen::kPressure, {2, 3, 1000});
  for (uint64_t seq = 1; seq <= 3; ++seq) ASSERT_TRUE(bench.submit(seq, request_of(8, 20)));
  const auto full = bench.submit(4, request_of(8, 20));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kExhausted);
  EXPECT_THAT(full.error().message, HasSubstr("queue_max"));
  bench.steps(8);
  EXPECT_EQ(bench.scheduler.running(), 2u);
  EXPECT_EQ(bench.scheduler.waiting(), 1u);
}

TEST(Scheduler, CancelsInEveryPhase) {
  for (size_t after = 0; after <= 6; ++after) {
    Bench bench(1000);
    ASSERT_TRUE(bench.submit(1, request_of(40, 30)));
    bench.steps(after);
    bench.take(bench.scheduler.cancel({1}, FinishReason::kAbort, bench.now));
    const auto rest = bench.steps();
    if (after == 0) {
      EXPECT_TRUE(rest.empty());
    } else {
      EXPECT_THAT(rest, ElementsAre("close 1"));
    }
    EXPECT_EQ(bench.events_of<Finished>(1).size(), 1u);
    EXPECT_EQ(bench.events_of<Closed>(1).size(), 1u);
    EXPECT_EQ(bench.scheduler.reserved_blocks(), 0u);
    EXPECT_TRUE(bench.scheduler.cancel({1}, FinishReason::kAbort, bench.now).empty());
  }
}

TEST(Scheduler, DropsResultsOfASequenceThatWasCancelledMeanwhile) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(10, 30)));
  bench.steps(2);
  const auto unit = bench.scheduler.next(bench.now);
  ASSERT_TRUE(unit);
  const auto outcome = bench.outcome_of(*unit);
  bench.take(bench.scheduler.cancel({1}, FinishReason::kStop, bench.now));
  const size_t events_before = bench.all.size();
  bench.take(bench.scheduler.finish(outcome, bench.now));
  EXPECT_EQ(bench.all.size(), events_before);
  EXPECT_THAT(bench.steps(), ElementsAre("close 1"));
  EXPECT_EQ(bench.events_of<Finished>(1)[0].reason, FinishReason::kStop);
}

TEST(Scheduler, EndsOnlyTheSequenceThatFailed) {
  Bench bench(1000);
  for (uint64_t seq : {1, 2}) ASSERT_TRUE(bench.submit(seq, request_of(10, 5)));
  bench.steps(5);
  bench.fails = SeqId{1};
  const auto rest = bench.steps();
  EXPECT_EQ(rest[0], "decode 1 2");
  EXPECT_EQ(rest[1], "close 1");
  EXPECT_THAT(bench.events_of<Failed>(1)[0].error.message, HasSubstr("store s0 is gone"));
  EXPECT_EQ(rest[2], "decode 2") << "the step that was given up is done again";
  EXPECT_TRUE(bench.events_of<Failed>(2).empty());
  EXPECT_EQ(bench.events_of<TokenMade>(2).size(), 5u);
  EXPECT_EQ(bench.events_of<Finished>(2).size(), 1u);
}

TEST(Scheduler, FailsASequenceThatGetsNoToken) {
  Bench bench(1000);
  ASSERT_TRUE(bench.submit(1, request_of(10, 5)));
  bench.steps(2);
  const auto unit = bench.scheduler.next(bench.now);
  ASSERT_TRUE(unit);
  bench.take(bench.scheduler.finish(UnitOutcome{}, bench.now));
  EXPECT_EQ(bench.events_of<Failed>(1)[0].error.code, Code::kInternal);
}

TEST(Scheduler, LosesEverythingAtOnce) {
  Bench bench(1000, ReleaseWhen::kPressure, {1, 256, 16});
  for (uint64_t seq : {1, 2, 3}) ASSERT_TRUE(bench.submit(seq, request_of(10, 5)));
  bench.steps(3);
  ASSERT_TRUE(bench.scheduler.next(bench.now));
  bench.take(bench.scheduler.lose_all(unavailable("group g0 lost")));
  for (uint64_t seq : {1, 2, 3}) {
    EXPECT_EQ(bench.events_of<Failed>(seq).size(), 1u);
    EXPECT_EQ(bench.events_of<Closed>(seq).size(), 1u);
  }
  EXPECT_TRUE(bench.scheduler.idle());
  EXPECT_EQ(bench.scheduler.reserved_blocks(), 0u);
  ASSERT_TRUE(bench.submit(4, request_of(10, 1)));
  EXPECT_EQ(bench.step(), "open 4");
}

}  // namespace
}  // namespace ebb::coordinator::test
