// The shipped controller over the real model's embeddings against the same in float64
// (research/adore/export.py).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/ops.h"
#include "models/model_files.h"
#include "tests/support/real_model.h"
#include "tests/support/tree_paths.h"
#include "worker/attention/gru_scores.h"
#include "worker/model/weights.h"

namespace ebb::worker::testing {
namespace {

using nlohmann::json;

class AdoreGolden : public ::testing::Test {
 protected:
  AdoreGolden() {
    golden_ = json::parse(std::ifstream(source("tests/golden/adore_controller.json")));
    auto files = models::ModelFiles::open(ebb::testing::real_model_path().value_or(""));
    EBB_CHECK(files.has_value());
    files_ = std::move(*files);
    auto controller = models::read_adore_controller(
        source("configs/controllers/smollm2-135m-instruct.adore.safetensors"));
    EBB_CHECK(controller.has_value());
    EXPECT_TRUE(models::check_trained_for(*controller, files_->shape()));
    scorer_ = std::make_unique<GruScorer>(*controller);
  }
  static std::string source(const char* name) { return ebb::test::source_path(name); }

  /// Rows of the embedding as the engine sees them.
  std::vector<float> embeddings(std::span<const TokenId> ids) {
    auto backend = kernels::make_cpu_backend({});
    EBB_CHECK(backend.has_value());
    const auto& shape = files_->shape();
    auto weights = load_weights(*files_, shape, *share_of_rank(shape, 1, 0), *backend->ops);
    EBB_CHECK(weights.has_value());
    std::vector<float> rows(ids.size() * shape.width);
    backend->ops->embed(*weights->embedding, ids, rows.data());
    return rows;
  }

  json golden_;
  std::unique_ptr<models::ModelFiles> files_;
  std::unique_ptr<GruScorer> scorer_;
};

TEST_F(AdoreGolden, Assertion10StatesAndScoresAreThoseOfFloat64) {
  const auto ids = golden_["ids"].get<std::vector<TokenId>>();
  const auto rows = embeddings(ids);
  const auto scores = scorer_->begin();
  scores->append(ids, rows.data());
  std::vector<std::vector<float>> states;
  std::vector<float> state(scorer_->state_size());
  for (size_t i = 0; i < ids.size(); ++i) {
    scorer_->next_state(rows.data() + i * scorer_->width(), state);
    states.push_back(state);
  }
  for (const json& of : golden_["states"]) {
    const std::vector<float>& own = states.at(of["position"]);
    ASSERT_EQ(of["z"].size(), own.size());
    for (size_t i = 0; i < own.size(); ++i) EXPECT_NEAR(own[i], of["z"][i], 1e-4);
  }
  for (const json& of : golden_["scores"]) {
    const auto own = scores->at(of["position"]);
    ASSERT_EQ(of["scores"].size(), own.size());
    for (size_t i = 0; i < own.size(); ++i) EXPECT_NEAR(own[i], of["scores"][i], 1e-4);
  }
  for (const json& of : golden_["far"]) {
    EXPECT_EQ(distance_bucket(of["distance"]), of["bucket"]);
    std::vector<float> input(scorer_->state_size());
    scorer_->head_input(states.at(of["token"]), input.data());
    EXPECT_NEAR(scorer_->score(input.data(), of["bucket"]), of["score"], 1e-4);
  }
}

}  // namespace
}  // namespace ebb::worker::testing
