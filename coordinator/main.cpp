// ebb-coordinator: reads configuration and model file, wires engine and HTTP, and ends in order.
// At the first SIGTERM or SIGINT /ready answers 503, running requests finish within drain_timeout,
// and the process exits 0; at the second it exits at once.
// Exit codes: 0 ended as asked; 1 could not start; 2 wrong arguments or configuration.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <map>
#include <string>
#include <vector>

#include "base/cluster_config.h"
#include "base/log.h"
#include "coordinator/api_context.h"
#include "coordinator/engine_impl.h"
#include "coordinator/http_front.h"
#include "models/adore_controller.h"
#include "models/grammar/token_table.h"
#include "models/kv_layout.h"
#include "models/model_files.h"
#include "models/rope.h"

namespace ebb::coordinator {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitSecondSignal = 130;

struct Options {
  std::string config;
  std::vector<std::string> assignments;
  bool insecure = false;
  bool print_config = false;
};

int fail(const Error& error, int code) {
  std::fprintf(stderr, "ebb-coordinator: %s\n", error.message.c_str());
  return code;
}

Result<std::map<std::string, std::string>> overrides(const Options& options) {
  std::map<std::string, std::string> all;
  for (const std::string& assignment : options.assignments) {
    const auto equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0) {
      return invalid("--set " + assignment + ": expected key=value");
    }
    all[assignment.substr(0, equals)] = assignment.substr(equals + 1);
  }
  return all;
}

/// What the model's files say.
struct Model {
  std::unique_ptr<models::ModelFiles> files;
  models::ModelShape shape;
  std::unique_ptr<models::Tokenizer> tokenizer;
  std::unique_ptr<models::ChatTemplate> chat_template;  ///< null: the model has none
  models::SelectionProfile profile;
};

/// Relative paths are relative to the configuration file.
Result<models::SelectionProfile> load_profile(const ClusterConfig& config,
                                              const models::ModelShape& shape) {
  if (config.model.profile.empty()) return models::dense_profile(shape.layers, shape.name);
  std::filesystem::path path = expand_path(config.model.profile);
  if (path.is_relative() && !config.source_path.empty()) {
    path = std::filesystem::path(config.source_path).parent_path() / path;
  }
  auto profile = models::read_selection_profile(path.string());
  if (!profile) return with_context("model.profile", profile.error());
  return profile;
}

/// Requests of policy adore would fail on every worker: so would the start.
Result<void> check_controller(const ClusterConfig& config, const models::ModelShape& shape) {
  const std::string path = effective_controller_path(config);
  if (path.empty()) return {};
  const auto controller = models::read_adore_controller_for(path, shape);
  if (!controller) return with_context("model.controller", controller.error());
  return {};
}

Result<Model> load_model(const ClusterConfig& config) {
  Model model;
  auto files = models::ModelFiles::open(effective_model_path(config));
  if (!files) return with_context("model.path", files.error());
  model.files = *std::move(files);
  model.shape =
      EBB_TRY(models::shape_for_context(model.files->shape(), config.model.max_model_len));
  model.shape = EBB_TRY(models::shape_with_kv_type(model.shape, config.model.kv_type));
  model.tokenizer = EBB_TRY(model.files->tokenizer());
  model.chat_template = EBB_TRY(model.files->chat_template());
  model.profile = EBB_TRY(load_profile(config, model.shape));
  EBB_TRY_VOID(check_controller(config, model.shape));
  return model;
}

/// Waits for the first signal, then for the end of the drain or the second.
void wait_and_drain(const sigset_t& signals, Engine& engine, Millis drain_timeout) {
  int number = 0;
  sigwait(&signals, &number);
  log_info("coordinator", "draining", {{"signal", number}, {"timeout_ms", drain_timeout.count()}});
  auto drained =
      std::async(std::launch::async, [&] { engine.drain(Deadline::after(drain_timeout)); });
  const timespec moment{0, 20'000'000};
  while (drained.wait_for(Millis(0)) != std::future_status::ready) {
    if (sigtimedwait(&signals, nullptr, &moment) > 0) std::_Exit(kExitSecondSignal);
  }
}

int serve(const LoadedConfig& loaded, const Options& options, const sigset_t& signals) {
  const ClusterConfig& config = loaded.config;
  auto model = load_model(config);
  if (!model) return fail(model.error(), kExitFailed);
  Metrics metrics;
  const models::GenerationDefaults defaults = model->files->generation_defaults();
  const auto table = models::grammar::make_token_table(
      *model->tokenizer, model_stop_tokens(*model->tokenizer, defaults));
  auto engine = EngineImpl::start(config, model->shape, model->profile, metrics,
                                  models::grammar::pack_token_table(table));
  if (!engine) return fail(engine.error(), kExitFailed);
  HttpFrontOptions http_options;
  http_options.insecure = options.insecure;
  http_options.defaults = defaults;
  http_options.profile = model->profile;
  auto front = HttpFront::start(loaded, **engine, *model->tokenizer, model->chat_template.get(),
                                model->shape, metrics, http_options);
  if (!front) return fail(front.error(), kExitFailed);
  log_info("coordinator", "listening",
           {{"http", config.coordinator.http_address.text()},
            {"control", config.coordinator.control_address.text()},
            {"metrics", config.coordinator.metrics_address.text()},
            {"model", model->shape.name},
            {"profile", model->profile.name}});
  wait_and_drain(signals, **engine, config.coordinator.drain_timeout);
  (*front)->stop();
  log_info("coordinator", "ended");
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
  const auto format = loaded->config.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  if (auto logging = log_start("coordinator", loaded->config.log_level, format); !logging) {
    return fail(logging.error(), kExitUsage);
  }
  // Before the first thread: they all inherit the mask, and the signals wait for wait_and_drain().
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return serve(*loaded, options, signals);
}

}  // namespace
}  // namespace ebb::coordinator

int main(int argc, char** argv) {
  ebb::coordinator::Options options;
  CLI::App app("Takes requests over HTTP, schedules them on the workers, and shares the selection.",
               "ebb-coordinator");
  app.add_option("-c,--config", options.config, "the cluster's YAML file; none: defaults");
  app.add_option("--set", options.assignments,
                 "key=value, over the file: coordinator.max_num_seqs=4")
      ->allow_extra_args(false);
  app.add_flag("--insecure", options.insecure, "allow an HTTP address that others can reach");
  app.add_flag("--print-config", options.print_config,
               "print the effective configuration and where it came from");
  app.set_version_flag("--version", EBB_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : ebb::coordinator::kExitUsage;
  }
  return ebb::coordinator::run(options);
}
