#include "models/grammar/json_tree.h"

#include <nlohmann/json.hpp>
#include <set>

#include "models/shown_text.h"

namespace ebb::models::grammar {
namespace {

using Json = nlohmann::json;

/// The library's events become a tree; the first thing that is not allowed ends the parse.
class TreeBuilder {
 public:
  bool null() { return add({}) != nullptr; }
  bool boolean(bool value) {
    JsonTree* node = add(JsonTree::Kind::kBool);
    if (node != nullptr) node->boolean = value;
    return node != nullptr;
  }
  bool number_integer(int64_t value) {
    return add_text(JsonTree::Kind::kInteger, std::to_string(value));
  }
  bool number_unsigned(uint64_t value) {
    return add_text(JsonTree::Kind::kInteger, std::to_string(value));
  }
  bool number_float(double, const std::string& text) {
    const bool whole = text.find_first_of(".eE") == std::string::npos;
    return add_text(whole ? JsonTree::Kind::kInteger : JsonTree::Kind::kReal, text);
  }
  bool string(std::string& text) { return add_text(JsonTree::Kind::kString, std::move(text)); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) { return open(JsonTree::Kind::kObject); }
  bool start_array(size_t) { return open(JsonTree::Kind::kArray); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    if (!names_.back().insert(name).second)
      return fail("has \"" + shown_text(name) + "\" twice in one object");
    name_ = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string& last, const Json::exception& problem) {
    constexpr int kOutOfRange = 406;  // the library's number for this error
    if (problem.id == kOutOfRange)
      return fail((name_.empty() ? "" : shown_text(name_) + ": ") + "the number " +
                  shown_text(last) + " is out of range");
    return fail("is not JSON at byte " + std::to_string(position));
  }

  JsonTree take() { return std::move(root_); }
  const std::string& problem() const { return problem_; }

 private:
  bool fail(std::string why) {
    problem_ = std::move(why);
    return false;
  }
  bool add_text(JsonTree::Kind kind, std::string text) {
    JsonTree* node = add(kind);
    if (node != nullptr) node->text = std::move(text);
    return node != nullptr;
  }
  bool open(JsonTree::Kind kind) {
    if (path_.size() == kJsonDepthMax) {
      return fail("nests deeper than " + std::to_string(kJsonDepthMax) + " levels");
    }
    JsonTree* node = add(kind);
    if (node == nullptr) return false;
    // Pointers into vectors: a container grows only while it is the innermost open one.
    path_.push_back(node);
    names_.emplace_back();
    return true;
  }
  bool close() {
    path_.pop_back();
    names_.pop_back();
    return true;
  }
  /// Null: too many values.
  JsonTree* add(JsonTree::Kind kind = JsonTree::Kind::kNull) {
    if (++values_ > kJsonValuesMax) {
      fail("holds more than " + std::to_string(kJsonValuesMax) + " values");
      return nullptr;
    }
    JsonTree node;
    node.kind = kind;
    if (path_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    JsonTree& parent = *path_.back();
    if (parent.is(JsonTree::Kind::kArray)) return &parent.items.emplace_back(std::move(node));
    return &parent.members.emplace_back(std::move(name_), std::move(node)).second;
  }

  JsonTree root_;
  std::vector<JsonTree*> path_;
  std::vector<std::set<std::string>> names_;
  std::string name_;
  std::string problem_;
  uint32_t values_ = 0;
};

}  // namespace

JsonTree::JsonTree() = default;
JsonTree::JsonTree(const JsonTree&) = default;
JsonTree::JsonTree(JsonTree&&) noexcept = default;
JsonTree& JsonTree::operator=(const JsonTree&) = default;
JsonTree& JsonTree::operator=(JsonTree&&) noexcept = default;
JsonTree::~JsonTree() = default;

const JsonTree* JsonTree::find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

const char* json_tree_kind(const JsonTree& value) {
  switch (value.kind) {
    case JsonTree::Kind::kNull:
      return "null";
    case JsonTree::Kind::kBool:
      return "a boolean";
    case JsonTree::Kind::kInteger:
      return "an integer";
    case JsonTree::Kind::kReal:
      return "a number";
    case JsonTree::Kind::kString:
      return "a string";
    case JsonTree::Kind::kArray:
      return "an array";
    case JsonTree::Kind::kObject:
      return "an object";
  }
  return "?";
}

Result<JsonTree> parse_json_tree(std::string_view text) {
  TreeBuilder builder;
  try {
    if (Json::sax_parse(text, &builder)) return builder.take();
  } catch (const Json::exception&) {
    return invalid("is not JSON: a number is out of range");
  }
  return invalid(builder.problem().empty() ? "is not JSON" : builder.problem());
}

std::string json_string(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  static constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
  static constexpr std::string_view kLetters = "\"\\bfnrt";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (const size_t letter = kEscaped.find(c); letter != std::string_view::npos) {
      out += '\\';
      out += kLetters[letter];
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string json_text(const JsonTree& value) {
  std::string out;
  switch (value.kind) {
    case JsonTree::Kind::kNull:
      return "null";
    case JsonTree::Kind::kBool:
      return value.boolean ? "true" : "false";
    case JsonTree::Kind::kInteger:
    case JsonTree::Kind::kReal:
      return value.text;
    case JsonTree::Kind::kString:
      return json_string(value.text);
    case JsonTree::Kind::kArray:
      for (const JsonTree& item : value.items) out += (out.empty() ? "" : ",") + json_text(item);
      return "[" + out + "]";
    case JsonTree::Kind::kObject:
      for (const auto& [name, member] : value.members) {
        out += (out.empty() ? "" : ",") + json_string(name) + ":" + json_text(member);
      }
      return "{" + out + "}";
  }
  return out;
}

}  // namespace ebb::models::grammar
