// What is read: logits against digests, how near they are to those of the keys, and how well they
// select.
#include <cmath>
#include <set>

#include "tests/kernels/digest_fixture.h"

namespace ebb::kernels {
namespace {

struct Scanned {
  Floats logits, lse;
};

/// Digests `pages` of `tokens`, the first `count`, against q.
Scanned scan(Machine& m, const Tokens& tokens, const std::vector<std::byte>& pages, const Floats& q,
             uint32_t count) {
  const uint32_t heads = tokens.shape().heads_q;
  ScanArgs args;
  args.d_q = m.upload(q);
  args.digests = {m.upload_bytes(pages), tokens.pages};
  args.count = count;
  args.d_logits = m.room(size_t{heads} * count);
  args.d_lse = m.room(heads);
  m.ops().scan_digests(tokens.shape(), tokens.digest, {&args, 1});
  return {m.download(args.d_logits, size_t{heads} * count), m.download(args.d_lse, heads)};
}

/// Logits of the stored keys; a centre's product taken off, as digests leave it out.
std::vector<double> exact_logits(const Tokens& tokens, const Floats& q) {
  const KvShape& shape = tokens.shape();
  const bool centred = tokens.digest.format != DigestFormat::kInt4;
  std::vector<double> logits;
  for (uint32_t h = 0; h < shape.heads_q; ++h) {
    const uint32_t kv_head = h / (shape.heads_q / shape.heads_kv);
    for (uint32_t t = 0; t < tokens.count(); ++t) {
      const std::vector<double> k = tokens.key(t, kv_head);
      double dot = 0;
      for (uint32_t j = 0; j < shape.head_size; ++j) {
        const double center = centred ? tokens.center[kv_head * shape.head_size + j] : 0;
        dot += q[h * shape.head_size + j] * (k[j] - center);
      }
      logits.push_back(dot / std::sqrt(double{1} * shape.head_size));
    }
  }
  return logits;
}

double mean_square(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

std::set<uint32_t> best(std::span<const double> logits, uint32_t k) {
  std::vector<uint32_t> order = ascending(static_cast<uint32_t>(logits.size()));
  std::partial_sort(order.begin(), order.begin() + k, order.end(),
                    [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  return {order.begin(), order.begin() + k};
}

class Scan : public KernelsTest {
 protected:
  Floats query(const KvShape& shape) {
    return random_floats(random_, size_t{shape.heads_q} * shape.head_size);
  }
};

constexpr KvShape kModel{9, 3, 64, 16};

TEST_P(Scan, MatchesTheReferenceAroundChunkAndPageEdges) {
  Machine subject = make_subject(2);
  Machine reference = make_reference();
  for (const DigestFormat format : kDigestFormats) {
    for (const KvShape& shape : digest_shapes()) {
      const Tokens tokens(random_, shape, format, 600);
      const auto pages = tokens.written(reference);
      const Floats q = query(shape);
      for (const uint32_t count : {0u, 1u, 7u, 8u, 9u, 63u, 64u, 65u, 255u, 256u, 257u, 600u}) {
        if (count != 600 && count > 65 && shape.head_size != 64) continue;
        const std::string what = text_of(shape, format) + ", count " + std::to_string(count);
        const Scanned got = scan(subject, tokens, pages, q, count);
        const Scanned expected = scan(reference, tokens, pages, q, count);
        const char* op = format == DigestFormat::kInt4 ? "scan int4" : "scan h";
        expect_close(op, got.logits, expected.logits, what);
        // Of the logits that were found.
        for (uint32_t h = 0; h < shape.heads_q; ++h) {
          double sum = 0;
          for (uint32_t t = 0; t < count; ++t) sum += std::exp(got.logits[h * count + t]);
          if (count == 0) {
            EXPECT_EQ(got.lse[h], -std::numeric_limits<float>::infinity()) << what;
          } else {
            EXPECT_NEAR(got.lse[h], std::log(sum), 1e-5) << what;
          }
        }
      }
    }
  }
}

TEST_P(Scan, Int4LogitsAreWithinHalfAStepOfEachElement) {
  Machine m = make_subject(1);
  const Tokens tokens(random_, kModel, DigestFormat::kInt4, 300);
  const auto pages = tokens.written(m);
  const Floats q = query(kModel);
  const Floats got = scan(m, tokens, pages, q, 300).logits;
  const std::vector<double> exact = exact_logits(tokens, q);
  for (uint32_t h = 0; h < 9; ++h) {
    double sum = 0;
    for (uint32_t j = 0; j < 64; ++j) sum += std::abs(q[h * 64 + j]);
    for (uint32_t t = 0; t < 300; ++t) {
      const std::vector<double> k = tokens.key(t, h / 3);
      const auto [least, most] = std::minmax_element(k.begin(), k.end());
      const double step = (*most - *least) / 15;
      // Half a step, and what scale and zero lose as halves, for every element of q.
      const double bound = sum * (step / 2 + (16 * step + std::abs(*least)) * 0x1p-10) / 8;
      ASSERT_NEAR(got[h * 300 + t], exact[h * 300 + t], bound) << "head " << h << ", token " << t;
    }
  }
}

/// An element of q that stands out costs the others most of their 8 bits, were it not for the
/// rotation; int4 keeps 16.
TEST_P(Scan, RoundingTheQueryCostsLittleBesideTheDigest) {
  Machine subject = make_subject(1);
  Machine reference = make_reference();
  for (const DigestFormat format : kDigestFormats) {
    for (const KvShape& shape : digest_shapes()) {
      if (shape.head_size < 64) continue;  // runs of 2 elements spread nothing
      for (const float outlier : {0.0f, 10.0f}) {
        const Tokens tokens(random_, shape, format, 200);
        const auto pages = tokens.written(reference);
        Floats q = query(shape);
        for (size_t h = 0; h < shape.heads_q; ++h) q[h * shape.head_size + 5] += outlier;
        const Floats got = scan(subject, tokens, pages, q, 200).logits;
        const Floats coded = scan(reference, tokens, pages, q, 200).logits;
        const std::vector<double> exact = exact_logits(tokens, q);
        const std::vector<double> a(got.begin(), got.end()), b(coded.begin(), coded.end());
        EXPECT_LE(mean_square(a, b), mean_square(b, exact) / 100)
            << text_of(shape, format) << ", outlier " << outlier;
      }
    }
  }
}

/// Keys with a large common part: what is left out is the same for all tokens of a head.
TEST_P(Scan, ACentreShiftsTheLogitsOfAHeadAlike) {
  Machine m = make_subject(1);
  const KvShape shape{3, 1, 64, 16, KvElement::kF32};
  const std::vector<uint32_t> blocks = ascending(10), slots = ascending(160);
  Floats k = random_floats(random_, 160 * 64);
  const Floats common = random_floats(random_, 64, 30.0f);
  for (size_t i = 0; i < k.size(); ++i) k[i] += common[i % 64];
  std::byte* arena = m.upload_bytes(std::vector<std::byte>(10 * shape.block_bytes()));
  const AppendArgs fresh{{arena, blocks}, m.upload(k), 64, m.upload(k), 64, slots};
  m.ops().append_kv(shape, std::span(&fresh, 1));
  float* center = m.room(64);
  m.ops().mean_key(shape, {arena, blocks}, slots, center);
  const DigestShape digest{DigestFormat::kH3, 1, 64};
  std::byte* pages = m.upload_bytes(std::vector<std::byte>(10 * shape.block_bytes()));
  const DigestArgs write{{arena, blocks}, slots, 0, {pages, blocks}, center};
  m.ops().write_digest(shape, digest, {&write, 1});
  const Floats q = random_floats(random_, 3 * 64);
  ScanArgs args{m.upload(q), {pages, blocks}, 160, m.room(3 * 160), m.room(3)};
  m.ops().scan_digests(shape, digest, {&args, 1});
  const Floats got = m.download(args.d_logits, 3 * 160);
  const Floats mean = m.download(center, 64);
  for (uint32_t h = 0; h < 3; ++h) {
    double left_out = 0, error = 0;
    for (uint32_t j = 0; j < 64; ++j) left_out += q[h * 64 + j] * double{mean[j]} / 8;
    for (uint32_t t = 0; t < 160; ++t) {
      double exact = 0;
      for (uint32_t j = 0; j < 64; ++j) exact += q[h * 64 + j] * double{k[t * 64 + j]} / 8;
      error += std::pow(got[h * 160 + t] + left_out - exact, 2) / 160;
    }
    EXPECT_LT(std::sqrt(error), 0.35) << "logits of what differs have a deviation of 1";
    EXPECT_GT(std::abs(left_out), 1.0) << "nothing was centred";
  }
}

/// 512 of 8192 Gaussian keys: no structure that could help.
TEST_P(Scan, SelectsWhatExactKeysWouldAndTheBetterTheMoreBits) {
  Machine m = make_subject(2);
  double last = 1;
  const std::pair<DigestFormat, double> floors[] = {
      {DigestFormat::kInt4, 0.91}, {DigestFormat::kH3, 0.83}, {DigestFormat::kH2, 0.63}};
  for (const auto& [format, floor] : floors) {
    const Tokens tokens(random_, kModel, format, 8192);
    const Floats q = query(kModel);
    const Floats found = scan(m, tokens, tokens.written(m), q, 8192).logits;
    const std::vector<double> got(found.begin(), found.end());
    const std::vector<double> exact = exact_logits(tokens, q);
    double overlap = 0;
    for (size_t h = 0; h < 9; ++h) {
      const auto wanted = best(std::span(exact).subspan(h * 8192, 8192), 512);
      for (const uint32_t t : best(std::span(got).subspan(h * 8192, 8192), 512)) {
        overlap += wanted.contains(t) ? 1.0 / 512 / 9 : 0;
      }
    }
    RecordProperty(digest_name(format), std::to_string(overlap));
    EXPECT_GE(overlap, floor) << digest_name(format);
    EXPECT_LT(overlap, last) << digest_name(format);
    last = overlap;
  }
}

/// Keys of zero, with nothing to centre: every logit is zero, and none is a NaN.
TEST_P(Scan, FlatKeysGiveFlatLogits) {
  Machine m = make_subject(1);
  for (const DigestFormat format : kDigestFormats) {
    Tokens tokens(random_, kModel, format, 100);
    std::fill(tokens.rows.arena.begin(), tokens.rows.arena.end(), std::byte{0});
    std::fill(tokens.center.begin(), tokens.center.end(), 0.0f);
    const Scanned got = scan(m, tokens, tokens.written(m), query(kModel), 100);
    for (const float logit : got.logits) EXPECT_EQ(logit, 0.0f);
    for (const float lse : got.lse) EXPECT_NEAR(lse, std::log(100.0), 1e-6);
    const Scanned none = scan(m, tokens, tokens.written(m), Floats(9 * 64, 0.0f), 100);
    for (const float logit : none.logits) EXPECT_EQ(logit, 0.0f);
  }
}

TEST_P(Scan, BitsDependOnNeitherThreadsNorPlaces) {
  Machine one = make_subject(1);
  Machine three = make_subject(3);
  for (const DigestFormat format : kDigestFormats) {
    Tokens tokens(random_, kModel, format, 3000);
    const auto pages = tokens.written(one);
    const Floats q = query(kModel);
    const Scanned expected = scan(one, tokens, pages, q, 3000);
    const Scanned threads = scan(three, tokens, pages, q, 3000);
    expect_same_bits(threads.logits, expected.logits, "threads");
    expect_same_bits(threads.lse, expected.lse, "threads");
    std::shuffle(tokens.pages.begin(), tokens.pages.end(), random_);
    const Scanned moved = scan(one, tokens, tokens.written(one), q, 3000);
    expect_same_bits(moved.logits, expected.logits, "other pages");
    const Scanned fewer = scan(one, tokens, tokens.written(one), q, 1234);
    for (size_t h = 0; h < 9; ++h) {
      expect_same_bits(std::span(fewer.logits).subspan(h * 1234, 1234),
                       std::span(expected.logits).subspan(h * 3000, 1234), "fewer tokens");
    }
  }
}

TEST_P(Scan, SeveralSequencesInOneCallMatchThoseAlone) {
  Machine m = make_subject(2);
  std::vector<Tokens> all;
  std::vector<ScanArgs> items;
  std::vector<Scanned> alone;
  for (const uint32_t count : {700u, 0u, 40u})
    all.emplace_back(random_, kModel, DigestFormat::kH3, count);
  for (const Tokens& tokens : all) {
    const auto pages = tokens.written(m);
    const Floats q = query(kModel);
    alone.push_back(scan(m, tokens, pages, q, tokens.count()));
    items.push_back({m.upload(q),
                     {m.upload_bytes(pages), tokens.pages},
                     tokens.count(),
                     m.room(9 * tokens.count()),
                     m.room(9)});
  }
  m.ops().scan_digests(kModel, all[0].digest, items);
  for (size_t i = 0; i < items.size(); ++i) {
    expect_same_bits(m.download(items[i].d_logits, 9 * items[i].count), alone[i].logits, "logits");
    expect_same_bits(m.download(items[i].d_lse, 9), alone[i].lse, "lse");
  }
}

EBB_ON_EVERY_SUBJECT(Scan);

}  // namespace
}  // namespace ebb::kernels
