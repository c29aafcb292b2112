// Slots that are looked up on the device are those that the host's books say, over everything that
// may happen to a pool; on the CPU and on the emulated CUDA backend.
#include "worker/slot_lists.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/plugin.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1();

namespace ebb::worker {
namespace {

class SlotListsTest : public ::testing::TestWithParam<bool> {
 protected:
  static kernels::Backend make_backend() {
    auto backend =
        GetParam() ? ebb_cuda_backend_v1()->make_backend({}) : kernels::make_cpu_backend({});
    EBB_CHECK(backend.has_value());
    return *std::move(backend);
  }
  SlotListsTest() {
    layout_.bands = {{0, 1}, {1, 3}};
    shape_.heads_q = shape_.heads_kv = 1;
    shape_.head_size = 16;
    shape_.block_tokens = 16;
    auto arena = Arena::make(*backend_.device, shape_, 600);
    EBB_CHECK(arena.has_value());
    arena_ = *std::move(arena);
    kv_ = std::make_unique<SequenceKv>(*arena_, *backend_.ops, layout_, shape_);
  }
  ~SlotListsTest() override { ebb::emulation::heal(); }

  void fill(uint32_t tokens) {
    for (uint32_t band = 0; band < 2; ++band) {
      ASSERT_TRUE(kv_->extend(band, {0, tokens}, 1));
      kv_->residency(band).set_sealed_to(tokens);
    }
  }
  std::vector<uint32_t> read(const uint32_t* d_slots, size_t count) {
    std::vector<uint32_t> slots(count);
    backend_.device->copy_to_host(slots.data(), d_slots, count * sizeof(uint32_t));
    EXPECT_TRUE(backend_.device->synchronize());
    return slots;
  }
  std::vector<Position> some(uint32_t count, uint32_t end) {
    std::vector<Position> all, out;
    for (Position p = 0; p < end; ++p) all.push_back(p);
    std::sample(all.begin(), all.end(), std::back_inserter(out), count, random_);
    return out;
  }

  kernels::Backend backend_ = make_backend();
  models::KvLayout layout_;
  kernels::KvShape shape_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<SequenceKv> kv_;
  SlotLists lists_{backend_};
  std::mt19937 random_{7};
};

TEST_P(SlotListsTest, APoolsListIsWhatItsBooksSayAfterAnyChanges) {
  fill(400);
  kv_->shrink(1, 64, some(40, 400), 2);
  BandResidency& pool = kv_->residency(1);
  for (uint64_t step = 3; step < 60; ++step) {
    lists_.begin_step();
    if (step % 2 == 0) {
      ASSERT_TRUE(kv_->place(1, pool.length(), step));
      pool.set_sealed_to(pool.length());
    }
    if (step % 7 == 0) pool.forget(some(5, pool.length()));
    const std::vector<Position> set = some(1 + random_() % 60, pool.length());
    const auto missing = pool.touch(set, step);
    if (!missing.empty()) {
      ASSERT_TRUE(pool.admit(missing, step));
    }
    if (step % 5 == 0) continue;  // nobody reads it in this step
    const auto listed = lists_.add(*kv_, 1, set);
    ASSERT_TRUE(listed);
    lists_.make();
    EXPECT_EQ(read(*listed, set.size()), kv_->slots(1, set)) << "step " << step;
  }
}

TEST_P(SlotListsTest, AMapGrowsWithItsPositions) {
  fill(32);
  kv_->shrink(1, 32, some(16, 32), 2);
  BandResidency& pool = kv_->residency(1);
  uint64_t step = 3;
  for (const uint32_t length : {40u, 5000u, 20000u}) {
    for (; pool.length() < length; ++step) {
      ASSERT_TRUE(kv_->place(1, pool.length(), step));
      pool.set_sealed_to(pool.length());
    }
    lists_.begin_step();
    const std::vector<Position> newest = {length - 3, length - 2, length - 1};
    const auto listed = lists_.add(*kv_, 1, newest);
    ASSERT_TRUE(listed);
    lists_.make();
    EXPECT_EQ(read(*listed, 3), kv_->slots(1, newest)) << length;
  }
}

TEST_P(SlotListsTest, SlotsThatAreKnownTravelAsTheyAre) {
  fill(100);
  std::vector<std::pair<const uint32_t*, std::vector<uint32_t>>> all;
  for (uint32_t i = 0; i < 5; ++i) {
    // Larger than what lists begin with.
    std::vector<uint32_t> slots(1 + 50'000 * (i % 3));
    for (uint32_t& slot : slots) slot = static_cast<uint32_t>(random_());
    const auto listed = lists_.add_slots(std::vector<uint32_t>(slots));
    ASSERT_TRUE(listed);
    all.emplace_back(*listed, std::move(slots));
  }
  const std::vector<Position> positions = some(30, 100);
  const auto of_resident = lists_.add(*kv_, 0, positions);
  ASSERT_TRUE(of_resident);
  lists_.make();
  for (const auto& [d_slots, slots] : all) EXPECT_EQ(read(d_slots, slots.size()), slots);
  EXPECT_EQ(read(*of_resident, 30), positions) << "in a band that is whole slots are positions";
  // The next step's lists lie where those did.
  lists_.begin_step();
  const auto again = lists_.add_slots(std::vector<uint32_t>{1, 2, 3});
  ASSERT_TRUE(again);
  lists_.make();
  EXPECT_EQ(*again, all[0].first);
  EXPECT_EQ(read(*again, 3), (std::vector<uint32_t>{1, 2, 3}));
}

INSTANTIATE_TEST_SUITE_P(On, SlotListsTest, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "cuda" : "cpu"; });

using SlotListsOnAFullDevice = SlotListsTest;

TEST_P(SlotListsOnAFullDevice, SaySo) {
  fill(64);
  kv_->shrink(1, 32, some(16, 64), 2);
  ebb::emulation::fail_call("cudaMalloc", 0, 2);
  const std::vector<Position> one = {kv_->residency(1).length() - 1};
  const auto missing = kv_->residency(1).touch(one, 3);
  if (!missing.empty()) {
    ASSERT_TRUE(kv_->residency(1).admit(missing, 3));
  }
  const auto listed = lists_.add(*kv_, 1, one);
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code, Code::kExhausted);
  EXPECT_NE(listed.error().message.find("map of a band"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(On, SlotListsOnAFullDevice, ::testing::Values(true));

}  // namespace
}  // namespace ebb::worker
