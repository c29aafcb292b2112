#include "base/cluster_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "tests/support/tree_paths.h"

namespace ebb {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using Overrides = std::map<std::string, std::string>;

/// Sets a variable for one test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

class Config : public ::testing::Test {
 protected:
  Result<LoadedConfig> load(const std::string& yaml, const Overrides& overrides = {}) {
    return load_cluster_config(dir_.file("c.yaml", yaml), overrides);
  }
  std::string error_of(const std::string& yaml, const Overrides& overrides = {}) {
    const auto loaded = load(yaml, overrides);
    return loaded ? "no error" : loaded.error().message;
  }
  test::TempDir dir_;
};

TEST_F(Config, DefaultsAloneAreACluster) {
  const auto loaded = load_cluster_config("");
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(loaded->config.coordinator.http_address, (HostPort{"127.0.0.1", 8000}));
  EXPECT_EQ(loaded->config.groups.size(), 1u);
  EXPECT_EQ(loaded->origins.at("groups.0.name"), ConfigOrigin::kDefault);
}

TEST_F(Config, ReadsEveryTypeOfValue) {
  const auto loaded = load(R"(
version: 1
coordinator: {http_address: "[::1]:81", chunk_tokens: 256, drain_timeout: 2min, heartbeat: 250}
groups:
  - {name: a, tensor_parallel_size: 1, device_kv_size: 1.5GiB}
stores: []
policy:
)");
  ASSERT_TRUE(loaded) << loaded.error().text();
  const ClusterConfig& config = loaded->config;
  EXPECT_EQ(config.coordinator.http_address, (HostPort{"::1", 81}));
  EXPECT_EQ(config.coordinator.chunk_tokens, 256u);
  EXPECT_EQ(config.coordinator.drain_timeout, Millis(120000));
  EXPECT_EQ(config.coordinator.heartbeat, Millis(250));
  EXPECT_EQ(config.groups[0].device_kv_size, 3 * kGiB / 2);
  EXPECT_TRUE(config.stores.empty());
  EXPECT_EQ(loaded->origins.at("groups.0.name"), ConfigOrigin::kFile);
}

TEST_F(Config, AnUnknownKeyNamesFileLineAndTheNearestKey) {
  EXPECT_THAT(error_of("version: 1\ncoordinator:\n  http_adress: 127.0.0.1:80\n"),
              AllOf(HasSubstr("c.yaml:3: unknown key \"coordinator.http_adress\""),
                    EndsWith("the nearest known key is \"coordinator.http_address\"")));
  EXPECT_THAT(error_of("grups: []\n"), HasSubstr("nearest known key is \"groups\""));
  EXPECT_THAT(error_of("stores:\n  - {name: s0, host_sice: 1GiB}\n"),
              HasSubstr("nearest known key is \"stores.0.host_size\""));
  EXPECT_THAT(error_of("tensor_parallel_size: 2\n"),
              HasSubstr("nearest known key is \"groups.0.tensor_parallel_size\""));
}

TEST_F(Config, AWrongTypeSaysWhatWasExpected) {
  EXPECT_THAT(
      error_of("coordinator:\n  chunk_tokens: many\n"),
      HasSubstr("c.yaml:2: coordinator.chunk_tokens: expected a whole number, found \"many\""));
  EXPECT_THAT(error_of("coordinator: 3\n"), HasSubstr("coordinator: expected a section"));
  EXPECT_THAT(error_of("groups: 3\n"), HasSubstr("groups: expected a list"));
  EXPECT_THAT(error_of("groups: [3]\n"), HasSubstr("groups.0: expected a mapping"));
  EXPECT_THAT(error_of("run_dir: [a]\n"), HasSubstr("run_dir: expected one value, found a list"));
  EXPECT_THAT(error_of("run_dir:\n"), HasSubstr("run_dir has no value"));
  EXPECT_THAT(error_of("stores:\n  - host_size: 3 apples\n"), HasSubstr("is not a size"));
  EXPECT_THAT(error_of("coordinator: {http_address: 8000}\n"), HasSubstr("is not an address"));
  EXPECT_THAT(error_of("- a\n"), HasSubstr("not a mapping"));
}

TEST_F(Config, ANumberOutOfRangeNamesTheRange) {
  EXPECT_THAT(error_of("groups:\n  - name: g0\n    tensor_parallel_size: 17\n"),
              HasSubstr("c.yaml:3: groups.0.tensor_parallel_size: is 17, allowed: 1 to 16 ranks"));
  EXPECT_THAT(error_of("groups: [{tensor_parallel_size: 0}]\n"), HasSubstr("allowed: 1 to 16"));
  EXPECT_THAT(error_of("groups: [{tensor_parallel_size: -1}]\n"), HasSubstr("whole number"));
  EXPECT_THAT(error_of("coordinator: {heartbeat: 1ms}\n"), HasSubstr("allowed: 50ms to 60s"));
  EXPECT_THAT(error_of("stores: [{host_size: 1KiB}]\n"), HasSubstr("allowed: 1MiB to 64TiB"));
}

TEST_F(Config, AChoiceListsWhatMayBeChosen) {
  EXPECT_THAT(error_of("policy: {name: sparse}\n"),
              HasSubstr("policy.name: is \"sparse\", allowed: one of dense, tidal"));
  EXPECT_THAT(error_of("worker: {release: never}\n"), HasSubstr("one of pressure, always"));
  EXPECT_THAT(error_of("worker: {granule_tokens: 24}\n"), HasSubstr("one of 8, 16, 32"));
  EXPECT_THAT(error_of("version: 2\n"), HasSubstr("version: is 2, allowed: one of 1"));
}

TEST_F(Config, MalformedYamlNamesTheLine) {
  EXPECT_THAT(error_of("version: 1\nmodel: {path: [\n"), HasSubstr("c.yaml:"));
  EXPECT_THAT(error_of("version: 1\nversion: 1\n"), HasSubstr("c.yaml:2: version is given twice"));
  EXPECT_THAT(error_of("version: 1\n---\nversion: 1\n"), HasSubstr("2 YAML documents"));
}

TEST_F(Config, AMissingFileIsNamed) {
  const auto loaded = load_cluster_config(dir_.path("absent.yaml"));
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kNotFound);
  EXPECT_THAT(loaded.error().message, HasSubstr("absent.yaml"));
  EXPECT_FALSE(load_cluster_config(dir_.path()));
}

TEST_F(Config, RulesThatTieKeysTogether) {
  const auto two = load("groups: [{name: a}, {name: b}]\n");
  ASSERT_FALSE(two);
  EXPECT_EQ(two.error().code, Code::kUnsupported);
  EXPECT_THAT(error_of("groups: []\n"), HasSubstr("groups is empty"));
  EXPECT_THAT(error_of("stores: [{name: a}, {name: b}]\n"), HasSubstr("at most one store"));
  EXPECT_THAT(error_of("groups: [{name: G0}]\n"), HasSubstr("a-z, 0-9 and -"));
  EXPECT_THAT(error_of("coordinator: {http_address: 127.0.0.1:9400}\n"),
              HasSubstr("coordinator.metrics_address is 127.0.0.1:9400, which "
                        "coordinator.http_address uses already"));
  EXPECT_THAT(error_of("worker: {metrics_port_base: 65535}\n"), HasSubstr("above port 65535"));
  EXPECT_THAT(error_of("worker: {devices: '0'}\n"),
              HasSubstr("has 1 devices, but there is a rank 1"));
  EXPECT_THAT(error_of("worker: {devices: '0,gpu'}\n"), HasSubstr("needs numbers"));
}

TEST_F(Config, EachRankHasItsCudaDevice) {
  WorkerConfig worker;
  EXPECT_EQ(*cuda_device_of(worker, 3), 3);
  worker.devices = "0, 0,1";
  EXPECT_EQ(*cuda_device_of(worker, 1), 0);
  EXPECT_EQ(*cuda_device_of(worker, 2), 1);
  EXPECT_FALSE(cuda_device_of(worker, 3));
  worker.devices = "0,";
  EXPECT_FALSE(cuda_device_of(worker, 0));
}

TEST_F(Config, TheEnvironmentBeatsTheFileAndAFlagBeatsBoth) {
  const std::string yaml =
      "coordinator: {chunk_tokens: 100, queue_max: 100, kept_sequences: 100}\n";
  const Variable chunk("EBB_COORDINATOR_CHUNK_TOKENS", "200");
  const Variable queue("EBB_COORDINATOR_QUEUE_MAX", "200");
  const auto loaded = load(yaml, {{"coordinator.queue_max", "300"}});
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(loaded->config.coordinator.kept_sequences, 100u);
  EXPECT_EQ(loaded->config.coordinator.chunk_tokens, 200u);
  EXPECT_EQ(loaded->config.coordinator.queue_max, 300u);
  EXPECT_EQ(loaded->origins.at("coordinator.kept_sequences"), ConfigOrigin::kFile);
  EXPECT_EQ(loaded->origins.at("coordinator.chunk_tokens"), ConfigOrigin::kEnvironment);
  EXPECT_EQ(loaded->origins.at("coordinator.queue_max"), ConfigOrigin::kFlag);
}

TEST_F(Config, ListItemsAreReachedByPosition) {
  const Variable size("EBB_GROUPS_0_DEVICE_KV_SIZE", "96MiB");
  const auto loaded =
      load("stores: []\n", {{"groups.0.tensor_parallel_size", "3"}, {"stores.0.name", "added"}});
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(loaded->config.groups[0].device_kv_size, 96 * kMiB);
  EXPECT_EQ(loaded->config.groups[0].tensor_parallel_size, 3u);
  EXPECT_EQ(loaded->config.stores.at(0).name, "added");
  EXPECT_THAT(error_of("", {{"groups.7.name", "far"}}), HasSubstr("the list has only 1 items"));
}

TEST_F(Config, AWrongOverrideIsNamedWithItsSource) {
  EXPECT_THAT(error_of("", {{"coordinator.chunk_token", "1"}}),
              AllOf(HasSubstr("--set: unknown key"), HasSubstr("\"coordinator.chunk_tokens\"")));
  const Variable wrong("EBB_POLICY_NAME", "magic");
  EXPECT_THAT(error_of(""), HasSubstr("EBB_POLICY_NAME: policy.name"));
}

TEST_F(Config, VariablesOfOthersAreLeftAlone) {
  const Variable version("EBB_VERSION", "0.1.0");
  const Variable port("EBB_COORDINATOR_PORT", "tcp://10.0.0.1:8000");
  testing::internal::CaptureStderr();
  EXPECT_TRUE(load("version: 1\n"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(Config, AVariableThatNamesNoKeyWarns) {
  const Variable typo("EBB_COORDINATOR_CHUNKTOKENS", "1");
  testing::internal::CaptureStderr();
  EXPECT_TRUE(load("version: 1\n"));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("EBB_COORDINATOR_CHUNKTOKENS"));
}

TEST_F(Config, AssignmentsAreKeyEqualsValue) {
  Overrides overrides;
  EXPECT_TRUE(add_override(overrides, "model.path=/a=b"));
  EXPECT_EQ(overrides.at("model.path"), "/a=b");
  EXPECT_FALSE(add_override(overrides, "model.path"));
  EXPECT_FALSE(add_override(overrides, "=x"));
}

TEST_F(Config, PrintedValuesAndOriginsSurviveARoundTrip) {
  const auto first = load(R"(
cluster_token: 'quote " and \ slash # not a comment'
groups: [{name: g7, device_kv_size: 3000001}]
stores: [{name: s7, ssd_reserve: 0}]
coordinator: {heartbeat: 1500ms, http_address: "[::1]:81"}
)");
  ASSERT_TRUE(first) << first.error().text();
  const std::string plain = print_cluster_config(*first, false);
  const std::string commented = print_cluster_config(*first, true);
  const auto again = load(commented);
  ASSERT_TRUE(again) << again.error().text() << "\n" << commented;
  EXPECT_EQ(print_cluster_config(*again, false), plain);
  EXPECT_EQ(again->config.cluster_token, "quote \" and \\ slash # not a comment");
  EXPECT_EQ(again->config.groups[0].device_kv_size, 3000001u);
  EXPECT_THAT(commented, HasSubstr("device_kv_size: 3000001  # file\n"));
  EXPECT_THAT(commented, HasSubstr("max_num_seqs: 8  # default\n"));
  const auto none = load("stores: []\n");
  EXPECT_TRUE(load(print_cluster_config(*none, true))->config.stores.empty());
}

TEST_F(Config, TheReferenceDescribesEveryPrintedKey) {
  const std::string reference = cluster_config_reference();
  const auto loaded = load_cluster_config("");
  ASSERT_TRUE(loaded);
  for (const auto& [key, origin] : loaded->origins)
    EXPECT_THAT(reference, HasSubstr("| `" + key + "` |"));
  EXPECT_THAT(reference, HasSubstr("`EBB_GROUPS_0_TENSOR_PARALLEL_SIZE`"));
}

TEST_F(Config, TheManualIsTheReference) {
  EXPECT_EQ(test::read_file(ebb::test::source_path("docs/configuration.md")),
            cluster_config_reference())
      << "write it anew: build/bin/ebbctl config reference > docs/configuration.md";
}

TEST_F(Config, TheFilesInConfigsAreGood) {
  for (const char* name : {"quickstart.yaml", "dev.yaml"}) {
    const auto loaded = load_cluster_config(ebb::test::source_path("configs/") + name);
    EXPECT_TRUE(loaded) << loaded.error().text();
  }
}

TEST_F(Config, PathsStartInTheFilesFolder) {
  const Variable home("HOME", "/home/someone");
  const Variable models("EBB_TEST_MODELS", "/srv/models");
  auto loaded = load("model: {path: m.gguf, profile: profiles/p.yaml}\nrun_dir: ~/run\n");
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ(effective_model_path(loaded->config), dir_.path("m.gguf"));
  EXPECT_EQ(effective_profile_path(loaded->config), dir_.path("profiles/p.yaml"));
  EXPECT_EQ(effective_run_dir(loaded->config), "/home/someone/run");
  EXPECT_EQ(effective_ssd_path(loaded->config, loaded->config.stores[0]),
            "/home/someone/run/store-s0");
  EXPECT_EQ(expand_path("${EBB_TEST_MODELS}/a.gguf"), "/srv/models/a.gguf");
  const Variable cache("EBB_CACHE", "/var/cache/ebb");
  loaded->config.model.path.clear();
  EXPECT_EQ(effective_model_path(loaded->config),
            "/var/cache/ebb/models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

}  // namespace
}  // namespace ebb
