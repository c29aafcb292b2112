// ebb-worker: one rank of one group. This file wires; it decides nothing.
//
// Threads: main (session), engine (device, model, collective), data (UCX), control (KJ), metrics
// (HTTP).
#include <csignal>
#include <cstdio>
#include <thread>

#include <CLI/CLI.hpp>

#include "base/check.h"
#include "base/cluster_config.h"
#include "base/log.h"
#include "kernels/cpu/process_environment.h"
#include "models/adore_controller.h"
#include "models/kv_layout.h"
#include "models/model_files.h"
#include "models/rope.h"
#include "transport/data/ucx_context.h"
#include "transport/http/server.h"
#include "worker/backend_choice.h"
#include "worker/session.h"

namespace {

using namespace std::chrono_literals;
namespace worker = ebb::worker;
using ebb::Result;

struct Flags {
  std::string config;
  std::string group;
  uint32_t rank = 0;
  std::vector<std::string> set;
  bool print_config = false;
  bool devices = false;
};

constexpr int kExitFailed = 1, kExitUsage = 2;

Result<const ebb::GroupConfig*> find_group(const ebb::ClusterConfig& config, const Flags& flags) {
  for (const ebb::GroupConfig& group : config.groups) {
    if (!flags.group.empty() && group.name != flags.group) continue;
    if (flags.rank >= group.tensor_parallel_size) {
      return ebb::invalid("--rank " + std::to_string(flags.rank) + ": group " + group.name +
                          " has ranks 0 to " + std::to_string(group.tensor_parallel_size - 1));
    }
    return &group;
  }
  return ebb::invalid("--group " + flags.group + ": not in the config's groups");
}

/// Null: none is configured.
Result<std::shared_ptr<const ebb::models::AdoreController>> load_controller(
    const ebb::ClusterConfig& config, const ebb::models::ModelShape& shape) {
  const std::string path = ebb::effective_controller_path(config);
  if (path.empty()) return std::shared_ptr<const ebb::models::AdoreController>();
  auto controller = ebb::models::read_adore_controller_for(path, shape);
  if (!controller) return ebb::with_context("model.controller", controller.error());
  return std::make_shared<const ebb::models::AdoreController>(std::move(*controller));
}

Result<worker::EngineOptions> engine_options(const ebb::ClusterConfig& config,
                                             const ebb::models::ModelShape& shape,
                                             const ebb::GroupConfig& group, uint32_t rank) {
  worker::EngineOptions options;
  options.cluster_token = config.cluster_token;
  options.group = group.name;
  options.rank = rank;
  options.ranks = group.tensor_parallel_size;
  // A decode step has a row for each sequence, and one for each token that is rebuilt.
  const bool rebuilds = !config.model.controller.empty();
  const uint32_t rows_each = 1 + (rebuilds ? config.policy.rebuild_max : 0);
  options.rows_max =
      std::max(config.coordinator.chunk_tokens, rows_each * config.coordinator.max_num_seqs);
  options.listen_host = config.worker.metrics_host;
  options.restore_deadline = config.worker.restore_deadline;
  options.exchange_deadline = config.worker.exchange_deadline;
  options.collective_deadline = config.worker.collective_deadline;
  options.controller = EBB_TRY(load_controller(config, shape));
  return options;
}

ebb::http::Handler make_probes(ebb::Metrics& metrics, const worker::Session& session,
                               ebb::Millis stuck_after) {
  return [&metrics, &session, stuck_after](ebb::http::Request request,
                                           std::shared_ptr<ebb::http::Exchange> exchange) {
    ebb::http::Response response;
    response.content_type = "text/plain; version=0.0.4";
    if (request.path == "/metrics") {
      response.body = metrics.text();
    } else if (request.path == "/health" || request.path == "/livez") {
      const bool stuck = session.progress_age() > stuck_after;
      response.status = stuck ? 503 : 200;
      response.body = stuck ? "a unit of work is stuck\n" : "ok\n";
    } else if (request.path == "/ready" || request.path == "/readyz") {
      response.status = session.formed() ? 200 : 503;
      response.body = session.formed() ? "ready\n" : "not in a group yet\n";
    } else {
      response.status = 404;
      response.body = "known paths: /metrics /health /ready\n";
    }
    exchange->send(std::move(response));
  };
}

Result<ebb::models::ModelShape> shape_to_serve(const ebb::models::ModelFiles& files,
                                               const ebb::ModelConfig& model) {
  const auto shape = EBB_TRY(ebb::models::shape_for_context(files.shape(), model.max_model_len));
  return ebb::models::shape_with_kv_type(shape, model.kv_type);
}

struct EngineParts {
  const ebb::models::ModelShape& shape;
  ebb::data::Messenger* messenger;
  ebb::Metrics& metrics;
};
struct MadeEngine {
  std::unique_ptr<worker::Engine> engine;
  std::string device;  ///< what computes, and with `auto` why it is not a GPU
};

/// Runs `body` on the engine's loop and waits: the device, and the compute threads below it, belong
/// to one thread.
template <class Body>
auto on_loop(ebb::TaskLoop& loop, Body body) {
  std::promise<decltype(body())> done;
  EBB_CHECK(loop.post([&] { done.set_value(body()); }));
  return done.get_future().get();
}

Result<MadeEngine> make_engine(worker::ChosenBackend chosen, worker::EngineOptions setup,
                               const ebb::models::ModelFiles& files, EngineParts parts) {
  setup.plugin = chosen.plugin;
  MadeEngine one;
  one.engine = EBB_TRY(worker::Engine::make(setup, std::move(chosen.backend), files, parts.shape,
                                            parts.messenger, parts.metrics));
  one.device = one.engine->device_name();
  if (chosen.note.empty()) return one;
  ebb::log_warn("worker", "worker.backend auto: the CPU computes", {{"why", chosen.note}});
  one.device += "; no GPU: " + chosen.note;
  return one;
}

/// UCX works on the messenger's thread: with the memory of the GPU, if there is one and it can.
Result<std::unique_ptr<ebb::data::Messenger>> start_messenger(const ebb::ClusterConfig& config,
                                                              const worker::ChosenBackend& chosen) {
  ebb::data::MessengerOptions options;
  options.name = "data";
  options.cluster_token = config.cluster_token;
  if (chosen.plugin != nullptr) {
    options.attach_device = [device = chosen.backend.device.get()] {
      return device->attach_thread();
    };
  }
  return ebb::data::Messenger::start(options);
}

void log_landing(const worker::Engine& engine, const ebb::data::Messenger& messenger) {
  const std::string reached = messenger.reached_memory().text();
  const bool on_device = engine.landing() == ebb::kernels::MemoryKind::kDevice;
  ebb::log_info("worker",
                "restored records land in: " +
                    (on_device ? "device memory (UCX reaches " + reached + ")"
                               : "pinned host memory (this UCX reaches: " + reached + ")"));
}

/// Everything between a loaded config and the end of the process.
Result<void> serve(const ebb::ClusterConfig& config, const Flags& flags) {
  const ebb::GroupConfig& group = *EBB_TRY(find_group(config, flags));
  const std::string node = group.name + "/rank" + std::to_string(flags.rank);
  ebb::Metrics metrics;
  const auto files = EBB_TRY(ebb::models::ModelFiles::open(ebb::effective_model_path(config)));
  const ebb::models::ModelShape shape = EBB_TRY(shape_to_serve(*files, config.model));
  const auto setup = EBB_TRY(engine_options(config, shape, group, flags.rank));

  ebb::data::prepare_ucx_environment();  // while there are no other threads
  ebb::TaskLoop engine_loop("engine");
  auto chosen = EBB_TRY(on_loop(
      engine_loop, [&] { return worker::choose_backend(config.worker, setup.ranks, setup.rank); }));
  const bool has_gpu = chosen.plugin != nullptr;
  const auto messenger = EBB_TRY(start_messenger(config, chosen));
  auto made = EBB_TRY(on_loop(engine_loop, [&] {
    return make_engine(std::move(chosen), setup, *files, {shape, messenger.get(), metrics});
  }));
  auto& engine = made.engine;
  if (has_gpu) log_landing(*engine, *messenger);

  worker::Session::Options options;
  options.coordinator = config.coordinator.control_address;
  options.hello.cluster_token = config.cluster_token;
  options.hello.node = node;
  options.hello.group = group.name;
  options.hello.rank = flags.rank;
  options.hello.pid = static_cast<uint64_t>(getpid());
  options.hello.model_digest = shape.digest;
  options.hello.backend = made.device;
  worker::Session session(options, *engine, engine_loop);

  const ebb::HostPort address{config.worker.metrics_host,
                              static_cast<uint16_t>(config.worker.metrics_port_base + flags.rank)};
  ebb::http::ServerOptions http;
  http.name = "metrics";
  const auto probes = EBB_TRY(ebb::http::Server::start(
      address, http, make_probes(metrics, session, config.coordinator.unit_deadline)));

  std::thread signals([&session] {
    sigset_t set;
    sigemptyset(&set);
    for (int s : {SIGTERM, SIGINT, SIGUSR2}) sigaddset(&set, s);
    int signal = 0;
    sigwait(&set, &signal);
    if (signal != SIGUSR2) session.stop();
  });
  ebb::log_info("worker", "started", {{"node", node}, {"device", made.device}});
  Result<void> ended = session.run();
  pthread_kill(signals.native_handle(), SIGUSR2);
  signals.join();
  engine->abort("the worker is stopping");
  std::promise<void> freed;
  if (engine_loop.post([&] {
        engine.reset();
        freed.set_value();
      })) {
    freed.get_future().wait();
  }
  ebb::log_info("worker", "stopped");
  return ended;
}

int run(const Flags& flags) {
  std::map<std::string, std::string> overrides;
  for (const std::string& assignment : flags.set) {
    auto added = ebb::add_override(overrides, assignment);
    if (!added) {
      std::fprintf(stderr, "ebb-worker: --set: %s\n", added.error().message.c_str());
      return kExitUsage;
    }
  }
  const auto loaded = ebb::load_cluster_config(flags.config, overrides);
  if (!loaded) {
    std::fprintf(stderr, "ebb-worker: %s\n", loaded.error().message.c_str());
    return kExitUsage;
  }
  if (flags.print_config) {
    std::fputs(ebb::print_cluster_config(*loaded, true).c_str(), stdout);
    return 0;
  }
  const ebb::ClusterConfig& config = loaded->config;
  const auto format = config.log_format == "json" ? ebb::LogFormat::kJson : ebb::LogFormat::kText;
  auto logging = ebb::log_start("worker-" + std::to_string(flags.rank), config.log_level, format);
  Result<void> ended = logging ? serve(config, flags) : logging;
  if (!ended) {
    std::fprintf(stderr, "ebb-worker: %s\n", ended.error().message.c_str());
    return ended.error().code == ebb::Code::kInvalid ? kExitUsage : kExitFailed;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  ebb::kernels::prepare_process_environment(argv);
  Flags flags;
  CLI::App app("ebb-worker: one tensor-parallel rank that decodes");
  app.add_option("-c,--config", flags.config, "Cluster config (YAML)");
  app.add_option("--group", flags.group, "Group of this worker (default: the first)");
  app.add_option("--rank", flags.rank, "Rank within the group");
  app.add_option("--set", flags.set, "Override one config key: key=value (repeatable)");
  app.add_flag("--print-config", flags.print_config,
               "Print effective values with their origins, and exit");
  app.add_flag("--devices", flags.devices,
               "Print what the CUDA backend finds here (JSON), and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : kExitUsage;
  }
  if (flags.devices) {
    std::puts(worker::devices_report().c_str());
    return 0;
  }
  // Blocked before any thread exists, so that only the signal thread takes them.
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGTERM, SIGINT, SIGUSR2}) sigaddset(&set, s);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return run(flags);
}
