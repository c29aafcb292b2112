// Records made by a backend are those that the store makes and checks, and bad ones change nothing.
#include "kernels/records.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {
namespace {

/// Rows of several layers, and records of some of them.
struct Rows {
  KvShape shape;
  std::vector<Sequence> layers;
  std::array<RecordName, 2> names;
  std::vector<Record> records;
};

/// The same rows on one backend, and its frames.
class Side {
 public:
  Side(Machine machine, const Rows& rows, MemoryKind frames_in = MemoryKind::kHost)
      : m_(std::move(machine)), in_(rows), frames_in_(frames_in) {
    for (const Sequence& layer : rows.layers) {
      kv_.push_back({m_.upload_bytes(layer.arena), layer.blocks});
    }
    auto frames = m_.device().allocate(frames_bytes(), frames_in_);
    EXPECT_TRUE(frames);
    frames_ = std::move(*frames);
    put_frames(std::vector<std::byte>(frames_bytes(), std::byte{0x5a}));
  }
  RecordBand band() const { return {in_.shape, kv_, in_.names, in_.records, frames_in_}; }
  uint64_t frames_bytes() const { return in_.records.size() * band().frame_bytes(); }

  std::vector<std::byte> pack() {
    const auto packed = m_.ops().pack_records(band(), frames_.bytes_ptr())->wait();
    EXPECT_TRUE(packed && packed->empty());
    return get_frames();
  }
  /// Which were refused.
  std::vector<uint32_t> unpack(const std::vector<std::byte>& frames,
                               Frames are = Frames::kUnchecked) {
    put_frames(frames);
    const auto refused = m_.ops().unpack_records(band(), frames_.bytes_ptr(), are)->wait();
    EXPECT_TRUE(refused);
    return refused ? *refused : std::vector<uint32_t>();
  }
  std::vector<std::vector<std::byte>> arenas() {
    std::vector<std::vector<std::byte>> all;
    for (size_t l = 0; l < kv_.size(); ++l) {
      all.push_back(m_.download_bytes(kv_[l].d_arena, in_.layers[l].arena.size()));
    }
    return all;
  }

 private:
  /// The host touches pinned memory only.
  void put_frames(const std::vector<std::byte>& frames) {
    if (frames_in_ == MemoryKind::kDevice) {
      return m_.device().copy_to_device(frames_.data(), frames.data(), frames.size());
    }
    std::copy(frames.begin(), frames.end(), frames_.bytes_ptr());
  }
  std::vector<std::byte> get_frames() {
    std::vector<std::byte> frames(frames_bytes());
    if (frames_in_ == MemoryKind::kDevice) {
      m_.device().copy_to_host(frames.data(), frames_.data(), frames.size());
    } else {
      std::copy_n(frames_.bytes_ptr(), frames.size(), frames.begin());
    }
    return frames;
  }
  Machine m_;
  const Rows& in_;
  const MemoryKind frames_in_;
  std::vector<KvRows> kv_;
  Buffer frames_;
};

constexpr MemoryKind kBothKinds[] = {MemoryKind::kHost, MemoryKind::kDevice};

class Records : public KernelsTest {
 protected:
  void expect_bad_ones_refused(MemoryKind kind);
  /// Three records: the last slot, the first, and one within.
  Rows make(const KvShape& shape, uint32_t layers, uint32_t slots) {
    Rows rows;
    rows.shape = shape;
    for (uint32_t l = 0; l < layers; ++l) {
      rows.layers.push_back(random_sequence(random_, shape, slots));
    }
    for (RecordName& name : rows.names) {
      for (uint32_t& word : name) word = static_cast<uint32_t>(random_());
    }
    for (const uint32_t slot : {2u, 0u, slots - 1}) {
      rows.records.push_back({slot, static_cast<Position>(random_()), slot % 2});
    }
    return rows;
  }
};

TEST_P(Records, PackedOnesAreTheReferencesToTheLastBit) {
  // Rows of 8 bytes (less than a warp's words), of odd sizes, and of several passes of a warp.
  for (const KvShape& shape : {KvShape{1, 1, 2, 4}, KvShape{6, 3, 10, 4}, KvShape{8, 2, 64, 8},
                               KvShape{4, 4, 6, 2, KvElement::kF32}}) {
    for (const uint32_t layers : {1u, 2u, 5u}) {
      const Rows rows = make(shape, layers, 11);
      Side reference(make_reference(), rows);
      for (const MemoryKind kind : kBothKinds) {
        Side subject(make_subject(2), rows, kind);
        EXPECT_EQ(subject.pack(), reference.pack()) << shape.head_size << " x " << layers;
        EXPECT_EQ(subject.arenas(), reference.arenas()) << "packing only reads";
      }
    }
  }
}

TEST_P(Records, UnpackedRowsAreInTheirSlotsAndNothingElseChanges) {
  for (const KvShape& shape : {KvShape{6, 3, 10, 4}, KvShape{1, 1, 2, 4}, KvShape{8, 2, 64, 8}}) {
    Rows rows = make(shape, 3, 11);
    Side subject(make_subject(2), rows), reference(make_reference(), rows);
    Side local(make_subject(2), rows, MemoryKind::kDevice);
    const std::vector<std::byte> frames = reference.pack();
    rows.records[0].slot = 5;
    rows.records[1].slot = 7;
    rows.records[2].slot = 1;
    for (const Frames are : {Frames::kUnchecked, Frames::kChecked}) {
      EXPECT_TRUE(subject.unpack(frames, are).empty());
      EXPECT_TRUE(local.unpack(frames, are).empty());
      EXPECT_TRUE(reference.unpack(frames, are).empty());
      EXPECT_EQ(subject.arenas(), reference.arenas());
      EXPECT_EQ(local.arenas(), reference.arenas());
      std::swap(rows.records[0].slot, rows.records[1].slot);
    }
  }
}

TEST_P(Records, BadOnesAreNamedAndNotWritten) {
  for (const MemoryKind kind : kBothKinds) expect_bad_ones_refused(kind);
}

void Records::expect_bad_ones_refused(MemoryKind kind) {
  Rows rows = make({2, 2, 16, 4}, 2, 11);
  Side subject(make_subject(1), rows, kind), reference(make_reference(), rows);
  const std::vector<std::byte> good = reference.pack();
  const auto before = subject.arenas();
  const uint64_t frame = subject.band().frame_bytes();
  for (Record& record : rows.records) ++record.slot;  // not where they are: a write would show
  rows.records[2].slot = 8;
  const std::vector<uint32_t> all = {0, 1, 2};
  for (const uint64_t byte : {uint64_t{0}, uint64_t{4}, uint64_t{8}, frame / 2, frame - 1}) {
    for (const uint32_t bit : {0u, 7u}) {
      std::vector<std::byte> frames = good;
      for (uint32_t i = 0; i < 3; ++i) frames[i * frame + byte] ^= std::byte(1u << bit);
      EXPECT_EQ(subject.unpack(frames), all) << "byte " << byte;
      EXPECT_EQ(reference.unpack(frames), all) << "byte " << byte;
    }
  }
  std::swap(rows.names[0], rows.names[1]);  // of another granule
  EXPECT_EQ(subject.unpack(good), all);
  std::swap(rows.names[0], rows.names[1]);
  EXPECT_EQ(subject.arenas(), before);
}

TEST_P(Records, ABadOneKeepsNoGoodOneAway) {
  Rows rows = make({2, 2, 16, 4}, 2, 11);
  Side subject(make_subject(1), rows), reference(make_reference(), rows);
  const std::vector<std::byte> frames = reference.pack();
  ++rows.records[1].position;
  for (uint32_t i = 0; i < 3; ++i) rows.records[i].slot = 4 + i;
  EXPECT_EQ(subject.unpack(frames), std::vector<uint32_t>{1});
  EXPECT_EQ(reference.unpack(frames), std::vector<uint32_t>{1});
  EXPECT_EQ(subject.arenas(), reference.arenas());
}

TEST_P(Records, MoreThanAnyStagingMemoryHoldsGoOutAndComeBack) {
  const KvShape shape{8, 8, 128, 16, KvElement::kF32};  // 8 KiB a row
  constexpr uint32_t kRows = 1500;
  Rows rows;
  rows.shape = shape;
  rows.layers.push_back(random_sequence(random_, shape, kRows));
  for (uint32_t i = 0; i < kRows; ++i) rows.records.push_back({i, 7 * i, i % 2});
  rows.names = {};
  std::shuffle(rows.records.begin(), rows.records.end(), random_);
  for (const MemoryKind kind : kBothKinds) {
    Side subject(make_subject(2), rows, kind);
    const std::vector<std::byte> frames = subject.pack();
    std::vector<uint32_t> slots(kRows);  // and back in another order
    std::iota(slots.begin(), slots.end(), 0u);
    std::shuffle(slots.begin(), slots.end(), random_);
    for (uint32_t i = 0; i < kRows; ++i) rows.records[i].slot = slots[i];
    EXPECT_TRUE(subject.unpack(frames).empty());
    EXPECT_TRUE(subject.pack() == frames);
  }
}

TEST_P(Records, NoneIsNothing) {
  Rows rows = make({2, 2, 16, 4}, 2, 11);
  rows.records.clear();
  Side subject(make_subject(1), rows);
  EXPECT_TRUE(subject.pack().empty());
  EXPECT_TRUE(subject.unpack({}).empty());
}

EBB_ON_EVERY_SUBJECT(Records);

}  // namespace
}  // namespace ebb::kernels
