// A whole HttpFront on free ports, over the fake engine.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "coordinator/http_front.h"
#include "tests/coordinator/fake_engine.h"
#include "transport/http/client.h"

namespace ebb::coordinator::testing {

using Json = nlohmann::json;

inline const std::string kChatMl =
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

class ApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto parsed = models::ChatTemplate::parse(kChatMl, "<s>", "<|im_end|>");
    ASSERT_TRUE(parsed) << parsed.error().text();
    chat_template_ = std::move(*parsed);
    config_.config.model.name = "tiny";
    config_.config.coordinator.http_address = {"127.0.0.1", 0};
    config_.config.coordinator.metrics_address = {"127.0.0.1", 0};
    shape_.context_length = 200;
    shape_.vocabulary = kVocabulary;
    start();
  }
  void start() {
    front_.reset();
    auto front = HttpFront::start(config_, engine_, tokenizer_, chat_template_.get(), shape_,
                                  metrics_, options_);
    ASSERT_TRUE(front) << front.error().text();
    front_ = std::move(*front);
  }
  HostPort api() const { return {"127.0.0.1", front_->http_port()}; }
  HostPort admin() const { return {"127.0.0.1", front_->metrics_port()}; }

  http::Response call(const HostPort& to, const std::string& method, const std::string& path,
                      const std::string& body = "",
                      const std::map<std::string, std::string>& headers = {}) {
    http::ClientRequest request;
    request.method = method;
    request.target = path;
    request.body = body;
    request.headers = headers;
    request.timeout = Millis(20000);
    auto response = http::fetch(to, request);
    EXPECT_TRUE(response) << response.error().text();
    return response ? *response : http::Response{};
  }
  http::Response get(const std::string& path) { return call(api(), "GET", path); }
  http::Response post(const std::string& path, const Json& body) {
    return call(api(), "POST", path, body.dump());
  }
  Json ok(const std::string& path, const Json& body) {
    const http::Response response = post(path, body);
    EXPECT_EQ(response.status, 200) << response.body;
    return Json::parse(response.body, nullptr, false);
  }
  Json complete(Json body) {
    if (!body.contains("prompt")) body["prompt"] = "hi";
    return ok("/v1/completions", body);
  }
  Json chat(Json body) {
    if (!body.contains("messages")) body["messages"] = user("hi");
    return ok("/v1/chat/completions", body);
  }
  static Json user(const std::string& text) {
    return Json::array({{{"role", "user"}, {"content", text}}});
  }
  /// The error object of an answer with this status.
  Json refused(int status, const std::string& path, const Json& body) {
    const http::Response response = post(path, body);
    EXPECT_EQ(response.status, status) << response.body;
    const Json json = Json::parse(response.body, nullptr, false);
    EXPECT_TRUE(json.contains("error")) << response.body;
    return json.value("error", Json::object());
  }
  /// The payloads of all events, "[DONE]" included as text.
  std::vector<std::string> events(const std::string& path, Json body) {
    body["stream"] = true;
    const http::Response response = post(path, body);
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_TRUE(response.content_type.starts_with("text/event-stream"));
    std::vector<std::string> payloads;
    std::string_view rest = response.body;
    while (!rest.empty()) {
      const size_t end = rest.find("\n\n");
      EXPECT_TRUE(rest.starts_with("data: "));
      if (!rest.starts_with("data: ") || end == std::string_view::npos) break;
      payloads.emplace_back(rest.substr(6, end - 6));
      rest.remove_prefix(end + 2);
    }
    return payloads;
  }
  /// Text of one choice, put together from a completions stream's chunks.
  static std::string streamed_text(const std::vector<std::string>& payloads, int choice) {
    std::string text;
    for (const std::string& payload : payloads) {
      if (payload == "[DONE]") continue;
      const Json chunk = Json::parse(payload);
      for (const Json& item : chunk["choices"]) {
        if (item["index"] == choice) text += item["text"].get<std::string>();
      }
    }
    return text;
  }

  Metrics metrics_;
  FakeTokenizer tokenizer_;
  std::unique_ptr<models::ChatTemplate> chat_template_;
  models::ModelShape shape_;
  HttpFrontOptions options_;
  LoadedConfig config_;
  FakeEngine engine_;
  std::unique_ptr<HttpFront> front_;
};

}  // namespace ebb::coordinator::testing
