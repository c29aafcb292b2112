// What is written: digests, their centre, and the format itself.
#include <cmath>

#include "tests/kernels/digest_fixture.h"

namespace ebb::kernels {
namespace {

double levels_of(DigestFormat format) {
  return format == DigestFormat::kInt4 ? 15 : format == DigestFormat::kH3 ? 7 : 3;
}

/// What a head's digest has to stand for.
std::vector<double> coded_key(const Tokens& tokens, uint32_t t, uint32_t head) {
  std::vector<double> k = tokens.key(t, head);
  if (tokens.digest.format == DigestFormat::kInt4) return k;
  for (size_t j = 0; j < k.size(); ++j) k[j] -= tokens.center[head * k.size() + j];
  return turned(tokens.digest.format, k);
}

/// Scale and zero of a digest, found by what its two smallest codes stand for.
struct Steps {
  double scale, zero;
};
Steps steps_of(const DigestShape& digest, const std::byte* from) {
  std::vector<std::byte> bytes(digest.head_bytes());
  std::copy_n(from, 4, bytes.begin());
  const double zero = decode_digest(digest, bytes.data())[0];
  std::fill(bytes.begin() + 4, bytes.end(), std::byte{0xff});
  return {(decode_digest(digest, bytes.data())[0] - zero) / levels_of(digest.format), zero};
}

class Digest : public KernelsTest {
 protected:
  void check_within_half_a_step(const Tokens& tokens, const std::vector<std::byte>& bytes) {
    const std::string what = text_of(tokens.shape(), tokens.digest.format);
    for (uint32_t t = 0; t < tokens.count(); ++t) {
      for (uint32_t h = 0; h < tokens.shape().heads_kv; ++h) {
        const std::byte* from = bytes.data() + tokens.at(t) + h * tokens.digest.head_bytes();
        const std::vector<double> expected = coded_key(tokens, t, h);
        const std::vector<double> got = decode_digest(tokens.digest, from);
        const auto [scale, zero] = steps_of(tokens.digest, from);
        // Scale and zero are halves: the ends of the range may lie that much inside.
        const double ends =
            (std::abs(zero) + levels_of(tokens.digest.format) * scale) * 0x1p-11 + 1e-5;
        for (size_t j = 0; j < got.size(); ++j) {
          ASSERT_NEAR(got[j], expected[j], scale * 0.5 + ends)
              << what << ", token " << t << ", head " << h << ", element " << j;
        }
      }
    }
  }
};

TEST_P(Digest, StoredKeysComeBackWithinHalfAStep) {
  Machine subject = make_subject(2);
  Machine reference = make_reference();
  for (const DigestFormat format : kDigestFormats) {
    for (const KvShape& shape : digest_shapes()) {
      const Tokens tokens(random_, shape, format, 150);
      check_within_half_a_step(tokens, tokens.written(subject));
      check_within_half_a_step(tokens, tokens.written(reference));
    }
  }
}

/// Float and double round apart where a value lies on the edge between two codes: rarely.
TEST_P(Digest, NearlyEveryByteIsTheReferences) {
  Machine subject = make_subject(2);
  Machine reference = make_reference();
  for (const DigestFormat format : kDigestFormats) {
    for (const KvShape& shape : digest_shapes()) {
      const Tokens tokens(random_, shape, format, 200);
      const auto got = tokens.written(subject);
      const auto expected = tokens.written(reference);
      size_t different = 0;
      for (size_t i = 0; i < got.size(); ++i) different += got[i] != expected[i] ? 1 : 0;
      EXPECT_LE(different, got.size() / 500) << text_of(shape, format);
    }
  }
}

TEST_P(Digest, BytesDoNotDependOnThreadsAndChunks) {
  Machine subject = make_subject(3);
  Machine alone = make_subject(1);
  for (const DigestFormat format : kDigestFormats) {
    for (const KvShape& shape : digest_shapes()) {
      const Tokens tokens(random_, shape, format, 150);
      const auto expected = tokens.written(alone);
      EXPECT_EQ(tokens.written(subject), expected) << text_of(shape, format);
      std::byte* arena =
          subject.upload_bytes(std::vector<std::byte>(tokens.page_bytes(), std::byte{0x5a}));
      const KvRows kv{subject.upload_bytes(tokens.rows.arena), tokens.rows.blocks};
      const float* center = subject.upload(tokens.center);
      for (uint32_t first = 0; first < tokens.count();) {
        const auto step = std::min<uint32_t>(1 + random_() % 70, tokens.count() - first);
        const DigestArgs some{
            kv, std::span(tokens.slots).subspan(first, step), first, {arena, tokens.pages}, center};
        subject.ops().write_digest(shape, tokens.digest, {&some, 1});
        first += step;
      }
      EXPECT_EQ(subject.download_bytes(arena, tokens.page_bytes()), expected)
          << text_of(shape, format) << ", in chunks";
    }
  }
}

TEST_P(Digest, SeveralSequencesInOneCallHaveTheBytesOfThoseAlone) {
  Machine m = make_subject(2);
  const KvShape shape{9, 3, 64, 16};
  std::vector<Tokens> all;
  for (const uint32_t count : {1u, 90u, 0u, 33u}) {
    all.emplace_back(random_, shape, DigestFormat::kH2, std::max(count, 1u));
    if (count == 0) all.back().slots.clear();
  }
  std::vector<DigestArgs> items;
  for (size_t i = 0; i < all.size(); ++i) {
    const Tokens& tokens = all[i];
    std::byte* arena = m.upload_bytes(std::vector<std::byte>(tokens.page_bytes(), std::byte{0x5a}));
    const float* center = i == 1 ? nullptr : m.upload(tokens.center);
    items.push_back({{m.upload_bytes(tokens.rows.arena), tokens.rows.blocks},
                     tokens.slots,
                     0,
                     {arena, tokens.pages},
                     center});
  }
  m.ops().write_digest(shape, all[0].digest, items);
  for (size_t i = 0; i < all.size(); ++i) {
    if (i == 1) std::fill(all[i].center.begin(), all[i].center.end(), 0.0f);
    EXPECT_EQ(m.download_bytes(items[i].digests.d_arena, all[i].page_bytes()), all[i].written(m))
        << "sequence " << i;
  }
}

TEST_P(Digest, NothingIsWrittenForNoTokens) {
  Tokens tokens(random_, {9, 3, 64, 16}, DigestFormat::kH3, 10);
  tokens.slots.clear();
  Machine m = make_subject(1);
  EXPECT_EQ(tokens.written(m), std::vector<std::byte>(tokens.page_bytes(), std::byte{0x5a}));
}

/// Elements alike leave no span; elements beyond a half's range are cut to it; none becomes a NaN.
TEST_P(Digest, KeysThatAreFlatHugeOrTinyAreCodedAsWellAsHalvesCan) {
  const KvShape shape{1, 1, 64, 16, KvElement::kF32};
  Machine m = make_subject(1);
  const std::vector<uint32_t> blocks = {0};
  for (const DigestFormat format : kDigestFormats) {
    const DigestShape digest{format, 1, 64};
    for (const auto& [low, high] : {std::pair{0.0f, 0.0f},
                                    {1.5f, 1.5f},
                                    {-2e38f, 3e38f},
                                    {0.0f, 1e-30f},
                                    {-1e-4f, 1e-4f},
                                    {-0.0f, 0.0f}}) {
      Floats k(64, low);
      k[5] = high;
      std::byte* arena = m.upload_bytes(std::vector<std::byte>(shape.block_bytes()));
      const std::vector<uint32_t> slots = {3};
      const AppendArgs fresh{{arena, blocks}, m.upload(k), 64, m.upload(k), 64, slots};
      m.ops().append_kv(shape, std::span(&fresh, 1));
      std::byte* pages = m.upload_bytes(std::vector<std::byte>(shape.block_bytes()));
      const DigestArgs write{{arena, blocks}, slots, 0, {pages, blocks}, nullptr};
      m.ops().write_digest(shape, digest, {&write, 1});
      const auto bytes = m.download_bytes(pages, digest.token_bytes());
      const std::vector<double> exact = turned(format, {k.begin(), k.end()});
      const std::vector<double> got = decode_digest(digest, bytes.data());
      const double most = *std::max_element(exact.begin(), exact.end());
      const double least = *std::min_element(exact.begin(), exact.end());
      for (size_t j = 0; j < 64; ++j) {
        ASSERT_TRUE(std::isfinite(got[j])) << digest_name(format) << " " << low << " " << high;
        if (std::max(most, -least) > 60000) continue;
        EXPECT_NEAR(got[j], exact[j], (most - least) / levels_of(format) * 0.51 + 1e-6);
      }
    }
  }
}

TEST_P(Digest, MeanKeyIsThatOfTheStoredRows) {
  for (const KvShape& shape : digest_shapes()) {
    for (const uint32_t count : {0u, 1u, 100u}) {
      const Tokens tokens(random_, shape, DigestFormat::kH3, count);
      const auto run = [&](Machine m) {
        const size_t size = tokens.center.size();
        float* center = m.room(size);
        m.ops().mean_key(shape, {m.upload_bytes(tokens.rows.arena), tokens.rows.blocks},
                         tokens.slots, center);
        return m.download(center, size);
      };
      const Floats got = run(make_subject(2));
      expect_close("mean_key", got, run(make_reference()), "count " + std::to_string(count));
      if (count == 0) {
        EXPECT_EQ(got, Floats(got.size(), 0.0f));
      }
    }
  }
}

EBB_ON_EVERY_SUBJECT(Digest);

TEST(DigestFormat, TakesTheBytesThatItSays) {
  const auto bytes = [](DigestFormat format, uint32_t size) {
    return DigestShape{format, 1, size}.head_bytes();
  };
  EXPECT_EQ(bytes(DigestFormat::kInt4, 64), 36u);
  EXPECT_EQ(bytes(DigestFormat::kH3, 64), 28u);
  EXPECT_EQ(bytes(DigestFormat::kH2, 64), 20u);
  EXPECT_EQ(bytes(DigestFormat::kH3, 128), 52u);
  EXPECT_EQ(bytes(DigestFormat::kH3, 80), 40u);  // as 96: units of 32
  EXPECT_EQ((DigestShape{DigestFormat::kH3, 3, 64}.token_bytes()), 84u);
  EXPECT_EQ((DigestShape{DigestFormat::kH3, 3, 64}.page_tokens(16 * 768)), 146u);
  EXPECT_EQ((DigestShape{DigestFormat::kH3, 1, 4}.page_tokens(10)), 0u);
}

TEST(DigestFormat, SignsAreTheFirstOutputsOfSplitMix64) {
  uint64_t state = 0;
  for (const uint64_t expected : kDigestSigns) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    EXPECT_EQ(z ^ z >> 31, expected);
  }
}

TEST(DigestFormat, TheRotationKeepsProductsAndSpreadsWhatStandsOut) {
  Random random(5);
  for (const uint32_t size : {6u, 64u, 80u, 96u, 256u}) {
    const Floats x = random_floats(random, size), y = random_floats(random, size);
    const std::vector<double> a = turned(DigestFormat::kH3, {x.begin(), x.end()});
    const std::vector<double> b = turned(DigestFormat::kH3, {y.begin(), y.end()});
    EXPECT_NEAR(std::inner_product(a.begin(), a.end(), b.begin(), 0.0),
                std::inner_product(x.begin(), x.end(), y.begin(), 0.0), 1e-4);
  }
  std::vector<double> peak(64, 0.0);
  peak[17] = 8;
  for (const double value : turned(DigestFormat::kH2, peak)) EXPECT_EQ(std::abs(value), 1.0);
  EXPECT_EQ(turned(DigestFormat::kInt4, peak), peak);
}

/// Codes 0, 1, 2, ... at known places, by the words of kernels/digest.h.
TEST(DigestFormat, CodesStandWhereTheFormatSays) {
  std::vector<double> values(32);
  for (uint32_t j = 0; j < 32; ++j) values[j] = j % 16 - 3.0;
  std::byte bytes[20];
  encode_digest({DigestFormat::kInt4, 1, 32}, values, bytes);
  const std::vector<uint8_t> head = {0x00, 0x3c, 0x00, 0xc2};  // 1, -3
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(bytes[i], static_cast<std::byte>(head[i]));
  for (uint32_t i = 0; i < 16; ++i) EXPECT_EQ(bytes[4 + i], static_cast<std::byte>(i * 0x11));
  for (uint32_t j = 0; j < 32; ++j) values[j] = j / 4 % 8;
  encode_digest({DigestFormat::kH3, 1, 32}, values, bytes);
  // Codes j / 4: upper bits of 0 to 7, 8 to 15, ... are 0, 1, 2, 3; lowest of j / 4 odd.
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(bytes[4 + i], std::byte{0b11100100});
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(bytes[12 + i], std::byte{0b10101010});
  for (uint32_t j = 0; j < 32; ++j) values[j] = j % 4;
  encode_digest({DigestFormat::kH2, 1, 32}, values, bytes);
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(bytes[4 + i], static_cast<std::byte>(i % 4 * 0x55));
}

}  // namespace
}  // namespace ebb::kernels
