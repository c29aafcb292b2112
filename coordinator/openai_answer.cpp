#include "coordinator/openai_answer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace ebb::coordinator {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no infinity; the value that vLLM and OpenAI show for an impossible token.
constexpr double kLeastLogprob = -9999.0;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char* reason_text(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
  }
  return "abort";
}

double shown_logprob(float value) { return std::max<double>(value, kLeastLogprob); }

std::string label(const AnswerShape& shape, TokenId id) {
  return token_label(shape.tokenizer->token_bytes(id));
}

/// Completions: four parallel lists. Unscored tokens (the first, or before decode_from) are null.
Json completion_logprobs(const AnswerShape& shape, const std::vector<ShownToken>& tokens) {
  Json out{{"tokens", Json::array()},
           {"token_logprobs", Json::array()},
           {"top_logprobs", Json::array()},
           {"text_offset", Json::array()}};
  for (const ShownToken& shown : tokens) {
    const std::string text = label(shape, shown.token.token);
    out["tokens"].push_back(text);
    out["text_offset"].push_back(shown.text_offset);
    if (!shown.scored) {
      out["token_logprobs"].push_back(nullptr);
      out["top_logprobs"].push_back(nullptr);
      continue;
    }
    out["token_logprobs"].push_back(shown_logprob(shown.token.logprob));
    Json top = Json::object();
    for (const auto& [id, logprob] : shown.token.top) {
      // Two tokens may look alike; the better one came first.
      top.emplace(label(shape, id), shown_logprob(logprob));
    }
    top.emplace(text, shown_logprob(shown.token.logprob));
    out["top_logprobs"].push_back(std::move(top));
  }
  return out;
}

Json chat_token(const AnswerShape& shape, TokenId id, float logprob) {
  Json bytes = Json::array();
  for (const char c : shape.tokenizer->token_bytes(id)) bytes.push_back(static_cast<uint8_t>(c));
  return Json{{"token", label(shape, id)},
              {"logprob", shown_logprob(logprob)},
              {"bytes", std::move(bytes)}};
}

Json chat_logprobs(const AnswerShape& shape, const std::vector<ShownToken>& tokens) {
  Json content = Json::array();
  for (const ShownToken& shown : tokens) {
    Json item = chat_token(shape, shown.token.token, shown.token.logprob);
    item["top_logprobs"] = Json::array();
    for (const auto& [id, logprob] : shown.token.top) {
      item["top_logprobs"].push_back(chat_token(shape, id, logprob));
    }
    content.push_back(std::move(item));
  }
  return Json{{"content", std::move(content)}, {"refusal", nullptr}};
}

Json logprobs_json(const AnswerShape& shape, const std::vector<ShownToken>& tokens) {
  if (!shape.logprobs) return nullptr;
  return shape.endpoint == Endpoint::kChat ? chat_logprobs(shape, tokens)
                                           : completion_logprobs(shape, tokens);
}

/// As vLLM shows them: null for the first token, then {"id": {"logprob", "rank", "decoded_token"}}
/// with the prompt's own token and the best ones.
Json prompt_logprobs_json(const AnswerShape& shape,
                          const std::vector<control::TokenLogprob>& scores) {
  Json out = Json::array({nullptr});
  const auto entry = [&](TokenId id, float logprob, uint32_t rank) {
    return Json{
        {"logprob", shown_logprob(logprob)}, {"rank", rank}, {"decoded_token", label(shape, id)}};
  };
  for (const control::TokenLogprob& score : scores) {
    Json item{{std::to_string(score.token), entry(score.token, score.logprob, score.rank)}};
    uint32_t rank = 0;
    for (const auto& [id, logprob] : score.top) {
      item.emplace(std::to_string(id), entry(id, logprob, ++rank));
    }
    out.push_back(std::move(item));
  }
  return out;
}

/// One list for each generated token: the anchors of its step and what they chose.
Json trace_json(const std::vector<ShownToken>& tokens) {
  Json steps = Json::array();
  for (const ShownToken& shown : tokens) {
    if (shown.of_prompt) continue;
    Json step = Json::array();
    for (const control::SelectionTrace& anchor : shown.trace) {
      Json set{{"anchor", anchor.anchor}, {"positions", anchor.positions}};
      if (anchor.scope != control::SetScope::kLayer) {
        set["scope"] = control::scope_name(anchor.scope);
        set["head"] = anchor.head;
      }
      step.push_back(std::move(set));
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

Json generated_ids(const std::vector<ShownToken>& tokens) {
  Json ids = Json::array();
  for (const ShownToken& shown : tokens) {
    if (!shown.of_prompt) ids.push_back(shown.token.token);
  }
  return ids;
}

/// What a choice has whole or in chunks: all but the text.
void add_extras(const AnswerShape& shape, const ChoiceAnswer& choice, Json& out) {
  if (shape.token_ids) out["token_ids"] = generated_ids(choice.piece.tokens);
  if (shape.token_ids && choice.prompt != nullptr) out["prompt_token_ids"] = *choice.prompt;
  if (shape.trace) out["ebb"]["trace"] = trace_json(choice.piece.tokens);
}

Json head(const AnswerShape& shape, const char* object) {
  return Json{{"id", shape.id},
              {"object", object},
              {"created", shape.created},
              {"model", shape.model},
              {"system_fingerprint", shape.fingerprint}};
}

Json usage_json(const UsageTotals& usage) {
  const control::SequenceCounters& counters = usage.ebb.counters;
  Json ebb{{"policy", control::policy_name(usage.ebb.policy.kind)},
           {"budget", usage.ebb.policy.budget},
           {"selected_tokens", counters.selected_tokens},
           {"rebuilt_tokens", counters.rebuilt_tokens},
           {"restored_records", counters.restored_host_records + counters.restored_ssd_records},
           {"restored_host_records", counters.restored_host_records},
           {"restored_ssd_records", counters.restored_ssd_records},
           {"released_records", counters.released_records},
           {"hot_hits", counters.hot_hits},
           {"device_bytes_max", usage.ebb.device_bytes_max},
           {"prefill_seconds", usage.ebb.prefill_seconds},
           {"decode_seconds", usage.ebb.decode_seconds},
           {"queue_seconds", usage.ebb.queue_seconds},
           {"seed", static_cast<int64_t>(usage.seed)}};
  return Json{{"prompt_tokens", usage.prompt_tokens},
              {"completion_tokens", usage.completion_tokens},
              {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
              {"prompt_tokens_details", Json{{"cached_tokens", 0}}},
              {"ebb", std::move(ebb)}};
}

const char* chunk_object(const AnswerShape& shape) {
  return shape.endpoint == Endpoint::kChat ? "chat.completion.chunk" : "text_completion";
}

}  // namespace

void UsageTotals::add(const Usage& usage) {
  const control::SequenceCounters& from = usage.counters;
  control::SequenceCounters& to = ebb.counters;
  to.released_records += from.released_records;
  to.restored_host_records += from.restored_host_records;
  to.restored_ssd_records += from.restored_ssd_records;
  to.restored_bytes += from.restored_bytes;
  to.selected_tokens += from.selected_tokens;
  to.hot_hits += from.hot_hits;
  to.rebuilt_tokens += from.rebuilt_tokens;
  ebb.policy = usage.policy;
  ebb.device_bytes_max = std::max(ebb.device_bytes_max, usage.device_bytes_max);
  ebb.prefill_seconds += usage.prefill_seconds;
  ebb.decode_seconds += usage.decode_seconds;
  ebb.queue_seconds = std::max(ebb.queue_seconds, usage.queue_seconds);
}

std::string whole_answer(const AnswerShape& shape, const std::vector<ChoiceAnswer>& choices,
                         const UsageTotals& usage) {
  const bool chat = shape.endpoint == Endpoint::kChat;
  Json out = head(shape, chat ? "chat.completion" : "text_completion");
  out["choices"] = Json::array();
  for (const ChoiceAnswer& choice : choices) {
    Json item{{"index", choice.index}};
    if (chat) {
      item["message"] =
          Json{{"role", "assistant"}, {"content", choice.piece.text}, {"refusal", nullptr}};
    } else {
      item["text"] = choice.piece.text;
    }
    item["logprobs"] = logprobs_json(shape, choice.piece.tokens);
    item["finish_reason"] = reason_text(choice.reason);
    add_extras(shape, choice, item);
    if (choice.prompt_scores != nullptr) {
      Json scores = prompt_logprobs_json(shape, *choice.prompt_scores);
      (chat ? out : item)["prompt_logprobs"] = std::move(scores);
    }
    out["choices"].push_back(std::move(item));
  }
  out["usage"] = usage_json(usage);
  return dump(out);
}

std::string answer_chunk(const AnswerShape& shape, const ChoiceAnswer& choice, ChunkPlace place,
                         std::optional<FinishReason> reason) {
  Json item{{"index", choice.index}};
  if (shape.endpoint == Endpoint::kChat) {
    Json delta = Json::object();
    if (place == ChunkPlace::kFirst) delta["role"] = "assistant";
    if (place == ChunkPlace::kFirst || !choice.piece.text.empty()) {
      delta["content"] = choice.piece.text;
    }
    item["delta"] = std::move(delta);
  } else {
    item["text"] = choice.piece.text;
  }
  const bool tokens = !choice.piece.tokens.empty();
  item["logprobs"] = tokens ? logprobs_json(shape, choice.piece.tokens) : Json();
  item["finish_reason"] = reason ? Json(reason_text(*reason)) : Json();
  add_extras(shape, choice, item);
  Json out = head(shape, chunk_object(shape));
  out["choices"] = Json::array({std::move(item)});
  if (shape.stream_usage) out["usage"] = nullptr;
  return dump(out);
}

std::string usage_chunk(const AnswerShape& shape, const UsageTotals& usage) {
  Json out = head(shape, chunk_object(shape));
  out["choices"] = Json::array();
  out["usage"] = usage_json(usage);
  return dump(out);
}

}  // namespace ebb::coordinator
