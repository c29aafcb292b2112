// Request targets ("/v1/models?limit=2") to decoded path and query. Pure text; knows no socket.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ebb::http {

struct Target {
  std::string path;                          ///< decoded; "*" for OPTIONS *
  std::map<std::string, std::string> query;  ///< decoded; of a repeated name the last one
};

/// Origin form, absolute form ("http://host/path") or "*". Errors: kInvalid (a broken %-escape, no
/// leading slash).
Result<Target> parse_target(std::string_view text);

}  // namespace ebb::http
