// Policies as the command line says them ("tidal:budget=n/8,window=256"), turned into the `ebb`
// object of a request. Knows the grammar and no policy: names, keys and values are the service's to
// judge.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace ebb::score {

struct PolicySetting {
  std::string key;
  std::string value;  ///< as written
};

struct PolicyText {
  std::string label;  ///< as written, without spaces; " (2)" behind it when it came before
  std::string name;   ///< what stands before the colon
  std::vector<PolicySetting> settings;
};

/// Policies are parted by ";", settings by ",": "dense;streaming:sinks=4,window=1020". Values are
/// numbers, true, false, lists of numbers ("[0,2,7]"), words, or "n" and "n/K": the context of a
/// cell, or a K-th of it. Errors: kInvalid, which names the policy and what is wrong.
Result<std::vector<PolicyText>> parse_policies(const std::string& text);

/// The members of the `ebb` object as JSON: {"policy":"tidal","budget":512}. "n/K" becomes
/// context / K, at least 1.
std::string ebb_object(const PolicyText& policy, uint64_t context);

/// The value of the setting `key` as a number of tokens; nothing: it has none.
std::optional<uint64_t> tokens_of(const PolicyText& policy, const std::string& key,
                                  uint64_t context);
/// The label without its budget: policies that differ in budget only are one line of a picture.
std::string family_of(const PolicyText& policy);

}  // namespace ebb::score
