// A JSON file of a model as a tree: strict, and bounded, because model files are untrusted input.
// Knows JSON, not what the fields mean. The JSON library stays inside json_document.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ebb::models {

class JsonDocument;

enum class JsonType : uint8_t { kNull, kBoolean, kInteger, kReal, kString, kArray, kObject };

const char* json_type_name(JsonType type);

/// One value of a JsonDocument, which must outlive it. Copying is free.
class JsonValue {
 public:
  JsonType type() const;
  bool is_null() const { return type() == JsonType::kNull; }
  /// Where it stands: "model.merges[3][0]"; "the document" for the root. Costs a walk: for errors.
  std::string path() const;
  std::string_view key() const;  ///< of a member of an object

  /// Errors of these: kInvalid: another type; names the path.
  Result<std::string_view> text() const;
  Result<int64_t> integer() const;
  Result<double> number() const;  ///< of an integer, too
  Result<bool> boolean() const;
  Result<void> expect(JsonType type) const;

  /// Members of an object or elements of an array: `for (JsonValue v = x.first(); v; v =
  /// v.next())`.
  JsonValue first() const;
  JsonValue next() const;
  explicit operator bool() const { return tree_ != nullptr; }
  uint32_t size() const;

  /// Member of an object; nothing when it is absent. Linear: for small objects.
  std::optional<JsonValue> find(std::string_view name) const;
  /// As find(); an absent member is an error that names the path.
  Result<JsonValue> at(std::string_view name) const;
  /// Values of members that must be there; boolean_or(): that may be null or absent.
  Result<std::string_view> text_at(std::string_view name) const;
  Result<int64_t> integer_at(std::string_view name) const;
  Result<JsonValue> array_at(std::string_view name) const;
  Result<bool> boolean_or(std::string_view name, bool otherwise) const;
  /// Errors: kInvalid: not an object; kUnsupported: a member beside `known`: names it and them.
  Result<void> only(std::initializer_list<std::string_view> known) const;

  Error error(const std::string& what) const { return invalid(path() + " " + what); }
  Error not_supported(const std::string& what) const { return unsupported(path() + " " + what); }

 private:
  friend class JsonDocument;
  JsonValue() = default;
  JsonValue(const JsonDocument* tree, uint32_t index) : tree_(tree), index_(index) {}
  const JsonDocument* tree_ = nullptr;
  uint32_t index_ = 0;
};

class JsonDocument {
 public:
  static constexpr size_t kBytesMax = size_t{128} << 20;
  static constexpr size_t kValuesMax = 6'000'000;
  static constexpr size_t kDepthMax = 64;

  /// Errors: kInvalid: malformed (says at which byte), invalid UTF-8, a key twice in one object
  /// (names it), larger or deeper than the limits. Memory is at most 32 bytes for each value beside
  /// the strings.
  static Result<std::unique_ptr<JsonDocument>> parse(std::string_view text);
  ~JsonDocument();
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;
  JsonValue root() const { return {this, 0}; }

 private:
  friend class JsonValue;
  struct Storage;
  JsonDocument();
  std::unique_ptr<Storage> storage_;
};

}  // namespace ebb::models
