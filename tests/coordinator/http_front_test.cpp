// Routing, health, metrics, models, the tokenizer's endpoints and the operators' port.
#include <gmock/gmock.h>

#include "tests/coordinator/api_fixture.h"

namespace ebb::coordinator {
namespace {

using testing::ApiTest;
using testing::FakeJob;
using ::testing::HasSubstr;
using testing::Json;
using ::testing::Not;

using FrontTest = ApiTest;

TEST_F(FrontTest, UnknownPathsAndMethodsHaveErrorObjects) {
  const http::Response missing = get("/v1/nothing");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(Json::parse(missing.body)["error"]["code"], "not_found");
  const http::Response wrong = get("/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_THAT(Json::parse(wrong.body)["error"]["message"].get<std::string>(),
              HasSubstr("takes POST, not GET"));
  EXPECT_EQ(call(api(), "OPTIONS", "/v1/models").status, 204);
  EXPECT_EQ(call(api(), "HEAD", "/v1/models").status, 200);
}

TEST_F(FrontTest, AdminIsNotOnTheUsersPort) {
  EXPECT_EQ(get("/admin/v1/status").status, 404);
  EXPECT_EQ(call(admin(), "POST", "/v1/completions", "{}").status, 404);
}

TEST_F(FrontTest, ShowsTheProfileInForce) {
  options_.profile.name = "mine";
  options_.profile.model_name = "tiny";
  options_.profile.layers = 4;
  options_.profile.anchors = {0, 2};
  start();
  const Json profile = Json::parse(call(admin(), "GET", "/admin/v1/profile").body);
  EXPECT_EQ(profile["kind"], "SelectionProfile");
  EXPECT_EQ(profile["name"], "mine");
  EXPECT_EQ(profile["anchors"], Json::array({0, 2}));
  EXPECT_EQ(profile["classes"], Json::array({"anchor", "follower", "anchor", "follower"}));
}

TEST_F(FrontTest, ABodyOverTheLimitIs413) {
  config_.config.coordinator.body_max = 1000;
  start();
  const http::Response response = post("/v1/completions", {{"prompt", std::string(5000, 'x')}});
  EXPECT_EQ(response.status, 413);
  EXPECT_TRUE(Json::parse(response.body).contains("error"));
}

TEST_F(FrontTest, ListsTheServedModel) {
  const Json list = Json::parse(get("/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "tiny");
  EXPECT_EQ(list["data"][0]["max_model_len"], 200);
  EXPECT_EQ(Json::parse(get("/v1/models/tiny").body)["object"], "model");
  const http::Response unknown = get("/v1/models/other");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(Json::parse(unknown.body)["error"]["code"], "model_not_found");
}

TEST_F(FrontTest, HealthFollowsProgress) {
  EXPECT_EQ(get("/health").status, 200);
  EngineStatus stuck;
  stuck.ready = true;
  stuck.healthy = false;
  stuck.progress_age_seconds = 99;
  engine_.set_status(stuck);
  for (const char* path : {"/health", "/live", "/livez"}) EXPECT_EQ(get(path).status, 503) << path;
  EXPECT_EQ(call(admin(), "GET", "/health").status, 503);
}

TEST_F(FrontTest, ReadySaysWhyNot) {
  EXPECT_EQ(get("/ready").status, 200);
  EngineStatus draining;
  draining.not_ready_because = "draining";
  engine_.set_status(draining);
  for (const char* path : {"/ready", "/readyz", "/healthz?verbose"}) {
    const http::Response response = get(path);
    EXPECT_EQ(response.status, 503) << path;
    EXPECT_EQ(Json::parse(response.body)["not_ready_because"], "draining");
  }
}

TEST_F(FrontTest, MetricsCountWhatHappened) {
  engine_.answer("abc");
  complete({{"prompt", "12345"}});
  engine_.script([](FakeJob& job) { job.fail(unavailable("gone")); });
  refused(503, "/v1/completions", {{"prompt", "x"}});
  EngineStatus busy;
  busy.running = 3;
  busy.waiting = 4;
  engine_.set_status(busy);
  http::Response response;
  const Deadline by = Deadline::after(Millis(10000));
  do {  // a prompt is counted when it is accepted, which its failure may overtake
    response = call(admin(), "GET", "/metrics");
  } while (response.body.find("ebb_prompt_tokens_total 6") == std::string::npos && !by.passed());
  EXPECT_THAT(response.content_type, HasSubstr("version=0.0.4"));
  for (const char* line :
       {"ebb_requests_running 3", "ebb_requests_waiting 4", "ebb_generated_tokens_total 3",
        "ebb_prompt_tokens_total 6", "ebb_request_finished_total{reason=\"stop\"} 1",
        "ebb_request_finished_total{reason=\"error\"} 1", "ebb_time_to_first_token_seconds_count 1",
        "ebb_inter_token_latency_seconds_count 2", "ebb_request_duration_seconds_count 2",
        "ebb_queue_duration_seconds_count 1", "ebb_build_info{version="}) {
    EXPECT_THAT(response.body, HasSubstr(line));
  }
  EXPECT_EQ(get("/metrics").status, 200);
}

TEST_F(FrontTest, SaysItsVersion) {
  EXPECT_TRUE(Json::parse(get("/version").body)["version"].is_string());
}

TEST_F(FrontTest, TokenizesAndBack) {
  const Json tokens = ok("/tokenize", {{"prompt", "a<|im_end|>"}});
  EXPECT_EQ(tokens["tokens"], Json::array({'a', testing::kEndOfText}));
  EXPECT_EQ(tokens["count"], 2);
  EXPECT_EQ(ok("/detokenize", {{"tokens", {'h', 'i', 0xE2}}})["prompt"], "hi\xEF\xBF\xBD");
  EXPECT_EQ(refused(400, "/tokenize", {{"prompt", 5}})["param"], "prompt");
  EXPECT_EQ(refused(400, "/detokenize", {{"tokens", {1, 9999}}})["param"], "tokens[1]");
}

TEST_F(FrontTest, RefusesAddressesThatOthersCanReach) {
  config_.config.coordinator.http_address = {"0.0.0.0", 0};
  auto refused_start = HttpFront::start(config_, engine_, tokenizer_, nullptr, shape_, metrics_);
  ASSERT_FALSE(refused_start);
  EXPECT_EQ(refused_start.error().code, Code::kInvalid);
  EXPECT_THAT(refused_start.error().message, HasSubstr("--insecure"));
  HttpFrontOptions insecure;
  insecure.insecure = true;
  auto allowed =
      HttpFront::start(config_, engine_, tokenizer_, nullptr, shape_, metrics_, insecure);
  EXPECT_TRUE(allowed) << allowed.error().text();
}

TEST_F(FrontTest, NamesThePortThatIsInUse) {
  config_.config.coordinator.http_address.port = front_->http_port();
  auto second = HttpFront::start(config_, engine_, tokenizer_, nullptr, shape_, metrics_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message,
              HasSubstr("coordinator.http_address: address already in use: 127.0.0.1:"));
  // The first server has started when the second one cannot.
  config_.config.coordinator.http_address.port = 0;
  config_.config.coordinator.metrics_address.port = front_->metrics_port();
  second = HttpFront::start(config_, engine_, tokenizer_, nullptr, shape_, metrics_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message,
              HasSubstr("coordinator.metrics_address: address already in use: 127.0.0.1:"));
}

TEST_F(FrontTest, StatusHasStableKeys) {
  EngineStatus status;
  status.ready = true;
  GroupState group;
  group.name = "g0";
  group.epoch = 3;
  group.state = "ready";
  group.ranks.push_back({0, true, "g0/rank0", 42, "cpu"});
  group.arena_blocks = 10;
  group.arena_blocks_used = 4;
  group.arena_blocks_max = 6;
  group.block_bytes_all = 100;
  status.groups.push_back(group);
  StoreState store;
  store.name = "s0";
  store.connected = true;
  store.status.emplace();
  store.status->tiers.push_back({"host", 1000, 500, 5, 2, 1, true, ""});
  store.status->puts = 7;
  status.stores.push_back(store);
  engine_.set_status(status);
  const Json json = Json::parse(call(admin(), "GET", "/admin/v1/status").body);
  EXPECT_EQ(json["apiVersion"], "ebb/v1");
  EXPECT_EQ(json["kind"], "Status");
  EXPECT_EQ(json["groups"][0]["arena_bytes"], 1000);
  EXPECT_EQ(json["groups"][0]["arena_used_bytes"], 400);
  EXPECT_EQ(json["groups"][0]["arena_max_bytes"], 600);
  EXPECT_EQ(
      json["groups"][0]["ranks"][0],
      Json({{"rank", 0}, {"joined", true}, {"node", "g0/rank0"}, {"pid", 42}, {"backend", "cpu"}}));
  EXPECT_EQ(json["stores"][0]["tiers"][0], Json({{"tier", "host"},
                                                 {"capacity_bytes", 1000},
                                                 {"used_bytes", 500},
                                                 {"granules", 5},
                                                 {"held_granules", 2},
                                                 {"evictions", 1},
                                                 {"writable", true},
                                                 {"note", ""}}));
  EXPECT_EQ(json["stores"][0]["puts"], 7);
}

TEST_F(FrontTest, ListsSequences) {
  const Json json = Json::parse(call(admin(), "GET", "/admin/v1/sequences").body);
  EXPECT_EQ(json["kind"], "SequenceList");
  EXPECT_EQ(json["sequences"][0]["seq"], "7");
  EXPECT_EQ(json["sequences"][0]["policy"], "tidal");
}

TEST_F(FrontTest, ShowsWhereASequenceLives) {
  control::SequenceMap map;
  map.seq = SeqId{12};
  map.length = 20;
  map.policy.kind = control::PolicyKind::kTidal;
  control::BandMap band;
  band.band = 1;
  band.layers = {3, 7};
  band.hot = true;
  band.record_bytes = 96;
  band.runs = {{0, 16, control::Place::kHost}, {16, 4, control::Place::kDevice}};
  map.bands.push_back(band);
  engine_.set_map(map);
  const Json json = Json::parse(call(admin(), "GET", "/admin/v1/kv/map").body);
  EXPECT_EQ(json["kind"], "KvMap");
  EXPECT_EQ(json["seq"], "12");
  EXPECT_EQ(json["policy"]["name"], "tidal");
  EXPECT_EQ(json["bands"][0]["layers"], Json::array({3, 7}));
  EXPECT_EQ(json["bands"][0]["residency"], "hot");
  EXPECT_EQ(json["bands"][0]["runs"][0],
            Json({{"begin", 0}, {"count", 16}, {"place", "host"}, {"exact", true}}));
  EXPECT_TRUE(json["counters"].contains("restored_ssd_records"));
  EXPECT_EQ(call(admin(), "GET", "/admin/v1/kv/map?seq=12").status, 200);
  EXPECT_EQ(call(admin(), "GET", "/admin/v1/kv/map?seq=13").status, 404);
  EXPECT_EQ(call(admin(), "GET", "/admin/v1/kv/map?seq=abc").status, 400);
}

TEST_F(FrontTest, ListsGranulesPageByPage) {
  const auto list = [&](const std::string& query) {
    return Json::parse(call(admin(), "GET", "/admin/v1/kv/granules" + query).body);
  };
  const Json first = list("?store=s0&seq=7&limit=5");
  EXPECT_EQ(first["kind"], "GranuleList");
  EXPECT_EQ(first["granules"][0]["digest"], "s0/7/5/");
  EXPECT_EQ(first["granules"][0]["tiers"], Json::array({"ssd"}));
  EXPECT_EQ(first["granules"][0]["heads"], Json::array({0, 2}));
  EXPECT_EQ(first["next"], "abc");
  const Json second = list("?cursor=abc");
  EXPECT_EQ(second["granules"][0]["digest"], "/0/100/abc");
  EXPECT_TRUE(second["next"].is_null());
  EXPECT_EQ(call(admin(), "GET", "/admin/v1/kv/granules?limit=-1").status, 400);
  EXPECT_EQ(call(admin(), "GET", "/admin/v1/kv/granules?seq=x").status, 400);
  const auto refused = call(admin(), "GET", "/admin/v1/kv/granules?limit=5000");
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("allowed 1 to 1024"), std::string::npos);
}

}  // namespace
}  // namespace ebb::coordinator
