// Fields that say how tokens are chosen and what form an answer has: ranges, defaults, refusals.
#include "coordinator/openai_sampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/grammar/json_tree.h"

namespace ebb::coordinator {
namespace {

using control::ConstraintKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Outcome {
  OpenAiRequest request;
  std::optional<ApiError> error;
};
Outcome parse(const std::string& fields, Endpoint endpoint = Endpoint::kCompletions,
              const models::GenerationDefaults* defaults = nullptr) {
  const std::string begin = endpoint == Endpoint::kChat
                                ? R"({"messages":[{"role":"user","content":"hi"}],)"
                                : R"({"prompt":"hi",)";
  Outcome outcome;
  const ApiLimits limits{2048, 1000, defaults};
  outcome.error = parse_openai_request(begin + fields + "}", endpoint, limits, outcome.request);
  return outcome;
}
OpenAiRequest good(const std::string& fields, Endpoint endpoint = Endpoint::kCompletions) {
  const Outcome outcome = parse(fields, endpoint);
  EXPECT_FALSE(outcome.error) << fields << ": " << outcome.error->message;
  return outcome.request;
}

struct Bad {
  std::string fields, param, message;
};
void expect_bad(const std::vector<Bad>& table) {
  for (const Bad& bad : table) {
    const Outcome outcome = parse(bad.fields);
    ASSERT_TRUE(outcome.error) << bad.fields;
    EXPECT_EQ(outcome.error->status, 400) << bad.fields;
    EXPECT_EQ(outcome.error->param, bad.param) << bad.fields << "\n" << outcome.error->message;
    EXPECT_THAT(outcome.error->message, HasSubstr(bad.message)) << bad.fields;
  }
}

TEST(OpenAiSampling, EveryFieldArrives) {
  const OpenAiRequest request =
      good(R"("min_p":0.05,"typical_p":0.9,"repetition_penalty":1.1,"presence_penalty":-0.5,)"
           R"("frequency_penalty":2,"logit_bias":{"5":-100,"999":2.5},"min_tokens":3,)"
           R"("include_stop_str_in_output":true,"prompt_logprobs":4,"ignore_eos":true)");
  const control::SamplingParams& sampling = request.sampling;
  EXPECT_EQ(sampling.min_p, 0.05f);
  EXPECT_EQ(sampling.typical_p, 0.9f);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(sampling.presence_penalty, -0.5f);
  EXPECT_EQ(sampling.frequency_penalty, 2.0f);
  EXPECT_THAT(sampling.logit_bias,
              ElementsAre(control::TokenBias{5, -100}, control::TokenBias{999, 2.5f}));
  EXPECT_EQ(sampling.min_tokens, 3u);
  EXPECT_TRUE(request.include_stop && request.ignore_eos);
  EXPECT_EQ(request.prompt_logprobs, 4u);
  EXPECT_TRUE(sampling.prompt_logprobs);
  EXPECT_EQ(sampling.prompt_top, 4u);
  EXPECT_TRUE(request.ignored.empty());
}

TEST(OpenAiSampling, WhatIsNotSaidChangesNothing) {
  EXPECT_EQ(good(R"("seed":0)").sampling, control::SamplingParams());
}

TEST(OpenAiSampling, ValuesOutOfRangeAreRefused) {
  expect_bad({{R"("min_p":1.5)", "min_p", "from 0 to 1"},
              {R"("typical_p":0)", "typical_p", "over 0"},
              {R"("repetition_penalty":0)", "repetition_penalty", "over 0 and at most 10"},
              {R"("repetition_penalty":11)", "repetition_penalty", "from 0 to 10"},
              {R"("presence_penalty":2.1)", "presence_penalty", "from -2 to 2"},
              {R"("frequency_penalty":"1")", "frequency_penalty", "not a string"},
              {R"("logit_bias":[1])", "logit_bias", "must be an object"},
              {R"("logit_bias":{"1000":1})", "logit_bias.1000", "from 0 to 999"},
              {R"("logit_bias":{"-1":1})", "logit_bias.-1", "from 0 to 999"},
              {R"("logit_bias":{"x":1})", "logit_bias.x", "from 0 to 999"},
              {R"("logit_bias":{"5 ":1})", "logit_bias.5 ", "from 0 to 999"},
              {R"("logit_bias":{"5":101})", "logit_bias.5", "from -100 to 100"},
              {R"("logit_bias":{"5":"1"})", "logit_bias.5", "from -100 to 100"},
              {R"("logit_bias":{"5":1,"05":2})", "logit_bias", "token 5 twice"},
              {R"("min_tokens":-1)", "min_tokens", "from 0"},
              {R"("min_tokens":9,"max_tokens":8)", "min_tokens", "at most max_tokens, 8, not 9"},
              {R"("include_stop_str_in_output":1)", "include_stop_str_in_output", "true or false"},
              {R"("prompt_logprobs":21)", "prompt_logprobs", "from 0 to 20"},
              {R"("prompt_logprobs":1,"stream":true)", "prompt_logprobs", "with stream"}});
  std::string many = "\"logit_bias\":{\"0\":1";
  for (int i = 1; i < 1025; ++i) many += ",\"" + std::to_string(i) + "\":1";
  expect_bad({{many + "}", "logit_bias", "at most 1024"}});
}

TEST(OpenAiSampling, AModelsDefaultsHoldForWhatTheRequestDoesNotSay) {
  models::GenerationDefaults defaults;
  defaults.temperature = 0.6;
  defaults.top_k = 20;
  defaults.top_p = 0.95;
  defaults.min_p = 0.01;
  defaults.repetition_penalty = 1.05;
  const auto plain = parse(R"("seed":0)", Endpoint::kChat, &defaults).request.sampling;
  EXPECT_EQ(plain.temperature, 0.6f);
  EXPECT_EQ(plain.top_k, 20u);
  EXPECT_EQ(plain.top_p, 0.95f);
  EXPECT_EQ(plain.min_p, 0.01f);
  EXPECT_EQ(plain.repetition_penalty, 1.05f);
  const auto own = parse(R"("temperature":1,"top_k":-1,"top_p":1,"min_p":0,"repetition_penalty":1)",
                         Endpoint::kChat, &defaults);
  EXPECT_EQ(own.request.sampling, control::SamplingParams());
}

TEST(StructuredOutput, EveryFormBecomesAConstraint) {
  const auto of = [](const std::string& fields) { return good(fields).constraint; };
  EXPECT_EQ(of(R"("response_format":{"type":"text"})").kind, ConstraintKind::kNone);
  EXPECT_EQ(of(R"("response_format":{"type":"json_object"})").kind, ConstraintKind::kJsonObject);
  EXPECT_EQ(of(R"("structured_outputs":{"json_object":true})").kind, ConstraintKind::kJsonObject);
  EXPECT_EQ(of(R"("structured_outputs":{"json_object":false})").kind, ConstraintKind::kNone);
  const control::Constraint regex{ConstraintKind::kRegex, "a+"};
  EXPECT_EQ(of(R"("structured_outputs":{"regex":"a+"})"), regex);
  EXPECT_EQ(of(R"("guided_regex":"a+")"), regex);
  const control::Constraint choice{ConstraintKind::kChoice, R"(["a","b\n"])"};
  EXPECT_EQ(of(R"("structured_outputs":{"choice":["a","b\n"]})"), choice);
  EXPECT_EQ(of(R"("guided_choice":["a","b\n"])"), choice);
  const control::Constraint schema{ConstraintKind::kJsonSchema, R"({"type":"integer"})"};
  EXPECT_EQ(of(R"("response_format":{"type":"json_schema","json_schema":{"name":"n",)"
               R"("strict":true,"description":"d","schema":{"type":"integer"}}})"),
            schema);
  EXPECT_EQ(of(R"("structured_outputs":{"json":{"type":"integer"}})"), schema);
  EXPECT_EQ(of(R"("structured_outputs":{"json":"{\"type\":\"integer\"}"})"), schema);
  EXPECT_EQ(of(R"("guided_json":{"type":"integer"})"), schema);
}

TEST(StructuredOutput, ASchemaKeepsItsOrderAndItsNumbers) {
  const std::string schema =
      R"({"properties":{"z":{"enum":[1.5,-3,1e+30,"\u0001é",null,true]},"a":{"const":0.1}}})";
  const auto request = good("\"guided_json\":" + schema);
  const auto again = models::grammar::parse_json_tree(request.constraint.source);
  ASSERT_TRUE(again) << request.constraint.source;
  EXPECT_EQ(models::grammar::json_text(*again), request.constraint.source);
  EXPECT_THAT(request.constraint.source, HasSubstr(R"("z":{"enum":[1.5,-3,1e+30,"\u0001é",null)"));
  EXPECT_THAT(request.constraint.source, HasSubstr(R"(},"a":{"const":0.1}})"));
}

TEST(StructuredOutput, WhatCannotBeMetIsRefusedWithItsPath) {
  expect_bad(
      {{R"("response_format":"json")", "response_format", "must be an object"},
       {R"("response_format":{})", "response_format.type", "one of text, json_object"},
       {R"("response_format":{"type":"xml"})", "response_format.type", "not \"xml\""},
       {R"("response_format":{"type":"json_schema"})", "response_format.json_schema", "object"},
       {R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})",
        "response_format.json_schema.schema", "is missing"},
       {R"("response_format":{"type":"json_schema","json_schema":{"name":5,"schema":{}}})",
        "response_format.json_schema.name", "must be a string"},
       {R"("response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object",)"
        R"("properties":{"a":{"multipleOf":2}}}}})",
        "response_format.json_schema.schema",
        "response_format.json_schema.schema at properties.a.multipleOf: is not supported"},
       {R"("response_format":{"type":"json_schema","json_schema":{"schema":5}})",
        "response_format.json_schema.schema", "must be a schema"},
       {R"("structured_outputs":{"json":{"not":{}}})", "structured_outputs.json", "at not: is not"},
       {R"("structured_outputs":{"json":"{"})", "structured_outputs.json", "is not JSON at byte"},
       {R"("structured_outputs":{"regex":"(a"})", "structured_outputs.regex",
        "structured_outputs.regex at byte 2: missing )"},
       {R"("structured_outputs":{"regex":5})", "structured_outputs.regex", "must be a string"},
       {R"("structured_outputs":{"choice":[]})", "structured_outputs.choice", "1 to 1024 strings"},
       {R"("structured_outputs":{"choice":"a"})", "structured_outputs.choice", "must be a list"},
       {R"("structured_outputs":{"grammar":"root ::= x"})", "structured_outputs.grammar",
        "known are json, json_object, regex and choice"},
       {R"("structured_outputs":5)", "structured_outputs", "must be an object"},
       {R"("structured_outputs":{"regex":"a","choice":["b"]})", "structured_outputs.choice",
        "one demand too many"},
       {R"("response_format":{"type":"json_object"},"guided_regex":"a")", "guided_regex",
        "one demand too many"},
       {R"("guided_grammar":"x")", "guided_grammar", "not supported"},
       {R"("guided_regex":"a","ignore_eos":true)", "ignore_eos", "cannot be met"}});
}

TEST(StructuredOutput, UnknownMembersOfAFormatAreNamedNotRefused) {
  const auto request = good(R"("response_format":{"type":"json_object","x":1})");
  EXPECT_THAT(request.ignored, ElementsAre("response_format.x"));
}

}  // namespace
}  // namespace ebb::coordinator
