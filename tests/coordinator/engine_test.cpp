// The engine over its real control server, with workers that have no tensors: tokens arrive, ranks
// and units are lost, groups form again under higher epochs, drains end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <thread>

#include "base/wait.h"
#include "tests/coordinator/fake_workers.h"
#include "tests/support/temp_dir.h"
#include "transport/control/store_side.h"

namespace ebb::coordinator::test {
namespace {

using control::PolicyKind;
using control::UnitKind;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Millis kPatience{10000};

/// True as soon as `condition` is, false after kPatience.
template <class Condition>
bool becomes_true(Condition condition) {
  const Deadline by = Deadline::after(kPatience);
  while (!condition()) {
    if (by.passed()) return false;
    std::this_thread::yield();
  }
  return true;
}

class Collect final : public TokenSink {
 public:
  void on_prompt(std::vector<control::TokenLogprob> scored) override {
    const std::lock_guard lock(mutex_);
    for (const auto& token : scored) prompt_.push_back(token.token);
  }
  void on_token(const control::TokenLogprob& token, std::vector<control::SelectionTrace>) override {
    const std::lock_guard lock(mutex_);
    tokens_.push_back(token.token);
    changed_.notify_all();
  }
  void on_finish(FinishReason reason, const Usage& usage) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(reason_ || error_) << "two last words";
    reason_ = reason;
    usage_ = usage;
    changed_.notify_all();
  }
  void on_error(const Error& error) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(reason_ || error_) << "two last words";
    error_ = error;
    changed_.notify_all();
  }

  bool ended() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return reason_ || error_; });
  }
  bool has_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return tokens_.size() >= count; });
  }
  std::vector<TokenId> tokens() {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::vector<TokenId> prompt() {
    const std::lock_guard lock(mutex_);
    return prompt_;
  }
  std::optional<FinishReason> reason() {
    const std::lock_guard lock(mutex_);
    return reason_;
  }
  std::optional<Error> error() {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  Usage usage() {
    const std::lock_guard lock(mutex_);
    return usage_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> tokens_, prompt_;
  std::optional<FinishReason> reason_;
  std::optional<Error> error_;
  Usage usage_;
};

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() {
    config.run_dir = dir.path();
    config.coordinator.control_address = {"127.0.0.1", 0};
    config.coordinator.heartbeat = Millis(200);
    config.coordinator.chunk_tokens = 16;
    config.groups[0].device_kv_size = 4000 * small_block_bytes();
    config.worker.granule_tokens = 8;
    config.stores.clear();
  }

  void start() {
    auto started = EngineImpl::start(config, small_shape(), small_profile(), metrics);
    ASSERT_TRUE(started) << started.error().message;
    engine = std::move(*started);
  }
  std::unique_ptr<FakeWorker> worker(uint32_t rank, FakeWorker::Options options = {}) {
    options.rank = rank;
    return std::make_unique<FakeWorker>(engine->control_port(), config.cluster_token, options);
  }
  void start_with_workers() {
    start();
    for (uint32_t rank = 0; rank < 2; ++rank) workers[rank] = worker(rank);
    ASSERT_TRUE(becomes_ready());
  }
  bool becomes_ready() {
    return becomes_true([this] { return engine->status().ready; });
  }
  /// Replaces a dead rank; tries again while the old one still counts as there.
  void rejoin(uint32_t rank) {
    workers[rank].reset();
    ASSERT_TRUE(becomes_true([&] {
      workers[rank] = worker(rank);
      return workers[rank]->refused().empty();
    }));
  }
  std::shared_ptr<Collect> submit(GenerateRequest request, SeqId* seq = nullptr) {
    auto sink = std::make_shared<Collect>();
    const auto submitted = engine->submit(std::move(request), sink);
    EXPECT_TRUE(submitted) << submitted.error().message;
    if (submitted && seq != nullptr) *seq = *submitted;
    return sink;
  }
  Result<control::SequenceMap> describe(std::optional<SeqId> seq) {
    return wait_for<control::SequenceMap>([&](auto done) { engine->describe(seq, done); });
  }
  uint64_t epoch() { return engine->status().groups[0].epoch; }

  const ebb::test::TempDir dir;
  ClusterConfig config;
  Metrics metrics;
  std::unique_ptr<EngineImpl> engine;
  std::unique_ptr<FakeWorker>
      workers[2];  // before the engine ends: they lose their coordinator, not the reverse
};

TEST_F(EngineTest, DecodesARequestOverTwoRanks) {
  start_with_workers();
  SeqId seq;
  const auto sink = submit(request_of(40, 3), &seq);
  ASSERT_TRUE(sink->ended());
  EXPECT_EQ(sink->reason(), FinishReason::kLength);
  EXPECT_THAT(sink->tokens(), ElementsAre(40, 41, 42));
  EXPECT_EQ(sink->usage().prompt_tokens, 40u);
  EXPECT_EQ(sink->usage().counters.selected_tokens, 2u * 42);
  EXPECT_EQ(sink->usage().device_bytes_max, 3 * small_block_bytes());
  const auto map = describe(std::nullopt);
  ASSERT_TRUE(map);
  EXPECT_EQ(map->seq, seq);
  EXPECT_EQ(map->length, 42u);
  EXPECT_EQ(map->counters.hot_hits, 2u);
}

TEST_F(EngineTest, ScoresForcedTokens) {
  start_with_workers();
  auto request = request_of(20, 0);
  request.prompt[18] = 118;
  request.prompt[19] = 119;
  request.decode_from = 18;
  const auto sink = submit(request);
  ASSERT_TRUE(sink->ended());
  EXPECT_THAT(sink->prompt(), ElementsAre(118, 119));
  EXPECT_TRUE(sink->tokens().empty());
}

TEST_F(EngineTest, RunsManyRequestsAtOnceAndShowsThem) {
  start_with_workers();
  std::vector<std::shared_ptr<Collect>> sinks;
  for (uint32_t i = 0; i < 20; ++i) sinks.push_back(submit(request_of(20 + i, 5)));
  for (uint32_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(sinks[i]->ended());
    EXPECT_EQ(sinks[i]->tokens().size(), 5u);
    EXPECT_EQ(sinks[i]->tokens()[0], static_cast<TokenId>(20 + i));
  }
  ASSERT_TRUE(becomes_true([this] { return engine->status().running == 0; }));
  const auto list = engine->sequences();
  ASSERT_EQ(list.size(), 20u);
  EXPECT_GT(list.front().seq, list.back().seq);
  EXPECT_EQ(list.front().state, "finished");
  EXPECT_EQ(list.front().generated, 5u);
  EXPECT_EQ(list.front().policy, "dense");
}

TEST_F(EngineTest, RefusesWorkBeforeAGroupIsReady) {
  start();
  const auto refused = engine->submit(request_of(10, 1), std::make_shared<Collect>());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("waiting for ranks 0, 1"));
  workers[1] = worker(1);
  ASSERT_TRUE(
      becomes_true([this] { return engine->status().groups[0].state == "waiting for ranks 0"; }));
  EXPECT_THAT(engine->status().not_ready_because, HasSubstr("waiting for ranks 0"));
}

TEST_F(EngineTest, RefusesABadRequestAtOnce) {
  start_with_workers();
  const auto refused = engine->submit(request_of(5000, 1), std::make_shared<Collect>());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
}

TEST_F(EngineTest, RefusesWorkersThatDoNotBelong) {
  start();
  FakeWorker::Options other_model;
  other_model.model_digest.bytes[0] = 0x77;
  EXPECT_THAT(worker(0, other_model)->refused(), HasSubstr("77000000"));
  EXPECT_THAT(worker(0, other_model)->refused(), HasSubstr("5a000000"));
  FakeWorker::Options other_group;
  other_group.group = "g9";
  EXPECT_THAT(worker(0, other_group)->refused(), HasSubstr("g9"));
  EXPECT_THAT(worker(2)->refused(), HasSubstr("[0, 2)"));
  workers[0] = worker(0);
  EXPECT_THAT(worker(0)->refused(), HasSubstr("taken by g0/rank0"));
}

TEST_F(EngineTest, FormsOnlyWhenTheArenaIsTheSameEverywhere) {
  start();
  FakeWorker::Options other;
  other.arena_blocks = 3999;
  workers[0] = worker(0);
  workers[1] = worker(1, other);
  ASSERT_TRUE(becomes_true(
      [this] { return engine->status().groups[0].state.find("3999") != std::string::npos; }));
  EXPECT_FALSE(engine->status().ready);
}

TEST_F(EngineTest, EndsEverythingWhenARankIsLostAndFormsAgainUnderAHigherEpoch) {
  config.coordinator.max_num_seqs = 1;
  start_with_workers();
  const uint64_t before = epoch();
  const auto running = submit(request_of(20, 2000));
  const auto waiting = submit(request_of(20, 2000));
  ASSERT_TRUE(running->has_tokens(3));
  workers[1]->leave();
  ASSERT_TRUE(running->ended());
  ASSERT_TRUE(waiting->ended());
  ASSERT_TRUE(running->error());
  EXPECT_EQ(running->error()->code, Code::kUnavailable);
  EXPECT_THAT(running->error()->message, HasSubstr("group g0 lost"));
  EXPECT_THAT(running->error()->message, HasSubstr("rank 1"));
  EXPECT_EQ(waiting->error()->message, running->error()->message);
  EXPECT_TRUE(becomes_true(
      [this] { return workers[0]->disbanded_because().find("rank 1") != std::string::npos; }));
  rejoin(1);
  ASSERT_TRUE(becomes_ready());
  EXPECT_GT(epoch(), before);
  const auto after = submit(request_of(20, 2));
  ASSERT_TRUE(after->ended());
  EXPECT_EQ(after->tokens().size(), 2u);
}

TEST_F(EngineTest, FormsAgainWithTheSameRanksAfterAUnitFailedWhole) {
  start_with_workers();
  const uint64_t before = epoch();
  workers[0]->fail(UnitKind::kDecode, {0});
  const auto sink = submit(request_of(20, 50));
  ASSERT_TRUE(sink->ended());
  ASSERT_TRUE(sink->error());
  EXPECT_THAT(sink->error()->message, HasSubstr("rank 0: store s0 is gone"));
  ASSERT_TRUE(becomes_true([&] { return engine->status().ready && epoch() > before; }));
  const auto after = submit(request_of(20, 2));
  ASSERT_TRUE(after->ended());
  EXPECT_EQ(after->tokens().size(), 2u);
}

TEST_F(EngineTest, LosesAGroupWhoseRankIsSilentForAStep) {
  config.coordinator.step_deadline = Millis(200);
  start_with_workers();
  workers[1]->swallow(UnitKind::kDecode);
  const auto sink = submit(request_of(20, 50));
  ASSERT_TRUE(sink->ended());
  ASSERT_TRUE(sink->error());
  EXPECT_THAT(sink->error()->message, HasSubstr("group g0 lost: rank 1"));
  rejoin(1);
  EXPECT_TRUE(becomes_ready());
}

TEST_F(EngineTest, EndsOnlyTheSequenceThatFailed) {
  start_with_workers();
  SeqId bad;
  const auto good = submit(request_of(20, 500));
  const auto failing = submit(request_of(20, 3000), &bad);
  ASSERT_TRUE(failing->has_tokens(1));
  workers[1]->fail(UnitKind::kDecode, bad);
  ASSERT_TRUE(failing->ended());
  EXPECT_THAT(failing->error()->message, HasSubstr("store s0 is gone"));
  ASSERT_TRUE(good->ended());
  EXPECT_EQ(good->reason(), FinishReason::kLength);
}

TEST_F(EngineTest, CancelsAndFrees) {
  start_with_workers();
  SeqId seq;
  const auto sink = submit(request_of(20, 3000), &seq);
  ASSERT_TRUE(sink->has_tokens(2));
  EXPECT_TRUE(describe(seq));
  engine->cancel(seq, FinishReason::kStop);
  engine->cancel({99999}, FinishReason::kAbort);
  ASSERT_TRUE(sink->ended());
  EXPECT_EQ(sink->reason(), FinishReason::kStop);
  ASSERT_TRUE(becomes_true([this] { return engine->status().running == 0; }));
  EXPECT_TRUE(describe(seq));
  EXPECT_EQ(describe(SeqId{99999}).error().code, Code::kNotFound);
}

TEST_F(EngineTest, ReleasesUnderPressure) {
  config.groups[0].device_kv_size = 420 * small_block_bytes();
  start_with_workers();
  std::vector<std::shared_ptr<Collect>> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(submit(request_of(160, 40, PolicyKind::kTidal)));
  for (auto& sink : sinks) {
    ASSERT_TRUE(sink->ended());
    EXPECT_EQ(sink->reason(), FinishReason::kLength);
  }
  EXPECT_GT(workers[0]->units_of(UnitKind::kRelease), 0u);
}

TEST_F(EngineTest, KeepsOnlySoManyFinishedSequences) {
  config.coordinator.kept_sequences = 3;
  start_with_workers();
  SeqId first;
  ASSERT_TRUE(submit(request_of(8, 1), &first)->ended());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(submit(request_of(8, 1))->ended());
  ASSERT_TRUE(becomes_true([this] { return engine->status().running == 0; }));
  EXPECT_EQ(engine->sequences().size(), 3u);
  EXPECT_EQ(describe(first).error().code, Code::kNotFound);
}

TEST_F(EngineTest, KeepsEpochsAndSequenceIdsAcrossARestart) {
  start_with_workers();
  SeqId before_seq;
  ASSERT_TRUE(submit(request_of(8, 1), &before_seq)->ended());
  const uint64_t before = epoch();
  for (auto& one : workers) one.reset();
  engine.reset();
  start_with_workers();
  EXPECT_GT(epoch(), before);
  SeqId after_seq;
  ASSERT_TRUE(submit(request_of(8, 1), &after_seq)->ended());
  EXPECT_GT(after_seq, before_seq);
}

TEST_F(EngineTest, MergesWhatRanksPublishDuringAUnit) {
  start_with_workers();
  // Units are over as soon as fake workers answer: the first decode unit is held open by its
  // silence on one rank.
  workers[0]->swallow(UnitKind::kDecode);
  workers[1]->swallow(UnitKind::kDecode);
  const auto sink = submit(request_of(8, 50));
  ASSERT_TRUE(becomes_true([this] {
    return workers[0]->units_of(UnitKind::kDecode) == 1 &&
           workers[1]->units_of(UnitKind::kDecode) == 1;
  }));
  // open, bulk, decode: the third unit of the epoch.
  const auto publish = [&](uint32_t rank, Position position) {
    return workers[rank]->link().publish(
        {{epoch()}, {3}, rank, 2, {{{1}, 2, {position, 1}, {0.5f, 0.25f}}}},
        Deadline::after(kPatience));
  };
  Result<control::PublishReply> other = unavailable("not asked yet");
  std::thread second([&] { other = publish(1, 6); });
  const auto mine = publish(0, 4);
  second.join();
  ASSERT_TRUE(mine) << mine.error().message;
  EXPECT_EQ(*mine, *other);
  EXPECT_THAT(mine->sequences[0].positions, ElementsAre(4, 6));
  EXPECT_EQ(engine->recent_sets({1}).size(), 1u);
  const auto stale =
      workers[0]->link().publish({{epoch()}, {2}, 0, 2, {}}, Deadline::after(kPatience));
  EXPECT_EQ(stale.error().code, Code::kCancelled);
}

TEST_F(EngineTest, DrainsAndEndsWhatIsLate) {
  start_with_workers();
  const auto quick = submit(request_of(8, 3));
  engine->drain(Deadline::after(kPatience));
  EXPECT_EQ(quick->reason(), FinishReason::kLength);
  EXPECT_EQ(engine->submit(request_of(8, 3), std::make_shared<Collect>()).error().code,
            Code::kUnavailable);
  EXPECT_TRUE(engine->status().draining);
  EXPECT_FALSE(engine->status().ready);
}

TEST_F(EngineTest, EndsRequestsThatOutlastTheDrain) {
  start_with_workers();
  workers[0]->swallow(UnitKind::kBulk);
  const auto stuck = submit(request_of(8, 3));
  engine->drain(Deadline::after(Millis(50)));
  ASSERT_TRUE(stuck->ended());
  EXPECT_THAT(stuck->error()->message, HasSubstr("shutting down"));
}

TEST_F(EngineTest, IgnoresAnswersThatComeAfterTheDrain) {
  start_with_workers();
  workers[0]->hold(UnitKind::kBulk);
  const auto stuck = submit(request_of(8, 3));
  ASSERT_TRUE(becomes_true([this] { return workers[0]->units_of(UnitKind::kBulk) == 1; }));
  engine->drain(Deadline::after(Millis(10)));
  ASSERT_TRUE(stuck->ended());
  workers[0]->let_go();
  // One connection, in order: when this is answered, the late answer was there before.
  EXPECT_TRUE(workers[0]->link().rendezvous_put("epoch1/x", "y"));
  EXPECT_TRUE(engine->status().draining);
}

TEST_F(EngineTest, IgnoresAnswersOfAnEpochThatIsOver) {
  start_with_workers();
  workers[0]->hold(UnitKind::kDecode);
  const auto lost = submit(request_of(8, 30));
  ASSERT_TRUE(becomes_true([this] { return workers[0]->units_of(UnitKind::kDecode) == 1; }));
  rejoin(1);
  ASSERT_TRUE(lost->ended());
  ASSERT_TRUE(becomes_ready());
  workers[0]->let_go();
  const auto after = submit(request_of(8, 3));
  ASSERT_TRUE(after->ended());
  EXPECT_EQ(after->tokens().size(), 3u);
}

TEST_F(EngineTest, IsNotReadyWithoutAStoreThatTakesWrites) {
  std::atomic<bool> writable{true};
  control::StoreHandlers handlers;
  handlers.status = [&] {
    control::StoreStatus status;
    status.name = "s0";
    status.tiers = {{"host", 1, 0, 0, 0, 0, writable.load(), ""}};
    return status;
  };
  auto store =
      control::StoreControlServer::listen({"127.0.0.1", 0}, config.cluster_token, handlers);
  ASSERT_TRUE(store);
  config.stores.emplace_back();
  config.stores[0].control_address = {"127.0.0.1", (*store)->port()};
  start_with_workers();
  EXPECT_EQ(engine->status().stores[0].status->tiers[0].tier, "host");
  writable = false;
  ASSERT_TRUE(becomes_true([this] { return !engine->status().ready; }));
  EXPECT_THAT(engine->status().not_ready_because, HasSubstr("store"));
  // Dense requests go on without one.
  EXPECT_TRUE(submit(request_of(8, 1))->ended());
}

TEST_F(EngineTest, ListsWhatTheNamedStoreKeeps) {
  std::vector<std::unique_ptr<control::StoreControlServer>> stores;
  for (const char* name : {"s0", "s1"}) {
    control::StoreHandlers handlers;
    handlers.status = [] { return control::StoreStatus{}; };
    handlers.list = [name](const control::GranuleQuery& query, const auto& answer) {
      control::GranulePage page;
      page.next = name + query.cursor;
      answer(page);
    };
    auto store =
        control::StoreControlServer::listen({"127.0.0.1", 0}, config.cluster_token, handlers);
    ASSERT_TRUE(store);
    config.stores.emplace_back();
    config.stores.back().name = name;
    config.stores.back().control_address = {"127.0.0.1", (*store)->port()};
    stores.push_back(std::move(*store));
  }
  auto started = EngineImpl::start(config, small_shape(), small_profile(), metrics);
  ASSERT_TRUE(started) << started.error().text();
  const auto list = [&](const std::string& store) {
    return wait_for<control::GranulePage>([&](auto done) {
      (*started)->granules(store, {std::nullopt, 1, "+"}, done);
    });
  };
  ASSERT_TRUE(becomes_true([&] { return list("s1").has_value(); }));
  EXPECT_EQ(list("s1")->next, "s1+");
  const auto unnamed = list(""), unknown = list("s7");
  ASSERT_FALSE(unnamed);
  EXPECT_EQ(unnamed.error().code, Code::kInvalid);
  EXPECT_THAT(unnamed.error().message, HasSubstr("s0, s1"));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kNotFound);
  EXPECT_THAT(unknown.error().message, HasSubstr("no s7; stores: s0, s1"));
}

TEST_F(EngineTest, RefusesAProfileOfAnotherModelAndNamesBoth) {
  models::SelectionProfile other = small_profile();
  other.model_name = "large";
  auto started = EngineImpl::start(config, small_shape(), other, metrics);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kInvalid);
  EXPECT_THAT(started.error().message,
              AllOf(HasSubstr("model.profile"), HasSubstr("\"large\""), HasSubstr("\"small\"")));
  other = small_profile();
  other.layers = 9;
  started = EngineImpl::start(config, small_shape(), other, metrics);
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, AllOf(HasSubstr("of 9 layers"), HasSubstr("of 8;")));
}

TEST_F(EngineTest, NamesWhatContradictsTheModelAtStart) {
  config.model.max_model_len = 5000;
  auto started = EngineImpl::start(config, small_shape(), small_profile(), metrics);
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("max_model_len"));
  config.model.max_model_len = 0;
  config.groups[0].tensor_parallel_size = 10;
  started = EngineImpl::start(config, small_shape(), small_profile(), metrics);
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("tensor_parallel_size: 10"));
}

}  // namespace
}  // namespace ebb::coordinator::test
