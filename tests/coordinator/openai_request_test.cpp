// Every bad value gets an error that names its field and the limit; every good one arrives.
#include "coordinator/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ApiLimits kLimits{2048, 1000};

struct Outcome {
  OpenAiRequest request;
  std::optional<ApiError> error;
};
Outcome completions(const std::string& body) {
  Outcome outcome;
  outcome.error = parse_openai_request(body, Endpoint::kCompletions, kLimits, outcome.request);
  return outcome;
}
Outcome chat(const std::string& body) {
  Outcome outcome;
  outcome.error = parse_openai_request(body, Endpoint::kChat, kLimits, outcome.request);
  return outcome;
}
/// A completions body with these fields more.
std::string with(const std::string& fields) { return R"({"prompt":"hi",)" + fields + "}"; }
std::string chat_with(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"hi"}],)" + fields + "}";
}

struct Bad {
  std::string body;
  std::string param;
  std::string message;  ///< a part of it
};
void expect_bad(const std::vector<Bad>& table, Outcome (*parse)(const std::string&)) {
  for (const Bad& bad : table) {
    const Outcome outcome = parse(bad.body);
    ASSERT_TRUE(outcome.error) << bad.body;
    EXPECT_EQ(outcome.error->status, 400) << bad.body;
    EXPECT_EQ(outcome.error->param, bad.param) << bad.body << "\n" << outcome.error->message;
    EXPECT_THAT(outcome.error->message, HasSubstr(bad.message)) << bad.body;
  }
}

TEST(OpenAiRequest, BadBodiesAreRefusedWithThePosition) {
  expect_bad({{"", "", "empty"},
              {"{", "", "line 1, column 2"},
              {"{\"prompt\":\"a\"\n,}", "", "line 2"},
              {"[1]", "", "must be a JSON object, not an array"},
              {"\"text\"", "", "not a string"},
              {"{\"prompt\":\"a\"} x", "", "column 16"},
              {"{\"prompt\":\"\xC3\"}", "", "not valid UTF-8 at byte 11"},
              {"{\"prompt\":\"\\ud800\"}", "", "not JSON"},
              {"{\"prompt\":1e999}", "", "not JSON"},
              {std::string(100000, '['), "", "deeper than 64 levels at byte 64"},
              {"[" + std::string(5 << 20, ',') + "]", "", "more than 4194304 values"}},
             completions);
}

TEST(OpenAiRequest, BadPromptsAreRefused) {
  expect_bad({{"{}", "prompt", "is missing"},
              {R"({"prompt":null})", "prompt", "is missing"},
              {R"({"prompt":""})", "prompt", "is empty"},
              {R"({"prompt":[]})", "prompt", "is empty"},
              {R"({"prompt":7})", "prompt", "not an integer"},
              {R"({"prompt":[[]]})", "prompt[0]", "is empty"},
              {R"({"prompt":["a",""]})", "prompt[1]", "is empty"},
              {R"({"prompt":["a",1]})", "prompt[1]", "not an integer"},
              {R"({"prompt":[1,"a"]})", "prompt[1]", "must be a token id"},
              {R"({"prompt":[{}]})", "prompt[0]", "not an object"},
              {R"({"prompt":[1,1000]})", "prompt[1]", "from 0 to 999, not 1000"},
              {R"({"prompt":[-1]})", "prompt[0]", "from 0 to 999, not -1"},
              {R"({"prompt":[1.5]})", "prompt[0]", "not a number"},
              {R"({"prompt":[[1],[5,9999999999]]})", "prompt[1][1]", "from 0 to 999"},
              {R"({"prompt":[99999999999999999999]})", "prompt[0]", "not 1e+20"}},
             completions);
  std::string many = "{\"prompt\":[\"a\"";
  for (int i = 0; i < 64; ++i) many += ",\"a\"";
  expect_bad({{many + "]}", "prompt", "at most 64 prompts, not 65"}}, completions);
}

TEST(OpenAiRequest, BadNumbersAreRefusedWithTheirRange) {
  expect_bad(
      {{with(R"("max_tokens":-5)"), "max_tokens", "from 0 to 16777216, not -5"},
       {with(R"("max_tokens":1.5)"), "max_tokens", "must be an integer"},
       {with(R"("max_tokens":"7")"), "max_tokens", "not a string"},
       {with(R"("max_tokens":0)"), "max_tokens", "at least 1"},
       {with(R"("max_tokens":99999999999999999999)"), "max_tokens", "must be an integer"},
       {with(R"("max_tokens":3,"max_completion_tokens":4)"), "max_completion_tokens", "differ"},
       {with(R"("n":0)"), "n", "from 1 to 8, not 0"},
       {with(R"("n":9)"), "n", "from 1 to 8, not 9"},
       {with(R"("temperature":-0.1)"), "temperature", "from 0 to 2, not -0.1"},
       {with(R"("temperature":2.5)"), "temperature", "from 0 to 2, not 2.5"},
       {with(R"("temperature":true)"), "temperature", "not a boolean"},
       {with(R"("top_p":0)"), "top_p", "over 0 and at most 1"},
       {with(R"("top_p":1.01)"), "top_p", "from 0 to 1"},
       {with(R"("top_k":-2)"), "top_k", "from -1"},
       {with(R"("seed":1.5)"), "seed", "must be an integer"},
       {with(R"("logprobs":21)"), "logprobs", "from 0 to 20, not 21"},
       {with(R"("logprobs":true)"), "logprobs", "not a boolean"},
       {with(R"("echo":"yes")"), "echo", "must be true or false"},
       {with(R"("stream":1)"), "stream", "must be true or false"},
       {with(R"("stream_options":{"include_usage":true})"), "stream_options", "needs stream"},
       {with(R"("stream":true,"stream_options":{"include_usage":1})"),
        "stream_options.include_usage", "true or false"},
       {with(R"("model":5)"), "model", "must be a string"},
       {with(R"("stop_token_ids":[1000])"), "stop_token_ids[0]", "from 0 to 999"}},
      completions);
}

TEST(OpenAiRequest, BadStopStringsAreRefused) {
  std::string many = "\"stop\":[\"a\"";
  for (int i = 0; i < 16; ++i) many += ",\"a\"";
  expect_bad({{with(R"("stop":"")"), "stop", "1 to 256 bytes, not 0"},
              {with(R"("stop":[1])"), "stop", "not an integer"},
              {with(R"("stop":{})"), "stop", "not an object"},
              {with(many + "]"), "stop", "at most 16 strings, not 17"},
              {with("\"stop\":\"" + std::string(257, 'x') + "\""), "stop", "not 257"}},
             completions);
}

TEST(OpenAiRequest, FieldsThatWouldChangeTheAnswerAreRefusedByName) {
  expect_bad({{with(R"("best_of":3)"), "best_of", "only the value of n (1)"},
              {with(R"("suffix":"end")"), "suffix", "not supported"},
              {with(R"("tools":[{"type":"function"}])"), "tools", "not supported"},
              {with(R"("chat_template":"tool_use")"), "chat_template", "not supported"},
              {with(R"("tool_choice":"required")"), "tool_choice", "no tools"},
              {with(R"("modalities":["audio"])"), "modalities", "not supported"}},
             completions);
  const Outcome neutral = completions(
      with(R"("presence_penalty":0,"logit_bias":{},"tools":[],"n":2,"best_of":2,"suffix":null,)"
           R"("response_format":{"type":"text"},"tool_choice":"none","modalities":["text"])"));
  EXPECT_FALSE(neutral.error) << neutral.error->message;
  EXPECT_TRUE(neutral.request.ignored.empty());
}

TEST(OpenAiRequest, TheExtensionObjectIsStrict) {
  expect_bad(
      {{with(R"("ebb":5)"), "ebb", "must be an object"},
       {with(R"("ebb":{"polcy":"dense"})"), "ebb.polcy", "nearest known key is ebb.policy"},
       {with(R"("ebb":{"policy":"magic"})"), "ebb.policy", "one of dense, tidal"},
       {with(R"("ebb":{"policy":"magic"})"), "ebb.policy", "streaming, recycled"},
       {with(R"("ebb":{"scope":"head"})"), "ebb.scope", "one of layer, kv_head, query_head"},
       {with(R"("ebb":{"variant":"fast"})"), "ebb.variant", "calibrated, faithful, lessismore"},
       {with(R"("ebb":{"select_layers":[]})"), "ebb.select_layers", "1 to 1024 layers"},
       {with(R"("ebb":{"select_layers":[4,2]})"), "ebb.select_layers", "above the one before"},
       {with(R"("ebb":{"select_layers":[-1]})"), "ebb.select_layers", "list"},
       {with(R"("ebb":{"select_layers":2})"), "ebb.select_layers", "list"},
       {with(R"("ebb":{"correct_every":0})"), "ebb.correct_every", "from 1 to 65536"},
       {with(R"("ebb":{"stride":70000})"), "ebb.stride", "from 1 to 65536"},
       {with(R"("ebb":{"check_every":0})"), "ebb.check_every", "from 1"},
       {with(R"("ebb":{"similarity":3})"), "ebb.similarity", "-2 to 2"},
       {with(R"("ebb":{"pool":4})"), "ebb.pool", "must be odd"},
       {with(R"("ebb":{"pool":65})"), "ebb.pool", "to 63"},
       {with(R"("ebb":{"refresh":"late"})"), "ebb.refresh", "full, score_only, none"},
       {with(R"("ebb":{"check_query":"raw"})"), "ebb.check_query", "pre_rope, post_rope"},
       {with(R"("ebb":{"self_candidate":1})"), "ebb.self_candidate", "true or false"},
       {with(R"("ebb":{"budget":0})"), "ebb.budget", "from 1"},
       {with(R"("ebb":{"budget":10,"sinks":4,"window":7})"), "ebb.budget", "sinks + window = 11"},
       {with(R"("ebb":{"decode_from":0})"), "ebb.decode_from", "from 1"},
       {with(R"("ebb":{"trace":"all"})"), "ebb.trace", "must be \"selection\""},
       {with(R"("max_tokens":257,"ebb":{"trace":"selection"})"), "ebb.trace", "at most 256"},
       {with(R"("seed":1,"ebb":{"seed":2})"), "ebb.seed", "differ"}},
      completions);
  expect_bad({{chat_with(R"("ebb":{"decode_from":1})"), "ebb.decode_from", "completions only"}},
             chat);
}

TEST(OpenAiRequest, ReadsTheParametersOfEveryPolicy) {
  const Outcome good = completions(
      with(R"("ebb":{"policy":"recycled","variant":"faithful","scope":"kv_head",)"
           R"("select_layers":[2,12],"correct_every":64,"stride":5,"check_every":7,)"
           R"("similarity":-0.5,"pool":9,"refresh":"score_only","check_query":"post_rope",)"
           R"("self_candidate":false})"));
  ASSERT_FALSE(good.error) << good.error->message;
  EXPECT_EQ(good.request.ebb.policy, control::PolicyKind::kRecycled);
  const PolicyOptions& o = good.request.ebb.options;
  EXPECT_EQ(o.variant, TidalVariant::kFaithful);
  EXPECT_EQ(o.scope, control::SetScope::kKvHead);
  EXPECT_THAT(*o.select_layers, ElementsAre(2, 12));
  EXPECT_EQ(o.correct_every, 64u);
  EXPECT_EQ(o.stride, 5u);
  EXPECT_EQ(o.check_every, 7u);
  EXPECT_EQ(o.similarity, -0.5);
  EXPECT_EQ(o.pool, 9u);
  EXPECT_EQ(o.refresh, Refresh::kScoreOnly);
  EXPECT_EQ(o.post_rope, true);
  EXPECT_EQ(o.self_candidate, false);
}

TEST(OpenAiRequest, BadMessagesAreRefused) {
  expect_bad(
      {{"{}", "messages", "is missing"},
       {R"({"messages":[]})", "messages", "1 to 4096 messages, not 0"},
       {R"({"messages":"hi"})", "messages", "must be an array"},
       {R"({"messages":["hi"]})", "messages[0]", "must be an object"},
       {R"({"messages":[{"content":"x"}]})", "messages[0].role", "is missing"},
       {R"({"messages":[{"role":"function","content":"x"}]})", "messages[0].role", "one of"},
       {R"({"messages":[{"role":"user"}]})", "messages[0].content", "is missing"},
       {R"({"messages":[{"role":"user","content":5}]})", "messages[0].content", "not an integer"},
       {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
        "messages[0].content[0].type", "text only"},
       {R"({"messages":[{"role":"user","content":[5]}]})", "messages[0].content[0]", "object"},
       {chat_with(R"("continue_final_message":true)"), "continue_final_message",
        "role assistant, not user"},
       {R"({"messages":[{"role":"assistant","content":"a"}],"continue_final_message":true,)"
        R"("add_generation_prompt":true})",
        "continue_final_message", "exclude"},
       {chat_with(R"("top_logprobs":2)"), "top_logprobs", "needs logprobs"},
       {chat_with(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs", "from 0 to 20"},
       {chat_with(R"("logprobs":3)"), "logprobs", "true or false"}},
      chat);
}

TEST(OpenAiRequest, ReadsAllFourKindsOfPrompt) {
  EXPECT_EQ(std::get<std::string>(completions(R"({"prompt":"hi"})").request.prompts.at(0)), "hi");
  EXPECT_EQ(completions(R"({"prompt":["a","b"]})").request.prompts.size(), 2u);
  const auto ids = completions(R"({"prompt":[1,2,3]})").request.prompts;
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_THAT(std::get<std::vector<TokenId>>(ids[0]), ElementsAre(1, 2, 3));
  const auto lists = completions(R"({"prompt":[[1],[2,3]]})").request.prompts;
  ASSERT_EQ(lists.size(), 2u);
  EXPECT_THAT(std::get<std::vector<TokenId>>(lists[1]), ElementsAre(2, 3));
}

TEST(OpenAiRequest, ReadsEveryField) {
  const Outcome good = completions(
      with(R"("model":"m","n":2,"max_tokens":7,"temperature":0,"top_p":0.5,"top_k":40,"seed":-1,)"
           R"("stop":["x","y"],"logprobs":3,"echo":true,"stream":true,"user":"u",)"
           R"("stream_options":{"include_usage":true},"ignore_eos":true,"return_token_ids":true,)"
           R"("ebb":{"policy":"tidal","budget":512,"sinks":4,"window":64,"decode_from":3,)"
           R"("trace":"selection"})"));
  ASSERT_FALSE(good.error) << good.error->message;
  const OpenAiRequest& r = good.request;
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(r.n, 2u);
  EXPECT_EQ(r.max_tokens, 7u);
  EXPECT_EQ(r.sampling.temperature, 0.0f);
  EXPECT_EQ(r.sampling.top_p, 0.5f);
  EXPECT_EQ(r.sampling.top_k, 40u);
  EXPECT_EQ(r.sampling.seed, UINT64_MAX);
  EXPECT_TRUE(r.seeded);
  EXPECT_THAT(r.stop, ElementsAre("x", "y"));
  EXPECT_EQ(r.sampling.logprobs, 3);
  EXPECT_TRUE(r.sampling.prompt_logprobs);
  EXPECT_TRUE(r.echo && r.stream && r.include_usage && r.ignore_eos && r.return_token_ids);
  EXPECT_EQ(r.ebb.policy, control::PolicyKind::kTidal);
  EXPECT_EQ(r.ebb.budget, 512u);
  EXPECT_EQ(r.ebb.decode_from, 3u);
  EXPECT_TRUE(r.ebb.trace_selection);
  EXPECT_TRUE(r.ignored.empty());
}

TEST(OpenAiRequest, NullIsTheSameAsAbsent) {
  const Outcome outcome = completions(
      with(R"("max_tokens":null,"temperature":null,"stop":null,"logprobs":null,"ebb":null)"));
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_FALSE(outcome.request.max_tokens);
  EXPECT_EQ(outcome.request.sampling.temperature, 1.0f);
}

TEST(OpenAiRequest, UnknownFieldsAreNamedNotRefused) {
  const Outcome outcome = completions(with(R"("store":false,"zzz":[1])"));
  ASSERT_FALSE(outcome.error);
  EXPECT_THAT(outcome.request.ignored, ElementsAre("store", "zzz"));
}

TEST(OpenAiRequest, WhatMakesTheTemplatesMessagesIsCheckedByPath) {
  const auto calls = [](const std::string& inner) {
    return R"({"messages":[{"role":"assistant","tool_calls":[)" + inner + "]}]}";
  };
  const std::string at = "messages[0].tool_calls[0]";
  expect_bad(
      {{R"({"messages":[{"role":"user","content":"x","tool_calls":[{}]}]})",
        "messages[0].tool_calls", "role assistant, not user"},
       {R"({"messages":[{"role":"assistant","tool_calls":5}]})", "messages[0].tool_calls", "array"},
       {calls("5"), at, "must be an object"},
       {calls("{}"), at + ".function", "is missing"},
       {calls(R"({"type":"custom"})"), at + ".type", "must be \"function\""},
       {calls(R"({"function":{}})"), at + ".function.name", "is missing"},
       {calls(R"({"function":{"name":"f","arguments":"{"}})"), at + ".function.arguments",
        "not JSON"},
       {calls(R"({"function":{"name":"f","arguments":"[1]"}})"), at + ".function.arguments",
        "must hold a JSON object, not an array"},
       {calls(R"({"function":{"name":"f","arguments":1}})"), at + ".function.arguments",
        "not an integer"},
       {R"({"messages":[{"role":"assistant","content":null,"tool_calls":[]}]})",
        "messages[0].content", "is missing"},
       {R"({"messages":[{"role":"assistant","content":"x","function_call":{}}]})",
        "messages[0].function_call", "use tool_calls"},
       {R"({"messages":[{"role":"user","content":"x","n":99999999999999999999}]})", "messages[0].n",
        "at most 64 bits, not 1e+20"}},
      chat);
}

TEST(OpenAiRequest, BadToolsAndNamesForTheTemplateAreRefused) {
  expect_bad({{chat_with(R"("tools":{})"), "tools", "must be an array"},
              {chat_with(R"("tools":[5])"), "tools[0]", "must be an object"},
              {chat_with(R"("tools":[{"type":"web"}])"), "tools[0].type", "not \"web\""},
              {chat_with(R"("tools":[{"type":"function"}])"), "tools[0].function", "with a name"},
              {chat_with(R"("tools":[{"type":"function","function":{}}])"),
               "tools[0].function.name", "is missing"},
              {chat_with(R"("tool_choice":"required")"), "tool_choice", "\"none\" and \"auto\""},
              {chat_with(R"("tool_choice":{"type":"function"})"), "tool_choice", "not supported"},
              {chat_with(R"("documents":["x"])"), "documents[0]", "must be an object"},
              {chat_with(R"("chat_template_kwargs":[])"), "chat_template_kwargs", "an object"},
              {chat_with(R"("chat_template_kwargs":{"tools":[]})"), "chat_template_kwargs.tools",
               "a field of its own"}},
             chat);
}

TEST(OpenAiRequest, KeepsEverythingOfAMessageInItsOrder) {
  const Outcome outcome =
      chat(R"({"messages":[{"role":"developer","content":[{"type":"text","text":"a"},)"
           R"({"type":"text","text":"b"}],"name":"n","zeta":1,"alpha":null}]})");
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  const models::jinja::Dict& message = *outcome.request.chat.messages.at(0).dict();
  ASSERT_EQ(message.entries.size(), 4u);
  EXPECT_EQ(*message.entries[0].second.string(), "system");
  EXPECT_EQ(message.entries[1].second.list()->size(), 2u);
  EXPECT_EQ(message.entries[2].first, "name");
  EXPECT_EQ(*message.entries[3].second.integer(), 1);
  EXPECT_TRUE(outcome.request.ignored.empty());
}

TEST(OpenAiRequest, ArgumentsOfCallsAreReadFromTheirText) {
  const Outcome outcome =
      chat(R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1",)"
           R"("type":"function","function":{"name":"f","arguments":"{\"z\":1,\"a\":2}"}}]}]})");
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  const auto arguments = [](const models::jinja::List& messages) {
    const models::jinja::Dict& message = *messages.at(0).dict();
    const models::jinja::Dict& call = *message.find("tool_calls")->list()->at(0).dict();
    return *call.find("function")->dict()->find("arguments");
  };
  EXPECT_EQ(outcome.request.chat.messages.at(0).dict()->find("content"), nullptr);
  EXPECT_TRUE(outcome.request.messages_as_given->at(0).dict()->find("content")->is_none());
  const models::jinja::Value object = arguments(outcome.request.chat.messages);
  ASSERT_NE(object.dict(), nullptr);
  EXPECT_EQ(object.dict()->entries.at(0).first, "z");
  ASSERT_TRUE(outcome.request.messages_as_given);
  EXPECT_EQ(*arguments(*outcome.request.messages_as_given).string(), R"({"z":1,"a":2})");
}

TEST(OpenAiRequest, ToolsAreLeftOutWhereNoneShallBeCalled) {
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  EXPECT_NE(chat(chat_with(tools)).request.chat.tools.list(), nullptr);
  EXPECT_NE(chat(chat_with(tools + R"(,"tool_choice":"auto")")).request.chat.tools.list(), nullptr);
  EXPECT_TRUE(chat(chat_with(tools + R"(,"tool_choice":"none")")).request.chat.tools.is_none());
  EXPECT_TRUE(chat(chat_with(R"("tools":[])")).request.chat.tools.is_none());
}

TEST(OpenAiRequest, TheLastValueOfANameThatOccursTwiceCounts) {
  const Outcome outcome =
      chat(R"({"messages":[{"role":"user","content":"a","x":1,"content":"b","x":2,"x":3}],)"
           R"("n":8,"n":2})");
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  const models::jinja::Dict& message = *outcome.request.chat.messages.at(0).dict();
  EXPECT_EQ(*message.entries.at(1).second.string(), "b");
  EXPECT_EQ(*message.entries.at(2).second.integer(), 3);
  EXPECT_EQ(outcome.request.n, 2u);
}

TEST(OpenAiRequest, ZeroTokensAreAllowedWhereThePromptIsTheAnswer) {
  EXPECT_FALSE(completions(with(R"("max_tokens":0,"echo":true)")).error);
  EXPECT_FALSE(completions(with(R"("max_tokens":0,"ebb":{"decode_from":1})")).error);
}

}  // namespace
}  // namespace ebb::coordinator
