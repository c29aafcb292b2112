// The backend that runs the model itself, on a small model with seeded random weights.
#include "score/local_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "score/perplexity.h"
#include "score/recall.h"
#include "tests/score/fake_backend.h"
#include "tests/support/adore_file.h"
#include "tests/support/tiny_llama.h"

namespace ebb::score {
namespace {

using nlohmann::json;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;

constexpr const char* kProfile = R"(version: 1
name: tiny
model_name: tiny llama
layers: 4
full: [0]
anchors: [1]
budget_fraction: 0.125
budget_min: 16
sinks: 2
window: 4
scope: layer
aggregation: max
)";

class LocalBackendTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    testing::TinyLlamaOptions model;
    model.layers = 4;
    testing::write_tiny_llama(dir_->path("tiny.gguf"), model);
    dir_->file("profile.yaml", kProfile);
    testing::AdoreFile(model.name, model.width).write(dir_->path("controller.safetensors"));
    auto made = make_local_backend(options());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    backend_ = *std::move(made);
  }
  static void TearDownTestSuite() {
    backend_.reset();
    delete dir_;
  }
  static LocalBackendOptions options() {
    LocalBackendOptions out;
    out.model = dir_->path("tiny.gguf");
    out.profile = dir_->path("profile.yaml");
    out.controller = dir_->path("controller.safetensors");
    out.threads = 1;
    return out;
  }
  static Task task(const char* ebb, uint32_t tokens = 96, uint64_t decode_from = 80) {
    testing::TinyRandom random(3);
    Task out;
    for (uint32_t i = 0; i < tokens; ++i)
      out.prompt.push_back(static_cast<uint32_t>(3 + random.next() % 256));
    out.decode_from = decode_from;
    out.ebb = ebb;
    return out;
  }
  static Answer run(const Task& task) {
    auto answer = backend_->run(task);
    EXPECT_TRUE(answer.has_value()) << answer.error().message;
    return answer ? *std::move(answer) : Answer{};
  }

  static test::TempDir* dir_;
  static std::shared_ptr<Backend> backend_;
};
test::TempDir* LocalBackendTest::dir_ = nullptr;
std::shared_ptr<Backend> LocalBackendTest::backend_;

TEST_F(LocalBackendTest, KnowsTheModelAndItsWords) {
  const auto facts = backend_->model();
  EXPECT_EQ(facts->id, "tiny llama");
  EXPECT_EQ(facts->max_model_len, 2048u);
  EXPECT_TRUE(facts->prefix.empty());
  const auto tokens = backend_->tokenize("the hat");
  EXPECT_EQ(*backend_->detokenize(*tokens), "the hat");
  EXPECT_FALSE(backend_->tokenize("\xff"));
  const auto frame = backend_->chat_frame();
  ASSERT_TRUE(frame.has_value()) << frame.error().message;
  EXPECT_EQ(frame->before, "<|im_start|>user\n");
  EXPECT_EQ(frame->after, "<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(LocalBackendTest, ScoresEveryForcedTokenAndAWideBudgetIsDense) {
  const Answer dense = run(task(R"({"policy":"dense"})"));
  EXPECT_EQ(dense.forced.size(), 16u);
  EXPECT_EQ(dense.cost.decoded, 15u);
  EXPECT_TRUE(dense.divergence.empty()) << "was not asked for";
  const Answer wide = run(task(R"({"policy":"tidal","budget":200})"));
  EXPECT_EQ(wide.forced, dense.forced);
  EXPECT_EQ(wide.cost.kv_bytes_read, dense.cost.kv_bytes_dense);
  const Answer narrow = run(task(R"({"policy":"tidal","budget":8})"));
  EXPECT_NE(narrow.forced, dense.forced);
  EXPECT_LT(narrow.cost.kv_bytes_read, narrow.cost.kv_bytes_dense);
  EXPECT_EQ(narrow.forced[0], dense.forced[0]) << "the prefill's";
}

TEST_F(LocalBackendTest, DivergenceIsZeroOfDenseAndPositiveOfASparsePolicy) {
  const auto divergence = [](const char* ebb) {
    Task asked = task(ebb);
    asked.divergence = true;
    return run(asked).divergence;
  };
  // The first one to be asked makes the reference, whoever it is.
  const auto sparse = divergence(R"({"policy":"tidal","budget":8})");
  ASSERT_EQ(sparse.size(), 15u);
  EXPECT_THAT(sparse, Each(Ge(-1e-6)));
  EXPECT_GT(*std::max_element(sparse.begin(), sparse.end()), 1e-5);
  EXPECT_THAT(divergence(R"({"policy":"dense"})"), Each(0.0));
  EXPECT_THAT(divergence(R"({"policy":"tidal","budget":200})"), Each(0.0));
  EXPECT_EQ(divergence(R"({"policy":"tidal","budget":8})"), sparse);
}

TEST_F(LocalBackendTest, ShowsSetsAndAttentionMassOfForcedSteps) {
  Task asked = task(R"({"policy":"tidal","budget":8})");
  asked.trace = true;
  asked.recall = true;
  const Answer answer = run(asked);
  ASSERT_EQ(answer.forced_trace.size(), 15u);
  ASSERT_EQ(answer.recall.size(), 15u);
  for (size_t i = 0; i < 15; ++i) {
    ASSERT_EQ(answer.forced_trace[i].size(), 1u);
    EXPECT_EQ(answer.forced_trace[i][0].layer, 1u);
    EXPECT_EQ(answer.forced_trace[i][0].positions.size(), 8u);
    EXPECT_EQ(answer.forced_trace[i][0].positions.back(), 80 + i) << "the newest token";
    EXPECT_EQ(answer.recall[i].size(), 2u) << "layers 2 and 3 follow";
    for (const auto& [layer, share] : answer.recall[i]) {
      EXPECT_GT(share, 0.0);
      EXPECT_LT(share, 1.0);
    }
  }
  EXPECT_TRUE(answer.trace.empty()) << "nothing was generated";
}

TEST_F(LocalBackendTest, GeneratesGreedilyAndTracesWhatItGenerates) {
  Task asked = task(R"({"policy":"tidal","budget":8})", 81);
  asked.max_tokens = 5;
  asked.trace = true;
  const Answer answer = run(asked);
  EXPECT_EQ(answer.forced.size(), 1u);
  EXPECT_EQ(answer.trace.size(), answer.cost.decoded) << "one prompt token, one fewer fed";
  EXPECT_EQ(run(asked).text, answer.text);
}

TEST_F(LocalBackendTest, RefusesAsTheServiceDoesAndGoesOn) {
  const auto refused = [](const char* ebb) {
    const auto answer = backend_->run(task(ebb));
    return answer ? "accepted" : answer.error().message;
  };
  EXPECT_THAT(refused(R"({"policy":"nosuch"})"), HasSubstr("ebb.policy must be one of dense"));
  EXPECT_THAT(refused(R"({"policy":"dense","budget":8})"), HasSubstr("no such parameter"));
  EXPECT_THAT(refused(R"({"policy":"tidal","budgit":8})"), HasSubstr("ebb.budget"));
  EXPECT_EQ(run(task(R"({"policy":"dense"})")).forced.size(), 16u);
}

TEST_F(LocalBackendTest, RefusesFilesThatAreNotThereOrForAnotherModel) {
  const auto refused = [](std::string LocalBackendOptions::*file, const std::string& path) {
    LocalBackendOptions wrong = options();
    wrong.*file = path;
    const auto made = make_local_backend(wrong);
    return made ? "accepted" : made.error().message;
  };
  EXPECT_THAT(refused(&LocalBackendOptions::model, dir_->path("no.gguf")), HasSubstr("--model"));
  EXPECT_THAT(refused(&LocalBackendOptions::profile, dir_->path("no.yaml")),
              HasSubstr("--profile"));
  EXPECT_THAT(refused(&LocalBackendOptions::controller, dir_->path("no.safetensors")),
              HasSubstr("--controller"));
  std::string other = kProfile;
  other.replace(other.find("tiny llama"), 10, "tiny other");
  EXPECT_THAT(refused(&LocalBackendOptions::profile, dir_->file("other.yaml", other)),
              HasSubstr("is for the model \"tiny other\""));
  testing::AdoreFile("tiny other", 64).write(dir_->path("other.safetensors"));
  EXPECT_THAT(refused(&LocalBackendOptions::controller, dir_->path("other.safetensors")),
              HasSubstr("is for model \"tiny other\""));
}

TEST_F(LocalBackendTest, AdoreWithRoomForEverythingScoresAsDense) {
  const Answer dense = run(task(R"({"policy":"dense"})"));
  EXPECT_EQ(run(task(R"({"policy":"adore","budget":1000})")).forced, dense.forced);
  EXPECT_NE(run(task(R"({"policy":"adore","budget":16,"rebuild":2})")).forced, dense.forced);
}

TEST_F(LocalBackendTest, APerplexityRunHasItsCostsBesideIt) {
  TestPlace at([](const Task& asked) -> Result<Answer> { return even_answer(asked); });
  const Workplace place{at.kept.terminal,         backend_,     at.stop,
                        cli::ProgressMode::kNone, at.place.out, "ebb-score x"};
  PerplexityOptions options;
  std::string text;
  testing::TinyRandom random(7);
  for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + random.next() % 26);
  options.texts = {at.dir.file("text.txt", text)};
  options.policies = "tidal:budget=n/8;streaming:budget=n/8;window-recompute:window=n/4";
  options.context = 64;
  options.decode = 32;
  options.window = 16;
  ASSERT_EQ(*run_perplexity(place, options), cli::kOk) << at.kept.err.str();
  const json results = json::parse(at.file("summary.json"))["results"];
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[0]["policy"], "dense");
  EXPECT_EQ(results[0]["divergence_millinats"], 0.0);
  EXPECT_EQ(results[0]["cost"]["kv_read_share"], 1.0);
  EXPECT_FALSE(results[0].contains("fetched_per_layer_and_step"));
  const json& tidal = results[1];
  EXPECT_GT(tidal["divergence_millinats"], 0.0);
  EXPECT_LT(tidal["cost"]["kv_read_share"], 1.0);
  EXPECT_GE(tidal["fetched_per_layer_and_step"]["n/8"].get<double>(),
            tidal["fetched_per_layer_and_step"]["n/2"].get<double>());
  EXPECT_GT(results[2]["divergence_millinats"], 0.0);
  EXPECT_EQ(results[3]["tokens"], 32);
  EXPECT_FALSE(results[3].contains("divergence_millinats"));
  EXPECT_GT(results[3]["ratio"], 0.0);
}

}  // namespace
}  // namespace ebb::score
