#include "score/http_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/fixture.h"

namespace ebb::score {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A service whose tokens are bytes, before which token 1 stands for the begin of a text.
class HttpBackendTest : public ::testing::Test {
 protected:
  HttpBackendTest()
      : fake_([this](const http::Request& request) { return answer(request); }),
        backend_(make_http_backend(fake_.service().api)) {}

  http::Response answer(const http::Request& request) {
    if (request.path == "/v1/models")
      return cli::json_answer(200, R"({"data":[{"id":"small","max_model_len":64}]})");
    if (request.path == "/health") return cli::json_answer(200, "{}");
    const json body = json::parse(request.body);
    if (request.path == "/tokenize") {
      std::vector<int> tokens;
      if (body.value("add_special_tokens", true)) tokens.push_back(1);
      for (const unsigned char c : body.at("prompt").get<std::string>()) tokens.push_back(c);
      return cli::json_answer(200, json{{"max_model_len", 64}, {"tokens", tokens}}.dump());
    }
    if (request.path == "/detokenize") {
      std::string text;
      for (const int token : body.at("tokens")) text += static_cast<char>(token);
      return cli::json_answer(200, json{{"prompt", text}}.dump());
    }
    if (request.path == "/v1/chat/completions") {
      const std::string text = "[user]" + body["messages"][0]["content"].get<std::string>() +
                               "[end][assistant]" +
                               body["messages"][1]["content"].get<std::string>();
      const std::vector<int> ids(text.begin(), text.end());
      return cli::json_answer(200, json{{"choices", {{{"prompt_token_ids", ids}}}}}.dump());
    }
    last_ = body;
    return cli::json_answer(status_, completion_);
  }

  json last_;
  int status_ = 200;
  std::string completion_;
  cli::FakeService fake_;
  std::unique_ptr<Backend> backend_;
};

TEST_F(HttpBackendTest, LearnsTheModelAndItsPrefix) {
  const auto model = backend_->model();
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(model->id, "small");
  EXPECT_EQ(model->max_model_len, 64u);
  EXPECT_THAT(model->prefix, ElementsAre(1));
  EXPECT_THAT(*backend_->tokenize("ab"), ElementsAre('a', 'b'));
}

TEST_F(HttpBackendTest, FindsTheFrameOfTheChatTemplate) {
  const auto frame = backend_->chat_frame();
  ASSERT_TRUE(frame) << frame.error().text();
  EXPECT_EQ(frame->before, "[user]");
  EXPECT_EQ(frame->after, "[end][assistant]");
}

TEST_F(HttpBackendTest, ReadsScoresTextCostAndTrace) {
  completion_ = R"({"choices":[{"text":" x","logprobs":{"token_logprobs":[null,null,-1.5,-2,-0.5]},
      "ebb":{"trace":[[{"anchor":2,"positions":[0,7]}]]}}],
      "usage":{"ebb":{"decode_seconds":0.25,"selected_tokens":9,"hot_hits":3}}})";
  const auto answer = backend_->run({{5, 6, 7, 8}, 2, 1, R"({"policy":"tidal","budget":9})", true});
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_THAT(answer->forced, ElementsAre(-1.5, -2));
  EXPECT_EQ(answer->text, " x");
  EXPECT_EQ(answer->cost.decoded, 2u) << "one of the prompt, one generated";
  EXPECT_EQ(answer->cost.decode_seconds, 0.25);
  EXPECT_EQ(answer->cost.hot_hits, 3u);
  ASSERT_EQ(answer->trace.size(), 1u);
  EXPECT_EQ(answer->trace[0][0].layer, 2u);
  EXPECT_THAT(answer->trace[0][0].positions, ElementsAre(0, 7));
  EXPECT_EQ(last_["ebb"],
            (json{{"policy", "tidal"}, {"budget", 9}, {"decode_from", 2}, {"trace", "selection"}}));
  EXPECT_EQ(last_["temperature"], 0);
}

TEST_F(HttpBackendTest, TheServicesRefusalsAreShownAsTheyAre) {
  status_ = 400;
  completion_ = R"({"error":{"message":"ebb.policy must be one of dense, tidal, not \"other\""}})";
  const auto answer = backend_->run({{5, 6, 7}, 1, 0, R"({"policy":"other"})", false});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kInvalid);
  EXPECT_THAT(answer.error().message, HasSubstr("ebb.policy must be one of dense, tidal"));
}

TEST_F(HttpBackendTest, StrangeAnswersAreErrors) {
  for (const char* strange : {"[]", "{}", R"({"choices":[]})", R"({"choices":[{}]})",
                              R"({"choices":[{"logprobs":{"token_logprobs":[null,-1]}}]})",
                              R"({"choices":[{"logprobs":{"token_logprobs":[null,"x",-1]}}]})"}) {
    completion_ = strange;
    const auto answer = backend_->run({{5, 6, 7}, 1, 0, R"({"policy":"dense"})", false});
    ASSERT_FALSE(answer) << strange;
    EXPECT_EQ(answer.error().code, Code::kCorrupt) << strange;
  }
}

TEST_F(HttpBackendTest, KnowsWhetherAnybodyIsThere) {
  EXPECT_TRUE(backend_->alive());
  EXPECT_FALSE(make_http_backend({"127.0.0.1", 1})->alive());
}

}  // namespace
}  // namespace ebb::score
