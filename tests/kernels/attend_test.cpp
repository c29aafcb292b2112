#include "tests/kernels/kernels_fixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>

namespace ebb::kernels {
namespace {

struct Case {
  KvShape shape{9, 3, 64, 16};
  uint32_t rows = 1;
  uint32_t count = 0;
  bool listed = false;
  ListScope scope = ListScope::kLayer;
  uint32_t alt_count = 0;
  bool want_logits = false;
  uint32_t window = 0;
  bool list_on_device = false;
  std::string text() const {
    return "heads " + std::to_string(shape.heads_q) + "/" + std::to_string(shape.heads_kv) +
           " of " + std::to_string(shape.head_size) +
           (shape.element == KvElement::kF32 ? " f32, rows " : " bf16, rows ") +
           std::to_string(rows) + ", count " + std::to_string(count) +
           (listed ? ", listed " : ", dense ") + std::to_string(static_cast<int>(scope)) +
           ", alt " + std::to_string(alt_count) + ", window " + std::to_string(window);
  }
};

struct Answer {
  Floats out, lse, logits;
};

class Attend : public KernelsTest {
 protected:
  Sequence make_sequence(const KvShape& shape, uint32_t slots) {
    return random_sequence(random_, shape, slots);
  }

  std::vector<uint32_t> make_list(const Case& c, uint32_t slots) {
    if (!c.listed) return {};
    const uint32_t lists = c.scope == ListScope::kLayer    ? 1
                           : c.scope == ListScope::kKvHead ? c.shape.heads_kv
                                                           : c.shape.heads_q;
    std::vector<uint32_t> list;
    for (uint32_t i = 0; i < lists; ++i) {
      std::vector<uint32_t> all(slots);
      std::iota(all.begin(), all.end(), 0u);
      std::shuffle(all.begin(), all.end(), random_);
      list.insert(list.end(), all.begin(), all.begin() + c.count);
    }
    return list;
  }

  static Answer attend(Machine& m, const Sequence& s, const Case& c, const Floats& q,
                       const Floats& q_alt, std::span<const uint32_t> list) {
    const size_t vectors = size_t{c.rows} * c.shape.heads_q;
    AttendArgs args;
    args.d_q = m.upload(q);
    args.rows = c.rows;
    args.kv = {m.upload_bytes(s.arena), s.blocks};
    args.count = c.count;
    if (c.list_on_device) {
      const auto bytes = std::as_bytes(list);
      args.d_list = reinterpret_cast<const uint32_t*>(m.upload_bytes(bytes));
    } else {
      args.list = list;
    }
    args.scope = c.scope;
    args.window = c.window;
    args.d_q_alt = c.alt_count > 0 ? m.upload(q_alt) : nullptr;
    args.alt_count = c.alt_count;
    args.d_out = m.room(vectors * c.shape.head_size);
    args.d_lse = m.room(vectors);
    const size_t logits = size_t{c.shape.heads_q} * c.count;
    args.d_logits = c.want_logits ? m.room(logits) : nullptr;
    m.ops().attend(c.shape, {&args, 1});
    Answer answer;
    answer.out = m.download(args.d_out, vectors * c.shape.head_size);
    answer.lse = m.download(args.d_lse, vectors);
    if (c.want_logits) answer.logits = m.download(args.d_logits, logits);
    return answer;
  }

  /// Every case, or three in seven on the CUDA subject: emulated, a case takes a tenth of a second.
  bool takes(int i) const { return std::string_view(GetParam()) != "cuda" || i % 7 < 3; }

  void compare(const Case& c, float query_spread = 1.0f) {
    const uint32_t slots = c.count + 40;
    const Sequence s = make_sequence(c.shape, slots);
    const std::vector<uint32_t> list = make_list(c, slots);
    const size_t size = size_t{c.rows} * c.shape.heads_q * c.shape.head_size;
    const Floats q = random_floats(random_, size, query_spread);
    const Floats q_alt = random_floats(random_, size, query_spread);
    Machine subject = make_subject(2);
    Machine reference = make_reference();
    const Answer got = attend(subject, s, c, q, q_alt, list);
    const Answer expected = attend(reference, s, c, q, q_alt, list);
    expect_close("attend", got.out, expected.out, c.text());
    expect_close("lse", got.lse, expected.lse, c.text());
    expect_close("logits", got.logits, expected.logits, c.text());
  }
};

constexpr KvShape kModel{9, 3, 64, 16};
constexpr KvShape kOneGroup{3, 1, 64, 16};  // a third of the reference's work, the same tiles

TEST_P(Attend, DenseDecodeMatchesAroundChunkEdges) {
  for (const uint32_t count :
       {0u, 1u, 2u, 15u, 16u, 17u, 255u, 256u, 257u, 511u, 512u, 513u, 1300u}) {
    compare({.shape = kModel, .count = count, .want_logits = true});
  }
}

TEST_P(Attend, UnevenHeadsAndOtherHeadSizesMatch) {
  for (const KvShape shape : {KvShape{6, 2, 64, 16}, KvShape{3, 1, 64, 16}, KvShape{8, 1, 128, 8},
                              KvShape{10, 2, 32, 32}, KvShape{4, 4, 80, 16}, KvShape{2, 1, 96, 7},
                              KvShape{7, 7, 6, 16}, KvShape{2, 2, 256, 16}}) {
    for (const uint32_t rows : {1u, 20u}) {
      compare({.shape = shape, .rows = rows, .count = 300, .alt_count = 100, .want_logits = true});
    }
  }
}

TEST_P(Attend, RowsOfF32MatchInEveryShape) {
  for (KvShape shape : {KvShape{9, 3, 64, 16}, KvShape{8, 1, 128, 8}, KvShape{4, 4, 80, 16},
                        KvShape{7, 7, 6, 16}, KvShape{2, 2, 256, 16}}) {
    shape.element = KvElement::kF32;
    for (const uint32_t rows : {1u, 20u}) {
      compare({.shape = shape, .rows = rows, .count = 300, .alt_count = 100, .want_logits = true});
    }
    for (const ListScope scope : {ListScope::kLayer, ListScope::kKvHead, ListScope::kQueryHead}) {
      compare({.shape = shape, .count = 270, .listed = true, .scope = scope});
    }
  }
}

TEST_P(Attend, WindowsMatchWhereverTheirEdgesFall) {
  for (const uint32_t window : {1u, 2u, 16u, 255u, 256u, 257u, 299u, 300u, 301u, 5000u}) {
    compare({.shape = kModel, .count = 300, .want_logits = true, .window = window});
    compare({.shape = kOneGroup, .rows = 3, .count = 300, .want_logits = true, .window = window});
  }
  // Tiles of many rows: windows that begin before, in and past the tile, and far behind.
  for (const uint32_t window : {1u, 7u, 64u, 100u, 600u}) {
    for (const uint32_t before : {0u, 40u, 900u}) {
      compare({.shape = kOneGroup,
               .rows = 70,
               .count = before + 70,
               .alt_count = before == 40 ? 50u : 0u,
               .want_logits = true,
               .window = window});
    }
  }
  compare({.shape = kModel, .rows = 20, .count = 6, .window = 3});
}

/// Any group, any even head: MHA, MQA, and query heads that no vector divides.
TEST_P(Attend, RandomShapesMatch) {
  const auto pick = [&](uint32_t most) { return 1 + static_cast<uint32_t>(random_() % most); };
  for (int i = 0; i < 40; ++i) {
    Case c;
    c.shape.heads_kv = pick(3);
    c.shape.heads_q = c.shape.heads_kv * (i % 4 == 0 ? pick(64) / c.shape.heads_kv + 1 : pick(9));
    c.shape.head_size = 2 * pick(128);
    c.shape.block_tokens = pick(32);
    c.shape.element = i % 2 == 0 ? KvElement::kBF16 : KvElement::kF32;
    c.rows = i % 3 == 0 ? pick(30) : pick(4);
    c.count = c.rows + pick(i % 5 == 0 ? 600 : 60) - 1;
    c.window = i % 2 == 0 ? pick(c.count + 10) : 0;
    c.alt_count = i % 7 == 0 ? pick(c.count) : 0;
    c.want_logits = i % 3 != 1;
    if (takes(i)) compare(c);
  }
}

TEST_P(Attend, AWindowHasTheBitsOfTheListOfItsSlots) {
  const Sequence s = make_sequence(kModel, 900);
  const Floats q = random_floats(random_, 9 * 64);
  Machine m = make_subject(2);
  const Answer windowed = attend(m, s, {.shape = kModel, .count = 900, .window = 700}, q, {}, {});
  std::vector<uint32_t> list(700);
  std::iota(list.begin(), list.end(), 200u);
  const Answer listed = attend(m, s, {.shape = kModel, .count = 700, .listed = true}, q, {}, list);
  expect_same_bits(windowed.out, listed.out, "out");
  expect_same_bits(windowed.lse, listed.lse, "lse");
}

TEST_P(Attend, ListsOfEveryScopeMatch) {
  for (const ListScope scope : {ListScope::kLayer, ListScope::kKvHead, ListScope::kQueryHead}) {
    for (const uint32_t count : {1u, 31u, 256u, 700u}) {
      compare(
          {.shape = kModel, .count = count, .listed = true, .scope = scope, .want_logits = true});
    }
  }
}

TEST_P(Attend, AListOnTheDeviceHasTheBitsOfTheSameListOnTheHost) {
  Machine m = make_subject(2);
  for (const ListScope scope : {ListScope::kLayer, ListScope::kKvHead, ListScope::kQueryHead}) {
    Case c{kModel, 1, 150, true, scope};
    c.want_logits = true;
    const Sequence s = make_sequence(c.shape, 190);
    const std::vector<uint32_t> list = make_list(c, 190);
    const Floats q = random_floats(random_, size_t{9} * 64);
    const Answer from_host = attend(m, s, c, q, q, list);
    c.list_on_device = true;
    const Answer from_device = attend(m, s, c, q, q, list);
    expect_same_bits(from_device.out, from_host.out, c.text());
    expect_same_bits(from_device.lse, from_host.lse, c.text());
    expect_same_bits(from_device.logits, from_host.logits, c.text());
  }
}

TEST_P(Attend, QueryVariantMatchesWhereverItsBoundaryFalls) {
  for (const uint32_t alt : {1u, 4u, 255u, 256u, 257u, 399u, 400u, 5000u}) {
    compare({.shape = kModel, .count = 400, .alt_count = alt, .want_logits = true});
    compare({.shape = kOneGroup, .rows = 70, .count = 400, .alt_count = alt, .want_logits = true});
  }
  compare({.shape = kModel, .count = 400, .listed = true, .alt_count = 10});
}

TEST_P(Attend, ManyRowsAreCausalAroundTileEdges) {
  int i = 0;
  for (const uint32_t rows : {2u, 4u, 5u, 9u, 63u, 64u, 65u, 130u}) {
    for (const uint32_t before : {0u, 1u, 190u, 256u, 500u}) {
      if (!takes(i++)) continue;
      compare(
          {.shape = kOneGroup, .rows = rows, .count = before + rows, .want_logits = before == 190});
    }
  }
}

TEST_P(Attend, RowsWithNothingToSeeAreEmpty) {
  compare({.shape = kModel, .rows = 3, .count = 1});
  compare({.shape = kModel, .rows = 20, .count = 6});
  compare({.shape = kModel, .rows = 20, .count = 0});
}

TEST_P(Attend, LargeLogitsDoNotOverflow) {
  compare({.shape = kModel, .count = 600, .want_logits = true}, 40.0f);
  compare({.shape = kModel, .rows = 40, .count = 600}, 40.0f);
}

TEST_P(Attend, EqualKeysGiveTheMeanOfTheValues) {
  Sequence s = make_sequence(kModel, 300);
  // K of every row becomes that of the first block's first row.
  for (size_t at = 0; at < s.arena.size(); at += kModel.row_bytes()) {
    for (uint32_t h = 0; h < 3; ++h) {
      std::copy_n(s.arena.begin() + h * 256, 128,
                  s.arena.begin() + static_cast<long>(at) + h * 256);
    }
  }
  const Floats q = random_floats(random_, 9 * 64);
  Machine subject = make_subject(1);
  Machine reference = make_reference();
  const Case c{.shape = kModel, .count = 300};
  expect_close("attend", attend(subject, s, c, q, {}, {}).out,
               attend(reference, s, c, q, {}, {}).out, "equal keys");
}

TEST_P(Attend, SeveralSequencesInOneCallMatchThoseAlone) {
  Machine m = make_subject(2);
  std::vector<Sequence> sequences;
  std::vector<AttendArgs> items;
  for (const uint32_t count : {700u, 0u, 40u}) sequences.push_back(make_sequence(kModel, count));
  const Floats q = random_floats(random_, 3 * 9 * 64);
  Floats alone;
  for (uint32_t i = 0; i < 3; ++i) {
    const uint32_t count = i == 0 ? 700 : i == 1 ? 0 : 40;
    const Floats own(q.begin() + i * 576, q.begin() + (i + 1) * 576);
    const Answer answer = attend(m, sequences[i], {.shape = kModel, .count = count}, own, {}, {});
    alone.insert(alone.end(), answer.out.begin(), answer.out.end());
    AttendArgs args;
    args.d_q = m.upload(own);
    args.kv = {m.upload_bytes(sequences[i].arena), sequences[i].blocks};
    args.count = count;
    items.push_back(args);
  }
  float* out = m.room(3 * 576);
  for (uint32_t i = 0; i < 3; ++i) items[i].d_out = out + i * 576;
  m.ops().attend(kModel, items);
  expect_same_bits(m.download(out, 3 * 576), alone, "three sequences");
}

TEST_P(Attend, BitsDoNotDependOnTheNumberOfThreads) {
  const Sequence s = make_sequence(kModel, 3000);
  const Floats q = random_floats(random_, 9 * 64);
  const Case c{.shape = kModel, .count = 3000, .want_logits = true};
  Machine one = make_subject(1);
  Machine three = make_subject(3);
  const Answer a = attend(one, s, c, q, {}, {});
  const Answer b = attend(three, s, c, q, {}, {});
  expect_same_bits(b.out, a.out, "out");
  expect_same_bits(b.lse, a.lse, "lse");
  expect_same_bits(b.logits, a.logits, "logits");
}

/// The promise behind sparse decode: a released and restored row may come back to any slot.
TEST_P(Attend, BitsDependOnTheOrderOfEntriesNotOnTheirSlots) {
  constexpr uint32_t kCount = 777;
  const Sequence dense = make_sequence(kModel, kCount);
  const Floats q = random_floats(random_, 9 * 64);
  Machine m = make_subject(2);
  const Answer expected =
      attend(m, dense, {.shape = kModel, .count = kCount, .want_logits = true}, q, {}, {});
  // The same rows scattered over a larger pool.
  Sequence pool = make_sequence(kModel, 2000);
  std::vector<uint32_t> slots(2000);
  std::iota(slots.begin(), slots.end(), 0u);
  std::shuffle(slots.begin(), slots.end(), random_);
  slots.resize(kCount);
  const auto row = [](const Sequence& s, uint32_t slot) {
    return s.blocks[slot / 16] * s.shape.block_bytes() + slot % 16 * s.shape.row_bytes();
  };
  for (uint32_t e = 0; e < kCount; ++e) {
    std::memcpy(pool.arena.data() + row(pool, slots[e]), dense.arena.data() + row(dense, e),
                kModel.row_bytes());
  }
  for (const ListScope scope : {ListScope::kLayer, ListScope::kKvHead, ListScope::kQueryHead}) {
    const uint32_t lists = scope == ListScope::kLayer ? 1 : scope == ListScope::kKvHead ? 3 : 9;
    std::vector<uint32_t> list;
    for (uint32_t i = 0; i < lists; ++i) list.insert(list.end(), slots.begin(), slots.end());
    const Case c{
        .shape = kModel, .count = kCount, .listed = true, .scope = scope, .want_logits = true};
    const Answer got = attend(m, pool, c, q, {}, list);
    expect_same_bits(got.out, expected.out, c.text());
    expect_same_bits(got.lse, expected.lse, c.text());
    expect_same_bits(got.logits, expected.logits, c.text());
  }
}

/// Every path a backend may have for a head size: one row, several, lists, many rows; with KV heads
/// whose number is odd and with none, one and a few tokens to see.
TEST_P(Attend, HeadSizesOfModelsMatchOnEveryPath) {
  for (const uint32_t size : {64u, 80u, 96u, 128u, 256u}) {
    const KvShape shape{10, 5, size, 16};
    for (const uint32_t count : {0u, 1u, 33u, 140u}) {
      compare({.shape = shape, .count = count, .want_logits = true});
      compare({.shape = shape, .rows = 9, .count = count, .want_logits = true});
      if (count == 0) continue;
      compare({.shape = shape, .count = count, .listed = true, .scope = ListScope::kQueryHead});
    }
  }
}

TEST_P(Attend, ManyRowsInOneGroupOfOddSizeMatch) {
  // Query vectors of one row lie in two tiles; the last tile is not full.
  compare({.shape = {7, 1, 64, 16}, .rows = 19, .count = 150, .want_logits = true});
  compare({.shape = {5, 1, 80, 5}, .rows = 33, .count = 90, .alt_count = 17, .window = 40});
  compare({.shape = {3, 3, 10, 3}, .rows = 66, .count = 66});
}

/// Few rows over many entries: a backend may cut the entries up and merge.
TEST_P(Attend, FewRowsOverManyEntriesMatch) {
  compare({.shape = {2, 1, 64, 16}, .rows = 6, .count = 2500, .want_logits = true});
  compare({.shape = {2, 1, 64, 16}, .rows = 6, .count = 2500, .alt_count = 1100, .window = 1700});
}

TEST_P(Attend, LogitsBeyondTheRangeOfExpLeaveNoInfinity) {
  const Sequence s = make_sequence(kModel, 300);
  Machine m = make_subject(2);
  for (const uint32_t rows : {1u, 20u}) {
    const Floats q = random_floats(random_, size_t{rows} * 9 * 64, 1e6f);
    const Answer answer = attend(m, s, {.shape = kModel, .rows = rows, .count = 300}, q, {}, {});
    for (const float x : answer.out) ASSERT_TRUE(std::isfinite(x)) << rows << " rows";
    for (const float x : answer.lse) ASSERT_TRUE(std::isfinite(x)) << rows << " rows";
  }
}

/// Items of every kind in one call: each has the bits it has alone.
TEST_P(Attend, ItemsOfAllKindsInOneCallHaveTheirOwnBits) {
  Machine m = make_subject(2);
  const Sequence s = make_sequence(kModel, 400);
  const std::byte* arena = m.upload_bytes(s.arena);
  const Case cases[] = {
      {.shape = kModel, .count = 300},
      {.shape = kModel, .count = 200, .listed = true, .scope = ListScope::kQueryHead},
      {.shape = kModel, .rows = 6, .count = 90},
      {.shape = kModel, .rows = 2, .count = 300, .alt_count = 5, .window = 170},
      {.shape = kModel, .count = 130, .listed = true, .scope = ListScope::kKvHead},
  };
  std::vector<AttendArgs> items;
  std::vector<std::vector<uint32_t>> lists;
  std::vector<Floats> alone;
  for (const Case& c : cases) {
    const Floats q = random_floats(random_, size_t{c.rows} * 576);
    const Floats q_alt = random_floats(random_, q.size());
    lists.push_back(make_list(c, 400));
    alone.push_back(attend(m, s, c, q, q_alt, lists.back()).out);
    AttendArgs args;
    args.d_q = m.upload(q);
    args.rows = c.rows;
    args.kv = {const_cast<std::byte*>(arena), s.blocks};
    args.count = c.count;
    args.list = lists.back();
    args.scope = c.scope;
    args.window = c.window;
    if (c.alt_count > 0) args.d_q_alt = m.upload(q_alt);
    args.alt_count = c.alt_count;
    args.d_out = m.room(q.size());
    items.push_back(args);
  }
  m.ops().attend(kModel, items);
  for (size_t i = 0; i < items.size(); ++i) {
    expect_same_bits(m.download(items[i].d_out, alone[i].size()), alone[i], cases[i].text());
  }
}

EBB_ON_EVERY_SUBJECT(Attend);

}  // namespace
}  // namespace ebb::kernels
