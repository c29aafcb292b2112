// The configuration's keys, each described once: from this table come reading, range checks,
// printing, the environment's variables and the reference manual. Also the rules that tie several
// keys together.
#include "base/cluster_config.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/config_table.h"
#include "base/log.h"

namespace ebb {
namespace config {
namespace {

constexpr uint64_t kTiB = 1024 * kGiB;
constexpr uint64_t kSecond = 1000;
constexpr uint64_t kHour = 3600 * kSecond;
constexpr uint64_t kManyTokens = 1 << 24;

void add_root(std::vector<Key>& keys, ClusterConfig& c) {
  keys.push_back({"version", &c.version, "Version of this file's form.", 0, UINT32_MAX, "", {"1"}});
  keys.push_back(
      {"cluster_token", &c.cluster_token,
       "What every process of the cluster presents to the others; they refuse another one."});
  keys.push_back(
      {"run_dir", &c.run_dir,
       "Folder of state, logs and sockets; empty: $XDG_STATE_HOME/ebb or ~/.local/state/ebb."});
  keys.push_back({"log_level",
                  &c.log_level,
                  "The least severe log line that is written.",
                  0,
                  0,
                  "",
                  {"trace", "debug", "info", "warn", "error"}});
  keys.push_back({"log_format",
                  &c.log_format,
                  "Log lines for people, or one JSON object a line.",
                  0,
                  0,
                  "",
                  {"text", "json"}});
}

void add_model(std::vector<Key>& keys, ModelConfig& m) {
  keys.push_back(
      {"model.path", &m.path,
       "GGUF file or Hugging Face directory (docs/models.md); ~ and ${NAME} are expanded, relative "
       "to this file; empty: the default model that deploy/fetch_model.sh fetches."});
  keys.push_back({"model.name", &m.name,
                  "Name under which the model is served; empty: the name that its file states."});
  keys.push_back({"model.profile", &m.profile,
                  "Selection profile (YAML), relative to this file; empty: none, dense only."});
  keys.push_back({"model.controller", &m.controller,
                  "Controller of policy adore for this model (safetensors, docs/policies.md), "
                  "relative to this file; empty: none, adore is refused."});
  keys.push_back(
      {"model.max_model_len", &m.max_model_len,
       "Longest sequence, prompt and answer together; 0: what the model was trained for. More than "
       "that only where its RoPE scaling reaches further (docs/models.md).",
       0, kManyTokens, "tokens"});
  keys.push_back(
      {"model.kv_type",
       &m.kv_type,
       "How K and V are kept, on devices and in every tier: bf16; f32, twice the bytes; auto: "
       "f32 for a model whose weights are all F32, else bf16.",
       0,
       0,
       "",
       {"auto", "bf16", "f32"}});
}

void add_coordinator(std::vector<Key>& keys, CoordinatorConfig& c) {
  keys.push_back({"coordinator.http_address", &c.http_address, "Where the OpenAI API listens."});
  keys.push_back(
      {"coordinator.control_address", &c.control_address, "Where workers reach the coordinator."});
  keys.push_back({"coordinator.metrics_address", &c.metrics_address,
                  "Where metrics, health and the endpoints of ebbctl listen."});
  keys.push_back({"coordinator.max_num_seqs", &c.max_num_seqs, "Sequences that decode at once.", 1,
                  1024, "sequences"});
  keys.push_back({"coordinator.queue_max", &c.queue_max,
                  "Requests that may wait; one more is answered 429.", 1, 65536, "requests"});
  keys.push_back({"coordinator.chunk_tokens", &c.chunk_tokens,
                  "Tokens of one unit of a bulk pass; decode steps run between units.", 16, 8192,
                  "tokens"});
  keys.push_back({"coordinator.body_max", Bytes{&c.body_max},
                  "Largest HTTP body; a larger one is answered 413.", kKiB, kGiB});
  keys.push_back({"coordinator.drain_timeout", &c.drain_timeout,
                  "How long running requests may go on after SIGTERM.", 0, kHour});
  keys.push_back({"coordinator.unit_deadline", &c.unit_deadline,
                  "A bulk unit without an answer for this long loses the group.", 100, kHour});
  keys.push_back({"coordinator.step_deadline", &c.step_deadline,
                  "A decode step without an answer for this long loses the group.", 100, kHour});
  keys.push_back({"coordinator.heartbeat", &c.heartbeat,
                  "How often the coordinator asks workers and stores whether they live.", 50,
                  60 * kSecond});
  keys.push_back({"coordinator.kept_sequences", &c.kept_sequences,
                  "Finished sequences that stay inspectable.", 0, 4096, "sequences"});
  keys.push_back(
      {"coordinator.generation_defaults",
       &c.generation_defaults,
       "What a request does not say about sampling: the model's own generation_config, or "
       "none of it (temperature 1, no filters).",
       0,
       0,
       "",
       {"model", "none"}});
}

void add_group(std::vector<Key>& keys, const std::string& at, GroupConfig& g) {
  keys.push_back({at + "name", &g.name, "Name of the group: a-z, 0-9 and -."});
  keys.push_back(
      {at + "tensor_parallel_size", &g.tensor_parallel_size,
       "Ranks that hold one instance of the model together; at most as many as it has query heads.",
       1, 16, "ranks"});
  keys.push_back({at + "device_kv_size", Bytes{&g.device_kv_size},
                  "KV arena on the device, of all ranks together.", kMiB, 64 * kTiB});
}

void add_worker(std::vector<Key>& keys, WorkerConfig& w) {
  keys.push_back(
      {"worker.backend",
       &w.backend,
       "What computes: cpu; cuda, a GPU, or the worker ends and says why; auto: a GPU where "
       "there is one that can be used, else cpu, decided once at start (docs/cuda.md).",
       0,
       0,
       "",
       {"cpu", "cuda", "auto"}});
  keys.push_back(
      {"worker.devices", &w.devices,
       "CUDA device of each rank, separated by commas (0,0: two ranks on one GPU); empty: "
       "rank r takes device r."});
  keys.push_back({"worker.metrics_host", &w.metrics_host,
                  "Host on which a worker's metrics and health listen."});
  keys.push_back({"worker.metrics_port_base", &w.metrics_port_base,
                  "Rank r of a group listens on this port + r; 0: any free port.", 0, 65535,
                  "port"});
  keys.push_back({"worker.decode_threads", &w.decode_threads,
                  "Threads of a decode step, per rank; 0: the allowed CPUs divided by the ranks.",
                  0, 1024, "threads"});
  keys.push_back({"worker.bulk_threads", &w.bulk_threads,
                  "Threads of a bulk pass, per rank; 0: the allowed CPUs.", 0, 1024, "threads"});
  keys.push_back({"worker.granule_tokens",
                  &w.granule_tokens,
                  "Records that are named, sealed and stored together.",
                  8,
                  32,
                  "tokens",
                  {"8", "16", "32"}});
  keys.push_back({"worker.hot_tokens", &w.hot_tokens,
                  "Rows that a released follower band keeps on the device; 0: twice the budget.", 0,
                  kManyTokens, "tokens"});
  keys.push_back({"worker.release",
                  &w.release,
                  "When follower rows leave the device: under pressure, or always at prefill.",
                  0,
                  0,
                  "",
                  {"pressure", "always"}});
  keys.push_back({"worker.restore_deadline", &w.restore_deadline,
                  "Longest wait for records from a store; then the request ends with an error.", 10,
                  10 * 60 * kSecond});
  keys.push_back({"worker.exchange_deadline", &w.exchange_deadline,
                  "Longest wait for the merged selection of a step.", 10, 10 * 60 * kSecond});
  keys.push_back({"worker.collective_deadline", &w.collective_deadline,
                  "Longest wait of one rank for the others in a collective.", 10,
                  10 * 60 * kSecond});
}

void add_store(std::vector<Key>& keys, const std::string& at, StoreConfig& s) {
  keys.push_back({at + "name", &s.name, "Name of the store: a-z, 0-9 and -."});
  keys.push_back(
      {at + "data_address", &s.data_address, "Where workers put and get records (UCX)."});
  keys.push_back({at + "control_address", &s.control_address,
                  "Where the coordinator asks for the store's state."});
  keys.push_back({at + "metrics_address", &s.metrics_address, "Where metrics and health listen."});
  keys.push_back({at + "host_size", Bytes{&s.host_size}, "Host memory tier.", kMiB, 64 * kTiB});
  keys.push_back({at + "ssd_size", Bytes{&s.ssd_size},
                  "Most bytes of the SSD tier; 0: no SSD tier.", 0, 1024 * kTiB});
  keys.push_back({at + "ssd_path", &s.ssd_path,
                  "Folder of the SSD tier; empty: store-<name> in the run folder."});
  keys.push_back(
      {at + "ssd_reserve", Bytes{&s.ssd_reserve},
       "Bytes of the file system that are never used (or 10 % of it, whichever is less).", 0,
       1024 * kTiB});
}

void add_policy(std::vector<Key>& keys, PolicyConfig& p) {
  keys.push_back({"policy.name",
                  &p.name,
                  "Attention policy of requests that name none.",
                  0,
                  0,
                  "",
                  {"dense", "tidal", "streaming", "recycled", "composed", "adore", "anchored"}});
  keys.push_back({"policy.budget", &p.budget,
                  "Tokens that a sparse layer attends to; 0: an eighth of the prompt, at least the "
                  "profile's minimum.",
                  0, kManyTokens, "tokens"});
  keys.push_back({"policy.parameters", &p.parameters,
                  "Parameters of policy.name for requests that give none: a JSON object as a "
                  "request's ebb has it; empty: none."});
  keys.push_back({"policy.allowed", &p.allowed,
                  "Policies that requests may choose, separated by commas; empty: all."});
  keys.push_back({"policy.budget_max", &p.budget_max,
                  "Largest budget that a request may ask for; 0: no limit but the context.", 0,
                  kManyTokens, "tokens"});
  keys.push_back(
      {"policy.rebuild_max", &p.rebuild_max,
       "Most tokens that a request may have rebuilt in one step of policy adore: workers "
       "keep room for as many rows more for each of coordinator.max_num_seqs.",
       0, 64, "tokens"});
}

}  // namespace

std::vector<Key> keys_of(ClusterConfig& c) {
  std::vector<Key> keys;
  add_root(keys, c);
  add_model(keys, c.model);
  add_coordinator(keys, c.coordinator);
  for (size_t i = 0; i < c.groups.size(); ++i)
    add_group(keys, "groups." + std::to_string(i) + ".", c.groups[i]);
  add_worker(keys, c.worker);
  for (size_t i = 0; i < c.stores.size(); ++i)
    add_store(keys, "stores." + std::to_string(i) + ".", c.stores[i]);
  add_policy(keys, c.policy);
  return keys;
}

std::string variable_of(const std::string& key) {
  // The version is the file's own, and EBB_VERSION means other things to other scripts.
  if (key == "version") return "";
  std::string name = "EBB_";
  for (const char c : key)
    name += c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return name;
}

namespace {

/// One value on its way into the config.
struct Source {
  std::string key;
  std::string text;
  std::string where;  ///< "configs/a.yaml:12", "EBB_RUN_DIR", "--set"
  ConfigOrigin origin;
};

/// Position of the list item that `key` names ("groups.3.name": 3), or -1.
int item_of(const std::string& key, const std::string& list) {
  if (!key.starts_with(list + ".")) return -1;
  const std::string rest = key.substr(list.size() + 1);
  const size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits > 4) return -1;
  return std::stoi(rest.substr(0, std::min<size_t>(digits, 4)));
}

/// Variables that are not configuration keys.
bool is_other_variable(const std::string& name) {
  static const std::set<std::string> kOthers{"EBB_CACHE", "EBB_CPU_ISA", "EBB_URL", "EBB_ADMIN_URL",
                                             "EBB_CUDA_PLUGIN"};
  return kOthers.contains(name);
}

/// True when the variable begins like one of the file's sections: then it is probably a typing
/// error.
bool looks_like_key(const std::string& name) {
  // Kubernetes describes every Service in such variables; one called ebb-coordinator is nobody's
  // typing error.
  if (name.find("_SERVICE_") != std::string::npos || name.find("_PORT") != std::string::npos)
    return false;
  for (const char* section : {"EBB_MODEL_", "EBB_COORDINATOR_", "EBB_GROUPS_", "EBB_WORKER_",
                              "EBB_STORES_", "EBB_POLICY_", "EBB_LOG_", "EBB_RUN_", "EBB_CLUSTER_"})
    if (name.starts_with(section)) return true;
  return false;
}

std::vector<Source> environment_sources() {
  std::map<std::string, std::string> set;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (text.starts_with("EBB_") && equals != std::string_view::npos)
      set.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  if (set.empty()) return {};
  ClusterConfig widest;
  widest.groups.resize(kListMax);
  widest.stores.resize(kListMax);
  std::vector<Source> sources;
  for (const Key& key : keys_of(widest)) {
    const auto it = set.find(variable_of(key.name));
    if (it == set.end()) continue;
    sources.push_back({key.name, it->second, it->first, ConfigOrigin::kEnvironment});
    set.erase(it);
  }
  for (const auto& [name, value] : set)
    if (!is_other_variable(name) && looks_like_key(name))
      log_warn("config", "environment variable names no configuration key", {{"variable", name}});
  return sources;
}

/// Grows `list` so that `item` exists. Items come one after the other: a gap would be an item of
/// defaults that nobody asked for.
template <class T>
Result<void> grow(std::vector<T>& list, int item, const Source& source) {
  if (item < 0 || item < static_cast<int>(list.size())) return {};
  if (item > static_cast<int>(list.size()))
    return invalid(source.where + ": " + source.key + ": the list has only " +
                   std::to_string(list.size()) + " items");
  list.emplace_back();
  return {};
}

Result<void> apply(LoadedConfig& loaded, const std::vector<Source>& sources) {
  ClusterConfig& config = loaded.config;
  for (const Source& source : sources) {
    EBB_TRY_VOID(grow(config.groups, item_of(source.key, "groups"), source));
    EBB_TRY_VOID(grow(config.stores, item_of(source.key, "stores"), source));
  }
  const std::vector<Key> keys = keys_of(config);
  for (const Source& source : sources) {
    const auto key =
        std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == source.key; });
    if (key == keys.end())
      return invalid(source.where + ": unknown key \"" + source.key +
                     "\"; the nearest known key is \"" + nearest_key(source.key) + "\"");
    auto assigned = assign(*key, source.text);
    if (!assigned) return with_context(source.where + ": " + source.key, assigned.error());
    loaded.origins[source.key] = source.origin;
  }
  return {};
}

Result<void> check_names(const std::string& list, const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string key = list + "." + std::to_string(i) + ".name";
    const bool plain =
        names[i].find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
    if (names[i].empty() || names[i].size() > 63 || !plain)
      return invalid(key + " is " + quoted(names[i]) +
                     ", allowed: 1 to 63 characters of a-z, 0-9 and -");
    if (!seen.insert(names[i]).second)
      return invalid(key + " is " + quoted(names[i]) + ", which another item has already");
  }
  return {};
}

/// Two listeners on one address would be a start that fails half-way.
Result<void> check_addresses(const ClusterConfig& config) {
  std::map<std::string, std::string> owner;
  const auto claim = [&](const std::string& key, const HostPort& address) -> Result<void> {
    if (address.port == 0) return {};
    const auto [it, fresh] = owner.emplace(address.text(), key);
    if (fresh) return {};
    return invalid(key + " is " + address.text() + ", which " + it->second + " uses already");
  };
  EBB_TRY_VOID(claim("coordinator.http_address", config.coordinator.http_address));
  EBB_TRY_VOID(claim("coordinator.control_address", config.coordinator.control_address));
  EBB_TRY_VOID(claim("coordinator.metrics_address", config.coordinator.metrics_address));
  for (size_t i = 0; i < config.stores.size(); ++i) {
    const std::string at = "stores." + std::to_string(i) + ".";
    EBB_TRY_VOID(claim(at + "data_address", config.stores[i].data_address));
    EBB_TRY_VOID(claim(at + "control_address", config.stores[i].control_address));
    EBB_TRY_VOID(claim(at + "metrics_address", config.stores[i].metrics_address));
  }
  if (config.worker.metrics_port_base == 0) return {};
  for (uint32_t rank = 0; rank < config.groups.front().tensor_parallel_size; ++rank) {
    const uint32_t port = uint32_t{config.worker.metrics_port_base} + rank;
    if (port > 65535)
      return invalid("worker.metrics_port_base is " +
                     std::to_string(config.worker.metrics_port_base) + ", so rank " +
                     std::to_string(rank) + " would listen above port 65535");
    EBB_TRY_VOID(claim("worker.metrics_port_base (rank " + std::to_string(rank) + ")",
                       {config.worker.metrics_host, static_cast<uint16_t>(port)}));
  }
  return {};
}

Result<void> check_together(const ClusterConfig& config) {
  std::vector<std::string> groups;
  std::vector<std::string> stores;
  for (const GroupConfig& group : config.groups) groups.push_back(group.name);
  for (const StoreConfig& store : config.stores) stores.push_back(store.name);
  if (groups.empty()) return invalid("groups is empty: a cluster needs a group of workers");
  if (groups.size() > 1)
    return unsupported("groups has " + std::to_string(groups.size()) +
                       " items: this version runs exactly one group");
  if (stores.size() > 1)
    return unsupported("stores has " + std::to_string(stores.size()) +
                       " items: this version runs at most one store");
  EBB_TRY_VOID(check_names("groups", groups));
  EBB_TRY_VOID(check_names("stores", stores));
  if (config.cluster_token.empty()) return invalid("cluster_token is empty");
  for (uint32_t rank = 0; rank < config.groups.front().tensor_parallel_size; ++rank)
    EBB_TRY(cuda_device_of(config.worker, rank));
  return check_addresses(config);
}

}  // namespace
}  // namespace config

Result<LoadedConfig> load_cluster_config(const std::string& path,
                                         const std::map<std::string, std::string>& overrides) {
  using config::Source;
  LoadedConfig loaded;
  // 1. The file. Its lists replace the default ones.
  if (!path.empty()) {
    const config::FileKeys file = EBB_TRY(config::read_config_file(path));
    if (file.groups >= 0) loaded.config.groups.assign(static_cast<size_t>(file.groups), {});
    if (file.stores >= 0) loaded.config.stores.assign(static_cast<size_t>(file.stores), {});
    std::vector<Source> sources;
    for (const config::Leaf& leaf : file.leaves)
      sources.push_back(
          {leaf.key, leaf.text, path + ":" + std::to_string(leaf.line), ConfigOrigin::kFile});
    EBB_TRY_VOID(config::apply(loaded, sources));
    loaded.config.source_path = path;
  }
  // 2. The environment. 3. Flags.
  EBB_TRY_VOID(config::apply(loaded, config::environment_sources()));
  std::vector<Source> flags;
  for (const auto& [key, text] : overrides)
    flags.push_back({key, text, "--set", ConfigOrigin::kFlag});
  EBB_TRY_VOID(config::apply(loaded, flags));
  // 4. What no single key can say.
  auto checked = config::check_together(loaded.config);
  if (!checked && !path.empty()) return with_context(path, checked.error());
  if (!checked) return checked.error();
  for (const config::Key& key : config::keys_of(loaded.config))
    loaded.origins.emplace(key.name, ConfigOrigin::kDefault);
  return loaded;
}

Result<void> add_override(std::map<std::string, std::string>& overrides,
                          const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    return invalid("\"" + assignment + "\" is not key=value");
  overrides[assignment.substr(0, equals)] = assignment.substr(equals + 1);
  return {};
}

Result<int> cuda_device_of(const WorkerConfig& worker, uint32_t rank) {
  if (worker.devices.empty()) return static_cast<int>(rank);
  const auto wrong = [&](const std::string& why) {
    return invalid("worker.devices is \"" + worker.devices + "\": " + why);
  };
  std::vector<int> devices;
  for (size_t at = 0; at <= worker.devices.size();) {
    const size_t end = std::min(worker.devices.find(',', at), worker.devices.size());
    std::string item = worker.devices.substr(at, end - at);
    std::erase(item, ' ');
    const bool digits = item.find_first_not_of("0123456789") == std::string::npos;
    if (item.empty() || item.size() > 3 || !digits)
      return wrong("needs numbers, separated by commas, one for each rank");
    devices.push_back(std::stoi(item));
    at = end + 1;
  }
  if (rank >= devices.size())
    return wrong("has " + std::to_string(devices.size()) + " devices, but there is a rank " +
                 std::to_string(rank));
  return devices[rank];
}

}  // namespace ebb
