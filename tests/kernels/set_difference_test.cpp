// Sets of positions on the device against plain loops.
#include "kernels/cuda/set_difference.h"

#include <algorithm>
#include <random>
#include <set>

#include "tests/kernels/device_array.h"

namespace ebb::kernels::cuda {
namespace {

using Positions = std::vector<uint32_t>;

/// Each position below `end` with this probability.
Positions random_positions(std::mt19937_64& random, uint32_t end, double share) {
  std::bernoulli_distribution chosen(share);
  Positions positions;
  for (uint32_t p = 0; p < end; ++p) {
    if (chosen(random)) positions.push_back(p);
  }
  return positions;
}

class SetDifference : public ::testing::Test {
 protected:
  /// A list and a map, and what has to come out.
  struct Case {
    Case(const Positions& map, const Positions& list)
        : d_map(map),
          d_list(list),
          d_count(Positions{static_cast<uint32_t>(list.size())}),
          d_slots(list.size()),
          d_missing(list.size()),
          d_counts(2) {
      for (const uint32_t p : list) {
        const uint32_t slot = p < map.size() ? map[p] : kNotResident;
        slot == kNotResident ? missing.push_back(p) : slots.push_back(slot);
      }
      split.d_map = d_map.data();
      split.map_length = static_cast<uint32_t>(map.size());
      split.list = {d_list.data(), d_count.data()};
      split.d_slots = d_slots.data();
      split.d_slots_count = d_counts.data();
      split.d_missing = d_missing.data();
      split.d_missing_count = d_counts.data() + 1;
    }
    void check(const std::string& what) const {
      EXPECT_EQ(d_counts.values(), (Positions{static_cast<uint32_t>(slots.size()),
                                              static_cast<uint32_t>(missing.size())}))
          << what;
      // What lies behind the results stays as it was.
      Positions expected(slots);
      expected.resize(slots.size() + missing.size(), 0xffffffff);
      EXPECT_EQ(d_slots.values(), expected) << what << ": slots";
      expected = missing;
      expected.resize(slots.size() + missing.size(), 0xffffffff);
      EXPECT_EQ(d_missing.values(), expected) << what << ": missing";
    }
    DeviceArray<uint32_t> d_map, d_list, d_count, d_slots, d_missing, d_counts;
    Positions slots, missing;
    ResidencySplit split;
  };

  /// Slots in random order for a share of `length` positions.
  Positions random_map(uint32_t length, double share) {
    Positions map(length, kNotResident);
    Positions slots(length);
    for (uint32_t i = 0; i < length; ++i) slots[i] = i;
    std::shuffle(slots.begin(), slots.end(), random_);
    for (const uint32_t p : random_positions(random_, length, share)) map[p] = slots[p];
    return map;
  }

  void split(const std::vector<Case>& cases) {
    std::vector<ResidencySplit> splits;
    for (const Case& c : cases) splits.push_back(c.split);
    const DeviceArray<ResidencySplit> d_splits(splits);
    split_by_residency(*context_, d_splits.data(), static_cast<uint32_t>(splits.size()));
    for (size_t i = 0; i < cases.size(); ++i) cases[i].check("case " + std::to_string(i));
  }

  /// Unions in one call, each of several lists of positions below `end`.
  void unite(const std::vector<std::vector<Positions>>& cases, uint32_t end, uint32_t entries_max) {
    std::vector<DeviceArray<uint32_t>> memory, outs, counts;
    std::vector<DeviceArray<PositionList>> lists;
    std::vector<ListUnion> unions;
    std::vector<Positions> expected;
    for (const std::vector<Positions>& of_union : cases) {
      std::set<uint32_t> all;
      std::vector<PositionList> refs;
      for (const Positions& list : of_union) {
        all.insert(list.begin(), list.end());
        const uint32_t* positions = memory.emplace_back(list).data();
        const Positions length{static_cast<uint32_t>(list.size())};
        refs.push_back({positions, memory.emplace_back(length).data()});
      }
      expected.emplace_back(all.begin(), all.end());
      lists.emplace_back(refs);
      outs.emplace_back(all.size() + 1);
      counts.emplace_back(1);
      unions.push_back({lists.back().data(), static_cast<uint32_t>(refs.size()), outs.back().data(),
                        counts.back().data()});
    }
    const DeviceArray<ListUnion> d_unions(unions);
    unite_lists(*context_,
                {d_unions.data(), static_cast<uint32_t>(unions.size()), end, entries_max});
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(counts[i].values()[0], expected[i].size()) << "union " << i;
      Positions got = outs[i].values();
      EXPECT_EQ(got.back(), 0xffffffff) << "union " << i << " wrote behind its end";
      got.pop_back();
      EXPECT_EQ(got, expected[i]) << "union " << i;
    }
  }

  std::mt19937_64 random_{7};
  std::shared_ptr<CudaContext> context_ = std::move(*CudaContext::make(0));
};

TEST_F(SetDifference, SplitsListsOfEveryLengthInTheirOrder) {
  std::vector<Case> cases;
  for (const uint32_t length : {0u, 1u, 31u, 32u, 511u, 512u, 513u, 2048u, 2049u}) {
    for (const double share : {0.0, 0.5, 0.95, 1.0}) {
      Positions list = random_positions(random_, 3 * length, 0.5);
      list.resize(std::min<size_t>(list.size(), length));
      cases.emplace_back(random_map(3 * length, share), list);
    }
  }
  split(cases);
}

TEST_F(SetDifference, PositionsBeyondTheMapAreMissing) {
  std::vector<Case> cases;
  cases.emplace_back(Positions{}, Positions{0, 1, 4000000000u});
  cases.emplace_back(Positions{5, kNotResident, 0}, Positions{0, 1, 2, 3, 0xfffffffeu});
  split(cases);
}

TEST_F(SetDifference, AHundredThousandPositions) {
  std::vector<Case> cases;
  cases.emplace_back(random_map(200000, 0.9), random_positions(random_, 200000, 0.5));
  ASSERT_GT(cases[0].slots.size() + cases[0].missing.size(), 99000u);
  split(cases);
}

TEST_F(SetDifference, LengthsAreThoseOfTheDeviceWhenTheKernelRuns) {
  Case c(random_map(100, 0.5), random_positions(random_, 100, 0.5));
  const DeviceArray<uint32_t> none(Positions{0});
  c.split.list.d_count = none.data();
  c.slots.clear();
  c.missing.clear();
  const DeviceArray<ResidencySplit> d_splits(std::vector<ResidencySplit>{c.split});
  split_by_residency(*context_, d_splits.data(), 1);
  EXPECT_EQ(c.d_counts.values(), (Positions{0, 0}));
  split_by_residency(*context_, nullptr, 0);
  unite_lists(*context_, {});
  EXPECT_FALSE(context_->failed());
}

TEST_F(SetDifference, UnionsAreAscendingAndHaveEachPositionOnce) {
  const Positions a = random_positions(random_, 5000, 0.3);
  const Positions b = random_positions(random_, 5000, 0.01);
  const Positions every = random_positions(random_, 5000, 1.0);
  unite({{a, b}, {}, {{}, {}}, {a, a, a}, {b}, {every, a}, {{0}, {4999}}, {{31}, {32}, {31, 32}}},
        5000, 10000);
  // Fewer entries than there are only make the launch small.
  unite({{a, b, every}}, 5000, 1);
  unite({{{0}}, {{}}}, 1, 1);
}

TEST_F(SetDifference, UnionsOfLongLists) {
  std::vector<Positions> lists;
  for (int i = 0; i < 3; ++i) lists.push_back(random_positions(random_, 100000, 0.3));
  unite({lists, {lists[0]}}, 100000, 100000);
}

}  // namespace
}  // namespace ebb::kernels::cuda
