// What only the SSD tier promises: durability, a hard quota in real blocks, a disk that is never
// filled, damage that is found.
#include "kvstore/ssd_tier.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>
#include <fstream>
#include <map>
#include <random>

#include "base/fault.h"
#include "base/units.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {
namespace {

namespace fs = std::filesystem;

class SsdTierTest : public testing::Test {
 protected:
  void open(uint64_t quota = 16 * kMiB, uint64_t reserve = 0) {
    tier_.reset();
    auto opened = SsdTier::open(path_, {quota, reserve});
    ASSERT_OK(opened);
    tier_ = std::move(*opened);
  }
  Result<void> put(const Granule& granule) {
    const TierItem item = granule.tier_item();
    return tier_->put({&item, 1});
  }
  /// Present with the right bytes. Wrong bytes fail the test, a miss does not.
  bool has(const Granule& granule) {
    std::vector<std::byte> out(granule.body.size());
    const auto outcome = tier_->read(ask(granule), out);
    if (!outcome) return false;
    const uint64_t frame = framed_bytes(granule.info.payload_bytes);
    for (uint32_t record = 0; record < granule.info.records; ++record) {
      if ((outcome->present >> record & 1) == 0) continue;
      EXPECT_EQ(
          std::memcmp(out.data() + record * frame, granule.body.data() + record * frame, frame), 0);
    }
    return outcome->present == whole(granule.info).bitmap;
  }
  void remove(const Granule& granule) { tier_->remove({&granule.info.key, 1}); }

  TempDir directory_;
  std::string path_ = directory_.path("ssd");
  std::unique_ptr<SsdTier> tier_;
};

TEST_F(SsdTierTest, RefusesAQuotaThatIsTooSmall) {
  EXPECT_CODE(SsdTier::open(path_, {1 * kMiB, 0}), Code::kInvalid);
}

TEST_F(SsdTierTest, OnlyWhatWasFlushedIsDurable) {
  open();
  ASSERT_OK(put(make_granule(1)));
  EXPECT_FALSE(tier_->durable(make_granule(1).info.key));
  ASSERT_OK(tier_->flush());
  EXPECT_TRUE(tier_->durable(make_granule(1).info.key));
  ASSERT_OK(put(make_granule(2)));
  EXPECT_FALSE(tier_->durable(make_granule(2).info.key));
}

TEST_F(SsdTierTest, ReopensWithWhatWasFlushed) {
  open();
  for (uint64_t i = 0; i < 100; ++i) ASSERT_OK(put(make_granule(i)));
  remove(make_granule(7));
  ASSERT_OK(tier_->flush());
  open();
  EXPECT_EQ(tier_->restart().granules, 99u);
  EXPECT_EQ(tier_->restart().bytes, 99 * make_granule(0).body.size());
  EXPECT_EQ(tier_->restart().corrupt, 0u);
  EXPECT_FALSE(tier_->restart().rebuilt);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(has(make_granule(i)), i != 7);
  EXPECT_EQ(tier_->oldest_first().size(), 99u);
}

TEST_F(SsdTierTest, RealBlocksStayUnderTheQuotaThroughChurn) {
  const uint64_t quota = 12 * kMiB;
  open(quota);
  std::mt19937 random(5);
  std::map<uint64_t, Granule> there;
  size_t refused = 0, stored = 0;
  uint64_t blocks_max = 0;
  for (uint64_t step = 0; step < 600; ++step) {
    const Granule granule =
        make_granule(step, {.records = static_cast<uint16_t>(1 + random() % 32),
                            .payload_bytes = static_cast<uint32_t>(512 + random() % 3000)});
    if (put(granule)) {
      ++stored;
      there.emplace(step, granule);
    } else {
      ++refused;
    }
    // Keep it full, and full of holes: whatever goes is anywhere.
    while (!there.empty() && tier_->usage().used_bytes > tier_->usage().capacity_bytes * 95 / 100) {
      auto victim = there.lower_bound(random() % (step + 1));
      if (victim == there.end()) victim = there.begin();
      remove(victim->second);
      there.erase(victim);
    }
    blocks_max = std::max(blocks_max, blocks_in(path_));
    ASSERT_LE(blocks_max, quota) << "step " << step;
  }
  for (const auto& [number, granule] : there) ASSERT_TRUE(has(granule)) << number;
  EXPECT_GT(stored, 400u);
  EXPECT_GT(blocks_max, quota / 2);
  ASSERT_OK(tier_->flush());
  open(quota);
  for (const auto& [number, granule] : there) ASSERT_TRUE(has(granule)) << number;
}

TEST_F(SsdTierTest, ASmallerQuotaAfterRestartIsKept) {
  open(32 * kMiB);
  for (uint64_t i = 0; i < 400; ++i) ASSERT_OK(put(make_granule(i)));
  ASSERT_OK(tier_->flush());
  open(8 * kMiB);
  EXPECT_LE(blocks_in(path_), 8 * kMiB);
  EXPECT_GT(tier_->usage().granules, 40u);
  for (uint64_t i = 0; i < 400; ++i) {
    EXPECT_EQ(has(make_granule(i)), tier_->contains(make_granule(i).info.key));
  }
}

TEST_F(SsdTierTest, AFlippedByteInAnyFileIsNeverDelivered) {
  open();
  for (uint64_t i = 0; i < 40; ++i) ASSERT_OK(put(make_granule(i)));
  ASSERT_OK(tier_->flush());
  tier_.reset();
  // The body of one granule is found in the file itself, so that the damage surely hits it.
  const Granule victim = make_granule(11);
  bool hit = false;
  for (const auto& file : fs::directory_iterator(path_)) {
    if (file.path().extension() != ".sst") continue;
    std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(stream)), {});
    const auto at =
        bytes.find(std::string(reinterpret_cast<const char*>(victim.body.data()) + 20000, 64));
    if (at == std::string::npos) continue;
    stream.clear();
    stream.seekp(static_cast<std::streamoff>(at) + 10);
    stream.put(static_cast<char>(bytes[at + 10] ^ 0x10));
    hit = true;
  }
  ASSERT_TRUE(hit);
  open();
  std::vector<std::byte> out(victim.body.size());
  const auto outcome = tier_->read(ask(victim), out);
  EXPECT_TRUE(!outcome ? outcome.error().code == Code::kCorrupt : outcome->corrupt > 0);
  EXPECT_FALSE(has(victim));
  for (uint64_t i = 0; i < 40; ++i) EXPECT_EQ(has(make_granule(i)), i != 11) << i;
}

TEST_F(SsdTierTest, DamageAnywhereIsAMissOrARebuildButNeverWrongBytes) {
  std::mt19937 random(17);
  size_t survived = 0;
  for (int round = 0; round < 12; ++round) {
    tier_.reset();
    fs::remove_all(path_);
    open();
    for (uint64_t i = 0; i < 20; ++i)
      ASSERT_OK(put(make_granule(i, {.records = 8, .payload_bytes = 1024})));
    ASSERT_OK(tier_->flush());
    tier_.reset();
    std::vector<fs::path> files;
    for (const auto& file : fs::directory_iterator(path_)) {
      if (file.path().filename() != "LOCK" && file.file_size() > 0) files.push_back(file.path());
    }
    std::sort(files.begin(), files.end());
    const fs::path file = files[static_cast<size_t>(round) % files.size()];
    if (round % 3 == 2) {
      fs::resize_file(file, fs::file_size(file) * (random() % 100) / 100);
    } else {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      for (int flips = 0; flips < 5; ++flips) {
        const auto at = static_cast<std::streamoff>(random() % fs::file_size(file));
        stream.seekg(at);
        const char byte = static_cast<char>(stream.get() ^ (1 << random() % 8));
        stream.seekp(at);
        stream.put(byte);
      }
    }
    auto opened = SsdTier::open(path_, {16 * kMiB, 0});
    if (!opened) continue;  // an error value is allowed too; a crash or wrong bytes are not
    tier_ = std::move(*opened);
    for (uint64_t i = 0; i < 20; ++i)
      survived += has(make_granule(i, {.records = 8, .payload_bytes = 1024}));
    ASSERT_OK(put(make_granule(1000)));
    EXPECT_TRUE(has(make_granule(1000)));
  }
  EXPECT_GT(survived, 0u);
}

TEST_F(SsdTierTest, ADamagedManifestMeansAnEmptyTierNotADeadProcess) {
  open();
  for (uint64_t i = 0; i < 20; ++i) ASSERT_OK(put(make_granule(i)));
  ASSERT_OK(tier_->flush());
  tier_.reset();
  for (const auto& file : fs::directory_iterator(path_)) {
    if (file.path().filename().string().rfind("MANIFEST", 0) != 0) continue;
    std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(20);
    stream.write("damage", 6);
  }
  open();
  EXPECT_TRUE(tier_->restart().rebuilt);
  EXPECT_FALSE(tier_->restart().note.empty());
  EXPECT_EQ(tier_->usage().granules, 0u);
  ASSERT_OK(put(make_granule(1)));
  EXPECT_TRUE(has(make_granule(1)));
  EXPECT_TRUE(fs::exists(path_ + ".broken"));
  EXPECT_LT(blocks_in(path_ + ".broken"), 1 * kMiB);  // the bodies do not stay
}

TEST_F(SsdTierTest, ADirectoryInUseIsAnErrorThatSaysSo) {
  open();
  const auto second = SsdTier::open(path_, {16 * kMiB, 0});
  EXPECT_CODE(second, Code::kUnavailable);
  EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
}

TEST_F(SsdTierTest, AFailedWriteIsAnErrorAndLeavesNoTrace) {
  open();
  ASSERT_OK(put(make_granule(1)));  // the fault point registers on its first pass
  ASSERT_TRUE(arm_fault("kvstore.ssd.write"));
  EXPECT_CODE(put(make_granule(2)), Code::kUnavailable);
  disarm_all_faults();
  EXPECT_FALSE(tier_->contains(make_granule(2).info.key));
  ASSERT_OK(put(make_granule(2)));
  EXPECT_TRUE(has(make_granule(2)));
}

/// A file system of 64 MiB, where we may mount one.
class SmallDisk {
 public:
  SmallDisk() {
    mounted_ = mount("ebb-test", directory_.path().c_str(), "tmpfs", 0, "size=64m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(directory_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  std::string path(const std::string& name) const { return directory_.path(name); }

 private:
  TempDir directory_;
  bool mounted_ = false;
};

TEST_F(SsdTierTest, AFullDiskRefusesPutsAndEndsNothing) {
  const SmallDisk disk;
  // Where we may not mount, a quota of the same size has to do: refusals are then the quota's.
  const uint64_t quota = disk.mounted() ? 4 * kGiB : 60 * kMiB;
  if (disk.mounted()) path_ = disk.path("ssd");
  open(quota, 2 * kGiB);
  uint64_t stored = 0;
  Result<void> last;
  for (uint64_t i = 0; i < 3000 && last; ++i) {
    last = put(make_granule(i));
    if (last) ++stored;
  }
  EXPECT_CODE(last, Code::kExhausted);
  EXPECT_GT(stored, 300u);
  EXPECT_FALSE(tier_->usage().writable && disk.mounted());
  for (uint64_t i = 0; i < stored; ++i) ASSERT_TRUE(has(make_granule(i))) << i;

  if (disk.mounted()) {
    // Somebody else takes the rest: what waits in memory cannot be flushed, and that is all that
    // happens.
    const std::string filler = disk.path("filler");
    std::ofstream(filler, std::ios::binary) << std::string(64 << 20, 'x');
    (void)tier_->flush();
    EXPECT_FALSE(put(make_granule(100000)));
    for (uint64_t i = 0; i < stored; i += 7) ASSERT_TRUE(has(make_granule(i))) << i;
    fs::remove(filler);
  }
  ASSERT_OK(tier_->flush());
  // Room that is given back is used again.
  for (uint64_t i = 0; i < stored / 2; ++i) remove(make_granule(i));
  ASSERT_OK(put(make_granule(200000)));
  ASSERT_OK(tier_->flush());
  EXPECT_TRUE(has(make_granule(200000)));
  tier_.reset();
}

}  // namespace
}  // namespace ebb::kvstore
