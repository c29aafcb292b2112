// Lists of slots that are made where they are read, from maps that lie there.
#include <algorithm>
#include <numeric>

#include "tests/kernels/kernels_fixture.h"

namespace ebb::kernels {
namespace {

using Words = std::vector<uint32_t>;

class Lists : public KernelsTest {
 protected:
  static uint32_t* upload(Machine& m, const Words& words) {
    return reinterpret_cast<uint32_t*>(m.upload_bytes(std::as_bytes(std::span(words))));
  }
  static Words download(Machine& m, const uint32_t* from, size_t count) {
    const auto bytes = m.download_bytes(reinterpret_cast<const std::byte*>(from), count * 4);
    Words words(count);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
  }
  /// `count` of the positions below `end`, ascending.
  Words some(uint32_t count, uint32_t end) {
    Words all(end);
    std::iota(all.begin(), all.end(), 0u);
    Words out;
    std::sample(all.begin(), all.end(), std::back_inserter(out), count, random_);
    return out;
  }
};

TEST_P(Lists, SlotsAreThoseOfTheMapAndWithoutOneThePositions) {
  Machine m = make_subject(2);
  const uint32_t tokens = 3000;
  Words map(tokens);
  for (uint32_t& slot : map) slot = static_cast<uint32_t>(random_());
  const uint32_t* d_map = upload(m, map);
  const Words first = some(700, tokens), second = some(1, tokens), none;
  const Words before(701, 7);
  std::vector<uint32_t*> out;
  for (int i = 0; i < 4; ++i) out.push_back(upload(m, before));
  const std::vector<ListArgs> items = {{first, d_map, out[0]},
                                       {first, nullptr, out[1]},
                                       {none, d_map, out[2]},
                                       {second, d_map, out[3]}};
  m.ops().make_lists(items);
  Words expected;
  for (const uint32_t p : first) expected.push_back(map[p]);
  expected.push_back(7);
  EXPECT_EQ(download(m, out[0], 701), expected) << "and nothing behind it";
  EXPECT_EQ(download(m, out[1], 700), first);
  EXPECT_EQ(download(m, out[2], 701), before);
  EXPECT_EQ(download(m, out[3], 1), Words{map[second[0]]});
}

TEST_P(Lists, MapsChangeWhereTheyAreToldTo) {
  Machine m = make_subject(2);
  Words left(5000, 1), right(10, 2);
  uint32_t *d_left = upload(m, left), *d_right = upload(m, right);
  const Words positions = some(900, 5000), one = {9}, none;
  Words slots(900);
  for (uint32_t& slot : slots) slot = static_cast<uint32_t>(random_());
  const Words slot_of_one = {0xffffffffu};
  const std::vector<MapArgs> items = {
      {d_left, positions, slots}, {d_right, one, slot_of_one}, {d_left, none, none}};
  m.ops().update_maps(items);
  for (size_t i = 0; i < positions.size(); ++i) left[positions[i]] = slots[i];
  right[9] = 0xffffffffu;
  EXPECT_EQ(download(m, d_left, left.size()), left);
  EXPECT_EQ(download(m, d_right, right.size()), right);
  m.ops().update_maps({});
  m.ops().make_lists({});
}

TEST_P(Lists, AListSeesTheMapAsItWasChangedBefore) {
  Machine m = make_subject(1);
  uint32_t* d_map = upload(m, Words(100, 0));
  uint32_t* d_slots = upload(m, Words(2, 0));
  const Words position = {42, 99};
  for (uint32_t round = 1; round < 20; ++round) {
    const Words slots = {round, 2 * round};
    const MapArgs change{d_map, position, slots};
    m.ops().update_maps({&change, 1});
    const ListArgs list{position, d_map, d_slots};
    m.ops().make_lists({&list, 1});
    EXPECT_EQ(download(m, d_slots, 2), slots);
  }
}

/// Together more than a backend keeps room for at first: none may take another's place.
TEST_P(Lists, ManyLongListsInOneCall) {
  Machine m = make_subject(2);
  constexpr uint32_t kLists = 40, kEntries = 128 << 10;
  std::vector<Words> positions;
  std::vector<ListArgs> items;
  for (uint32_t i = 0; i < kLists; ++i) {
    Words& own = positions.emplace_back(kEntries);
    std::iota(own.begin(), own.end(), i * kEntries);
  }
  for (const Words& own : positions) {
    items.push_back({own, nullptr, reinterpret_cast<uint32_t*>(m.room(kEntries))});
  }
  m.ops().make_lists(items);
  for (uint32_t i = 0; i < kLists; ++i) {
    const Words got = download(m, items[i].d_slots, kEntries);
    ASSERT_TRUE(got == positions[i]) << "list " << i << " begins with " << got[0];
  }
}

TEST_P(Lists, AMillionPositions) {
  Machine m = make_subject(2);
  const uint32_t tokens = 1 << 20;
  Words map(tokens);
  for (uint32_t p = 0; p < tokens; ++p) map[p] = tokens - 1 - p;
  const uint32_t* d_map = upload(m, map);
  const Words positions = {0, 1, tokens / 2, tokens - 2, tokens - 1};
  uint32_t* d_slots = upload(m, Words(5, 0));
  const ListArgs list{positions, d_map, d_slots};
  m.ops().make_lists({&list, 1});
  EXPECT_EQ(download(m, d_slots, 5), (Words{tokens - 1, tokens - 2, tokens / 2 - 1, 1, 0}));
}

EBB_ON_EVERY_SUBJECT(Lists);

}  // namespace
}  // namespace ebb::kernels
