// Groups form, are lost and form again: over links that are objects of the test, so that it decides
// when and what every rank answers.
#include "coordinator/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/coordinator/engine_samples.h"
#include "tests/support/temp_dir.h"

namespace ebb::coordinator::test {
namespace {

using ::testing::HasSubstr;

constexpr Millis kPatience{10000};

class FakeLink final : public control::WorkerLink {
 public:
  explicit FakeLink(uint32_t rank) {
    hello_.group = "g0";
    hello_.rank = rank;
    hello_.node = "g0/rank" + std::to_string(rank);
    hello_.model_digest = small_shape().digest;
  }
  const control::WorkerHello& hello() const override { return hello_; }
  void form(control::FormGroup request, Deadline,
            control::Answer<control::FormReply> answer) override {
    forms.emplace_back(std::move(request), std::move(answer));
  }
  void run(control::Unit, Deadline, control::Answer<control::UnitResult>) override {}
  void describe(SeqId, Deadline, control::Answer<control::SequenceMap>) override {}
  void disband(Epoch epoch, std::string why) override { disbanded.emplace_back(epoch, why); }
  void close() override { closed = true; }

  // Of the loop:
  std::vector<std::pair<control::FormGroup, control::Answer<control::FormReply>>> forms;
  std::vector<std::pair<Epoch, std::string>> disbanded;
  bool closed = false;

 private:
  control::WorkerHello hello_;
};

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() : loop("cluster-test") {
    ClusterPlan plan;
    plan.groups = {{"g0", 600 * small_block_bytes(), small_layout(), 600}};
    plan.model_digest = small_shape().digest;
    plan.profile_yaml = models::print_selection_profile(small_profile());
    plan.max_model_len = 4096;
    plan.stores = {{"s0", {"127.0.0.1", 7500}}};
    plan.vocabulary = "a packed table";
    state = *StateFile::open(dir.path());
    Cluster::Callbacks callbacks;
    callbacks.on_ready = [this](size_t) { ++ready; };
    callbacks.on_lost = [this](size_t, const std::string& why) { lost.push_back(why); };
    cluster = std::make_unique<Cluster>(loop, plan, *state, board, rendezvous, callbacks);
  }
  ~ClusterTest() override { loop.stop(); }

  /// Runs `task` on the loop, after everything that was posted before.
  template <class Task>
  auto on_loop(Task task) {
    std::packaged_task<decltype(task())()> packaged(task);
    auto done = packaged.get_future();
    loop.post([&packaged] { packaged(); });
    return done.get();
  }
  std::shared_ptr<FakeLink> join(uint32_t rank) {
    auto link = std::make_shared<FakeLink>(rank);
    EXPECT_TRUE(cluster->admit(link));
    return link;
  }
  size_t forms_of(const std::shared_ptr<FakeLink>& link) {
    return on_loop([&] { return link->forms.size(); });
  }
  bool formed_times(const std::shared_ptr<FakeLink>& link, size_t times) {
    const Deadline by = Deadline::after(kPatience);
    while (forms_of(link) < times) {
      if (by.passed()) return false;
      std::this_thread::yield();
    }
    return true;
  }
  control::FormReply good_reply() { return {small_layout().digest(), 600, true}; }
  void answer(const std::shared_ptr<FakeLink>& link, Result<control::FormReply> reply) {
    const auto done = on_loop([&] { return link->forms.back().second; });
    done(std::move(reply));
  }
  GroupState group() {
    return on_loop([this] { return cluster->describe(0); });
  }
  /// Both ranks there and formed.
  void make_ready() {
    links[0] = join(0);
    links[1] = join(1);
    for (auto& link : links) answer(link, good_reply());
    ASSERT_EQ(group().state, "ready");
  }

  const ebb::test::TempDir dir;
  std::unique_ptr<StateFile> state;
  SelectionBoard board;
  RendezvousBoard rendezvous;
  TaskLoop loop;
  std::unique_ptr<Cluster> cluster;
  std::shared_ptr<FakeLink> links[2];
  int ready = 0;                  ///< of the loop
  std::vector<std::string> lost;  ///< of the loop
};

TEST_F(ClusterTest, AsksEveryRankOnceAllAreThere) {
  links[1] = join(1);
  EXPECT_EQ(forms_of(links[1]), 0u);
  EXPECT_EQ(group().state, "waiting for ranks 0");
  links[0] = join(0);
  EXPECT_EQ(group().state, "forming");
  for (uint32_t rank = 0; rank < 2; ++rank) {
    ASSERT_EQ(forms_of(links[rank]), 1u);
    const control::FormGroup form = on_loop([&] { return links[rank]->forms[0].first; });
    EXPECT_EQ(form.epoch, Epoch{1});
    EXPECT_EQ(form.rank, rank);
    EXPECT_EQ(form.ranks, 2u);
    EXPECT_EQ(form.device_kv_bytes, 600 * small_block_bytes());
    EXPECT_EQ(form.stores[0].data.port, 7500);
    EXPECT_TRUE(models::parse_selection_profile(form.profile_yaml, "form"));
  }
}

TEST_F(ClusterTest, SendsTheVocabularyToRankZeroOnceAConnection) {
  make_ready();
  const auto form = [&](uint32_t rank) {
    return on_loop([&] { return links[rank]->forms.back().first; });
  };
  EXPECT_EQ(form(0).vocabulary, "a packed table");
  EXPECT_EQ(form(1).vocabulary, "");
  EXPECT_EQ(form(0).vocabulary_digest, form(1).vocabulary_digest);

  // Rank 1 goes and comes again: rank 0 still has it.
  cluster->gone(links[1], "test");
  links[1] = join(1);
  ASSERT_TRUE(formed_times(links[0], 2));
  EXPECT_EQ(form(0).vocabulary, "");
  for (auto& link : links) answer(link, good_reply());

  // Another rank 0 does not.
  cluster->gone(links[0], "test");
  links[0] = join(0);
  ASSERT_TRUE(formed_times(links[0], 1));
  EXPECT_EQ(form(0).vocabulary, "a packed table");
}

TEST_F(ClusterTest, HasTheEpochOnDiskBeforeAnybodyHearsOfIt) {
  links[0] = join(0);
  links[1] = join(1);
  ASSERT_EQ(forms_of(links[0]), 1u);
  EXPECT_THAT(ebb::test::read_file(dir.path("state.json")), HasSubstr("\"epoch\":1"));
}

TEST_F(ClusterTest, IsReadyWhenAllHaveFormed) {
  links[0] = join(0);
  links[1] = join(1);
  answer(links[1], good_reply());
  EXPECT_EQ(group().state, "forming");
  answer(links[0], good_reply());
  EXPECT_TRUE(group().ready);
  EXPECT_EQ(on_loop([this] { return ready; }), 1);
  EXPECT_EQ(group().arena_blocks, 600u);
}

TEST_F(ClusterTest, DoesNotFormOverAnotherLayoutAndNamesBoth) {
  links[0] = join(0);
  links[1] = join(1);
  control::FormReply other = good_reply();
  other.layout.bytes[0] ^= 0xff;
  answer(links[1], other);
  EXPECT_THAT(group().state, HasSubstr("rank 1 did not form: layout"));
  EXPECT_TRUE(on_loop([this] { return lost.empty(); })) << "it never was ready";
  // Both are told, and asked again under another epoch.
  EXPECT_EQ(on_loop([&] { return links[0]->disbanded.size(); }), 1u);
  ASSERT_TRUE(formed_times(links[0], 2));
  EXPECT_EQ(on_loop([&] { return links[0]->forms[1].first.epoch; }), Epoch{2});
}

TEST_F(ClusterTest, IgnoresAFormAnswerOfAnOlderEpoch) {
  links[0] = join(0);
  links[1] = join(1);
  const auto late = on_loop([&] { return links[0]->forms[0].second; });
  answer(links[1], unavailable("no store"));
  ASSERT_TRUE(formed_times(links[0], 2));
  ASSERT_TRUE(formed_times(links[1], 2));
  answer(links[1], good_reply());
  late(good_reply());
  EXPECT_EQ(group().state.find("ready"), std::string::npos);
  answer(links[0], good_reply());
  EXPECT_TRUE(group().ready);
}

TEST_F(ClusterTest, TellsWhyAReadyGroupIsLostAndFormsWithTheReplacement) {
  make_ready();
  cluster->gone(links[1], "connection closed");
  EXPECT_THAT(group().state, HasSubstr("lost: rank 1 is gone"));
  EXPECT_THAT(group().state, HasSubstr("waiting for ranks 1"));
  EXPECT_THAT(on_loop([this] { return lost.at(0); }), HasSubstr("group g0 lost: rank 1 is gone"));
  EXPECT_EQ(on_loop([&] { return links[0]->disbanded.at(0).first; }), Epoch{1});
  const auto replacement = join(1);
  ASSERT_TRUE(formed_times(replacement, 1));
  EXPECT_EQ(on_loop([&] { return replacement->forms[0].first.epoch; }), Epoch{2});
}

TEST_F(ClusterTest, RefusesASecondRankButTakesItsReplacementAtOnce) {
  links[0] = join(0);
  const auto second = cluster->admit(std::make_shared<FakeLink>(0));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kUnavailable) << "it may try again";
  EXPECT_THAT(second.error().message, HasSubstr("rank: 0 of group g0 is taken by g0/rank0"));
  cluster->gone(links[0], "killed");
  EXPECT_TRUE(cluster->admit(std::make_shared<FakeLink>(0)));
  // The dead one's end, told twice, does not take the new one with it.
  cluster->gone(links[0], "killed");
  EXPECT_TRUE(group().ranks[0].joined);
}

TEST_F(ClusterTest, ClosesTheConnectionOfARankThatIsSilent) {
  make_ready();
  on_loop([this] { cluster->lose(0, "rank 1: unit 5: no answer", {1}); });
  EXPECT_TRUE(on_loop([&] { return links[1]->closed; }));
  EXPECT_FALSE(on_loop([&] { return links[0]->closed; }));
  EXPECT_EQ(on_loop([this] { return lost.size(); }), 1u);
  on_loop([this] { cluster->lose(0, "again"); });
  EXPECT_EQ(on_loop([this] { return lost.size(); }), 1u);
}

}  // namespace
}  // namespace ebb::coordinator::test
