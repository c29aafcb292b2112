// A model that a test makes up: each byte is a token, and scores come from a function of the task.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "score/backend.h"
#include "score/runner.h"
#include "tests/cli/fixture.h"
#include "tests/support/temp_dir.h"

namespace ebb::score {

class FakeBackend final : public Backend {
 public:
  using Act = std::function<Result<Answer>(const Task&)>;
  explicit FakeBackend(Act act) : act_(std::move(act)) {}

  Result<ModelFacts> model() override { return ModelFacts{"made-up", 4096, {}}; }
  Result<Tokens> tokenize(const std::string& text) override {
    Tokens tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  Result<std::string> detokenize(const Tokens& tokens) override {
    std::string text;
    for (const uint32_t token : tokens) text += static_cast<char>(token);
    return text;
  }
  Result<ChatFrame> chat_frame() override { return ChatFrame{"<user>", "<answer>"}; }
  Result<Answer> run(const Task& task) override {
    ++runs;
    return act_(task);
  }
  bool alive() override { return is_alive; }
  bool sees_inside() const override { return is_inside; }

  std::atomic<int> runs{0};
  bool is_alive = true;
  bool is_inside = false;

 private:
  Act act_;
};

/// Scores -1 for each forced token, less `loss` under any policy but dense.
inline Answer even_answer(const Task& task, double loss = 0) {
  Answer answer;
  const bool dense = task.ebb.find("dense") != std::string::npos;
  answer.forced.assign(task.prompt.size() - task.decode_from, dense ? -1.0 : -1.0 - loss);
  answer.cost.decoded = task.prompt.size() - task.decode_from - 1 + task.max_tokens;
  answer.cost.decode_seconds = 0.5;
  return answer;
}

/// A place to run measures in, over a made-up model.
struct TestPlace {
  explicit TestPlace(FakeBackend::Act act)
      : backend(std::make_shared<FakeBackend>(std::move(act))), place{kept.terminal,
                                                                      backend,
                                                                      stop,
                                                                      cli::ProgressMode::kNone,
                                                                      dir.path("out"),
                                                                      "ebb-score x"} {}
  std::string file(const std::string& name) const {
    return test::read_file(dir.path("out/" + name));
  }

  test::TempDir dir;
  cli::KeptTerminal kept;
  cli::StopFlag stop = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<FakeBackend> backend;
  Workplace place;
};

}  // namespace ebb::score
