// Reads the YAML file into dotted keys with line numbers, and finds the nearest known key for one
// that is unknown. The only file that includes yaml-cpp.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "base/config_table.h"

namespace ebb::config {
namespace {

constexpr size_t kFileMax = kMiB;

/// "groups.3.name" -> "groups.0.name": list positions do not matter for what is known.
std::string general(std::string_view key) {
  std::string out;
  size_t at = 0;
  while (at <= key.size()) {
    const size_t dot = std::min(key.find('.', at), key.size());
    const std::string_view part = key.substr(at, dot - at);
    const bool digits =
        !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    if (at > 0) out += '.';
    out += digits ? "0" : std::string(part);
    at = dot + 1;
  }
  return out;
}

/// Keys and sections of a config with one item in each list.
const std::set<std::string>& known_keys() {
  static const std::set<std::string> kKnown = [] {
    ClusterConfig one;
    one.groups.resize(1);
    one.stores.resize(1);
    std::set<std::string> all;
    for (const Key& key : keys_of(one))
      for (size_t at = 0; at != std::string::npos; at = key.name.find('.', at + 1))
        all.insert(at == 0 ? key.name : key.name.substr(0, at));
    return all;
  }();
  return kKnown;
}

/// Levenshtein.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string_view leaf_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

class Flattener {
 public:
  explicit Flattener(std::string path) : path_(std::move(path)) {}

  Result<FileKeys> run(const YAML::Node& root) {
    if (!root.IsDefined() || root.IsNull()) return std::move(keys_);  // an empty file: all defaults
    if (!root.IsMap()) return fail(root, "the file is not a mapping of keys to values");
    EBB_TRY_VOID(mapping(root, ""));
    return std::move(keys_);
  }

 private:
  Error fail(const YAML::Node& node, const std::string& what) const {
    return invalid(path_ + ":" + std::to_string(node.Mark().line + 1) + ": " + what);
  }

  Result<void> mapping(const YAML::Node& node, const std::string& prefix) {
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) return fail(entry.first, "a key must be a plain word");
      const std::string key = prefix + entry.first.Scalar();
      if (!is_known_key(key))
        return fail(entry.first, "unknown key \"" + key.substr(0, 120) +
                                     "\"; the nearest known key is \"" + nearest_key(key) + "\"");
      if (!seen.insert(key).second) return fail(entry.first, key + " is given twice");
      EBB_TRY_VOID(value(entry.second, key, entry.first));
    }
    return {};
  }

  Result<void> value(const YAML::Node& node, const std::string& key, const YAML::Node& name) {
    const bool list = key == "groups" || key == "stores";
    const bool section = !list && known_keys().lower_bound(general(key) + ".") !=
                                      known_keys().lower_bound(general(key) + "/");
    if (list) return items(node, key, name);
    if (section) {
      if (node.IsNull()) return {};
      if (!node.IsMap()) return fail(name, key + ": expected a section (a mapping of keys)");
      return mapping(node, key + ".");
    }
    if (node.IsNull()) return fail(name, key + " has no value");
    if (!node.IsScalar())
      return fail(name,
                  key + ": expected one value, found a " + (node.IsMap() ? "mapping" : "list"));
    keys_.leaves.push_back({key, node.Scalar(), node.Mark().line + 1});
    return {};
  }

  Result<void> items(const YAML::Node& node, const std::string& key, const YAML::Node& name) {
    if (!node.IsSequence() && !node.IsNull()) return fail(name, key + ": expected a list");
    const size_t size = node.IsNull() ? 0 : node.size();
    if (size > kListMax)
      return fail(name, key + " has " + std::to_string(size) + " items, allowed: at most " +
                            std::to_string(kListMax));
    (key == "groups" ? keys_.groups : keys_.stores) = static_cast<int>(size);
    for (size_t i = 0; i < size; ++i) {
      const std::string at = key + "." + std::to_string(i);
      if (!node[i].IsMap())
        return fail(node[i], at + ": expected a mapping of keys (\"- name: ...\")");
      EBB_TRY_VOID(mapping(node[i], at + "."));
    }
    return {};
  }

  std::string path_;
  FileKeys keys_;
};

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return not_found(path + ": " + std::strerror(errno));
  std::string text(kFileMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && !file.eof()))
    return invalid(path + ": cannot be read (is it a folder?)");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kFileMax)
    return invalid(path + ": larger than " + format_bytes(kFileMax) + ", which no config is");
  return text;
}

}  // namespace

bool is_known_key(std::string_view key) { return known_keys().contains(general(key)); }

std::string nearest_key(std::string_view unknown) {
  const std::string wanted = general(unknown.substr(0, 256));
  std::string best;
  size_t best_distance = SIZE_MAX;
  for (const std::string& known : known_keys()) {
    // The right word in the wrong section is nearer than its whole path looks.
    const size_t by_leaf = edit_distance(leaf_of(wanted), leaf_of(known)) + 2;
    const size_t distance = std::min(edit_distance(wanted, known), by_leaf);
    if (distance >= best_distance) continue;
    best = known;
    best_distance = distance;
  }
  return best;
}

Result<FileKeys> read_config_file(const std::string& path) {
  const std::string text = EBB_TRY(read_text(path));
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1)
      return invalid(path + ": holds " + std::to_string(documents.size()) +
                     " YAML documents, allowed: one");
    return Flattener(path).run(documents.empty() ? YAML::Node() : documents[0]);
  } catch (const YAML::Exception& error) {
    return invalid(path + ":" + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
}

}  // namespace ebb::config
