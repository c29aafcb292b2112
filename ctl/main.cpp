// ebbctl: the command line. Options become structs here; what they do is elsewhere. The only file
// that includes CLI11.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "base/cluster_config.h"
#include "ctl/admin.h"
#include "ctl/ask.h"
#include "ctl/batch_run.h"
#include "ctl/doctor.h"
#include "ctl/kv_list.h"
#include "ctl/kv_map.h"
#include "ctl/profile_show.h"
#include "ctl/supervisor.h"
#include "ctl/up.h"

namespace ebb::ctl {
namespace {

/// What several commands take.
struct Common {
  std::string config;
  std::vector<std::string> assignments;  ///< --set
  std::string model;
  std::string run_dir;
  std::string url;
  std::string admin_url;
  std::string format = "table";

  Format output() const { return format == "json" ? Format::kJson : Format::kTable; }

  Result<std::map<std::string, std::string>> overrides() const {
    std::map<std::string, std::string> all;
    for (const std::string& assignment : assignments) EBB_TRY_VOID(add_override(all, assignment));
    if (!model.empty()) all["model.path"] = std::filesystem::absolute(model).string();
    if (!run_dir.empty()) all["run_dir"] = std::filesystem::absolute(run_dir).string();
    return all;
  }
  Result<LoadedConfig> load() const {
    const auto all = EBB_TRY(overrides());
    return load_cluster_config(config, all);
  }
  /// --url, else the file of -c, else the environment, else the default.
  Result<Service> service() const {
    Service found;
    const char* environment_url = std::getenv("EBB_URL");
    const char* environment_admin = std::getenv("EBB_ADMIN_URL");
    if (environment_url != nullptr) found.api = EBB_TRY(parse_url(environment_url));
    if (environment_admin != nullptr) found.admin = EBB_TRY(parse_url(environment_admin));
    if (!config.empty()) {
      const LoadedConfig loaded = EBB_TRY(load());
      found.api = reachable(loaded.config.coordinator.http_address);
      found.admin = reachable(loaded.config.coordinator.metrics_address);
    }
    if (!url.empty()) found.api = EBB_TRY(parse_url(url));
    if (!admin_url.empty()) found.admin = EBB_TRY(parse_url(admin_url));
    return found;
  }
};

std::string self_path() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}
std::string bin_dir() { return std::filesystem::path(self_path()).parent_path().string(); }

/// The command line's shape; `chosen` is what main runs after parsing.
class CommandLine {
 public:
  explicit CommandLine(const Terminal& terminal) : terminal_(terminal) {
    app_.description("Starts, asks and inspects an Ebb cluster.");
    app_.require_subcommand(1);
    cluster_commands();
    inspection_commands();
    work_commands();
  }

  int run(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app_.exit(error, terminal_.out, terminal_.err) == 0 ? kOk : kUsage;
    }
    return chosen_();
  }

 private:
  void with_config(CLI::App* command, bool required) {
    auto* option =
        command->add_option("-c,--config", common_.config, "cluster configuration (YAML)");
    if (required) option->required();
    command->add_option("--set", common_.assignments, "override: key=value, as often as needed")
        ->allow_extra_args(false);
  }
  void with_service(CLI::App* command) {
    with_config(command, false);
    command->add_option("--url", common_.url, "the API (default http://127.0.0.1:8000; EBB_URL)");
    command->add_option("--admin-url", common_.admin_url,
                        "metrics and admin (default http://127.0.0.1:9400; EBB_ADMIN_URL)");
  }
  void with_format(CLI::App* command) {
    command->add_option("-o,--output", common_.format, "table or json")
        ->check(CLI::IsMember({"table", "json"}));
  }
  /// Runs `act` with the service's addresses.
  void on_service(CLI::App* command, std::function<int(const Service&)> act) {
    command->callback([this, act = std::move(act)] {
      chosen_ = [this, act] {
        auto service = common_.service();
        return service ? act(*service) : static_cast<int>(report(terminal_, service.error()));
      };
    });
  }

  void cluster_commands();
  void inspection_commands();
  void work_commands();
  int up(bool restart, double timeout);
  int down();
  int config(bool print, bool origins);
  int show_profile(const Service& service);
  int doctor();
  int batch();

  const Terminal& terminal_;
  CLI::App app_;
  Common common_;
  AskOptions ask_;
  BatchOptions batch_;
  std::string progress_ = "auto";
  std::string seq_;
  KvListOptions kv_list_;
  std::string profile_path_;
  std::string profile_format_ = "picture";
  bool no_restart_ = false;
  bool no_origins_ = false;
  double up_timeout_ = 180;
  double down_timeout_ = 120;
  std::function<int()> chosen_;
};

void CommandLine::cluster_commands() {
  auto* up_command =
      app_.add_subcommand("up", "start a cluster on this machine, and wait until it is ready");
  with_config(up_command, true);
  up_command->add_option("--run-dir", common_.run_dir, "folder of state and logs");
  up_command->add_option("--model", common_.model,
                         "GGUF file or Hugging Face directory (overrides model.path)");
  up_command->add_flag("--no-restart", no_restart_, "do not start again what dies");
  up_command->add_option("--timeout", up_timeout_, "seconds to wait for readiness")
      ->check(CLI::Range(1.0, 86400.0));
  up_command->callback([this] { chosen_ = [this] { return up(!no_restart_, up_timeout_); }; });

  auto* down_command = app_.add_subcommand("down", "stop the cluster of a run folder");
  with_config(down_command, false);
  down_command->add_option("--run-dir", common_.run_dir, "folder of state and logs");
  down_command->add_option("--timeout", down_timeout_, "seconds until everything is killed")
      ->check(CLI::Range(0.0, 86400.0));
  down_command->callback([this] { chosen_ = [this] { return down(); }; });

  auto* config_command = app_.add_subcommand("config", "check or print a configuration");
  config_command->require_subcommand(1);
  auto* check = config_command->add_subcommand("check", "say whether a file is good");
  with_config(check, true);
  check->callback([this] { chosen_ = [this] { return config(false, false); }; });
  auto* print =
      config_command->add_subcommand("print", "effective values, and where each came from");
  with_config(print, false);
  print->add_flag("--no-origins", no_origins_, "values only");
  print->callback([this] { chosen_ = [this] { return config(true, !no_origins_); }; });
  auto* reference = config_command->add_subcommand("reference", "every key, as Markdown");
  reference->callback([this] {
    chosen_ = [this] {
      terminal_.out << cluster_config_reference() << std::flush;
      return static_cast<int>(kOk);
    };
  });
}

void CommandLine::inspection_commands() {
  auto* status = app_.add_subcommand("status", "is it ready, who is there, how full is it");
  with_service(status);
  with_format(status);
  on_service(status,
             [this](const Service& s) { return run_status(terminal_, s, common_.output()); });

  auto* seq = app_.add_subcommand("seq", "sequences");
  seq->require_subcommand(1);
  auto* seq_ls = seq->add_subcommand("ls", "live and lately finished sequences, newest first");
  with_service(seq_ls);
  with_format(seq_ls);
  on_service(seq_ls,
             [this](const Service& s) { return run_sequences(terminal_, s, common_.output()); });

  auto* kv = app_.add_subcommand("kv", "the KV of sequences");
  kv->require_subcommand(1);
  auto* map = kv->add_subcommand("map", "where every token of a sequence lives");
  map->add_option("SEQ", seq_, "sequence number (default: the newest)");
  with_service(map);
  with_format(map);
  on_service(map,
             [this](const Service& s) { return run_kv_map(terminal_, s, seq_, common_.output()); });

  auto* kv_ls = kv->add_subcommand("ls", "which granules a store keeps, page by page");
  kv_ls->add_option("--store", kv_list_.store, "name of the store; needed when there are several");
  kv_ls->add_option("--seq", kv_list_.seq, "only what is held for this sequence");
  kv_ls->add_option("--limit", kv_list_.limit, "granules of a page, 1 to 1024 (default 20)");
  kv_ls->add_option("--cursor", kv_list_.cursor, "go on where a page ended, as it says");
  with_service(kv_ls);
  with_format(kv_ls);
  on_service(kv_ls, [this](const Service& s) {
    return run_kv_list(terminal_, s, kv_list_, common_.output());
  });

  auto* tier = app_.add_subcommand("tier", "device, host and SSD");
  tier->require_subcommand(1);
  auto* tier_ls = tier->add_subcommand("ls", "how full every tier is");
  with_service(tier_ls);
  with_format(tier_ls);
  on_service(tier_ls,
             [this](const Service& s) { return run_tiers(terminal_, s, common_.output()); });

  auto* profile = app_.add_subcommand("profile", "selection profiles");
  profile->require_subcommand(1);
  auto* profile_show =
      profile->add_subcommand("show", "which layers read everything, which choose, how much");
  profile_show->add_option("PATH", profile_path_, "a profile's file (default: the one in force)");
  with_service(profile_show);
  profile_show->add_option("-o,--output", profile_format_, "picture, json or yaml")
      ->check(CLI::IsMember({"picture", "json", "yaml"}));
  on_service(profile_show, [this](const Service& s) { return show_profile(s); });

  auto* doctor_command =
      app_.add_subcommand("doctor", "look for what is wrong, and say what to do");
  with_service(doctor_command);
  with_format(doctor_command);
  doctor_command->add_option("--run-dir", common_.run_dir, "folder of state and logs");
  doctor_command->callback([this] { chosen_ = [this] { return doctor(); }; });

  auto* version = app_.add_subcommand("version", "of this program and of the coordinator");
  with_service(version);
  with_format(version);
  on_service(version,
             [this](const Service& s) { return run_version(terminal_, s, common_.output()); });
}

void CommandLine::work_commands() {
  auto* ask_command = app_.add_subcommand("ask", "one question about one document");
  ask_command->add_option("FILE", ask_.file, "the document; - is standard input")->required();
  ask_command->add_option("QUESTION", ask_.question, "the question")->required();
  ask_command->add_option("--policy", ask_.policy, "attention policy");
  ask_command->add_option("--budget", ask_.budget, "tokens that a follower layer attends to");
  ask_command->add_option("--max-tokens", ask_.max_tokens, "longest answer")->capture_default_str();
  with_service(ask_command);
  on_service(ask_command, [this](const Service& s) { return run_ask(terminal_, s, ask_); });

  auto* batch_command = app_.add_subcommand("batch", "files of requests");
  batch_command->require_subcommand(1);
  auto* run_command =
      batch_command->add_subcommand("run", "send each line of a file, write each answer");
  run_command->add_option("-i,--input", batch_.input, "requests, OpenAI batch lines (JSONL)")
      ->required();
  run_command->add_option("-o,--output", batch_.output, "answers, in the order in which they come")
      ->required();
  run_command->add_flag("--resume", batch_.resume, "go on: skip what the output has answered well");
  run_command->add_flag("--overwrite", batch_.overwrite, "replace an output that exists");
  run_command->add_option("--max-inflight", batch_.max_inflight, "requests at a time")
      ->capture_default_str();
  run_command->add_option("--progress", progress_, "auto, plain, none or json")
      ->check(CLI::IsMember({"auto", "plain", "none", "json"}));
  run_command->add_option("--summary", batch_.summary, "file for a summary (JSON)");
  with_service(run_command);
  run_command->callback([this] { chosen_ = [this] { return batch(); }; });
}

int CommandLine::up(bool restart, double timeout) {
  auto overrides = common_.overrides();
  if (!overrides) return report(terminal_, overrides.error());
  return run_up(terminal_, {common_.config, *overrides, restart,
                            Millis(static_cast<int64_t>(timeout * 1000)), bin_dir(), self_path()});
}

int CommandLine::down() {
  auto loaded = common_.load();
  if (!loaded) return report(terminal_, loaded.error());
  const std::string path = std::filesystem::absolute(effective_run_dir(loaded->config)).string();
  return run_down(terminal_, RunDir(path), Millis(static_cast<int64_t>(down_timeout_ * 1000)));
}

int CommandLine::config(bool print, bool origins) {
  auto loaded = common_.load();
  if (!loaded) {
    report(terminal_, loaded.error());
    return loaded.error().code == Code::kNotFound ? kNotThere : kUsage;
  }
  if (print)
    terminal_.out << print_cluster_config(*loaded, origins) << std::flush;
  else
    terminal_.out << common_.config << ": ok" << std::endl;
  return kOk;
}

int CommandLine::show_profile(const Service& service) {
  const ProfileFormat format = profile_format_ == "json"   ? ProfileFormat::kJson
                               : profile_format_ == "yaml" ? ProfileFormat::kYaml
                                                           : ProfileFormat::kPicture;
  const auto path = profile_path_.empty() ? std::nullopt : std::optional(profile_path_);
  return run_profile_show(terminal_, service, path, format);
}

int CommandLine::doctor() {
  auto loaded = common_.load();
  if (!loaded) return report(terminal_, loaded.error());
  auto service = common_.service();
  if (!service) return report(terminal_, service.error());
  return run_doctor(terminal_, {loaded->config, *service, bin_dir()}, common_.output());
}

int CommandLine::batch() {
  auto service = common_.service();
  if (!service) return report(terminal_, service.error());
  batch_.progress = *parse_progress_mode(progress_);
  const StopFlag stop = stop_on_signals();
  const int exit = run_batch(terminal_, *service, batch_, stop);
  terminal_.out.flush();
  terminal_.err.flush();
  // Threads may still wait for an answer, or for a signal: they end with the process.
  _exit(exit);
}

}  // namespace
}  // namespace ebb::ctl

int main(int argc, char** argv) {
  using namespace ebb::ctl;
  signal(SIGPIPE, SIG_IGN);
  // Hidden: how `up` starts the supervisor.
  if (argc == 4 && std::string(argv[1]) == "_supervise")
    return supervise(RunDir(argv[2]), std::atoi(argv[3]));
  const Terminal terminal = real_terminal("ebbctl");
  return CommandLine(terminal).run(argc, argv);
}
