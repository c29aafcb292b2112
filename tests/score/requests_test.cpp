#include "score/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/score/fake_backend.h"

namespace ebb::score {
namespace {

Tokens bytes(const std::string& text) {
  Tokens out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

TEST(Requests, ATaskIsAGreedyCompletionThroughThePolicysDecodePath) {
  Task task{{5, 6, 7}, 2, 9, R"({"policy":"tidal","budget":64})"};
  auto body = nlohmann::json::parse(completion_body("m", task));
  EXPECT_EQ(body["prompt"], (std::vector<int>{5, 6, 7}));
  EXPECT_EQ(body["temperature"], 0);
  EXPECT_EQ(body["repetition_penalty"], 1);
  EXPECT_EQ(body["max_tokens"], 9);
  EXPECT_EQ(body["ebb"]["budget"], 64);
  EXPECT_EQ(body["ebb"]["decode_from"], 2);
  EXPECT_FALSE(body["ebb"].contains("trace"));
  task.trace = true;
  body = nlohmann::json::parse(completion_body("m", task));
  EXPECT_EQ(body["ebb"]["trace"], "selection");
}

TEST(Requests, AFrameIsWhatStandsAroundTheUsersWords) {
  FakeBackend backend([](const Task& task) -> Result<Answer> { return even_answer(task); });
  const auto frame =
      frame_of(backend, bytes(std::string("[") + kUserMark + "][model says: " + kAnswerMark));
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->before, "[");
  EXPECT_EQ(frame->after, "][model says: ");
  const auto upside_down = frame_of(backend, bytes(std::string(kAnswerMark) + kUserMark));
  ASSERT_FALSE(upside_down);
  EXPECT_EQ(upside_down.error().code, Code::kUnsupported);
}

}  // namespace
}  // namespace ebb::score
