// What the stores say of themselves, asked once a second. Lives on a loop.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cluster_config.h"
#include "base/task_loop.h"
#include "coordinator/engine.h"
#include "transport/control/coordinator_side.h"

namespace ebb::coordinator {

class StoreWatch {
 public:
  /// Connects. This outlives the loop's last task.
  StoreWatch(TaskLoop& loop, const ClusterConfig& config);
  /// On the loop: begins to ask.
  void start();

  // On the loop:
  std::vector<StoreState> states() const;
  /// A tier somewhere takes writes, or no store is configured.
  bool writable() const;
  /// One page of what store `name` keeps; empty: the only store. Errors: kNotFound and kInvalid
  /// name the stores there are; else the link's. `answer` on an unspecified thread.
  void list(const std::string& name, control::GranuleQuery query,
            control::Answer<control::GranulePage> answer);

 private:
  struct Watched {
    StoreConfig config;
    std::unique_ptr<control::StoreLink> link;
    std::optional<control::StoreStatus> status;
  };
  void ask();

  TaskLoop& loop_;
  std::vector<Watched> stores_;
};

}  // namespace ebb::coordinator
