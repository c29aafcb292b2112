// kv ls: which granules a store keeps, one page at a time. Rendering is pure.
#pragma once

#include <string>

#include "ctl/cli.h"

namespace ebb::ctl {

/// As typed; the coordinator and the store check them.
struct KvListOptions {
  std::string store;  ///< empty: the only one
  std::string seq;    ///< empty: everything
  std::string limit = "20";
  std::string cursor;  ///< empty: from the first
};

/// A table of the GranuleList `json`, and how to see the next page. Errors: kCorrupt when `json` is
/// no GranuleList.
Result<std::string> render_kv_list(const std::string& json);

int run_kv_list(const Terminal& terminal, const Service& service, const KvListOptions& options,
                Format format);

}  // namespace ebb::ctl
