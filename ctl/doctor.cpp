#include "ctl/doctor.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "ctl/run_dir.h"
#include "ctl/up.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// The line of JSON that a program of ours prints; empty: it does not run. Libraries may have said
/// something before.
std::string json_line_of(const std::string& program, const std::string& flag) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return "";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const char* const arguments[] = {program.c_str(), flag.c_str(), nullptr};
  pid_t child = 0;
  const int failed = posix_spawn(&child, program.c_str(), &actions, nullptr,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; failed == 0 && (got = read(ends[0], piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<size_t>(got));
  close(ends[0]);
  if (failed == 0) waitpid(child, nullptr, 0);
  const size_t begin = text.starts_with('{') ? 0 : text.find("\n{") + 1;
  return text.substr(begin, text.find('\n', begin) - begin);
}

class Doctor {
 public:
  Doctor(const DoctorOptions& options, const std::function<void(Finding)>& on_finding)
      : options_(options),
        config_(options.config),
        tell_(on_finding),
        run_dir_(effective_run_dir(options.config)) {}

  void run() {
    binaries();
    devices();
    model();
    disk();
    const bool ours = run_dir_.is_locked();
    ports(ours);
    if (!coordinator(ours)) return;
    auto status = get(options_.service.admin, "/admin/v1/status");
    if (!status) {
      bad("admin endpoint", status.error().message,
          "check coordinator.metrics_address or --admin-url");
      return;
    }
    members(*status);
    completion();
  }

 private:
  void good(const std::string& what, const std::string& detail) { tell_({what, true, detail, ""}); }
  void bad(const std::string& what, const std::string& detail, const std::string& hint) {
    tell_({what, false, detail, hint});
  }

  void binaries() {
    std::string missing;
    for (const char* name : {"ebb-coordinator", "ebb-worker", "ebb-kvstore"})
      if (access((options_.bin_dir + "/" + name).c_str(), X_OK) != 0)
        missing += (missing.empty() ? "" : ", ") + std::string(name);
    if (missing.empty())
      good("binaries", options_.bin_dir);
    else
      bad("binaries", missing + " not in " + options_.bin_dir, "cmake --build build");
  }

  /// Asked of the program that would use it: a driver that crashes takes that one along.
  void devices() {
    const json report =
        json::parse(json_line_of(options_.bin_dir + "/ebb-worker", "--devices"), nullptr, false);
    const std::string& wanted = config_.worker.backend;
    const std::string what = "devices (worker.backend " + wanted + ")";
    if (!report.is_object()) {
      if (wanted == "cpu") return;
      return bad(what, options_.bin_dir + "/ebb-worker --devices does not answer",
                 "run it by hand");
    }
    if (report.contains("ucx")) network(report["ucx"]);
    const std::string found = devices_text(report);
    if (wanted != "cuda" || report.value("usable", false)) return good(what, found);
    bad(what, found,
        "docs/cuda.md says what the CUDA backend needs; worker.backend auto falls back to the CPU");
  }

  void network(const json& ucx) {
    if (ucx.contains("why_not"))
      return bad("UCX", ucx.value("why_not", ""), "the UCX_* variables of the environment");
    good("UCX",
         "version " + ucx.value("version", "") + ", reaches memory of: " + ucx.value("memory", ""));
  }

  static std::string devices_text(const json& report) {
    const bool usable = report.value("usable", false);
    std::string text = usable ? "" : "no GPU can be used: " + report.value("why_not", "") + "; ";
    if (report.contains("devices"))
      for (const json& device : report["devices"])
        if (device.is_string()) text += device.get<std::string>() + "; ";
    if (!report.contains("driver")) return text + "plugin " + report.value("plugin", "");
    return text + "driver CUDA " + report.value("driver", "") + ", built with CUDA " +
           report.value("runtime", "") + " for compute capability " +
           report.value("architectures", "") + ", plugin " + report.value("plugin", "");
  }

  void model() {
    const std::string path = effective_model_path(config_);
    std::error_code error;
    if (fs::is_directory(path, error)) return model_directory(path);
    const auto size = fs::file_size(path, error);
    if (error) {
      bad("model file", path + ": " + error.message(),
          "deploy/fetch_model.sh fetches the default one; or set model.path");
      return;
    }
    DigestBuilder digest;
    std::ifstream file(path, std::ios::binary);
    std::vector<char> chunk(1 << 20);
    while (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || file.gcount() > 0)
      digest.add(std::as_bytes(std::span(chunk.data(), static_cast<size_t>(file.gcount()))));
    good("model file", path + ", " + format_bytes(size) + ", sha256 " +
                           to_hex(digest.digest()).substr(0, 16) + "...");
  }

  /// Whether it loads is the coordinator's to say; here: whether the files are there at all.
  void model_directory(const std::string& path) {
    uint64_t files = 0, bytes = 0;
    std::error_code error;
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
      if (at->path().extension() != ".safetensors") continue;
      const auto size = at->file_size(error);
      if (error) break;
      ++files;
      bytes += size;
    }
    const char* const hint =
        "a model's directory has config.json, model.safetensors (or shards and their index) and "
        "tokenizer.json; or name a .gguf file";
    if (error) return bad("model directory", path + ": " + error.message(), hint);
    for (const char* name : {"config.json", "tokenizer.json"})
      if (!fs::exists(path + "/" + name, error))
        return bad("model directory", path + ": no " + name, hint);
    if (files == 0) return bad("model directory", path + ": no .safetensors file", hint);
    good("model directory",
         path + ", " + std::to_string(files) + " files of weights, " + format_bytes(bytes));
  }

  void disk() {
    // Before the first `up` the folder is not there: look at the nearest one that is.
    fs::path at = run_dir_.path();
    while (!fs::exists(at) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
    std::error_code error;
    const fs::space_info space = fs::space(at, error);
    if (error) {
      bad("disk", at.string() + ": " + error.message(), "set run_dir to a folder that can be used");
      return;
    }
    uint64_t wanted = 0;
    for (const StoreConfig& store : config_.stores)
      if (store.ssd_path.empty()) wanted += store.ssd_size;
    const std::string detail = format_bytes(space.available) + " free at " + run_dir_.path() +
                               ", SSD tiers may use " + format_bytes(wanted);
    if (space.available >= wanted + 256 * kMiB)
      good("disk", detail);
    else
      bad("disk", detail, "lower stores.N.ssd_size, or move run_dir");
  }

  void ports(bool ours) {
    if (ours) {
      good("ports", "used by the cluster in " + run_dir_.path());
      return;
    }
    const std::string busy = busy_address(config_);
    if (busy.empty())
      good("ports", "free");
    else
      bad("ports", "in use: " + busy,
          "stop what listens there, or change the address in the config");
  }

  bool coordinator(bool ours) {
    http::ClientRequest request;
    request.target = "/ready";
    request.timeout = Millis(10000);
    const auto ready = http::fetch(options_.service.api, request);
    if (!ready) {
      bad("coordinator", ready.error().message,
          ours ? "see " + run_dir_.log_path("coordinator") : "start a cluster: ebbctl up -c FILE");
      return false;
    }
    if (ready->status == 200)
      good("ready", options_.service.api.text());
    else
      bad("ready", not_ready_because(*ready), "see the checks below and ebbctl status");
    return true;
  }

  void members(const std::string& text) {
    try {
      const json status = json::parse(text);
      for (const json& group : status.at("groups"))
        for (const json& rank : group.at("ranks")) worker(group, rank);
      for (const json& store : status.at("stores")) this->store(store);
    } catch (const json::exception& error) {
      bad("status", error.what(), "is the coordinator of the same version? (ebbctl version)");
    }
  }

  void worker(const json& group, const json& rank) {
    const std::string name = "worker " + group.at("name").get<std::string>() + "/" +
                             std::to_string(rank.at("rank").get<uint64_t>());
    if (rank.at("joined").get<bool>())
      good(name,
           rank.value("backend", "") + ", pid " + std::to_string(rank.value("pid", uint64_t{0})));
    else
      bad(name, "has not joined: " + group.value("state", ""), "see its log in " + run_dir_.path());
  }

  void store(const json& store) {
    const std::string name = "store " + store.at("name").get<std::string>();
    if (!store.at("connected").get<bool>()) {
      bad(name, "not connected " + store.value("problem", ""), "see its log in " + run_dir_.path());
      return;
    }
    for (const json& tier : store.at("tiers")) {
      const std::string what = name + " " + tier.at("tier").get<std::string>();
      const std::string detail = format_bytes(tier.value("used_bytes", uint64_t{0})) + " of " +
                                 format_bytes(tier.value("capacity_bytes", uint64_t{0}));
      if (tier.at("writable").get<bool>())
        good(what, detail);
      else
        bad(what, detail + ", not writable: " + tier.value("note", ""), "free space for the tier");
    }
  }

  void completion() {
    http::ClientRequest request;
    request.method = "POST";
    request.target = "/v1/completions";
    request.timeout = Millis(60000);
    auto models = get(options_.service.api, "/v1/models");
    const json list = models ? json::parse(*models, nullptr, false) : json();
    json body{{"prompt", "Hello"}, {"max_tokens", 1}, {"temperature", 0}};
    if (list.is_object() && list.contains("data") && list["data"].is_array() &&
        !list["data"].empty() && list["data"][0].is_object())
      body["model"] = list["data"][0].value("id", "");
    request.body = body.dump();
    const TimePoint start = Clock::now();
    const auto response = http::fetch(options_.service.api, request);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (!response)
      bad("one token", response.error().message, "see the coordinator's log");
    else if (response->status != 200)
      bad("one token", error_of(*response).message, "see the coordinator's log");
    else
      good("one token", "decoded in " + format_seconds(seconds));
  }

  const DoctorOptions& options_;
  const ClusterConfig& config_;
  const std::function<void(Finding)>& tell_;
  RunDir run_dir_;
};

}  // namespace

void examine(const DoctorOptions& options, const std::function<void(Finding)>& on_finding) {
  Doctor(options, on_finding).run();
}

int run_doctor(const Terminal& terminal, const DoctorOptions& options, Format format) {
  size_t failed = 0;
  json all = json::array();
  examine(options, [&](const Finding& finding) {
    if (!finding.ok) ++failed;
    all.push_back({{"check", finding.what},
                   {"ok", finding.ok},
                   {"detail", finding.detail},
                   {"hint", finding.hint}});
    if (format == Format::kJson) return;
    const char* mark = finding.ok ? "ok    " : "FAIL  ";
    const char* colour = finding.ok ? "\x1b[32m" : "\x1b[1;31m";
    terminal.out << (terminal.colour ? colour : "") << mark << (terminal.colour ? "\x1b[0m" : "")
                 << printable(finding.what + ": " + finding.detail) << "\n";
    if (!finding.ok) terminal.out << "      -> " << printable(finding.hint) << "\n";
    terminal.out << std::flush;
  });
  if (format == Format::kJson) {
    const json report{
        {"apiVersion", "ebb/v1"}, {"kind", "Doctor"}, {"failed", failed}, {"checks", all}};
    terminal.out << report.dump(2, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  return failed == 0 ? kOk : kUnhealthy;
}

}  // namespace ebb::ctl
