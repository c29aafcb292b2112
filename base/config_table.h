// The table of all configuration keys, as seen from one ClusterConfig. Internal to the
// configuration files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/cluster_config.h"
#include "base/config_key.h"

namespace ebb::config {

/// Every key of `config`, in the order of the file; list items as many as `config` has. The slots
/// point into `config`: it must outlive them, and its lists must not grow.
std::vector<Key> keys_of(ClusterConfig& config);

/// The environment's name of a key: "EBB_RUN_DIR"; empty: the environment cannot set it.
std::string variable_of(const std::string& key);

/// A YAML text cut into leaves.
struct Leaf {
  std::string key;
  std::string text;
  int line = 0;
};
struct FileKeys {
  std::vector<Leaf> leaves;
  /// Items of each list that the file names; -1: the file does not name it.
  int groups = -1;
  int stores = -1;
};
/// Reads and flattens `path`; refuses keys that `keys_of` does not know. Errors: kInvalid,
/// kNotFound, with file and line.
Result<FileKeys> read_config_file(const std::string& path);

/// The known key (or section) whose spelling is nearest to `unknown`; list positions count as
/// equal.
std::string nearest_key(std::string_view unknown);
/// True for keys and for sections: "coordinator", "groups.3", "groups.3.name".
bool is_known_key(std::string_view key);
/// Most items of a list; far above what works today, so that a typing error is not an allocation.
constexpr int kListMax = 64;

}  // namespace ebb::config
