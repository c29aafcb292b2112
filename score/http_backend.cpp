#include "score/http_backend.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/service.h"
#include "score/requests.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

/// Answers come from another program: what is not as documented is an error, not an exception.
Error not_as_documented(const std::string& target, const std::string& what) {
  return corrupt(target + ": the answer has no " + what);
}

const Json* member(const Json& json, const char* name) {
  if (!json.is_object()) return nullptr;
  const auto at = json.find(name);
  return at == json.end() ? nullptr : &*at;
}

std::optional<Tokens> token_list(const Json* list) {
  if (list == nullptr || !list->is_array()) return std::nullopt;
  Tokens out;
  out.reserve(list->size());
  for (const Json& item : *list) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() > UINT32_MAX) return std::nullopt;
    out.push_back(item.get<uint32_t>());
  }
  return out;
}

uint64_t count_of(const Json& usage, const char* name) {
  const Json* value = member(usage, name);
  return value != nullptr && value->is_number_unsigned() ? value->get<uint64_t>() : 0;
}

double seconds_of(const Json& usage, const char* name) {
  const Json* value = member(usage, name);
  return value != nullptr && value->is_number() ? value->get<double>() : 0;
}

Cost cost_of(const Json& answer) {
  Cost cost;
  const Json* usage = member(answer, "usage");
  const Json* ebb = usage == nullptr ? nullptr : member(*usage, "ebb");
  if (ebb == nullptr) return cost;
  cost.prefill_seconds = seconds_of(*ebb, "prefill_seconds");
  cost.decode_seconds = seconds_of(*ebb, "decode_seconds");
  cost.selected_tokens = count_of(*ebb, "selected_tokens");
  cost.hot_hits = count_of(*ebb, "hot_hits");
  cost.restored_records = count_of(*ebb, "restored_records");
  cost.released_records = count_of(*ebb, "released_records");
  cost.device_bytes_max = count_of(*ebb, "device_bytes_max");
  return cost;
}

std::vector<std::vector<Selection>> trace_of(const Json& choice) {
  std::vector<std::vector<Selection>> steps;
  const Json* ebb = member(choice, "ebb");
  const Json* trace = ebb == nullptr ? nullptr : member(*ebb, "trace");
  if (trace == nullptr || !trace->is_array()) return steps;
  for (const Json& step : *trace) {
    steps.emplace_back();
    for (const Json& anchor : step) {
      auto positions = token_list(member(anchor, "positions"));
      if (!positions) continue;
      steps.back().push_back({static_cast<uint32_t>(count_of(anchor, "anchor")), *positions});
    }
  }
  return steps;
}

class HttpBackend final : public Backend {
 public:
  HttpBackend(HostPort api, Millis timeout) : api_(std::move(api)), timeout_(timeout) {}

  Result<ModelFacts> model() override {
    ModelFacts facts;
    const Json models = EBB_TRY(ask("GET", "/v1/models", ""));
    const Json* data = member(models, "data");
    const bool has_one = data != nullptr && data->is_array() && !data->empty();
    const Json* id = has_one ? member((*data)[0], "id") : nullptr;
    if (id == nullptr || !id->is_string()) return not_as_documented("/v1/models", "data[0].id");
    facts.id = id->get<std::string>();
    const Json with = EBB_TRY(post("/tokenize", {{"prompt", "a"}}));
    facts.max_model_len = count_of(with, "max_model_len");
    const auto ids = token_list(member(with, "tokens"));
    if (!ids || facts.max_model_len == 0)
      return not_as_documented("/tokenize", "tokens and max_model_len");
    const Tokens plain = EBB_TRY(tokenize("a"));
    const auto at = std::search(ids->begin(), ids->end(), plain.begin(), plain.end());
    facts.prefix.assign(ids->begin(), at);
    model_ = facts.id;
    return facts;
  }

  Result<Tokens> tokenize(const std::string& text) override {
    const Json answer =
        EBB_TRY(post("/tokenize", {{"prompt", text}, {"add_special_tokens", false}}));
    auto tokens = token_list(member(answer, "tokens"));
    if (!tokens) return not_as_documented("/tokenize", "tokens");
    return *std::move(tokens);
  }

  Result<std::string> detokenize(const Tokens& tokens) override {
    const Json answer = EBB_TRY(post("/detokenize", {{"tokens", tokens}}));
    const Json* text = member(answer, "prompt");
    if (text == nullptr || !text->is_string()) return not_as_documented("/detokenize", "prompt");
    return text->get<std::string>();
  }

  Result<ChatFrame> chat_frame() override;
  Result<Answer> run(const Task& task) override;

  bool alive() override {
    http::ClientRequest probe;
    probe.target = "/health";
    probe.timeout = Millis(5000);
    return http::fetch(api_, probe).has_value();
  }

 private:
  Result<Json> ask(const char* method, const std::string& target, const std::string& body) {
    http::ClientRequest request;
    request.method = method;
    request.target = target;
    request.body = body;
    request.timeout = timeout_;
    if (!body.empty()) request.headers["content-type"] = "application/json";
    auto response = http::fetch(api_, request);
    if (!response) return response.error();
    if (response->status != 200) return cli::error_of(*response);
    Json answer = Json::parse(response->body, nullptr, /*allow_exceptions=*/false);
    if (!answer.is_object()) return corrupt(target + ": the answer is not a JSON object");
    return answer;
  }
  Result<Json> post(const std::string& target, const Json& body) {
    std::string text;
    try {
      text = body.dump();
    } catch (const Json::exception&) {
      return invalid("the text is not UTF-8");
    }
    return ask("POST", target, text);
  }
  /// The first choice of an answer.
  static Result<Json> choice_of(const std::string& target, const Json& answer) {
    const Json* choices = member(answer, "choices");
    if (choices == nullptr || !choices->is_array() || choices->empty())
      return not_as_documented(target, "choices[0]");
    return (*choices)[0];
  }

  HostPort api_;
  Millis timeout_;
  std::string model_;
};

Result<ChatFrame> HttpBackend::chat_frame() {
  const std::string target = "/v1/chat/completions";
  Json messages = Json::array({{{"role", "user"}, {"content", kUserMark}},
                               {{"role", "assistant"}, {"content", kAnswerMark}}});
  const Json answer = EBB_TRY(post(target, {{"model", model_},
                                            {"messages", std::move(messages)},
                                            {"continue_final_message", true},
                                            {"max_tokens", 1},
                                            {"return_token_ids", true}}));
  const Json choice = EBB_TRY(choice_of(target, answer));
  const auto ids = token_list(member(choice, "prompt_token_ids"));
  if (!ids) return not_as_documented(target, "prompt_token_ids");
  return frame_of(*this, *ids);
}

Result<Answer> HttpBackend::run(const Task& task) {
  const std::string target = "/v1/completions";
  const Json reply = EBB_TRY(ask("POST", target, completion_body(model_, task)));
  const Json choice = EBB_TRY(choice_of(target, reply));
  const Json* logprobs = member(choice, "logprobs");
  const Json* list = logprobs == nullptr ? nullptr : member(*logprobs, "token_logprobs");
  if (list == nullptr || !list->is_array() || list->size() < task.prompt.size())
    return not_as_documented(target, "log-probability for each token of the prompt");
  Answer answer;
  for (size_t i = task.decode_from; i < task.prompt.size(); ++i) {
    if (!(*list)[i].is_number())
      return not_as_documented(target, "log-probability of token " + std::to_string(i));
    answer.forced.push_back((*list)[i].get<double>());
  }
  const Json* text = member(choice, "text");
  if (text != nullptr && text->is_string()) answer.text = text->get<std::string>();
  answer.cost = cost_of(reply);
  answer.cost.decoded = list->size() - task.decode_from - 1;
  answer.trace = trace_of(choice);
  return answer;
}

}  // namespace

std::unique_ptr<Backend> make_http_backend(const HostPort& api, Millis timeout) {
  return std::make_unique<HttpBackend>(api, timeout);
}

}  // namespace ebb::score
