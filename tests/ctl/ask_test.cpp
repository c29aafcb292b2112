#include "ctl/ask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using ::testing::HasSubstr;

constexpr const char* kStream =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"The secret \"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"is 7.\"}}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";

class Ask : public ::testing::Test {
 protected:
  Ask()
      : fake_([this](const http::Request& request) {
          if (request.path == "/v1/models") return json_answer(200, R"({"data":[{"id":"small"}]})");
          asked_ = nlohmann::json::parse(request.body);
          return json_answer(status_, answer_);
        }) {}
  int ask(const std::string& document) {
    options_.file = dir_.file("doc.txt", document);
    options_.question = "What is the secret?";
    return run_ask(kept_.terminal, fake_.service(), options_);
  }
  test::TempDir dir_;
  AskOptions options_;
  int status_ = 200;
  std::string answer_ = std::string(kStream) + "data: [DONE]\n\n";
  nlohmann::json asked_;
  KeptTerminal kept_;
  FakeService fake_;
};

TEST_F(Ask, SendsDocumentAndQuestionAndPrintsTheAnswer) {
  options_.policy = "tidal";
  options_.budget = 960;
  EXPECT_EQ(ask("A long text."), kOk) << kept_.err.str();
  EXPECT_EQ(kept_.out.str(), "The secret is 7.\n");
  EXPECT_EQ(asked_["model"], "small");
  EXPECT_EQ(asked_["stream"], true);
  EXPECT_EQ(asked_["messages"][0]["content"], "A long text.\n\nWhat is the secret?");
  EXPECT_EQ(asked_["ebb"], nlohmann::json({{"policy", "tidal"}, {"budget", 960}}));
}

TEST_F(Ask, ARefusalIsTheServicesOwnSentence) {
  status_ = 400;
  answer_ = R"({"error":{"message":"prompt has 9000 tokens, allowed: 8192","type":"invalid"}})";
  EXPECT_EQ(ask("x"), kUsage);
  EXPECT_THAT(kept_.err.str(), HasSubstr("prompt has 9000 tokens, allowed: 8192"));
}

TEST_F(Ask, AnErrorInTheStreamFails) {
  answer_ = std::string(kStream) + "data: {\"error\":{\"message\":\"store s0 lost\"}}\n\n";
  EXPECT_EQ(ask("x"), kFailed);
  EXPECT_THAT(kept_.err.str(), HasSubstr("store s0 lost"));
}

TEST_F(Ask, AnAnswerThatBreaksOffFails) {
  answer_ = kStream;
  EXPECT_NE(ask("x"), kOk);
  EXPECT_THAT(kept_.err.str(), HasSubstr("broke off"));
}

TEST_F(Ask, ADocumentThatIsNotTextOrNotThereIsNamed) {
  EXPECT_EQ(ask("\xff\xfe binary"), kUsage);
  EXPECT_THAT(kept_.err.str(), HasSubstr("not UTF-8"));
  options_.file = dir_.path("absent.txt");
  EXPECT_EQ(run_ask(kept_.terminal, fake_.service(), options_), kNotThere);
}

TEST(EventCutter, PutsEventsTogetherWhereverTheyWereCut) {
  const std::string stream = "data: one\r\n\r\n: comment\ndata:two\n\n";
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EventCutter cutter;
    std::vector<std::string> seen;
    const auto keep = [&](std::string_view data) { seen.emplace_back(data); };
    EXPECT_TRUE(cutter.feed(stream.substr(0, cut), keep));
    EXPECT_TRUE(cutter.feed(stream.substr(cut), keep));
    EXPECT_EQ(seen, (std::vector<std::string>{"one", "two"})) << "cut at " << cut;
  }
}

TEST(EventCutter, AnEndlessEventIsGivenUp) {
  EventCutter cutter;
  const std::string piece(1 << 19, 'x');
  const auto ignore = [](std::string_view) {};
  EXPECT_TRUE(cutter.feed(piece, ignore));
  EXPECT_TRUE(cutter.feed(piece, ignore));
  EXPECT_FALSE(cutter.feed(piece, ignore));
}

}  // namespace
}  // namespace ebb::ctl
