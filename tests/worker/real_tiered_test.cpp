// Release and restore with the real model against a real store: 4 follower records in 5 leave the
// device, and no bit of any logit changes.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"
#include "tests/worker/rank_group.h"
#include "tests/worker/store_process.h"

namespace ebb::worker::testing {
namespace {

constexpr uint32_t kPrompt = 1000;
constexpr uint32_t kSteps = 64;
// With two granules more a pool of 200 rows.
constexpr uint32_t kHotRows = 168;

/// Real text, over and over.
std::vector<TokenId> prompt() {
  std::ifstream file(ebb::test::source_path("tests/golden/smollm2_reference.json"));
  const auto golden = nlohmann::json::parse(file);
  std::vector<TokenId> ids;
  while (ids.size() < kPrompt) {
    for (TokenId id : golden["text"]["ids"]) ids.push_back(id);
    for (const auto& one : golden["prompts"]) {
      for (TokenId id : one["ids"]) ids.push_back(id);
    }
  }
  ids.resize(kPrompt);
  return ids;
}

control::OpenUnit open_unit(uint64_t seq, uint32_t vocabulary) {
  control::OpenUnit open;
  open.seq = SeqId{seq};
  open.prompt = prompt();
  open.max_tokens = kSteps + 1;
  open.sampling.temperature = 0;
  open.sampling.logprobs = static_cast<int>(vocabulary);
  open.policy.kind = control::PolicyKind::kTidal;
  open.policy.budget = 128;
  open.policy.window = 32;
  return open;
}

control::TokenLogprob token(const std::vector<control::UnitResult>& results) {
  for (const auto& rank : results) {
    for (const auto& failure : rank.failures) ADD_FAILURE() << failure.error.text();
  }
  if (results[0].sequences.empty() || !results[0].sequences[0].has_token) {
    ADD_FAILURE() << "no token";
    return {};
  }
  return results[0].sequences[0].token;
}

TEST(RealTiered, ReleasedAndResidentRowsGiveTheSameLogitsBitForBit) {
  const auto path = ebb::testing::real_model_path();
  ASSERT_TRUE(path.has_value()) << ebb::testing::kNoRealModel;
  const auto profile = models::read_selection_profile(
      ebb::test::source_path("configs/profiles/smollm2-135m-instruct.yaml"));
  ASSERT_TRUE(profile) << profile.error().message;
  StoreProcess store("8MiB");
  GroupSetup setup;
  setup.model_path = *path;
  setup.ranks = 2;
  setup.device_kv_bytes = 96 << 20;
  setup.profile = *profile;
  setup.rows_max = 256;
  setup.store = store.address();
  RankGroup group(setup);

  group.open(open_unit(1, group.shape().vocabulary));
  group.open(open_unit(2, group.shape().vocabulary));
  auto resident = token(group.prefill(SeqId{1}, kPrompt, 256));
  auto released = token(group.prefill_by_band(SeqId{2}, kPrompt, 256, kHotRows));
  for (uint32_t step = 0; step < kSteps; ++step) {
    ASSERT_EQ(resident.token, released.token) << "step " << step;
    ASSERT_TRUE(resident.top == released.top) << "step " << step;
    resident = token(group.decode({SeqId{1}}));
    released = token(group.decode({SeqId{2}}));
  }
  const auto kept = group.close(SeqId{1})[0].maps[0].counters;
  EXPECT_EQ(kept.released_records + kept.restored_host_records + kept.restored_ssd_records, 0u);
  const auto moved = group.close(SeqId{2})[0].maps[0].counters;
  uint32_t follower_bands = 0;
  for (const LayerRange band : profile->bands()) {
    follower_bands += profile->layer_class(band.begin) == models::LayerClass::kFollower;
  }
  EXPECT_GE(moved.released_records, follower_bands * (kPrompt * 4 / 5 - 16));
  EXPECT_GT(moved.restored_host_records, 0u);
  EXPECT_GT(moved.restored_ssd_records, 0u) << "the host tier is too small for all of them";
}

}  // namespace
}  // namespace ebb::worker::testing
