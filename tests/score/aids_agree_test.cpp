// The coordinator admits a sequence by the digests and sums that it expects the worker to keep;
// only here both are at hand.
#include <gtest/gtest.h>

#include "tests/coordinator/engine_samples.h"
#include "worker/attention/policy.h"

namespace ebb::score {
namespace {

using control::DigestKind;

struct Layers {
  uint32_t digests = 0;
  uint32_t sums = 0;
};

Layers kept_by_the_worker(const coordinator::RequestRules& rules,
                          const control::PolicyParams& params) {
  const std::vector<uint32_t> windows(rules.shape.layers, 0);
  const auto policy = worker::make_policy(rules.profile, params, windows);
  EXPECT_TRUE(policy) << policy.error().text();
  Layers layers;
  for (uint32_t layer = 0; policy && layer < rules.shape.layers; ++layer) {
    layers.digests += (*policy)->wants_digests(layer) ? 1 : 0;
    layers.sums += (*policy)->wants_sums(layer) ? 1 : 0;
  }
  return layers;
}

TEST(AidsAgree, TheCoordinatorAdmitsWhatTheWorkerKeeps) {
  const coordinator::RequestRules rules = coordinator::test::small_rules();
  const std::vector<std::vector<uint32_t>> lists = {{}, {0}, {2, 4}, {1, 2, 3, 7}};
  uint32_t checked = 0;
  for (const DigestKind digest :
       {DigestKind::kNone, DigestKind::kInt4, DigestKind::kH3, DigestKind::kH2}) {
    for (const auto& list : lists) {
      for (const bool predict : {false, true}) {
        for (const bool left_out : {false, true}) {
          if (predict && digest == DigestKind::kNone) continue;
          auto request = coordinator::test::request_of(400, 4, control::PolicyKind::kAnchored);
          request.options.digest = digest;
          if (!list.empty()) request.options.select_layers = list;
          request.options.predict = predict;
          request.options.left_out = left_out;
          const auto admitted =
              check_request(rules, coordinator::test::small_arena(10000), std::move(request));
          ASSERT_TRUE(admitted) << admitted.error().text();
          const Layers kept = kept_by_the_worker(rules, admitted->open.policy);
          EXPECT_EQ(admitted->size.digest_layers, kept.digests);
          EXPECT_EQ(admitted->size.sum_layers, kept.sums);
          ++checked;
        }
      }
    }
  }
  EXPECT_EQ(checked, 56u);
}

}  // namespace
}  // namespace ebb::score
