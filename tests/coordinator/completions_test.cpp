// Completions and chat over real sockets, from JSON to the engine's request and back.
#include <gmock/gmock.h>

#include <future>
#include <thread>

#include "tests/coordinator/api_fixture.h"

namespace ebb::coordinator {
namespace {

using testing::ApiTest;
using ::testing::ElementsAre;
using testing::FakeJob;
using ::testing::HasSubstr;
using testing::Json;

TEST_F(ApiTest, ACompletionHasOpenAisShape) {
  engine_.answer(" there");
  const Json answer = complete({{"model", "tiny"}});
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["choices"][0]["text"], " there");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["choices"][0]["logprobs"], nullptr);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 6);
  EXPECT_EQ(answer["usage"]["total_tokens"], 8);
  EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

TEST_F(ApiTest, UsageAlwaysNamesThePolicyAndItsWork) {
  const Json ebb = complete({{"ebb", {{"policy", "tidal"}, {"budget", 64}}}})["usage"]["ebb"];
  EXPECT_EQ(ebb["policy"], "tidal");
  EXPECT_EQ(ebb["budget"], 64);
  EXPECT_EQ(ebb["restored_records"], 7);
  EXPECT_EQ(ebb["restored_host_records"], 3);
  EXPECT_EQ(ebb["restored_ssd_records"], 4);
  EXPECT_EQ(ebb["queue_seconds"], 0.25);
  for (const char* key : {"selected_tokens", "released_records", "hot_hits", "device_bytes_max",
                          "prefill_seconds", "decode_seconds"}) {
    EXPECT_TRUE(ebb.contains(key)) << key;
  }
}

TEST_F(ApiTest, TheEngineGetsWhatTheClientAskedFor) {
  complete({{"prompt", Json::array({1, 2, 3})},
            {"max_tokens", 5},
            {"temperature", 0.5},
            {"seed", 9},
            {"ebb", {{"policy", "tidal"}, {"budget", 64}, {"sinks", 2}, {"window", 16}}}});
  const GenerateRequest request = engine_.last_request();
  EXPECT_THAT(request.prompt, ElementsAre(1, 2, 3));
  EXPECT_EQ(request.max_tokens, 5u);
  EXPECT_EQ(request.policy, control::PolicyKind::kTidal);
  EXPECT_EQ(request.budget, 64u);
  EXPECT_EQ(request.sinks, 2u);
  EXPECT_EQ(request.window, 16u);
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.seed, 9u);
  EXPECT_THAT(request.sampling.stop_tokens, ElementsAre(testing::kEndOfText));
}

TEST_F(ApiTest, IgnoreEosTakesTheStopTokensAway) {
  complete({{"ignore_eos", true}, {"stop_token_ids", {5}}});
  EXPECT_THAT(engine_.last_request().sampling.stop_tokens, ElementsAre(5));
}

TEST_F(ApiTest, AStreamMayRunPastTheContext) {
  complete({{"max_tokens", 100000}, {"ebb", {{"policy", "streaming"}, {"window", 64}}}});
  EXPECT_EQ(engine_.last_request().max_tokens, 100000u);
  EXPECT_EQ(engine_.last_request().policy, control::PolicyKind::kStreaming);
}

TEST_F(ApiTest, DefaultsOfMaxTokensFitTheContext) {
  complete({});
  EXPECT_EQ(engine_.last_request().max_tokens, 16u);
  complete({{"prompt", std::string(195, 'x')}});
  EXPECT_EQ(engine_.last_request().max_tokens, 5u);
  chat({});
  EXPECT_EQ(engine_.last_request().max_tokens, 200u - engine_.last_request().prompt.size());
}

TEST_F(ApiTest, ALongPromptIsRefusedWithBothFigures) {
  Json error = refused(400, "/v1/completions", {{"prompt", std::string(200, 'x')}});
  EXPECT_EQ(error["param"], "prompt");
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_THAT(error["message"].get<std::string>(),
              HasSubstr("the prompt has 200 tokens, the context has 200"));
  error = refused(400, "/v1/completions", {{"prompt", std::string(190, 'x')}, {"max_tokens", 11}});
  EXPECT_EQ(error["param"], "max_tokens");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("at most 10, not 11"));
  error = refused(400, "/v1/chat/completions", {{"messages", user(std::string(300, 'x'))}});
  EXPECT_EQ(error["param"], "messages");
}

TEST_F(ApiTest, SeveralPromptsAndChoicesComeBackInOrder) {
  engine_.script([](FakeJob& job) {
    job.say(std::string(1, static_cast<char>(job.request.prompt[0])) +
            std::to_string(job.request.sampling.seed));
    job.finish(FinishReason::kLength);
  });
  const Json answer = complete({{"prompt", Json::array({"ab", "xy"})}, {"n", 2}, {"seed", 40}});
  ASSERT_EQ(answer["choices"].size(), 4u);
  const std::vector<std::string> want = {"a40", "a41", "x40", "x41"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(answer["choices"][i]["index"], i);
    EXPECT_EQ(answer["choices"][i]["text"], want[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 4) << "each prompt once";
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
}

TEST_F(ApiTest, AStopStringEndsTheTextAndTheSequence) {
  engine_.script([](FakeJob& job) { job.say("one two three"); });  // ends only when cancelled
  const Json answer = complete({{"stop", "wo t"}, {"max_tokens", 100}});
  EXPECT_EQ(answer["choices"][0]["text"], "one t");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 9);
  EXPECT_TRUE(engine_.wait_cancelled(1));
}

TEST_F(ApiTest, EchoAndLogprobsShowThePrompt) {
  engine_.answer("!");
  const Json choice = complete(
      {{"prompt", "abc"}, {"echo", true}, {"logprobs", 2}, {"max_tokens", 1}})["choices"][0];
  EXPECT_EQ(choice["text"], "abc!");
  const Json logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json::array({"a", "b", "c", "!"}));
  EXPECT_EQ(logprobs["token_logprobs"], Json::array({nullptr, -1.0, -2.0, -0.5}));
  EXPECT_EQ(logprobs["text_offset"], Json::array({0, 1, 2, 3}));
  EXPECT_EQ(logprobs["top_logprobs"][0], nullptr);
  EXPECT_EQ(logprobs["top_logprobs"][3], Json({{"a", -1.0}, {"b", -2.0}, {"!", -0.5}}));
  EXPECT_TRUE(engine_.last_request().sampling.prompt_logprobs);
}

TEST_F(ApiTest, PromptLogprobsAreOneObjectAToken) {
  engine_.answer("!");
  const Json answer = complete({{"prompt", "abc"}, {"prompt_logprobs", 1}, {"n", 2}});
  for (const Json& choice : answer["choices"]) {
    EXPECT_EQ(choice["text"], "!") << "the prompt is not part of the text";
    const Json scores = choice["prompt_logprobs"];
    ASSERT_EQ(scores.size(), 3u);
    EXPECT_EQ(scores[0], nullptr);
    EXPECT_EQ(scores[1]["98"], Json({{"logprob", -1.0}, {"rank", 3}, {"decoded_token", "b"}}));
    EXPECT_EQ(scores[2]["99"]["logprob"], -2.0);
    EXPECT_EQ(scores[2]["120"], Json({{"logprob", -0.25}, {"rank", 1}, {"decoded_token", "x"}}));
    EXPECT_EQ(scores[2].size(), 2u) << "one best token was asked for";
  }
  EXPECT_FALSE(engine_.last_request().sampling.prompt_logprobs) << "once a prompt is enough";
  const Json whole = chat({{"prompt_logprobs", 0}});
  EXPECT_EQ(whole["prompt_logprobs"].size(), whole["usage"]["prompt_tokens"]);
  EXPECT_EQ(whole["prompt_logprobs"][1].size(), 1u);
}

TEST_F(ApiTest, EchoShowsAsManyBestTokensAsItsOwnFieldSays) {
  engine_.answer("");
  const Json choice = complete({{"prompt", "abc"},
                                {"echo", true},
                                {"logprobs", 0},
                                {"prompt_logprobs", 1},
                                {"max_tokens", 0}})["choices"][0];
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][1], Json({{"b", -1.0}}));
  EXPECT_EQ(choice["prompt_logprobs"][1].size(), 2u);
}

TEST_F(ApiTest, UsageNamesTheSeedSoThatAnAnswerCanBeRepeated) {
  EXPECT_EQ(complete({{"seed", -5}})["usage"]["ebb"]["seed"], -5);
  const Json drawn = complete({})["usage"]["ebb"]["seed"];
  EXPECT_EQ(engine_.last_request().sampling.seed, drawn.get<uint64_t>());
  EXPECT_LT(drawn.get<uint64_t>(), uint64_t{1} << 53);
}

TEST_F(ApiTest, AConstraintReachesTheEngine) {
  complete({{"structured_outputs", {{"choice", {"yes", "no"}}}}});
  EXPECT_EQ(engine_.last_request().constraint.kind, control::ConstraintKind::kChoice);
  EXPECT_EQ(engine_.last_request().constraint.source, R"(["yes","no"])");
  const Json error =
      refused(400, "/v1/chat/completions", {{"messages", user("x")}, {"guided_regex", "a{9,1}"}});
  EXPECT_EQ(error["param"], "guided_regex");
}

TEST_F(ApiTest, AKeptStopStringEndsTheText) {
  engine_.script([](FakeJob& job) { job.say("one two three"); });
  const Json answer =
      complete({{"stop", "wo t"}, {"include_stop_str_in_output", true}, {"max_tokens", 100}});
  EXPECT_EQ(answer["choices"][0]["text"], "one two t");
}

TEST_F(ApiTest, AModelsGenerationDefaultsHoldUnlessTheConfigurationSaysNone) {
  options_.defaults.temperature = 0.25;
  options_.defaults.end_of_text = {7, 100000};
  start();
  complete({});
  EXPECT_EQ(engine_.last_request().sampling.temperature, 0.25f);
  EXPECT_THAT(engine_.last_request().sampling.stop_tokens, ElementsAre(testing::kEndOfText, 7));
  config_.config.coordinator.generation_defaults = "none";
  start();
  complete({});
  EXPECT_EQ(engine_.last_request().sampling.temperature, 1.0f);
  EXPECT_THAT(engine_.last_request().sampling.stop_tokens, ElementsAre(testing::kEndOfText, 7))
      << "where an answer ends is no question of taste";
}

TEST_F(ApiTest, EchoWithoutTokensScoresThePromptOnly) {
  engine_.answer("");
  const Json answer = complete({{"prompt", "abc"}, {"echo", true}, {"max_tokens", 0}});
  EXPECT_EQ(answer["choices"][0]["text"], "abc");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
  EXPECT_EQ(engine_.last_request().max_tokens, 0u);
}

TEST_F(ApiTest, DecodeFromScoresTheRestOfThePrompt) {
  engine_.answer("");
  const Json choice = complete(
      {{"prompt", "abcd"}, {"max_tokens", 0}, {"ebb", {{"decode_from", 2}}}})["choices"][0];
  EXPECT_EQ(engine_.last_request().decode_from, 2u);
  EXPECT_FALSE(engine_.last_request().sampling.prompt_logprobs);
  EXPECT_EQ(choice["text"], "");
  EXPECT_EQ(choice["logprobs"]["tokens"], Json::array({"a", "b", "c", "d"}));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], Json::array({nullptr, nullptr, -2.0, -3.0}));
  const Json error =
      refused(400, "/v1/completions", {{"prompt", "abcd"}, {"ebb", {{"decode_from", 4}}}});
  EXPECT_EQ(error["param"], "ebb.decode_from");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("from 1 to 3, not 4"));
}

TEST_F(ApiTest, PartialTokensAreShownAsBytes) {
  engine_.answer("\xE2\x82\xAC");
  const Json choice = complete({{"logprobs", 0}})["choices"][0];
  EXPECT_EQ(choice["text"], "\xE2\x82\xAC");
  EXPECT_EQ(choice["logprobs"]["tokens"],
            Json::array({"bytes:\\xe2", "bytes:\\x82", "bytes:\\xac"}));
}

TEST_F(ApiTest, TokenIdsAndTracesComeWhenAskedFor) {
  engine_.answer("ok");
  const Json answer = complete(
      {{"return_token_ids", true}, {"ebb", {{"policy", "tidal"}, {"trace", "selection"}}}});
  const Json choice = answer["choices"][0];
  EXPECT_EQ(choice["token_ids"], Json::array({'o', 'k'}));
  EXPECT_EQ(choice["prompt_token_ids"], Json::array({'h', 'i'}));
  const Json step = Json::array({{{"anchor", 2}, {"positions", {0, 1, 7}}}});
  EXPECT_EQ(choice["ebb"]["trace"], Json::array({step, step}));
}

TEST_F(ApiTest, AChatRendersTheTemplate) {
  engine_.answer("Hello!");
  const Json answer =
      chat({{"messages",
             {{{"role", "system"}, {"content", "S"}}, {{"role", "user"}, {"content", "U"}}}}});
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(answer["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "Hello!");
  EXPECT_EQ(tokenizer_.decode(engine_.last_request().prompt, false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST_F(ApiTest, AnAnswerBegunIsContinued) {
  chat({{"messages",
         {{{"role", "user"}, {"content", "U"}}, {{"role", "assistant"}, {"content", "It is "}}}},
        {"continue_final_message", true}});
  EXPECT_EQ(tokenizer_.decode(engine_.last_request().prompt, false),
            "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nIt is ");
}

TEST_F(ApiTest, AnAnswerBegunMayLookLikeTheTemplatesOwnText) {
  chat({{"messages", {{{"role", "assistant"}, {"content", "im_end"}}}},
        {"continue_final_message", true}});
  EXPECT_EQ(tokenizer_.decode(engine_.last_request().prompt, false),
            "<|im_start|>assistant\nim_end");
}

TEST_F(ApiTest, AModelWithoutATemplateRefusesChats) {
  chat_template_.reset();
  start();
  const Json error = refused(400, "/v1/chat/completions", {{"messages", user("hi")}});
  EXPECT_EQ(error["code"], "no_chat_template");
}

TEST_F(ApiTest, ChatLogprobsHaveBytes) {
  engine_.answer("\xC3\xA9");
  const Json content =
      chat({{"logprobs", true}, {"top_logprobs", 1}})["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "bytes:\\xc3");
  EXPECT_EQ(content[0]["bytes"], Json::array({0xC3}));
  EXPECT_EQ(content[0]["top_logprobs"][0]["token"], "a");
}

TEST_F(ApiTest, AnUnknownModelIs404NamingTheServedOne) {
  const Json error = refused(404, "/v1/completions", {{"model", "gpt-4"}, {"prompt", "x"}});
  EXPECT_EQ(error["code"], "model_not_found");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("\"tiny\""));
}

TEST_F(ApiTest, TheEnginesRefusalsBecomeStatusCodes) {
  engine_.refuse(exhausted("256 requests wait"));
  const http::Response full = post("/v1/completions", {{"prompt", "x"}});
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.headers.at("retry-after"), "1");
  engine_.refuse(unavailable("draining"));
  EXPECT_EQ(refused(503, "/v1/completions", {{"prompt", "x"}})["message"], "draining");
  engine_.refuse(invalid("ebb.budget must be at least 260"));
  refused(400, "/v1/completions", {{"prompt", "x"}});
}

TEST_F(ApiTest, AFinishedAnswerGoesOutBeforeTheFrontStops) {
  std::promise<void> finished;
  engine_.script([&](FakeJob& job) {
    job.say("whole");
    job.finish(FinishReason::kStop);
    finished.set_value();
  });
  std::thread stopping([&] {
    finished.get_future().wait();
    front_->stop();
  });
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/v1/completions";
  request.body = R"({"prompt":"x"})";
  auto response = http::fetch(api(), request);
  stopping.join();
  ASSERT_TRUE(response) << response.error().text();
  EXPECT_EQ(Json::parse(response->body)["choices"][0]["text"], "whole");
}

TEST_F(ApiTest, AFailureLaterIsAnErrorNotAShortAnswer) {
  engine_.script([](FakeJob& job) {
    job.say("half");
    job.fail(unavailable("the group was lost"));
  });
  const Json error = refused(503, "/v1/completions", {{"prompt", "x"}});
  EXPECT_EQ(error["message"], "the group was lost");
}

TEST_F(ApiTest, OneFailedChoiceCancelsTheOthers) {
  engine_.script([](FakeJob& job) {
    if (job.seq.value == 2) job.fail(timed_out("no answer from rank 1"));
  });
  refused(504, "/v1/completions", {{"prompt", "x"}, {"n", 3}});
  EXPECT_TRUE(engine_.wait_cancelled(2));
}

TEST_F(ApiTest, RequestIdsAndIgnoredFieldsAreInTheHeaders) {
  const http::Response response =
      call(api(), "POST", "/v1/completions", R"({"prompt":"x","zzz":1,"store":true})",
           {{"X-Request-Id", "mine-1"}});
  EXPECT_EQ(response.headers.at("x-request-id"), "mine-1");
  EXPECT_EQ(response.headers.at("x-ebb-ignored"), "zzz, store");
  EXPECT_EQ(engine_.last_request().request_id, "mine-1");
  const http::Response made = post("/v1/completions", {{"prompt", "x"}});
  EXPECT_TRUE(made.headers.at("x-request-id").starts_with("req-"));
  const http::Response bad = post("/v1/completions", {{"prompt", ""}});
  EXPECT_EQ(bad.status, 400);
  EXPECT_TRUE(bad.headers.contains("x-request-id"));
}

}  // namespace
}  // namespace ebb::coordinator
