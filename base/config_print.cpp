// Effective configuration as YAML, the reference manual, and the paths that follow from the values.
#include <cstdlib>
#include <filesystem>

#include "base/config_table.h"

namespace ebb {
namespace {

const char* origin_name(ConfigOrigin origin) {
  switch (origin) {
    case ConfigOrigin::kDefault:
      return "default";
    case ConfigOrigin::kFile:
      return "file";
    case ConfigOrigin::kEnvironment:
      return "environment";
    case ConfigOrigin::kFlag:
      return "flag";
  }
  return "?";
}

std::string section_of(const std::string& key) {
  const size_t dot = key.rfind('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string list_of(const std::string& section) {
  return section.starts_with("groups.") ? "groups" : section.starts_with("stores.") ? "stores" : "";
}

/// Writes "key: value" lines under their sections, in the table's order.
class YamlPrinter {
 public:
  void line(const config::Key& key, const std::string& comment) {
    const std::string section = section_of(key.name);
    const bool first = section != section_;
    if (first) open(section);
    const std::string list = list_of(section);
    const std::string leaf = section.empty() ? key.name : key.name.substr(section.size() + 1);
    out_ += section.empty() ? "" : list.empty() ? "  " : first ? "  - " : "    ";
    out_ += leaf + ": " + config::spell(key);
    if (!comment.empty()) out_ += "  # " + comment;
    out_ += '\n';
  }
  void text(const std::string& text) { out_ += text; }
  std::string take() { return std::move(out_); }

 private:
  void open(const std::string& section) {
    const std::string list = list_of(section);
    if (list.empty())
      out_ += section + ":\n";
    else if (list != list_of(section_))
      out_ += list + ":\n";
    section_ = section;
  }

  std::string section_;
  std::string out_;
};

/// "~", ${NAME}; a path that is not absolute starts in the config file's folder.
std::string beside_config(const ClusterConfig& config, const std::string& path) {
  const std::filesystem::path expanded = expand_path(path);
  if (expanded.is_absolute() || config.source_path.empty()) return expanded.string();
  return (std::filesystem::path(config.source_path).parent_path() / expanded)
      .lexically_normal()
      .string();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string print_cluster_config(const LoadedConfig& loaded, bool with_origins) {
  ClusterConfig copy = loaded.config;
  YamlPrinter printer;
  for (const config::Key& key : config::keys_of(copy)) {
    const auto origin = loaded.origins.find(key.name);
    printer.line(key,
                 with_origins && origin != loaded.origins.end() ? origin_name(origin->second) : "");
  }
  if (copy.stores.empty()) printer.text("stores: []\n");
  return printer.take();
}

std::string cluster_config_reference() {
  ClusterConfig defaults;
  std::string out =
      "# Configuration\n\n"
      "One YAML file describes a cluster; every process reads the same file. A value comes from a "
      "flag\n"
      "(`--set key=value`), else from the environment, else from the file, else it is the default "
      "below.\n"
      "In flags, items of a list are written by position: `--set "
      "groups.0.tensor_parallel_size=1`.\n"
      "Unknown keys are errors. `ebbctl config check -c FILE` checks a file, `ebbctl config print "
      "-c FILE`\n"
      "shows each value and where it came from.\n\n"
      "Sizes are written `4096`, `96MiB` or `1.5GiB`; durations `500ms`, `3s` or `2min`; "
      "addresses\n"
      "`127.0.0.1:8000`.\n";
  std::string section = "?";
  for (const config::Key& key : config::keys_of(defaults)) {
    if (section_of(key.name) != section) {
      section = section_of(key.name);
      const std::string list = list_of(section);
      out += "\n## " +
             (section.empty() ? "Top level"
              : list.empty()  ? section
                              : list + " (a list)") +
             "\n\n| key | type | default | allowed | environment | meaning "
             "|\n|---|---|---|---|---|---|\n";
    }
    const std::string variable = config::variable_of(key.name);
    out += "| `" + key.name + "` | " + config::type_name(key) + " | `" + config::spell(key) +
           "` | " + config::limits_text(key) + " | " +
           (variable.empty() ? "" : "`" + variable + "`") + " | " + key.sentence + " |\n";
  }
  return out;
}

std::string expand_path(const std::string& path) {
  std::string out;
  size_t at = 0;
  if (path == "~" || path.starts_with("~/")) {
    out = environment("HOME");
    at = 1;
  }
  while (at < path.size()) {
    const size_t close = path.compare(at, 2, "${") == 0 ? path.find('}', at) : std::string::npos;
    if (close == std::string::npos) {
      out += path[at++];
      continue;
    }
    out += environment(path.substr(at + 2, close - at - 2).c_str());
    at = close + 1;
  }
  return out;
}

std::string effective_run_dir(const ClusterConfig& config) {
  if (!config.run_dir.empty()) return beside_config(config, config.run_dir);
  const std::string state = environment("XDG_STATE_HOME");
  return state.empty() ? expand_path("~/.local/state/ebb") : state + "/ebb";
}

std::string effective_model_path(const ClusterConfig& config) {
  if (!config.model.path.empty()) return beside_config(config, config.model.path);
  const std::string cache = environment("EBB_CACHE");
  return (cache.empty() ? expand_path("~/.cache/ebb") : cache) +
         "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

std::string effective_profile_path(const ClusterConfig& config) {
  return config.model.profile.empty() ? "" : beside_config(config, config.model.profile);
}

std::string effective_controller_path(const ClusterConfig& config) {
  return config.model.controller.empty() ? "" : beside_config(config, config.model.controller);
}

std::string effective_ssd_path(const ClusterConfig& config, const StoreConfig& store) {
  if (!store.ssd_path.empty()) return beside_config(config, store.ssd_path);
  return effective_run_dir(config) + "/store-" + store.name;
}

}  // namespace ebb
