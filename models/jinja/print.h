// Values as text: Python's str(), and JSON as its json.dumps() writes it.
#pragma once

#include <optional>
#include <string>

#include "models/jinja/value.h"

namespace ebb::models::jinja {

/// Python's str(): text as it is, containers as Python would write them down; undefined is empty.
/// Errors: kUnsupported (functions, loops, namespaces, iterators: their spelling is nobody's
/// prompt), kExhausted.
Result<std::string> to_text(const Value& value, Budget& budget);

/// Python's repr(). Errors: as to_text().
Result<std::string> to_repr(const Value& value, Budget& budget);

/// The options of json.dumps().
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  ///< of one level; none: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// Errors: kInvalid (what JSON has no word for: undefined, iterators, ...), kExhausted.
Result<std::string> to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace ebb::models::jinja
