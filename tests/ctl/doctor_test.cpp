#include "ctl/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/cli/fixture.h"

namespace ebb::ctl {
namespace {

using ::testing::HasSubstr;

constexpr const char* kStatus =
    R"({"ready":true,"healthy":true,"groups":[{"name":"g0","state":"lost: rank 1","ranks":[
    {"rank":0,"joined":true,"pid":4,"backend":"cpu"},{"rank":1,"joined":false}]}],
    "stores":[{"name":"s0","connected":true,"tiers":[
    {"tier":"host","capacity_bytes":100,"used_bytes":1,"writable":true},
    {"tier":"ssd","capacity_bytes":100,"used_bytes":1,"writable":false,"note":"disk full"}]}]})";

class DoctorTest : public ::testing::Test {
 protected:
  DoctorTest()
      : fake_([](const http::Request& request) {
          if (request.path == "/v1/models") return json_answer(200, R"({"data":[{"id":"m"}]})");
          return json_answer(200, request.path == "/admin/v1/status" ? kStatus : "{}");
        }) {
    options_.service = fake_.service();
    options_.bin_dir = dir_.path();
    options_.config.run_dir = dir_.path("run");
    options_.config.model.path = dir_.file("m.gguf", "abc");
    options_.config.stores[0].ssd_size = 0;
    // Ports of their own, so that a cluster on this machine does not matter.
    options_.config.coordinator.http_address.port = 0;
    options_.config.coordinator.control_address.port = 0;
    options_.config.coordinator.metrics_address.port = 0;
    options_.config.stores[0].data_address.port = 0;
    options_.config.stores[0].control_address.port = 0;
    options_.config.stores[0].metrics_address.port = 0;
    options_.config.worker.metrics_port_base = 0;
  }
  std::map<std::string, Finding> findings() {
    std::map<std::string, Finding> all;
    examine(options_, [&](Finding finding) { all[finding.what] = finding; });
    return all;
  }
  test::TempDir dir_;
  DoctorOptions options_;
  FakeService fake_;
};

TEST_F(DoctorTest, EveryCheckSaysWhatItSaw) {
  auto all = findings();
  EXPECT_FALSE(all.at("binaries").ok);
  EXPECT_THAT(all.at("binaries").detail, HasSubstr("ebb-worker"));
  EXPECT_TRUE(all.at("model file").ok);
  EXPECT_THAT(all.at("model file").detail, HasSubstr("sha256 ba7816bf8f01cfea"));
  EXPECT_TRUE(all.at("disk").ok);
  EXPECT_TRUE(all.at("ports").ok);
  EXPECT_TRUE(all.at("ready").ok);
  EXPECT_TRUE(all.at("worker g0/0").ok);
  EXPECT_FALSE(all.at("worker g0/1").ok);
  EXPECT_THAT(all.at("worker g0/1").detail, HasSubstr("lost: rank 1"));
  EXPECT_TRUE(all.at("store s0 host").ok);
  EXPECT_FALSE(all.at("store s0 ssd").ok);
  EXPECT_THAT(all.at("store s0 ssd").detail, HasSubstr("disk full"));
  EXPECT_TRUE(all.at("one token").ok);
  for (const auto& [what, finding] : all) EXPECT_EQ(finding.ok, finding.hint.empty()) << what;
}

TEST_F(DoctorTest, SaysWhatTheWorkerFoundOfDevicesAndWhyNot) {
  const auto worker_says = [&](const std::string& report) {
    const std::string path = dir_.file("ebb-worker", "#!/bin/sh\necho '" + report + "'\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  };
  worker_says(R"({"plugin":"/x/libebb_cuda.so","usable":false,"why_not":"there is no such file"})");
  EXPECT_TRUE(findings().at("devices (worker.backend cpu)").ok) << "nobody asked for one";
  options_.config.worker.backend = "cuda";
  const Finding none = findings().at("devices (worker.backend cuda)");
  EXPECT_FALSE(none.ok);
  EXPECT_THAT(none.detail, HasSubstr("there is no such file"));
  worker_says(R"({"plugin":"/x/libebb_cuda.so","usable":true,"why_not":"","driver":"13.1",)"
              R"("runtime":"13.0","architectures":"80, 90a","devices":["H200, 143771 MiB"]})");
  const Finding one = findings().at("devices (worker.backend cuda)");
  EXPECT_TRUE(one.ok);
  EXPECT_THAT(one.detail, HasSubstr("H200"));
  EXPECT_THAT(one.detail, HasSubstr("driver CUDA 13.1, built with CUDA 13.0 for compute capability "
                                    "80, 90a"));
  worker_says(
      "a library speaks\n"
      R"({"usable":false,"why_not":"","ucx":{"version":"1.20.0","memory":"host, cuda"}})");
  EXPECT_EQ(findings().at("UCX").detail, "version 1.20.0, reaches memory of: host, cuda");
  worker_says(R"({"usable":false,"why_not":"","ucx":{"why_not":"no such device"}})");
  EXPECT_FALSE(findings().at("UCX").ok);
  worker_says("not JSON");
  EXPECT_FALSE(findings().at("devices (worker.backend cuda)").ok);
}

TEST_F(DoctorTest, AFailedCheckIsItsExitCode) {
  KeptTerminal kept;
  EXPECT_EQ(run_doctor(kept.terminal, options_, Format::kTable), kUnhealthy);
  EXPECT_THAT(kept.out.str(), HasSubstr("FAIL  binaries"));
  EXPECT_THAT(kept.out.str(), HasSubstr("-> cmake --build build"));
}

TEST_F(DoctorTest, ABusyPortOfNobodyKnownIsNamed) {
  options_.config.coordinator.http_address = fake_.service().api;
  const Finding ports = findings().at("ports");
  EXPECT_FALSE(ports.ok);
  EXPECT_THAT(ports.detail, HasSubstr("coordinator.http_address"));
}

}  // namespace
}  // namespace ebb::ctl
