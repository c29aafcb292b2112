// ask: one question about one document, answered as it is decoded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ctl/cli.h"

namespace ebb::ctl {

struct AskOptions {
  std::string file;  ///< "-": standard input
  std::string question;
  std::string policy;   ///< empty: the service's
  uint32_t budget = 0;  ///< 0: the service's
  uint32_t max_tokens = 256;
};

/// Cuts a stream of server-sent events into the texts of its "data:" lines, wherever the pieces
/// were cut.
class EventCutter {
 public:
  /// Calls `on_data` for each complete event. False when an event grows beyond 1 MiB.
  template <class F>
  bool feed(std::string_view piece, F&& on_data) {
    pending_ += piece;
    size_t at = 0;
    for (size_t end; (end = pending_.find('\n', at)) != std::string::npos; at = end + 1) {
      std::string_view line(pending_.data() + at, end - at);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.starts_with("data:")) continue;
      line.remove_prefix(5);
      if (line.starts_with(' ')) line.remove_prefix(1);
      on_data(line);
    }
    pending_.erase(0, at);
    return pending_.size() <= kEventMax;
  }

 private:
  static constexpr size_t kEventMax = 1 << 20;
  std::string pending_;
};

int run_ask(const Terminal& terminal, const Service& service, const AskOptions& options);

}  // namespace ebb::ctl
