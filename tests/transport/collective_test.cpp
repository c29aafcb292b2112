// Collectives over real sockets: ranks are threads, and a process of its own where one must die or
// stand still.
#include "transport/collective/collective.h"
#include "tests/support/tree_paths.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "tests/transport/child_process.h"

namespace ebb::collective {
namespace {

/// What the coordinator is to the ranks.
class Store {
 public:
  Rendezvous rendezvous() {
    Rendezvous made;
    made.put = [this](const std::string& key, const std::string& value) -> Result<void> {
      std::lock_guard lock(mutex_);
      values_[key] = value;
      changed_.notify_all();
      return {};
    };
    made.get = [this](const std::string& key, Deadline by) { return get(key, by); };
    return made;
  }
  Result<std::string> get(const std::string& key, Deadline by) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_until(lock, by.at, [&] { return values_.count(key) > 0; })) {
      return timed_out("no " + key);
    }
    return values_[key];
  }
  std::map<std::string, std::string> values() {
    std::lock_guard lock(mutex_);
    return values_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

CollectiveOptions options_for(uint32_t rank, uint32_t size, uint64_t epoch = 1) {
  CollectiveOptions options;
  options.rank = rank;
  options.size = size;
  options.epoch = Epoch{epoch};
  options.call_deadline = Millis(20000);
  options.form_by = Deadline::after(Millis(20000));
  return options;
}

/// Runs `body` on one thread for each rank of a new group.
void as_group(Store& store, uint32_t size, uint64_t epoch,
              const std::function<void(Collective&)>& body) {
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      auto made = make_collective(options_for(rank, size, epoch), store.rendezvous());
      ASSERT_TRUE(made) << made.error().text();
      EXPECT_EQ((*made)->rank(), rank);
      EXPECT_EQ((*made)->size(), size);
      body(**made);
    });
  }
  for (auto& thread : threads) thread.join();
}

/// Not exactly representable sums, so that another order of additions would show.
float term(uint32_t rank, uint64_t i) { return 1.0f / static_cast<float>(3 + rank * 7 + i % 1013); }

TEST(CollectiveTest, EveryRankGetsTheSameBitsAndTheyAreTheSum) {
  for (uint32_t size = 1; size <= 4; ++size) {
    for (uint64_t count : {1u, 577u, 1024u, 1025u, 300000u}) {
      Store store;
      std::vector<std::vector<float>> results(size);
      as_group(store, size, 1, [&](Collective& group) {
        auto& mine = results[group.rank()];
        mine.resize(count + 1, 42.0f);
        for (int round = 0; round < 3; ++round) {
          for (uint64_t i = 0; i < count; ++i) mine[i] = term(group.rank(), i);
          auto done = group.all_reduce_sum(mine.data(), count);
          ASSERT_TRUE(done) << done.error().text();
        }
      });
      for (uint64_t i = 0; i < count; ++i) {
        double sum = 0;
        for (uint32_t rank = 0; rank < size; ++rank) sum += term(rank, i);
        ASSERT_NEAR(results[0][i], sum, 1e-6) << "size " << size << " count " << count;
      }
      for (auto& result : results) {
        EXPECT_EQ(result[count], 42.0f);
        EXPECT_EQ(std::memcmp(result.data(), results[0].data(), count * sizeof(float)), 0);
      }
    }
  }
}

TEST(CollectiveTest, AnElementsSumDoesNotDependOnWhereItStands) {
  Store store;
  as_group(store, 3, 1, [](Collective& group) {
    const float value = term(group.rank(), 0);
    std::vector<float> many(250001, value);
    float one = value;
    ASSERT_TRUE(group.all_reduce_sum(&one, 1));
    ASSERT_TRUE(group.all_reduce_sum(many.data(), many.size()));
    for (float sum : many) ASSERT_EQ(std::memcmp(&sum, &one, sizeof sum), 0);
  });
}

TEST(CollectiveTest, BroadcastReachesEveryRankFromEveryRoot) {
  Store store;
  as_group(store, 3, 1, [](Collective& group) {
    for (size_t bytes : {size_t{0}, size_t{1}, size_t{5000}, size_t{3 << 20}}) {
      for (uint32_t root = 0; root < 3; ++root) {
        const auto wanted = static_cast<std::byte>(bytes + root + 1);
        std::vector<std::byte> data(bytes, group.rank() == root ? wanted : std::byte{0});
        auto done = group.broadcast(data, root);
        ASSERT_TRUE(done) << done.error().text();
        for (std::byte b : data) ASSERT_EQ(b, wanted);
      }
    }
  });
}

TEST(CollectiveTest, GatherBringsEveryRanksBytesToRankZeroInRankOrder) {
  Store store;
  as_group(store, 3, 1, [](Collective& group) {
    for (size_t bytes : {size_t{0}, size_t{7}, size_t{2 << 20}}) {
      std::vector<std::byte> mine(bytes, static_cast<std::byte>(group.rank() + 1));
      std::vector<std::byte> all(group.rank() == 0 ? 3 * bytes : 0);
      auto done = group.gather(mine, all);
      ASSERT_TRUE(done) << done.error().text();
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(all[i], static_cast<std::byte>(i / bytes + 1));
      }
    }
  });
}

TEST(CollectiveTest, CallsOfAllKindsCanFollowEachOtherWithoutBarriers) {
  Store store;
  as_group(store, 3, 1, [](Collective& group) {
    std::vector<float> sums(70000);
    std::vector<std::byte> bytes(100000);
    std::vector<std::byte> all(group.rank() == 0 ? 300000 : 0);
    for (uint32_t round = 0; round < 50; ++round) {
      std::fill(sums.begin(), sums.end(), 1.0f);
      ASSERT_TRUE(group.all_reduce_sum(sums.data(), 1 + (round * 7919) % sums.size()));
      ASSERT_EQ(sums[0], 3.0f);
      if (group.rank() == round % 3) bytes[17] = static_cast<std::byte>(round);
      ASSERT_TRUE(group.broadcast(bytes, round % 3));
      ASSERT_EQ(bytes[17], static_cast<std::byte>(round));
      ASSERT_TRUE(group.gather(bytes, all));
      if (group.rank() == 0) {
        ASSERT_EQ(all[200017], static_cast<std::byte>(round));
      }
    }
  });
}

TEST(CollectiveTest, AGroupOfOneReducesToItself) {
  auto made = make_collective(options_for(0, 1), {});
  ASSERT_TRUE(made);
  float value = 2.5f;
  EXPECT_TRUE((*made)->all_reduce_sum(&value, 1));
  EXPECT_EQ(value, 2.5f);
  (*made)->abort("the end");
  auto done = (*made)->all_reduce_sum(&value, 1);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kCancelled);
}

TEST(CollectiveTest, AGroupThatWasLeftFailsAtOnceAndStaysDead) {
  Store store;
  as_group(store, 2, 1, [](Collective& group) {
    if (group.rank() == 1) return;  // leaves: its collective is destroyed
    std::vector<float> values(1000, 1.0f);
    Result<void> done;
    while ((done = group.all_reduce_sum(values.data(), values.size()))) {
    }
    EXPECT_EQ(done.error().code, Code::kUnavailable) << done.error().text();
    auto again = group.broadcast(std::as_writable_bytes(std::span(values)), 0);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().text(), done.error().text());
  });
}

TEST(CollectiveTest, ARankThatDoesNotTakePartIsATimeout) {
  Store store;
  std::atomic<bool> timed_out_seen{false};
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      auto options = options_for(rank, 2);
      options.call_deadline = Millis(200);
      auto made = make_collective(options, store.rendezvous());
      ASSERT_TRUE(made) << made.error().text();
      if (rank == 1) {
        timed_out_seen.wait(false);
        return;
      }
      std::vector<float> values(1000, 1.0f);
      auto done = (*made)->all_reduce_sum(values.data(), values.size());
      EXPECT_FALSE(done);
      if (!done) {
        EXPECT_EQ(done.error().code, Code::kTimeout) << done.error().text();
      }
      timed_out_seen = true;
      timed_out_seen.notify_all();
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(CollectiveTest, AbortFromAnotherThreadEndsABlockedCall) {
  Store store;
  std::atomic<bool> aborted_seen{false};
  as_group(store, 2, 1, [&](Collective& group) {
    if (group.rank() == 1) {
      aborted_seen.wait(false);
      return;
    }
    std::atomic<bool> about_to_call{false};
    std::thread other([&] {
      about_to_call.wait(false);
      group.abort("the coordinator withdrew epoch 1");
    });
    std::vector<float> values(1000, 1.0f);
    about_to_call = true;
    about_to_call.notify_all();
    auto done = group.all_reduce_sum(values.data(), values.size());
    EXPECT_FALSE(done);
    if (!done) {
      EXPECT_EQ(done.error().text(), "cancelled: the coordinator withdrew epoch 1");
    }
    other.join();
    aborted_seen = true;
    aborted_seen.notify_all();
  });
}

TEST(CollectiveTest, AnAbortedRanksPeersDoNotWaitForIt) {
  Store store;
  as_group(store, 3, 1, [](Collective& group) {
    if (group.rank() == 2) group.abort("asked to");
    std::vector<float> values(1000, 1.0f);
    Result<void> done;
    while ((done = group.all_reduce_sum(values.data(), values.size()))) {
    }
    EXPECT_EQ(done.error().code, group.rank() == 2 ? Code::kCancelled : Code::kUnavailable);
  });
}

TEST(CollectiveTest, FormingWithoutARankEndsAtItsDeadline) {
  Store store;
  auto options = options_for(0, 2);
  options.form_by = Deadline::after(Millis(200));
  auto made = make_collective(options, store.rendezvous());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kTimeout) << made.error().text();
}

TEST(CollectiveTest, FormingWithARankThatNeverConnectsEndsAtItsDeadline) {
  Store store;
  // Both sides of the choice who connects: Gloo decides by the larger address.
  for (const char* stranger : {"127.0.0.1:1", "127.0.0.1:65535"}) {
    auto rendezvous = store.rendezvous();
    ASSERT_TRUE(rendezvous.put("epoch1/collective/1", std::string("0=") + stranger));
    auto options = options_for(0, 2);
    options.form_by = Deadline::after(Millis(200));
    auto made = make_collective(options, rendezvous);
    ASSERT_FALSE(made);
    EXPECT_TRUE(made.error().code == Code::kTimeout || made.error().code == Code::kUnavailable)
        << made.error().text();
  }
}

TEST(CollectiveTest, NonsenseInTheRendezvousIsAnError) {
  for (const char* text : {"", "0=", "0=nonsense", "0=127.0.0.1", "1=127.0.0.1:5", "0=[::1]:99x",
                           "0=127.0.0.1:999999", "\xff\xfe=\x01"}) {
    Store store;
    auto rendezvous = store.rendezvous();
    ASSERT_TRUE(rendezvous.put("epoch1/collective/1", text));
    auto options = options_for(0, 2);
    options.form_by = Deadline::after(Millis(500));
    EXPECT_FALSE(make_collective(options, rendezvous)) << text;
  }
}

TEST(CollectiveTest, AnUnknownListenHostIsAnErrorThatNamesIt) {
  auto options = options_for(0, 2);
  options.listen_host = "no-such-host.invalid";
  auto made = make_collective(options, Store().rendezvous());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnavailable);
  EXPECT_NE(made.error().message.find("no-such-host.invalid"), std::string::npos);
}

TEST(CollectiveTest, ANewEpochFormsThroughTheSameRendezvous) {
  Store store;
  for (uint64_t epoch = 1; epoch <= 3; ++epoch) {
    as_group(store, 2, epoch, [](Collective& group) {
      float value = 1.0f;
      ASSERT_TRUE(group.all_reduce_sum(&value, 1));
      EXPECT_EQ(value, 2.0f);
      group.abort("lost");
    });
  }
  EXPECT_EQ(store.values().size(), 6u);  // two ranks, three epochs: no key was written over
}

/// Rank 1 in a process of its own; its rendezvous calls are answered from `store` on a thread here.
class PeerProcess {
 public:
  explicit PeerProcess(Store& store)
      : child_(ebb::test::built_path("tests/ebb_collective_test_peer"), {"1", "2", "1"}) {
    reader_ = std::thread([this, &store] { serve(store); });
  }
  ~PeerProcess() { reader_.join(); }
  void signal(int number) { child_.signal(number); }
  /// Ends when the peer has formed its group, or has failed to.
  bool join_formed() {
    formed_.wait(0);
    return formed_ == 1;
  }

 private:
  void serve(Store& store) {
    auto rendezvous = store.rendezvous();
    const Deadline by = Deadline::after(Millis(20000));
    for (;;) {
      const std::string line = child_.read_line(by);
      if (line.starts_with("put ")) {
        const size_t space = line.find(' ', 4);
        (void)rendezvous.put(line.substr(4, space - 4), line.substr(space + 1));
      } else if (line.starts_with("get ")) {
        auto value = rendezvous.get(line.substr(4), by);
        child_.write_line(value ? *value : "");
      } else {
        formed_ = line == "formed" ? 1 : 2;
        formed_.notify_all();
        return;
      }
    }
  }
  test::ChildProcess child_;
  std::atomic<int> formed_{0};
  std::thread reader_;
};

/// Reduces with a peer process until it fails; sends the peer `signal_number` on the way.
Error reduce_until_failure(int signal_number, Millis call_deadline) {
  Store store;
  PeerProcess peer(store);
  auto options = options_for(0, 2);
  options.call_deadline = call_deadline;
  auto made = make_collective(options, store.rendezvous());
  EXPECT_TRUE(made);
  if (!made || !peer.join_formed()) return internal_error("not formed");
  std::vector<float> values(300000, 1.0f);
  int rounds = 0;
  for (;;) {
    auto done = (*made)->all_reduce_sum(values.data(), values.size());
    if (!done) {
      peer.signal(SIGKILL);
      EXPECT_GT(rounds, 5);
      return done.error();
    }
    if (++rounds == 6) peer.signal(signal_number);
  }
}

TEST(CollectiveTest, AKilledPeerProcessIsUnavailable) {
  const Error error = reduce_until_failure(SIGKILL, Millis(20000));
  EXPECT_EQ(error.code, Code::kUnavailable) << error.text();
}

TEST(CollectiveTest, AStoppedPeerProcessIsATimeout) {
  const Error error = reduce_until_failure(SIGSTOP, Millis(300));
  EXPECT_EQ(error.code, Code::kTimeout) << error.text();
}

}  // namespace
}  // namespace ebb::collective
