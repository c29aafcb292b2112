#include "coordinator/openai_request.h"

#include "coordinator/json_fields.h"
#include "coordinator/openai_chat.h"
#include "coordinator/openai_sampling.h"
#include "coordinator/openai_unsupported.h"
#include "coordinator/policy_fields.h"
#include "coordinator/structured_output.h"

namespace ebb::coordinator {
namespace {

void read_prompt_list(FieldReader& fields, JsonNode list, const ApiLimits& limits,
                      std::vector<Prompt>& prompts) {
  if (list.size() > kPromptsMax) {
    return fields.fail("prompt", "must hold at most " + std::to_string(kPromptsMax) +
                                     " prompts, not " + std::to_string(list.size()));
  }
  const JsonKind kind = list.at(0).kind();
  for (size_t i = 0; i < list.size() && !fields.failed(); ++i) {
    const JsonNode item = list.at(i);
    const std::string path = "prompt[" + std::to_string(i) + "]";
    if (item.kind() != kind || (kind != JsonKind::kString && kind != JsonKind::kArray)) {
      return fields.fail(path, std::string("must be a string or a list of token ids like the "
                                           "other prompts, not ") +
                                   json_kind_name(item.kind()));
    }
    const bool empty = kind == JsonKind::kString ? item.text().empty() : item.size() == 0;
    if (empty) return fields.fail(path, "is empty: a prompt needs at least one token");
    if (kind == JsonKind::kString) {
      prompts.emplace_back(item.text());
    } else {
      prompts.emplace_back(read_token_ids(fields, path, item, limits.vocabulary));
    }
  }
}

void read_prompts(FieldReader& fields, const ApiLimits& limits, OpenAiRequest& request) {
  const auto prompt = fields.take("prompt");
  if (fields.failed()) return;
  if (!prompt) return fields.fail("prompt", "is missing");
  const bool list = prompt->kind() == JsonKind::kArray;
  if (!list && prompt->kind() != JsonKind::kString) {
    return fields.fail("prompt", std::string("must be a string, a list of strings, a list of "
                                             "token ids or a list of such lists, not ") +
                                     json_kind_name(prompt->kind()));
  }
  const bool empty = list ? prompt->size() == 0 : prompt->text().empty();
  if (empty) return fields.fail("prompt", "is empty: a prompt needs at least one token");
  if (!list) {
    request.prompts.emplace_back(prompt->text());
  } else if (const JsonKind first = prompt->at(0).kind();
             first == JsonKind::kInteger || first == JsonKind::kReal) {
    request.prompts.emplace_back(read_token_ids(fields, "prompt", *prompt, limits.vocabulary));
  } else {
    read_prompt_list(fields, *prompt, limits, request.prompts);
  }
}

void read_max_tokens(FieldReader& fields, OpenAiRequest& request) {
  const auto old_name = fields.u32("max_tokens", 0, kTokensMax);
  const auto new_name = fields.u32("max_completion_tokens", 0, kTokensMax);
  if (old_name && new_name && *old_name != *new_name) {
    return fields.fail("max_completion_tokens", "and max_tokens differ: give one of them");
  }
  request.max_tokens = new_name ? new_name : old_name;
}

void read_stream_options(FieldReader& fields, std::optional<ApiError>& error,
                         OpenAiRequest& request) {
  request.stream = fields.boolean("stream").value_or(false);
  const auto options = fields.take("stream_options");
  if (!options) return;
  if (options->kind() != JsonKind::kObject) {
    return fields.fail("stream_options", "must be an object");
  }
  if (!request.stream) return fields.fail("stream_options", "needs stream: true");
  FieldReader inner(*options, "stream_options.", error);
  request.include_usage = inner.boolean("include_usage").value_or(false);
  for (const std::string& name : inner.untaken()) request.ignored.push_back(inner.path(name));
}

void read_ebb(FieldReader& outer, std::optional<ApiError>& error, OpenAiRequest& request) {
  const auto node = outer.take("ebb");
  if (!node) return;
  if (node->kind() != JsonKind::kObject) return outer.fail("ebb", "must be an object");
  FieldReader fields(*node, "ebb.", error);
  read_policy(fields, request.ebb);
  request.ebb.decode_from = fields.u32("decode_from", 1, kTokensMax);
  if (request.ebb.decode_from && request.endpoint == Endpoint::kChat) {
    fields.fail("decode_from",
                "is for /v1/completions only: its answer has log-probabilities "
                "of prompt tokens");
  }
  if (const auto trace = fields.text("trace", 64)) {
    if (*trace != "selection")
      fields.fail("trace", "must be \"selection\", not \"" + *trace + "\"");
    request.ebb.trace_selection = true;
  }
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) {
    const auto value = static_cast<uint64_t>(*seed);
    if (request.seeded && request.sampling.seed != value) {
      fields.fail("seed", "and seed differ: give one of them");
    }
    request.sampling.seed = value;
    request.seeded = true;
  }
  for (const std::string& name : fields.untaken()) {
    fields.fail(name,
                "is not known; the nearest known key is ebb." + nearest_name(name, fields.taken()));
  }
}

/// Rules between fields.
void check_together(FieldReader& fields, OpenAiRequest& request) {
  const bool asked = request.sampling.prompt_logprobs;  // by prompt_logprobs
  const bool scores = request.echo || request.ebb.decode_from.has_value() || asked;
  if (request.max_tokens == 0u && !scores) {
    fields.fail("max_tokens",
                "must be at least 1: 0 is for echo, prompt_logprobs and ebb.decode_from");
  }
  if (request.ebb.trace_selection && request.max_tokens.value_or(0) > kTraceStepsMax) {
    fields.fail("ebb.trace", "covers at most " + std::to_string(kTraceStepsMax) +
                                 " steps: max_tokens is " + std::to_string(*request.max_tokens));
  }
  if (request.sampling.min_tokens > request.max_tokens.value_or(kTokensMax)) {
    fields.fail("min_tokens", "must be at most max_tokens, " + std::to_string(*request.max_tokens) +
                                  ", not " + std::to_string(request.sampling.min_tokens));
  }
  if (asked && request.stream) fields.fail("prompt_logprobs", "is not available with stream: true");
  const bool constrained = request.constraint.kind != control::ConstraintKind::kNone;
  if (constrained && request.ignore_eos) {
    fields.fail("ignore_eos", "cannot be met: structured output ends where its grammar ends");
  }
  // With nothing to generate, scoring the prompt is the only work there is.
  request.sampling.prompt_logprobs |=
      request.echo &&
      (request.sampling.logprobs >= 0 || (request.max_tokens == 0u && !request.ebb.decode_from));
  if (request.ebb.decode_from && request.sampling.logprobs < 0) request.sampling.logprobs = 0;
}

}  // namespace

std::optional<ApiError> parse_openai_request(std::string_view body, Endpoint endpoint,
                                             const ApiLimits& limits, OpenAiRequest& request) {
  auto document = JsonDocument::parse(body);
  if (!document) return bad_field("", "request body " + document.error().message);
  const JsonNode root = document->root();
  if (root.kind() != JsonKind::kObject) {
    return bad_field(
        "", std::string("request body must be a JSON object, not ") + json_kind_name(root.kind()));
  }
  std::optional<ApiError> error;
  FieldReader fields(root, "", error);
  request.endpoint = endpoint;
  request.model = fields.text("model", 1024).value_or("");
  if (endpoint == Endpoint::kCompletions) {
    read_prompts(fields, limits, request);
    request.echo = fields.boolean("echo").value_or(false);
  } else {
    read_chat(fields, error, request);
  }
  request.n = fields.u32("n", 1, kChoicesMax).value_or(1);
  read_max_tokens(fields, request);
  read_sampling(fields, limits, request);
  read_stop(fields, limits, request);
  read_logprobs(fields, request);
  read_structured_output(fields, error, request);
  read_stream_options(fields, error, request);
  request.return_token_ids = fields.boolean("return_token_ids").value_or(false);
  fields.take("user");  // names the caller's end user; changes nothing
  read_ebb(fields, error, request);
  if (endpoint == Endpoint::kCompletions) refuse_chat_fields(fields);
  refuse_unsupported(fields, request.n);
  check_together(fields, request);
  if (error) return error;
  for (const std::string& name : fields.untaken()) request.ignored.push_back(name);
  return {};
}

}  // namespace ebb::coordinator
