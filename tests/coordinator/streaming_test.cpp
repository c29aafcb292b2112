// Server-sent events: their format, stop strings and code points across chunks, errors and leaving
// clients.
#include <gmock/gmock.h>

#include "tests/coordinator/api_fixture.h"

namespace ebb::coordinator {
namespace {

using testing::ApiTest;
using testing::FakeJob;
using ::testing::HasSubstr;
using testing::Json;

using StreamTest = ApiTest;

TEST_F(StreamTest, ACompletionStreamsChunksAndEndsWithDone) {
  engine_.answer("abc");
  const auto payloads = events("/v1/completions", {{"prompt", "x"}});
  ASSERT_EQ(payloads.size(), 5u);
  EXPECT_EQ(payloads.back(), "[DONE]");
  const Json first = Json::parse(payloads[0]);
  EXPECT_EQ(first["object"], "text_completion");
  EXPECT_EQ(first["choices"][0]["text"], "a");
  EXPECT_EQ(first["choices"][0]["finish_reason"], nullptr);
  EXPECT_FALSE(first.contains("usage"));
  const Json last = Json::parse(payloads[3]);
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(last["id"], first["id"]);
  EXPECT_EQ(streamed_text(payloads, 0), "abc");
}

TEST_F(StreamTest, AChatStreamNamesTheRoleFirst) {
  engine_.answer("ab");
  const auto payloads = events("/v1/chat/completions", {{"messages", user("hi")}});
  const Json first = Json::parse(payloads[0]);
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"], Json({{"role", "assistant"}, {"content", "a"}}));
  EXPECT_EQ(Json::parse(payloads[1])["choices"][0]["delta"], Json({{"content", "b"}}));
  EXPECT_EQ(Json::parse(payloads[2])["choices"][0]["delta"], Json::object());
}

TEST_F(StreamTest, UsageComesInAChunkOfItsOwnWhenAskedFor) {
  engine_.answer("ab");
  const auto payloads =
      events("/v1/completions", {{"prompt", "xyz"}, {"stream_options", {{"include_usage", true}}}});
  EXPECT_EQ(Json::parse(payloads[0])["usage"], nullptr);
  const Json usage = Json::parse(payloads[payloads.size() - 2]);
  EXPECT_EQ(usage["choices"], Json::array());
  EXPECT_EQ(usage["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(usage["usage"]["ebb"]["policy"], "dense");
  EXPECT_EQ(payloads.back(), "[DONE]");
}

TEST_F(StreamTest, EachChunkIsWholeText) {
  engine_.answer("5\xE2\x82\xAC!");
  const auto payloads = events("/v1/completions", {{"prompt", "x"}, {"logprobs", 0}});
  EXPECT_EQ(streamed_text(payloads, 0), "5\xE2\x82\xAC!");
  const Json second = Json::parse(payloads[1])["choices"][0];
  EXPECT_EQ(second["text"], "\xE2\x82\xAC");
  EXPECT_EQ(second["logprobs"]["tokens"].size(), 3u) << "with the code point, its three tokens";
}

TEST_F(StreamTest, AStopStringAcrossTokensIsNeverSent) {
  engine_.script([](FakeJob& job) { job.say("aENENDzzz"); });  // ends only when cancelled
  const auto payloads =
      events("/v1/completions", {{"prompt", "x"}, {"stop", {"END"}}, {"max_tokens", 100}});
  EXPECT_EQ(streamed_text(payloads, 0), "aEN");
  EXPECT_EQ(Json::parse(payloads[payloads.size() - 2])["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(payloads.back(), "[DONE]");
}

TEST_F(StreamTest, ChoicesAreToldApartByIndex) {
  engine_.script([](FakeJob& job) {
    job.say(std::to_string(job.request.sampling.seed));
    job.finish(FinishReason::kLength);
  });
  const auto payloads = events("/v1/completions", {{"prompt", "x"}, {"n", 2}, {"seed", 10}});
  EXPECT_EQ(streamed_text(payloads, 0), "10");
  EXPECT_EQ(streamed_text(payloads, 1), "11");
}

TEST_F(StreamTest, EchoStreamsThePromptFirst) {
  engine_.answer("!");
  const auto payloads =
      events("/v1/completions", {{"prompt", "abc"}, {"echo", true}, {"logprobs", 0}});
  const Json first = Json::parse(payloads[0])["choices"][0];
  EXPECT_EQ(first["text"], "abc");
  EXPECT_EQ(first["logprobs"]["token_logprobs"], Json::array({nullptr, -1.0, -2.0}));
  EXPECT_EQ(streamed_text(payloads, 0), "abc!");
}

TEST_F(StreamTest, AnErrorBeforeTheFirstTokenIsAPlainError) {
  engine_.script([](FakeJob& job) { job.fail(unavailable("the store is gone")); });
  const Json error = refused(503, "/v1/completions", {{"prompt", "x"}, {"stream", true}});
  EXPECT_EQ(error["message"], "the store is gone");
}

TEST_F(StreamTest, AnErrorLaterIsAnEventAndNoDone) {
  engine_.script([](FakeJob& job) {
    job.say("ab");
    job.fail(unavailable("the store is gone"));
  });
  const auto payloads = events("/v1/completions", {{"prompt", "x"}});
  ASSERT_FALSE(payloads.empty());
  EXPECT_EQ(Json::parse(payloads.back())["error"]["message"], "the store is gone");
  for (const std::string& payload : payloads) EXPECT_NE(payload, "[DONE]");
}

TEST_F(StreamTest, AClientThatLeavesAStreamFreesItsSequences) {
  engine_.script([](FakeJob& job) {
    if (job.seq.value == 2) job.say("a");  // then both wait to be cancelled
  });
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/v1/completions";
  request.body = R"({"prompt":"x","stream":true,"n":2})";
  auto left = http::fetch_stream(api(), request, [](std::string_view) { return false; });
  EXPECT_TRUE(left) << left.error().text();
  EXPECT_TRUE(engine_.wait_cancelled(2));
}

TEST_F(StreamTest, AClientThatLeavesWhileItWaitsFreesItsSequence) {
  engine_.script([](FakeJob&) {});
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/v1/completions";
  request.body = R"({"prompt":"x"})";
  request.timeout = Millis(200);
  auto left = http::fetch(api(), request);
  EXPECT_FALSE(left);
  EXPECT_TRUE(engine_.wait_cancelled(1));
}

TEST_F(StreamTest, StoppingTheFrontCancelsWhatRuns) {
  engine_.script([](FakeJob& job) { job.say("a"); });
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/v1/completions";
  request.body = R"({"prompt":"x","stream":true})";
  bool stopped = false;
  auto cut = http::fetch_stream(api(), request, [&](std::string_view) {
    if (!stopped) front_->stop();
    stopped = true;
    return true;
  });
  EXPECT_FALSE(cut) << "a cut stream must not look complete";
  EXPECT_TRUE(engine_.wait_cancelled(1));
}

}  // namespace
}  // namespace ebb::coordinator
