// kv map: a picture of where every token of a sequence lives, by band. Drawing is pure.
#pragma once

#include <string>

#include "ctl/cli.h"

namespace ebb::ctl {

/// How to draw; a bucket is one column and stands for an equal run of tokens.
struct MapStyle {
  unsigned width = 100;  ///< columns of the whole picture
  bool utf8 = true;
  bool colour = false;
};

/// Draws the KvMap `json`. Every bucket shows its most frequent place, and "!" wherever a token is
/// missing: a single lost token must be seen. Errors: kCorrupt when `json` is not a KvMap.
Result<std::string> draw_kv_map(const std::string& json, const MapStyle& style);

/// `seq` empty: the newest sequence.
int run_kv_map(const Terminal& terminal, const Service& service, const std::string& seq,
               Format format);

}  // namespace ebb::ctl
