#include "ctl/batch_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "ctl/batch_file.h"
#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string request_line(const std::string& id, const std::string& prompt = "Hello") {
  return json{{"custom_id", id},
              {"method", "POST"},
              {"url", "/v1/completions"},
              {"body", {{"model", "small"}, {"prompt", prompt}}}}
             .dump() +
         "\n";
}

/// Answers with the prompt; a prompt may ask for a status ("status 400") or for silence ("hang").
class Batch : public ::testing::Test {
 protected:
  Batch() : fake_([this](const http::Request& request) { return answer(request); }) {
    options_.output = dir_.path("out.jsonl");
    options_.progress = ProgressMode::kNone;
    options_.retry_base = Millis(1);
    options_.lost_timeout = Millis(50);
  }

  http::Response answer(const http::Request& request) {
    if (request.path == "/health") return json_answer(200, "{}");
    const std::string prompt = json::parse(request.body).at("prompt");
    prompts_.push_back(prompt);
    if (prompt == "hang") return json_answer(0, "");
    if (prompt == "busy twice" && ++busy_ <= 2) {
      auto response = json_answer(busy_ == 1 ? 429 : 503, R"({"error":{"message":"queue full"}})");
      response.headers["Retry-After"] = "0";
      return response;
    }
    if (prompt.starts_with("status "))
      return json_answer(std::stoi(prompt.substr(7)), R"({"error":{"message":"refused"}})");
    auto response =
        json_answer(200, json{{"choices", {{{"text", prompt}}}},
                              {"usage", {{"prompt_tokens", 2}, {"completion_tokens", 3}}}}
                             .dump());
    response.headers["x-request-id"] = "req-" + prompt;
    return response;
  }

  int run(const std::string& input) {
    options_.input = dir_.file("in.jsonl", input);
    return run_batch(kept_.terminal, fake_.service(), options_, stop_);
  }
  std::vector<json> lines() {
    std::vector<json> all;
    std::istringstream text(test::read_file(options_.output));
    for (std::string line; std::getline(text, line);) all.push_back(json::parse(line));
    return all;
  }
  /// The answer (not a line's error) for `custom_id`.
  json line_of(const std::string& custom_id) {
    for (const json& line : lines())
      if (line["custom_id"] == custom_id && line["error"].is_null()) return line;
    return nullptr;
  }

  test::TempDir dir_;
  BatchOptions options_;
  StopFlag stop_ = std::make_shared<std::atomic<bool>>(false);
  KeptTerminal kept_;
  std::vector<std::string> prompts_;  ///< on the server's thread; read after the run
  int busy_ = 0;
  FakeService fake_;
};

TEST_F(Batch, EveryLineGetsItsAnswer) {
  std::string input;
  for (int i = 0; i < 50; ++i)
    input += request_line("q" + std::to_string(i), "p" + std::to_string(i));
  EXPECT_EQ(run(input), kOk) << kept_.err.str();
  ASSERT_EQ(lines().size(), 50u);
  for (int i = 0; i < 50; ++i) {
    const json line = line_of("q" + std::to_string(i));
    const std::string prompt = "p" + std::to_string(i);
    EXPECT_EQ(line["response"]["status_code"], 200);
    EXPECT_EQ(line["response"]["request_id"], "req-" + prompt);
    EXPECT_EQ(line["response"]["body"]["choices"][0]["text"], prompt);
    EXPECT_TRUE(line["error"].is_null());
    EXPECT_EQ(line["id"], "batch_req_" + std::to_string(i + 1));
  }
}

TEST_F(Batch, OneErrorLinePerBadLineWhileTheRestRuns) {
  EXPECT_EQ(run(request_line("good") + "not json\n" +
                R"({"method":"POST","url":"/v1/completions","body":{}})"
                "\n" +
                request_line("good", "again") + "\n   \n" +
                R"({"custom_id":"url","method":"POST","url":"/v1/embeddings","body":{}})"
                "\n" +
                R"({"custom_id":"get","method":"GET","url":"/v1/completions","body":{}})"
                "\n" +
                R"({"custom_id":"body","url":"/v1/completions","body":"x"})"
                "\n" +
                R"({"custom_id":"stream","url":"/v1/completions","body":{"stream":true}})"
                "\n" +
                "[1]\n" + request_line("last")),
            kPartial);
  std::map<int, std::string> codes;
  for (const json& line : lines())
    if (!line["error"].is_null()) {
      codes[line["error"]["line"]] = line["error"]["code"];
      EXPECT_TRUE(line["response"].is_null());
      EXPECT_FALSE(line["error"]["message"].get<std::string>().empty());
    }
  EXPECT_EQ(codes, (std::map<int, std::string>{{2, "invalid_json"},
                                               {3, "missing_custom_id"},
                                               {4, "duplicate_custom_id"},
                                               {7, "invalid_url"},
                                               {8, "invalid_method"},
                                               {9, "missing_body"},
                                               {10, "invalid_body"},
                                               {11, "invalid_json"}}));
  EXPECT_EQ(line_of("good")["response"]["status_code"], 200);
  EXPECT_EQ(line_of("last")["response"]["status_code"], 200);
  EXPECT_EQ(lines().size(), 10u);
}

TEST_F(Batch, ALineBeyondTheLimitIsAnErrorOfThatLine) {
  EXPECT_EQ(run(request_line("a") + request_line("big", std::string(kBatchLineMax, 'x')) +
                request_line("b")),
            kPartial);
  ASSERT_EQ(lines().size(), 3u);
  EXPECT_EQ(line_of("b")["response"]["status_code"], 200);
  bool found = false;
  for (const json& line : lines())
    found = found || (line["error"].is_object() && line["error"]["code"] == "line_too_long" &&
                      line["error"]["line"] == 2);
  EXPECT_TRUE(found);
}

TEST_F(Batch, ARefusedRequestKeepsItsAnswerAndCountsAsFailed) {
  options_.summary = dir_.path("summary.json");
  EXPECT_EQ(run(request_line("bad", "status 400") + request_line("good")), kPartial);
  EXPECT_EQ(line_of("bad")["response"]["status_code"], 400);
  EXPECT_EQ(line_of("bad")["response"]["body"]["error"]["message"], "refused");
  EXPECT_EQ(kept_.err.str(), "line 1 (bad): refused (HTTP 400)\n");
  const json summary = json::parse(test::read_file(options_.summary));
  EXPECT_EQ(summary["succeeded"], 1);
  EXPECT_EQ(summary["failed"], 1);
  EXPECT_EQ(summary["completion_tokens"], 3);
  EXPECT_EQ(summary["exit_code"], kPartial);
}

TEST_F(Batch, ABusyServiceIsAskedAgain) {
  EXPECT_EQ(run(request_line("a", "busy twice")), kOk);
  EXPECT_EQ(prompts_.size(), 3u);
  EXPECT_EQ(line_of("a")["response"]["status_code"], 200);
}

TEST_F(Batch, AServiceThatStaysBusyEndsTheRequestNotTheRun) {
  options_.busy_timeout = Millis(20);
  EXPECT_EQ(run(request_line("a", "status 503") + request_line("b")), kPartial);
  EXPECT_EQ(line_of("a")["response"]["status_code"], 503);
  EXPECT_EQ(line_of("b")["response"]["status_code"], 200);
}

TEST_F(Batch, ResumeAsksOnlyForWhatIsMissing) {
  ASSERT_EQ(run(request_line("a", "pa") + request_line("b", "status 500")), kPartial);
  prompts_.clear();
  options_.resume = true;
  EXPECT_EQ(run(request_line("a", "pa") + request_line("b", "pb") + request_line("c", "pc")), kOk)
      << kept_.err.str();
  EXPECT_EQ(std::set<std::string>(prompts_.begin(), prompts_.end()),
            (std::set<std::string>{"pb", "pc"}));
  ASSERT_EQ(lines().size(), 3u) << "the failed line of the first run is replaced";
  EXPECT_EQ(line_of("b")["response"]["status_code"], 200);
  prompts_.clear();
  EXPECT_EQ(run(request_line("a") + request_line("b") + request_line("c")), kOk);
  EXPECT_TRUE(prompts_.empty());
}

TEST_F(Batch, ResumeRepairsATornLastLine) {
  ASSERT_EQ(run(request_line("a") + request_line("b")), kOk);
  const std::string whole = test::read_file(options_.output);
  for (const size_t cut : {size_t{1}, size_t{10}, whole.find('\n')}) {
    dir_.file("out.jsonl", whole.substr(0, whole.size() - cut));
    options_.resume = true;
    prompts_.clear();
    EXPECT_EQ(run(request_line("a") + request_line("b")), kOk);
    EXPECT_EQ(prompts_.size(), 1u) << "cut " << cut;
    EXPECT_EQ(lines().size(), 2u);
  }
}

TEST_F(Batch, ResumeDoesNotTouchAFileThatNoBatchWrote) {
  dir_.file("out.jsonl", "my diary\nday two\n");
  options_.resume = true;
  EXPECT_EQ(run(request_line("a")), kUsage);
  EXPECT_EQ(test::read_file(options_.output), "my diary\nday two\n");
}

TEST_F(Batch, AnOutputThatExistsIsNotOverwrittenUnasked) {
  dir_.file("out.jsonl", "precious\n");
  EXPECT_EQ(run(request_line("a")), kUsage);
  EXPECT_EQ(test::read_file(options_.output), "precious\n");
  options_.overwrite = true;
  EXPECT_EQ(run(request_line("a")), kOk);
  EXPECT_EQ(lines().size(), 1u);
}

TEST_F(Batch, InterruptedItLeavesWhatCanBeResumed) {
  options_.max_inflight = 1;
  std::thread interrupter([this] {
    // When the hanging request is under way, the one before it has been written.
    const Deadline by = Deadline::after(Millis(10000));
    while (fake_.requests() < 3 && !by.passed()) std::this_thread::sleep_for(Millis(1));
    stop_->store(true);
  });
  EXPECT_EQ(run(request_line("a") + request_line("b", "hang") + request_line("c")), kInterrupted);
  interrupter.join();
  EXPECT_THAT(kept_.err.str(), HasSubstr("--resume"));
  ASSERT_EQ(lines().size(), 1u);
  stop_ = std::make_shared<std::atomic<bool>>(false);
  options_.resume = true;
  EXPECT_EQ(run(request_line("a") + request_line("b") + request_line("c")), kOk);
  EXPECT_EQ(lines().size(), 3u);
}

TEST_F(Batch, WithoutAServiceNothingIsTouched) {
  Service gone;
  {
    const FakeService closed([](const http::Request&) { return json_answer(200, "{}"); });
    gone = closed.service();
  }
  options_.input = dir_.file("in.jsonl", request_line("a"));
  EXPECT_EQ(run_batch(kept_.terminal, gone, options_, stop_), kCannotConnect);
  EXPECT_FALSE(std::filesystem::exists(options_.output));
}

TEST_F(Batch, UnusableOptionsAreNamed) {
  options_.input = dir_.path("absent.jsonl");
  EXPECT_EQ(run_batch(kept_.terminal, fake_.service(), options_, stop_), kNotThere);
  options_.max_inflight = 0;
  EXPECT_EQ(run(request_line("a")), kUsage);
  options_.max_inflight = 1;
  options_.output = dir_.path("in.jsonl");
  EXPECT_EQ(run(request_line("a")), kUsage);
  EXPECT_EQ(test::read_file(options_.output), request_line("a"));
}

TEST(LineReader, NeverHoldsMoreThanTheLimit) {
  std::istringstream in("short\n" + std::string(200000, 'x') + "\n\nlast");
  LineReader reader(in, 100);
  auto line = reader.next();
  EXPECT_EQ(line->text, "short");
  line = reader.next();
  EXPECT_TRUE(line->too_long);
  EXPECT_TRUE(line->text.empty());
  EXPECT_EQ(reader.next()->text, "");
  line = reader.next();
  EXPECT_EQ(line->text, "last");
  EXPECT_FALSE(line->ended);
  EXPECT_FALSE(reader.next());
}

}  // namespace
}  // namespace ebb::ctl
