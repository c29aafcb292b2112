// ebb-kvstore: one store. Reads the cluster's configuration, takes its section, wires the parts,
// waits for a signal.
#include <malloc.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <optional>

#include "base/cluster_config.h"
#include "base/log.h"
#include "base/wait.h"
#include "kvstore/service.h"
#include "kvstore/store_http.h"
#include "transport/control/store_side.h"

namespace ebb::kvstore {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr Millis kFlushOnExit{8000};
constexpr Millis kStuckAfter{5000};
/// Bytes of requests under way: in proportion to the store's memory, but always a few of the
/// largest messages.
constexpr uint64_t kInFlightMin = 192 * kMiB;
constexpr uint64_t kInFlightMax = 512 * kMiB;

struct Options {
  std::string config;
  std::string store;
  std::vector<std::string> assignments;
  bool print_config = false;
};

Result<std::map<std::string, std::string>> overrides(const Options& options) {
  std::map<std::string, std::string> all;
  for (const std::string& assignment : options.assignments) {
    const auto equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0)
      return invalid("--set " + assignment + ": expected key=value");
    all[assignment.substr(0, equals)] = assignment.substr(equals + 1);
  }
  return all;
}

Result<StoreConfig> choose_store(const ClusterConfig& config, const std::string& name) {
  std::string names;
  for (const StoreConfig& store : config.stores) {
    if (store.name == name || (name.empty() && config.stores.size() == 1)) return store;
    names += (names.empty() ? "" : ", ") + store.name;
  }
  if (name.empty()) return invalid("--store: needed, the configuration has several: " + names);
  return invalid("--store " + name + ": no such store in the configuration, it has: " + names);
}

StoreOptions store_options(const ClusterConfig& config, const StoreConfig& store) {
  StoreOptions options;
  options.host_bytes = store.host_size;
  options.ssd = {store.ssd_size, store.ssd_reserve};
  options.ssd_path = store.ssd_path.empty() ? effective_run_dir(config) + "/store-" + store.name
                                            : expand_path(store.ssd_path);
  return options;
}

void log_restart(const RestartReport& report) {
  log_info("kvstore", "ssd tier opened",
           {{"granules", report.granules},
            {"bytes", report.bytes},
            {"corrupt", report.corrupt},
            {"left_out", report.left_out},
            {"seconds", report.seconds},
            {"rebuilt", report.rebuilt ? "yes" : "no"}});
}

/// Everything that runs; members stop in reverse order: first nobody can ask, then nothing is left
/// to do.
class Process {
 public:
  Result<void> start(const ClusterConfig& config, const StoreConfig& store) {
    metrics_
        .gauge("ebb_build_info", "Always 1; the labels say what runs.",
               {{"version", store_version()}})
        .set(1);
    probes_.healthy = [this] { return !serving_ || store_->alive(kStuckAfter); };
    probes_.refresh = [this] {
      if (serving_) service_->refresh_metrics();
    };
    // First, so that a long restart scan is seen as "not ready" and not as "gone".
    http::ServerOptions http_options;
    http_options.name = "metrics";
    http_ = EBB_TRY(http::Server::start(store.metrics_address, http_options,
                                        store_http_handler(probes_, metrics_)));

    store_ = EBB_TRY(Store::open(store_options(config, store), metrics_));
    if (store.ssd_size > 0) log_restart(store_->restart());
    service_.emplace(*store_, store.name, metrics_);
    serving_ = true;

    data::MessengerOptions options;
    options.name = "data";
    options.cluster_token = config.cluster_token;
    options.in_flight_max = std::clamp(store.host_size, kInFlightMin, kInFlightMax);
    messenger_ = EBB_TRY(data::Messenger::start(options));
    EBB_TRY_VOID(messenger_->listen(store.data_address, service_->handlers()));
    control::StoreHandlers handlers;
    handlers.status = [this] { return service_->status(); };
    handlers.list = [this](const auto& query, auto answer) {
      service_->list(query, std::move(answer));
    };
    control_ = EBB_TRY(control::StoreControlServer::listen(
        store.control_address, config.cluster_token, std::move(handlers)));
    probes_.ready = true;
    log_info("kvstore", "listening",
             {{"data", HostPort{store.data_address.host, messenger_->port()}.text()},
              {"control", HostPort{store.control_address.host, control_->port()}.text()},
              {"metrics", HostPort{store.metrics_address.host, http_->port()}.text()}});
    if (!is_loopback(store.data_address.host)) {
      log_warn("kvstore",
               "data port is reachable from other machines: it has no encryption, use a trusted "
               "network");
    }
    return {};
  }

  /// What was accepted becomes durable, if that is quick.
  void stop() {
    probes_.ready = false;
    control_.reset();
    const auto flushed = wait_for<void>(
        [&](auto done) { store_->flush(Deadline::after(kFlushOnExit), std::move(done)); });
    if (flushed || flushed.error().code == Code::kUnsupported) {
      log_info("kvstore", "stopped");
    } else {
      log_warn("kvstore", "stopped without everything being durable",
               {{"why", flushed.error().message}});
    }
  }

 private:
  Metrics metrics_;
  StoreProbes probes_;
  std::atomic<bool> serving_{false};
  std::optional<Service>
      service_;  // outlives the store: answers of requests under way pass through it
  std::unique_ptr<Store> store_;
  std::unique_ptr<data::Messenger> messenger_;
  std::unique_ptr<control::StoreControlServer> control_;
  std::unique_ptr<http::Server> http_;
};

int fail(const Error& error, int code) {
  std::fprintf(stderr, "ebb-kvstore: %s\n", error.message.c_str());
  return code;
}

/// Payloads of some MiB come and go all the time. By default each is mapped and unmapped, and the
/// kernel clears its pages anew: a third of a put's processor time. The heap keeps them instead;
/// what is under way at once is bounded.
void keep_payload_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
}

int serve(const LoadedConfig& loaded, const StoreConfig& store) {
  keep_payload_memory();
  // Blocked before any thread starts: all of them inherit it, and only this one waits.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  Process process;
  if (auto started = process.start(loaded.config, store); !started)
    return fail(started.error(), kExitError);
  int number = 0;
  sigwait(&signals, &number);
  process.stop();
  return 0;
}

int run(const Options& options) {
  const auto set = overrides(options);
  if (!set) return fail(set.error(), kExitUsage);
  const auto loaded = load_cluster_config(options.config, *set);
  if (!loaded) return fail(loaded.error(), kExitUsage);
  if (options.print_config) {
    std::fputs(print_cluster_config(*loaded, true).c_str(), stdout);
    return 0;
  }
  const auto store = choose_store(loaded->config, options.store);
  if (!store) return fail(store.error(), kExitUsage);
  const auto format = loaded->config.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  if (auto logging = log_start("store-" + store->name, loaded->config.log_level, format);
      !logging) {
    return fail(logging.error(), kExitUsage);
  }
  return serve(*loaded, *store);
}

}  // namespace
}  // namespace ebb::kvstore

int main(int argc, char** argv) {
  ebb::kvstore::Options options;
  CLI::App app(
      "Keeps the KV of sequences in memory and on an SSD, and hands it out over the network.",
      "ebb-kvstore");
  app.add_option("-c,--config", options.config, "the cluster's YAML file; none: defaults");
  app.add_option("--store", options.store,
                 "name of the store to be; needed when there are several");
  app.add_option("--set", options.assignments, "key=value, over the file: stores.0.host_size=32MiB")
      ->allow_extra_args(false);
  app.add_flag("--print-config", options.print_config,
               "print the effective configuration and where it came from");
  app.set_version_flag("--version", ebb::kvstore::store_version());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : ebb::kvstore::kExitUsage;
  }
  return ebb::kvstore::run(options);
}
