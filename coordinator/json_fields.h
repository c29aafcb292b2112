// Strict reading of untrusted JSON: every read names its field and its limits, and the first error
// wins. Knows JSON, not what the fields mean. The JSON library stays inside
// json_document.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "coordinator/api_error.h"

namespace ebb::coordinator {

enum class JsonKind { kNull, kBool, kInteger, kReal, kString, kArray, kObject };
const char* json_kind_name(JsonKind kind);

/// One value of a JsonDocument, which must outlive it.
class JsonNode {
 public:
  explicit JsonNode(const void* value) : value_(value) {}
  JsonKind kind() const;
  bool boolean() const;                                         ///< of kBool
  double number() const;                                        ///< of kInteger and kReal
  std::optional<int64_t> integer() const;                       ///< of kInteger, when it fits
  const std::string& text() const;                              ///< of kString
  size_t size() const;                                          ///< of kArray and kObject
  JsonNode at(size_t index) const;                              ///< of kArray
  std::optional<JsonNode> find(const std::string& name) const;  ///< of kObject
  std::vector<std::string> keys() const;  ///< of kObject, in the order of the text

 private:
  const void* value_;
};

class JsonDocument {
 public:
  /// Of a name that occurs twice in an object the last value counts, at the first place. Errors:
  /// kInvalid, to be read behind the text's name ("is not JSON: ..."): invalid UTF-8 or malformed
  /// JSON (byte position), deeper than 64 levels.
  static Result<JsonDocument> parse(std::string_view text);
  JsonNode root() const;

 private:
  std::shared_ptr<const void> value_;
};

/// The fields of one object. null counts as absent. After the first error all reads return nothing.
class FieldReader {
 public:
  /// `prefix` stands before names in errors: "ebb.". `error` is shared by all readers of one
  /// request.
  FieldReader(JsonNode object, std::string prefix, std::optional<ApiError>& error)
      : object_(object), prefix_(std::move(prefix)), error_(error) {}

  std::optional<JsonNode> take(const std::string& name);
  std::optional<int64_t> integer(const std::string& name, int64_t min, int64_t max);
  std::optional<uint32_t> u32(const std::string& name, uint32_t min, uint32_t max);
  std::optional<double> real(const std::string& name, double min, double max);
  std::optional<bool> boolean(const std::string& name);
  std::optional<std::string> text(const std::string& name, size_t bytes_max);

  bool failed() const { return error_.has_value(); }
  void fail(const std::string& name, const std::string& message);
  std::string path(const std::string& name) const { return prefix_ + name; }
  /// Fields that nobody has taken, in the object's order.
  std::vector<std::string> untaken() const;
  const std::set<std::string>& taken() const { return taken_; }

 private:
  void wrong_type(const std::string& name, const std::string& wanted, JsonNode got);

  JsonNode object_;
  std::string prefix_;
  std::optional<ApiError>& error_;
  std::set<std::string> taken_;
};

/// The one of `known` with the smallest edit distance to `name`.
std::string nearest_name(const std::string& name, const std::set<std::string>& known);

/// 12.5 -> "12.5", 2.0 -> "2": numbers in messages.
std::string number_text(double value);

}  // namespace ebb::coordinator
