#include "ctl/ask.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;

constexpr uint64_t kDocumentMax = 15 * kMiB;  // the service's body limit is 16 MiB by default

Result<std::string> read_document(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  if (path != "-" && !file) return not_found(path + ": " + std::strerror(errno));
  std::istream& in = path == "-" ? std::cin : file;
  std::string text(kDocumentMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (in.bad()) return invalid(path + ": cannot be read (is it a folder?)");
  if (text.size() > kDocumentMax)
    return invalid(path + " is longer than " + format_bytes(kDocumentMax));
  return text;
}

Result<std::string> served_model(const Service& service) {
  auto body = get(service.api, "/v1/models");
  if (!body) return body;
  try {
    return json::parse(*body).at("data").at(0).at("id").get<std::string>();
  } catch (const json::exception& error) {
    return corrupt("/v1/models: " + std::string(error.what()));
  }
}

Result<std::string> request_body(const std::string& model, const std::string& document,
                                 const AskOptions& options) {
  json body{{"model", model},
            {"stream", true},
            {"stream_options", {{"include_usage", true}}},
            {"temperature", 0},
            {"max_tokens", options.max_tokens},
            {"messages", {{{"role", "user"}, {"content", document + "\n\n" + options.question}}}}};
  if (!options.policy.empty()) body["ebb"]["policy"] = options.policy;
  if (options.budget > 0) body["ebb"]["budget"] = options.budget;
  try {
    return body.dump();
  } catch (const json::exception&) {
    return invalid(options.file + " is not UTF-8 text");
  }
}

/// What a stream has said so far.
class Answer {
 public:
  explicit Answer(const Terminal& terminal) : terminal_(terminal) {}

  void on_event(std::string_view data) {
    if (data == "[DONE]") {
      done_ = true;
      return;
    }
    const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return;
    if (event.contains("error")) {
      http::Response failed;
      failed.status = 500;
      failed.body = std::string(data);
      error_ = error_of(failed);
      return;
    }
    if (event.contains("usage") && event["usage"].is_object()) usage_ = event["usage"];
    if (!event.contains("choices") || !event["choices"].is_array() || event["choices"].empty())
      return;
    const json delta = event["choices"][0].value("delta", json::object());
    if (delta.is_object() && delta.contains("content") && delta["content"].is_string())
      terminal_.out << printable(delta["content"].get<std::string>()) << std::flush;
  }

  Result<void> end() {
    terminal_.out << std::endl;
    if (error_) return *error_;
    if (!done_) return unavailable("the answer broke off");
    if (terminal_.err_is_tty) show_usage();
    return {};
  }

 private:
  void show_usage() {
    const json& ebb = usage_.contains("ebb") ? usage_["ebb"] : json();
    const json policy = ebb.is_object() && ebb.contains("policy") ? ebb["policy"] : json();
    terminal_.err << "(" << usage_.value("prompt_tokens", json(0)).dump() << " prompt tokens, "
                  << usage_.value("completion_tokens", json(0)).dump() << " answered";
    if (policy.is_string()) terminal_.err << ", policy " << printable(policy.get<std::string>());
    terminal_.err << ")" << std::endl;
  }

  const Terminal& terminal_;
  json usage_ = json::object();
  std::optional<Error> error_;
  bool done_ = false;
};

Result<void> ask(const Terminal& terminal, const Service& service, const AskOptions& options) {
  if (options.question.empty()) return invalid("QUESTION is empty");
  const std::string document = EBB_TRY(read_document(options.file));
  const std::string model = EBB_TRY(served_model(service));
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/v1/chat/completions";
  request.timeout = Millis(3600000);
  request.body = EBB_TRY(request_body(model, document, options));
  Answer answer(terminal);
  EventCutter cutter;
  std::string refusal;  // the body of an answer that is not a stream
  auto response = http::fetch_stream(service.api, request, [&](std::string_view piece) {
    if (refusal.size() < 64 * kKiB) refusal += piece;
    return cutter.feed(piece, [&](std::string_view data) { answer.on_event(data); });
  });
  if (!response) return response.error();
  if (response->status != 200) {
    response->body = refusal;
    return error_of(*response);
  }
  return answer.end();
}

}  // namespace

int run_ask(const Terminal& terminal, const Service& service, const AskOptions& options) {
  auto answered = ask(terminal, service, options);
  return answered ? kOk : report(terminal, answered.error());
}

}  // namespace ebb::ctl
