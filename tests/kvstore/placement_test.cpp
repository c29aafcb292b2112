// Placement never loses a held granule, never overfills the SSD, and prefers what was used longest
// ago.
#include "kvstore/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

GranuleKey key_of(uint64_t number) {
  GranuleKey key;
  std::memcpy(key.digest.bytes.data(), &number, sizeof number);
  return key;
}

/// A small world to decide in.
struct World {
  std::vector<Candidate> all{};
  uint64_t ssd_capacity = 0;
  bool ssd_usable = true;
  std::vector<Candidate> host_oldest{}, host_unheld{}, ssd_unheld{};

  PlacementState state() {
    std::sort(all.begin(), all.end(),
              [](const auto& a, const auto& b) { return a.last_use < b.last_use; });
    uint64_t used = 0;
    host_oldest.clear();
    host_unheld.clear();
    ssd_unheld.clear();
    for (const Candidate& c : all) {
      if (c.on_ssd) used += c.ssd_charge;
      if (c.on_host) host_oldest.push_back(c);
      if (c.on_host && !c.held) host_unheld.push_back(c);
      if (c.on_ssd && !c.held) ssd_unheld.push_back(c);
    }
    return {ssd_usable, ssd_capacity - used, host_oldest, host_unheld, ssd_unheld};
  }
  uint64_t ssd_used() const {
    uint64_t used = 0;
    for (const Candidate& c : all) used += c.on_ssd ? c.ssd_charge : 0;
    return used;
  }
  /// Does what was decided, in order; checks that each move is possible when its turn comes.
  void carry_out(const std::vector<Move>& moves) {
    for (const Move& move : moves) {
      auto c = std::find_if(all.begin(), all.end(),
                            [&](const Candidate& x) { return x.key == move.key; });
      ASSERT_NE(c, all.end());
      switch (move.kind) {
        case MoveKind::kForgetHost:
          ASSERT_TRUE(c->on_host && c->on_ssd);
          c->on_host = false;
          break;
        case MoveKind::kDemote:
        case MoveKind::kCopy:
          ASSERT_TRUE(ssd_usable && c->on_host && !c->on_ssd);
          c->on_ssd = true;
          if (move.kind == MoveKind::kDemote) c->on_host = false;
          ASSERT_LE(ssd_used(), ssd_capacity);
          break;
        case MoveKind::kDropHost:
          ASSERT_TRUE(c->on_host && !c->held);
          c->on_host = false;
          break;
        case MoveKind::kDropSsd:
          ASSERT_TRUE(c->on_ssd && !c->held);
          c->on_ssd = false;
          break;
      }
    }
  }
};

Candidate on_host(uint64_t use, bool held) {
  return {key_of(use), use, 100, 100, true, false, held};
}
Candidate on_ssd(uint64_t use, bool held) {
  return {key_of(use), use, 100, 100, false, true, held};
}
Candidate on_both(uint64_t use, bool held) {
  return {key_of(use), use, 100, 100, true, true, held};
}

TEST(Placement, ForgetsFirstWhatTheSsdHas) {
  World world{{on_both(1, true), on_host(2, true)}, 1000};
  const auto decision = make_host_room(world.state(), 100, 1000);
  ASSERT_EQ(decision.moves.size(), 1u);
  EXPECT_EQ(decision.moves[0].kind, MoveKind::kForgetHost);
}

TEST(Placement, DemotesTheLeastRecentlyUsed) {
  World world{{on_host(3, false), on_host(1, true), on_host(2, false)}, 1000};
  const auto decision = make_host_room(world.state(), 150, 1000);
  ASSERT_EQ(decision.moves.size(), 2u);
  EXPECT_EQ(decision.moves[0].key, key_of(1));
  EXPECT_EQ(decision.moves[1].key, key_of(2));
  EXPECT_EQ(decision.moves[1].kind, MoveKind::kDemote);
}

TEST(Placement, DropsOldCacheFromAFullSsdForAHeldGranule) {
  World world{{on_ssd(1, true), on_ssd(2, false), on_ssd(9, false), on_host(3, true)}, 300};
  const auto decision = make_host_room(world.state(), 100, 1000);
  ASSERT_EQ(decision.moves.size(), 2u);
  EXPECT_EQ(decision.moves[0].kind, MoveKind::kDropSsd);
  EXPECT_EQ(decision.moves[0].key, key_of(2));
  EXPECT_EQ(decision.moves[1].kind, MoveKind::kDemote);
}

TEST(Placement, NewerCacheOnTheSsdStaysForOlderCacheInMemory) {
  World world{{on_ssd(9, false), on_host(3, false)}, 100};
  const auto decision = make_host_room(world.state(), 100, 1000);
  ASSERT_EQ(decision.moves.size(), 1u);
  EXPECT_EQ(decision.moves[0].kind, MoveKind::kDropHost);
  EXPECT_EQ(decision.moves[0].key, key_of(3));
}

TEST(Placement, NothingGoesWhenAllIsHeldAndTheSsdIsFull) {
  World world{{on_host(1, true), on_host(2, true), on_ssd(3, true)}, 100};
  EXPECT_TRUE(make_host_room(world.state(), 100, 1000).moves.empty());
}

TEST(Placement, WithoutAnSsdOnlyTheUnheldGo) {
  World world{{on_host(1, true), on_host(2, false), on_host(3, true)}, 0, false};
  const auto decision = make_host_room(world.state(), 1000, 1000);
  ASSERT_EQ(decision.moves.size(), 1u);
  EXPECT_EQ(decision.moves[0].kind, MoveKind::kDropHost);
  EXPECT_EQ(decision.moves[0].key, key_of(2));
}

TEST(Placement, FindsTheUnheldBehindManyHeldOnes) {
  World world{{}, 0, false};
  for (uint64_t i = 1; i <= 50; ++i) world.all.push_back(on_host(i, i != 50));
  PlacementState state = world.state();
  state.host_oldest = state.host_oldest.first(10);  // as much as one decision looks at
  const auto decision = make_host_room(state, 100, 1000);
  ASSERT_EQ(decision.moves.size(), 1u);
  EXPECT_EQ(decision.moves[0].key, key_of(50));
}

TEST(Placement, CopiesAreBoundedByTheBatch) {
  World world{{}, 100000};
  for (uint64_t i = 1; i <= 50; ++i) world.all.push_back(on_host(i, true));
  EXPECT_EQ(make_host_room(world.state(), 5000, 1000).moves.size(), 10u);
  const PlacementState state = world.state();
  EXPECT_EQ(copy_to_ssd(state, state.host_oldest, 700).moves.size(), 7u);
}

TEST(Placement, HoldsItsRulesInWorldsNobodyChose) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    World world;
    world.ssd_usable = random() % 5 != 0;
    const size_t count = random() % 40;
    for (uint64_t i = 1; i <= count; ++i) {
      const uint64_t charge = 1 + random() % 200;
      const auto where = world.ssd_usable ? random() % 3 : 0;
      world.all.push_back({key_of(i), 1 + random() % 100 * 64 + i, charge, charge + 5, where != 1,
                           where != 0, random() % 2 == 0});
    }
    world.ssd_capacity = world.ssd_used() + random() % 500;
    World before = world;
    const uint64_t needed = random() % 1500;
    uint64_t host_before = 0, host_after = 0;
    for (const auto& c : world.all) host_before += c.on_host ? c.host_charge : 0;

    const PlacementState state = world.state();
    before.all = world.all;
    std::vector<Candidate> without_copy;
    std::copy_if(state.host_oldest.begin(), state.host_oldest.end(),
                 std::back_inserter(without_copy), [](const Candidate& c) { return !c.on_ssd; });
    const Decision decision =
        random() % 2 ? make_host_room(state, needed, 600) : copy_to_ssd(state, without_copy, 600);
    world.carry_out(decision.moves);
    if (HasFatalFailure()) FAIL() << "round " << round;
    for (size_t i = 0; i < world.all.size(); ++i) {
      const Candidate& c = world.all[i];
      host_after += c.on_host ? c.host_charge : 0;
      ASSERT_TRUE(!c.held || c.on_host || c.on_ssd) << "a held granule was lost, round " << round;
      ASSERT_TRUE(!c.held || !before.all[i].on_ssd || c.on_ssd)
          << "a held copy left the SSD, round " << round;
    }
    ASSERT_EQ(host_before - host_after, decision.host_freed) << "round " << round;
  }
}

}  // namespace
}  // namespace ebb::kvstore
