// Records made on the device are those that the store makes and checks, and bad ones change
// nothing.
#include "kernels/cuda/records.h"

#include <algorithm>

#include "base/checksum.h"
#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels::cuda {
namespace {

class Records : public ::testing::Test {
 protected:
  /// `layers` layers of random rows, in one arena each.
  void make(const KvShape& shape, uint32_t layers, uint32_t slots) {
    shape_ = shape;
    for (uint32_t l = 0; l < layers; ++l) {
      sequences_.push_back(random_sequence(random_, shape, slots));
      rows_.push_back({m_.upload_bytes(sequences_.back().arena), sequences_.back().blocks});
    }
    EXPECT_TRUE(m_.device().synchronize());  // the context has a stream of its own
    for (RecordName& name : names_) {
      for (uint32_t& word : name) word = static_cast<uint32_t>(random_());
    }
    for (const uint32_t slot : {2u, 0u, slots - 1}) {
      records_.push_back({slot, static_cast<Position>(random_()), slot % 2});
    }
  }
  RecordBand band() const { return {shape_, rows_, names_, records_}; }

  const std::byte* row(uint32_t layer, uint32_t slot) const {
    const Sequence& s = sequences_[layer];
    return s.arena.data() + s.blocks[slot / shape_.block_tokens] * shape_.block_bytes() +
           slot % shape_.block_tokens * shape_.row_bytes();
  }

  /// What the host makes of record `i`, with the checksum of the store.
  std::vector<std::byte> frame(uint32_t i) const {
    const Record& record = records_[i];
    std::vector<std::byte> frame(band().frame_bytes());
    for (uint32_t l = 0; l < rows_.size(); ++l) {
      std::memcpy(frame.data() + 8 + l * shape_.row_bytes(), row(l, record.slot),
                  shape_.row_bytes());
    }
    uint32_t crc = crc32c(std::span(frame).subspan(8));
    crc = crc32c(std::as_bytes(std::span(names_[record.name])), crc);
    crc = crc32c(std::as_bytes(std::span(&record.position, 1)), crc);
    std::memcpy(frame.data(), &crc, 4);
    std::memcpy(frame.data() + 4, &record.position, 4);
    return frame;
  }
  std::vector<std::byte> all_frames() const {
    std::vector<std::byte> all;
    for (uint32_t i = 0; i < records_.size(); ++i) {
      const std::vector<std::byte> one = frame(i);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  Random random_{11};
  std::shared_ptr<CudaContext> context_ = *CudaContext::make(0);
  Machine m_{std::move(*make_backend("cuda", 1))};
  KvShape shape_;
  std::vector<Sequence> sequences_;
  std::vector<KvRows> rows_;
  std::array<RecordName, 2> names_;
  std::vector<Record> records_;
};

TEST_F(Records, PackedOnesAreTheStoresToTheLastBit) {
  // Rows of 8 bytes (less than a warp's words), of odd sizes, and of several passes of a warp.
  for (const KvShape& shape : {KvShape{1, 1, 2, 4}, KvShape{6, 3, 10, 4}, KvShape{8, 2, 64, 8},
                               KvShape{4, 4, 6, 2, KvElement::kF32}}) {
    for (const uint32_t layers : {1u, 2u, 5u}) {
      sequences_.clear();
      rows_.clear();
      records_.clear();
      make(shape, layers, 11);
      std::vector<std::byte> frames(records_.size() * band().frame_bytes(), std::byte{0x5a});
      pack_records(*context_, band(), frames.data());
      EXPECT_EQ(frames, all_frames()) << shape.head_size << " x " << layers;
    }
  }
  EXPECT_FALSE(context_->failed());
}

TEST_F(Records, UnpackedRowsAreInTheirSlotsAndNothingElseChanges) {
  make({6, 3, 10, 4}, 3, 11);
  const std::vector<std::byte> frames = all_frames();
  records_[0].slot = 5;
  records_[1].slot = 7;
  records_[2].slot = 1;
  for (uint32_t i = 0; i < 3; ++i) {
    for (uint32_t l = 0; l < 3; ++l) {
      std::memcpy(const_cast<std::byte*>(row(l, records_[i].slot)),
                  frames.data() + i * band().frame_bytes() + 8 + l * shape_.row_bytes(),
                  shape_.row_bytes());
    }
  }
  EXPECT_TRUE(unpack_records(*context_, band(), frames.data()).empty());
  for (uint32_t l = 0; l < 3; ++l) {
    EXPECT_EQ(m_.download_bytes(rows_[l].d_arena, sequences_[l].arena.size()), sequences_[l].arena);
  }
}

TEST_F(Records, BadOnesAreNamedAndNotWritten) {
  make({2, 2, 16, 4}, 2, 11);
  const std::vector<std::byte> good = all_frames();
  const uint64_t frame = band().frame_bytes();
  for (Record& record : records_) ++record.slot;  // not where they are: a write would show
  records_[2].slot = 8;
  for (const uint64_t byte : {uint64_t{0}, uint64_t{4}, uint64_t{8}, frame / 2, frame - 1}) {
    for (const uint32_t bit : {0u, 7u}) {
      std::vector<std::byte> frames = good;
      for (uint32_t i = 0; i < 3; ++i) frames[i * frame + byte] ^= std::byte(1u << bit);
      EXPECT_EQ(unpack_records(*context_, band(), frames.data()), (std::vector<uint32_t>{0, 1, 2}))
          << "byte " << byte;
    }
  }
  std::swap(names_[0], names_[1]);  // of another granule
  EXPECT_EQ(unpack_records(*context_, band(), good.data()), (std::vector<uint32_t>{0, 1, 2}));
  std::swap(names_[0], names_[1]);
  ++records_[1].position;
  records_[0].slot = records_[2].slot = 10;  // their own rows, where they are good
  records_.resize(2);
  records_[0].slot = 2;
  EXPECT_EQ(unpack_records(*context_, band(), good.data()), (std::vector<uint32_t>{1}));
  for (uint32_t l = 0; l < 2; ++l) {
    EXPECT_EQ(m_.download_bytes(rows_[l].d_arena, sequences_[l].arena.size()), sequences_[l].arena);
  }
}

TEST_F(Records, NoneIsNothing) {
  make({2, 2, 16, 4}, 2, 11);
  records_.clear();
  pack_records(*context_, band(), nullptr);
  EXPECT_TRUE(unpack_records(*context_, band(), nullptr).empty());
  EXPECT_FALSE(context_->failed());
}

}  // namespace
}  // namespace ebb::kernels::cuda
