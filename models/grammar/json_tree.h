// A JSON text as a small tree that keeps the order of members and the spelling of numbers: a
// schema's order is the order of what is generated. The JSON library stays in json_tree.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ebb::models::grammar {

constexpr uint32_t kJsonValuesMax = 16384;
constexpr uint32_t kJsonDepthMax = 64;

struct JsonTree {
  enum class Kind : uint8_t { kNull, kBool, kInteger, kReal, kString, kArray, kObject };

  // Defaulted in the source: inline, clang would want the pair of `members` before this is whole.
  JsonTree();
  JsonTree(const JsonTree&);
  JsonTree(JsonTree&&) noexcept;
  JsonTree& operator=(const JsonTree&);
  JsonTree& operator=(JsonTree&&) noexcept;
  ~JsonTree();

  Kind kind = Kind::kNull;
  bool boolean = false;
  std::string text;  ///< a string's content; a number as it was written
  std::vector<JsonTree> items;
  std::vector<std::pair<std::string, JsonTree>> members;  ///< names are distinct

  const JsonTree* find(std::string_view name) const;  ///< null: no such member
  bool is(Kind wanted) const { return kind == wanted; }
};

/// "a string", "an object" ...
const char* json_tree_kind(const JsonTree& value);

/// Errors: kInvalid: malformed (byte position), a name twice in one object, more than
/// kJsonValuesMax values or kJsonDepthMax levels.
Result<JsonTree> parse_json_tree(std::string_view text);

/// Without whitespace, in UTF-8, escaping only what JSON demands.
std::string json_text(const JsonTree& value);
/// A string with its quotes.
std::string json_string(std::string_view text);

}  // namespace ebb::models::grammar
