// The one YAML that describes a cluster; every process reads the same file and takes its section.
// flag > EBB_* environment > file > default. Unknown keys are errors that name the nearest known
// key. docs/configuration.md is generated from the descriptions that stand in cluster_config.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/units.h"

namespace ebb {

struct ModelConfig {
  std::string path;  ///< GGUF file; "~" and ${VAR} are expanded; empty: the fetched default model
  std::string name;  ///< served name; empty: the file's general.name, else its stem
  std::string profile;  ///< selection profile YAML, relative to this file; empty: none, dense only
  std::string controller;      ///< of policy adore, safetensors, relative to this file; empty: none
  uint32_t max_model_len = 0;  ///< tokens; 0: the model's own context
  std::string kv_type = "auto";  ///< auto, bf16 or f32: how K and V are kept
};

struct CoordinatorConfig {
  HostPort http_address{"127.0.0.1", 8000};
  HostPort control_address{"127.0.0.1", 7400};
  HostPort metrics_address{"127.0.0.1", 9400};  ///< metrics, health and admin
  uint32_t max_num_seqs = 8;                    ///< sequences that decode at once
  uint32_t queue_max = 256;                     ///< requests that may wait; more are answered 429
  uint32_t chunk_tokens = 512;                  ///< tokens of one unit of a bulk pass
  uint64_t body_max = 16 * kMiB;                ///< bytes of one HTTP body
  Millis drain_timeout{30000};
  Millis unit_deadline{60000};  ///< a bulk unit without an answer for this long loses the group
  Millis step_deadline{10000};  ///< the same for a decode step
  Millis heartbeat{1000};
  uint32_t kept_sequences = 64;               ///< finished sequences that stay inspectable
  std::string generation_defaults = "model";  ///< model: its files' defaults hold; none: OpenAI's
};

struct GroupConfig {
  std::string name = "g0";
  uint32_t tensor_parallel_size = 2;
  uint64_t device_kv_size = 256 * kMiB;  ///< one block arena for the group, dealt by KV heads
};

struct WorkerConfig {
  std::string backend = "cpu";  ///< cpu, cuda, auto
  std::string devices;          ///< by rank, by commas; empty: rank r takes device r
  std::string metrics_host = "127.0.0.1";
  uint16_t metrics_port_base = 9401;  ///< rank r listens on base + r
  uint32_t decode_threads = 0;        ///< 0: allowed CPUs divided by the group's ranks
  uint32_t bulk_threads = 0;          ///< 0: allowed CPUs
  uint32_t granule_tokens = 16;       ///< power of two, 8 to 32
  uint32_t hot_tokens = 0;            ///< rows per follower band when released; 0: twice the budget
  std::string release =
      "pressure";  ///< pressure: release only when the arena is short; always: at prefill
  Millis restore_deadline{3000};
  Millis exchange_deadline{3000};
  Millis collective_deadline{15000};
};

struct StoreConfig {
  std::string name = "s0";
  HostPort data_address{"127.0.0.1", 7500};
  HostPort control_address{"127.0.0.1", 7501};
  HostPort metrics_address{"127.0.0.1", 9501};
  uint64_t host_size = 512 * kMiB;
  uint64_t ssd_size = 4 * kGiB;  ///< quota; 0: no SSD tier
  std::string ssd_path;          ///< empty: <run_dir>/store-<name>
  /// bytes of the file system never used (or 10 %, whichever is less)
  uint64_t ssd_reserve = 2 * kGiB;
};

struct PolicyConfig {
  std::string name = "dense";  ///< policy of requests that name none
  uint32_t budget = 0;        ///< K in tokens; 0: prompt tokens / 8, at least the profile's minimum
  std::string parameters;     ///< of the policy `name`, as a request's `ebb` object has them; JSON
  std::string allowed;        ///< names that requests may choose, by commas; empty: all
  uint32_t budget_max = 0;    ///< tokens; 0: no limit but the context
  uint32_t rebuild_max = 64;  ///< tokens that one step of adore may rebuild
};

struct ClusterConfig {
  uint32_t version = 1;
  std::string cluster_token = "ebb-local";  ///< every process of a cluster presents the same one
  std::string run_dir;                      ///< state, logs, sockets; empty: $XDG_STATE_HOME/ebb
  std::string log_level = "info";
  std::string log_format = "text";  ///< text or json
  ModelConfig model;
  CoordinatorConfig coordinator;
  std::vector<GroupConfig> groups{GroupConfig{}};
  WorkerConfig worker;
  std::vector<StoreConfig> stores{StoreConfig{}};
  PolicyConfig policy;

  std::string source_path;  ///< the file this was read from; empty: defaults
};

/// Where an effective value came from.
enum class ConfigOrigin { kDefault, kFile, kEnvironment, kFlag };

struct LoadedConfig {
  ClusterConfig config;
  std::map<std::string, ConfigOrigin> origins;  ///< by dotted key: "coordinator.http_address"
};

/// Reads `path` (empty: defaults only), then EBB_* from the environment
/// (EBB_COORDINATOR_HTTP_ADDRESS), then `overrides` (dotted key -> text, from flags; lists as
/// "groups.0.tensor_parallel_size"). Errors: kInvalid with file, line, key, value and the allowed
/// range, or the nearest known key.
Result<LoadedConfig> load_cluster_config(const std::string& path,
                                         const std::map<std::string, std::string>& overrides = {});

/// "key=value" of a --set flag into `overrides`. Errors: kInvalid without a "=" or a key.
Result<void> add_override(std::map<std::string, std::string>& overrides,
                          const std::string& assignment);

/// Effective values as YAML; with `origins`, each line ends in a comment that says where it came
/// from.
std::string print_cluster_config(const LoadedConfig& loaded, bool with_origins);
/// docs/configuration.md.
std::string cluster_config_reference();

/// "~" and ${NAME} expanded.
std::string expand_path(const std::string& path);
/// config.run_dir, or $XDG_STATE_HOME/ebb, or ~/.local/state/ebb.
std::string effective_run_dir(const ClusterConfig& config);
/// config.model.path expanded (relative to the config file), or the default model in
/// ${EBB_CACHE:-~/.cache/ebb}/models.
std::string effective_model_path(const ClusterConfig& config);
/// config.model.profile expanded, relative to the config file; empty: none.
std::string effective_profile_path(const ClusterConfig& config);
/// The same for config.model.controller.
std::string effective_controller_path(const ClusterConfig& config);
/// What worker.devices says of `rank`. Errors: kInvalid (not a number, no entry for the rank).
Result<int> cuda_device_of(const WorkerConfig& worker, uint32_t rank);
/// store.ssd_path expanded, or <run dir>/store-<name>.
std::string effective_ssd_path(const ClusterConfig& config, const StoreConfig& store);

}  // namespace ebb
