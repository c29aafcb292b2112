#include "tests/house/include_rules.h"

#include <algorithm>
#include <optional>

namespace ebb::house {
namespace {

using Names = std::vector<std::string_view>;

/// What the files below `folder` may include of ours; the longest matching folder counts.
struct FolderRule {
  std::string_view folder;
  Names may_include;
};

const std::vector<FolderRule>& folder_rules() {
  static const std::vector<FolderRule> kRules = {
      {"base/", {"base/"}},
      {"models/", {"base/", "models/"}},
      {"kernels/", {"base/", "kernels/"}},
      {"transport/collective/", {"base/", "transport/collective/"}},
      {"transport/control/", {"base/", "transport/control/"}},
      {"transport/data/", {"base/", "transport/data/"}},
      {"transport/http/", {"base/", "transport/http/"}},
      // Knows names and bytes: nothing of models, kernels, workers or the coordinator.
      {"kvstore/",
       {"base/", "kvstore/", "transport/control/", "transport/data/", "transport/http/"}},
      {"worker/",
       {"base/", "models/", "kernels/", "kvstore/client.h", "kvstore/granule.h", "worker/",
        "transport/collective/", "transport/control/", "transport/data/", "transport/http/"}},
      // Never in a token's data path: no kernels, no store, no bulk transport.
      {"coordinator/",
       {"base/", "models/", "coordinator/", "transport/control/", "transport/http/"}},
      {"ctl/", {"base/", "ctl/", "transport/http/"}},
      // Tests and benchmarks look at everything.
      {"tests/", {""}},
      {"bench/", {""}},
  };
  return kRules;
}

/// Headers that begin so may be included only by files whose path begins or ends with one of
/// `where`.
struct VendorRule {
  std::string_view header;
  Names where;
};

const std::vector<VendorRule>& vendor_rules() {
  static const std::vector<VendorRule> kRules = {
      {"capnp/", {"transport/control/"}},
      {"kj/", {"transport/control/"}},
      {"ucp/", {"transport/data/"}},
      {"ucs/", {"transport/data/"}},
      {"boost/beast", {"transport/http/"}},
      {"boost/asio", {"transport/http/", "transport/data/event_loop.cpp"}},
      {"gloo/", {"transport/collective/"}},
      {"rocksdb/", {"kvstore/ssd_tier", "kvstore/rocks"}},
      {"oneapi/dnnl/", {"kernels/cpu/"}},
      {"omp.h", {"kernels/cpu/"}},
      {"immintrin.h", {"kernels/cpu/"}},
      {"nmmintrin.h", {"base/checksum.cpp"}},
      {"openssl/", {"base/checksum.cpp"}},
      {"spdlog/", {"base/log.cpp"}},
      {"prometheus/", {"base/metrics.cpp"}},
      {"yaml-cpp/", {"base/config_yaml.cpp", "models/selection_profile.cpp"}},
      {"pcre2.h", {"models/pre_tokenizer.cpp"}},
      {"CLI/", {"/main.cpp"}},
      {"nlohmann/", {"coordinator/", "ctl/", "kvstore/", "worker/"}},
  };
  return kRules;
}

/// Standard C++ headers have neither dot nor folder; these are POSIX's and Linux's that may appear
/// anywhere.
constexpr std::string_view kSystemHeaders[] = {
    "cpuid.h", "dirent.h", "dlfcn.h",  "fcntl.h",  "netdb.h", "poll.h",    "pthread.h", "pwd.h",
    "sched.h", "signal.h", "spawn.h",  "unistd.h", "arpa/",   "linux/",    "net/",      "netinet/",
    "sys/",    "time.h",   "malloc.h", "limits.h", "errno.h", "termios.h", "syscall.h",
};

struct Include {
  std::string_view header;
  bool is_quoted = false;
};

std::optional<Include> read_include(std::string_view line) {
  constexpr std::string_view kDirective = "#include ";
  if (!line.starts_with(kDirective)) return std::nullopt;
  line.remove_prefix(kDirective.size());
  const char closing = line.starts_with("<") ? '>' : line.starts_with("\"") ? '"' : '\0';
  const size_t end = closing == '\0' ? line.npos : line.find(closing, 1);
  if (end == line.npos) return std::nullopt;
  return Include{line.substr(1, end - 1), closing == '"'};
}

bool starts_with_any(std::string_view text, const Names& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

const FolderRule* rule_for(std::string_view path) {
  const FolderRule* best = nullptr;
  for (const FolderRule& rule : folder_rules()) {
    if (!path.starts_with(rule.folder)) continue;
    if (best == nullptr || rule.folder.size() > best->folder.size()) best = &rule;
  }
  return best;
}

bool is_system_header(std::string_view header) {
  if (header.find_first_of("./") == header.npos) return true;
  return std::any_of(std::begin(kSystemHeaders), std::end(kSystemHeaders),
                     [&](std::string_view known) { return header.starts_with(known); });
}

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

}  // namespace

Violations check_our_includes(const SourceTree& tree, const SourceFile& file) {
  Violations found;
  const FolderRule* rule = rule_for(file.path);
  if (rule == nullptr) return {file.path + ": a folder that the include table does not know"};
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const auto include = read_include(file.lines[i]);
    if (!include || !include->is_quoted) continue;
    if (include->header.ends_with(".capnp.h")) {
      if (!file.path.starts_with("transport/control/")) {
        found.push_back(at(file, i) + "generated messages stay inside transport/control/");
      }
    } else if (tree.find(include->header) == nullptr) {
      found.push_back(at(file, i) + quoted(include->header) + " is no file, seen from the root");
    } else if (!starts_with_any(include->header, rule->may_include)) {
      found.push_back(at(file, i) + std::string(rule->folder) + " must not know " +
                      quoted(include->header));
    }
  }
  return found;
}

Violations check_vendor_includes(const SourceFile& file) {
  Violations found;
  if (file.is_test() || file.path.starts_with("bench/")) return found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const auto include = read_include(file.lines[i]);
    if (!include || include->is_quoted) continue;
    const auto rule = std::find_if(
        vendor_rules().begin(), vendor_rules().end(),
        [&](const VendorRule& candidate) { return include->header.starts_with(candidate.header); });
    const std::string header = "<" + std::string(include->header) + ">";
    if (rule == vendor_rules().end()) {
      if (!is_system_header(include->header)) {
        found.push_back(at(file, i) + header + " is not in the table of libraries");
      }
      continue;
    }
    const bool is_at_home =
        std::any_of(rule->where.begin(), rule->where.end(), [&](std::string_view place) {
          return file.path.starts_with(place) || file.path.ends_with(place);
        });
    if (is_at_home) continue;
    found.push_back(at(file, i) + header + " belongs only to " + std::string(rule->where.front()));
  }
  return found;
}

Violations check_header_stands_alone(const SourceFile& file) {
  struct Need {
    std::string_view used;
    Names any_of;  ///< one of these headers must be included
  };
  static const std::vector<Need> kNeeds = {
      {"std::string", {"string"}},
      {"std::string_view", {"string_view"}},
      {"std::vector", {"vector"}},
      {"std::map", {"map"}},
      {"std::set", {"set"}},
      {"std::deque", {"deque"}},
      {"std::unordered_map", {"unordered_map"}},
      {"std::unordered_set", {"unordered_set"}},
      {"std::optional", {"optional"}},
      {"std::variant", {"variant"}},
      {"std::span", {"span"}},
      {"std::array", {"array"}},
      {"std::function", {"functional"}},
      {"std::unique_ptr", {"memory"}},
      {"std::shared_ptr", {"memory"}},
      {"std::atomic", {"atomic"}},
      {"std::mutex", {"mutex"}},
      {"std::condition_variable", {"condition_variable"}},
      {"std::thread", {"thread"}},
      {"std::byte", {"cstddef"}},
      {"uint64_t", {"cstdint"}},
      {"uint32_t", {"cstdint"}},
      {"uint16_t", {"cstdint"}},
      {"uint8_t", {"cstdint"}},
      {"int64_t", {"cstdint"}},
      {"int32_t", {"cstdint"}},
  };
  Violations found;
  if (!file.is_header()) return found;
  std::vector<std::string_view> included;
  for (const std::string& line : file.lines) {
    if (const auto include = read_include(line)) included.push_back(include->header);
  }
  const auto includes = [&](std::string_view header) {
    return std::find(included.begin(), included.end(), header) != included.end();
  };
  for (const Need& need : kNeeds) {
    if (std::any_of(need.any_of.begin(), need.any_of.end(), includes)) continue;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string_view line = file.lines[i];
      if (!has_word(line.substr(0, line.find("//")), need.used)) continue;
      found.push_back(at(file, i) + "uses " + std::string(need.used) + " without <" +
                      std::string(need.any_of.front()) + ">");
      break;
    }
  }
  return found;
}

}  // namespace ebb::house
