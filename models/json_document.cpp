#include "models/json_document.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "models/shown_text.h"

namespace ebb::models {
namespace {

using Json = nlohmann::json;

/// A slice of the tree's one string of all texts.
struct Slice {
  uint32_t begin = 0;
  uint32_t size = 0;
};

/// Nodes stand in the order of the text, so that a value's members follow it directly and `end` is
/// one past the last of them.
struct Node {
  uint32_t parent = 0;
  uint32_t end = 0;
  Slice key;
  union Payload {
    Slice text;
    int64_t integer;
    double real;
    uint64_t children;
    bool boolean;
  } value{.integer = 0};
  JsonType type = JsonType::kNull;
};

}  // namespace

struct JsonDocument::Storage {
  std::vector<Node> nodes;
  std::string texts;

  std::string_view view(Slice slice) const {
    return std::string_view(texts).substr(slice.begin, slice.size);
  }
};

namespace {

/// Takes the parser's events. A handler that returns false ends the parse; `failure` then says why.
class TreeBuilder {
 public:
  TreeBuilder(std::vector<Node>& nodes, std::string& texts) : nodes_(nodes), texts_(texts) {}

  bool null() { return add(JsonType::kNull) != nullptr; }
  bool boolean(bool value) {
    Node* node = add(JsonType::kBoolean);
    if (node != nullptr) node->value.boolean = value;
    return node != nullptr;
  }
  bool number_integer(int64_t value) {
    Node* node = add(JsonType::kInteger);
    if (node != nullptr) node->value.integer = value;
    return node != nullptr;
  }
  bool number_unsigned(uint64_t value) {
    if (value > INT64_MAX) return number_float(static_cast<double>(value), {});
    return number_integer(static_cast<int64_t>(value));
  }
  bool number_float(double value, const std::string&) {
    Node* node = add(JsonType::kReal);
    if (node != nullptr) node->value.real = value;
    return node != nullptr;
  }
  bool string(std::string& value) {
    Node* node = add(JsonType::kString);
    if (node != nullptr) node->value.text = store(value);
    return node != nullptr;
  }
  bool binary(Json::binary_t&) { return fail("has binary data"); }
  bool start_object(size_t) { return open(JsonType::kObject); }
  bool start_array(size_t) { return open(JsonType::kArray); }
  bool key(std::string& name) {
    key_ = store(name);
    return true;
  }
  bool end_array() { return close(); }
  bool end_object() { return keys_are_distinct() && close(); }
  bool parse_error(size_t byte, const std::string& last,
                   const nlohmann::detail::exception& problem) {
    constexpr int kOutOfRange = 406;  // the library's number for this error
    if (problem.id == kOutOfRange)
      return fail("has the number " + shown_text(last) + ", which is out of range");
    // The library's sentence repeats the place and the last text read; what it expected is enough.
    std::string what = problem.what();
    const size_t colon = what.rfind(": ");
    if (colon != std::string::npos) what = what.substr(colon + 2);
    return fail("is not JSON at byte " + std::to_string(byte) + ": " + shown_text(what));
  }

  std::string failure;

 private:
  bool fail(std::string why) {
    if (failure.empty()) failure = std::move(why);
    return false;
  }

  Slice store(const std::string& text) {
    // The document's size bounds the sum: an escape is never shorter than what it stands for.
    const Slice slice{static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size())};
    texts_ += text;
    return slice;
  }

  Node* add(JsonType type) {
    if (nodes_.size() >= JsonDocument::kValuesMax) {
      fail("has more than " + std::to_string(JsonDocument::kValuesMax) + " values");
      return nullptr;
    }
    const auto index = static_cast<uint32_t>(nodes_.size());
    Node node;
    node.type = type;
    node.key = key_;
    node.end = index + 1;
    node.parent = open_.empty() ? 0 : open_.back();
    if (!open_.empty()) ++nodes_[open_.back()].value.children;
    nodes_.push_back(node);
    return &nodes_.back();
  }

  bool open(JsonType type) {
    if (open_.size() >= JsonDocument::kDepthMax) {
      return fail("is nested more than " + std::to_string(JsonDocument::kDepthMax) +
                  " levels deep");
    }
    Node* node = add(type);
    if (node == nullptr) return false;
    node->value.children = 0;
    open_.push_back(static_cast<uint32_t>(nodes_.size()) - 1);
    return true;
  }

  bool close() {
    nodes_[open_.back()].end = static_cast<uint32_t>(nodes_.size());
    open_.pop_back();
    return true;
  }

  bool keys_are_distinct() {
    std::unordered_set<std::string_view> seen;
    const auto size = static_cast<uint32_t>(nodes_.size());
    seen.reserve(nodes_[open_.back()].value.children);
    for (uint32_t i = open_.back() + 1; i < size; i = nodes_[i].end) {
      const Slice key = nodes_[i].key;
      const std::string_view name = std::string_view(texts_).substr(key.begin, key.size);
      if (!seen.insert(name).second) return fail("has the key " + quoted_text(name) + " twice");
    }
    return true;
  }

  std::vector<Node>& nodes_;
  std::string& texts_;
  std::vector<uint32_t> open_;  ///< the containers that the parser is inside of
  Slice key_;
};

}  // namespace

const char* json_type_name(JsonType type) {
  switch (type) {
    case JsonType::kNull:
      return "null";
    case JsonType::kBoolean:
      return "a boolean";
    case JsonType::kInteger:
      return "an integer";
    case JsonType::kReal:
      return "a number";
    case JsonType::kString:
      return "a string";
    case JsonType::kArray:
      return "an array";
    case JsonType::kObject:
      return "an object";
  }
  return "?";
}

JsonDocument::JsonDocument() : storage_(std::make_unique<Storage>()) {}
JsonDocument::~JsonDocument() = default;

Result<std::unique_ptr<JsonDocument>> JsonDocument::parse(std::string_view text) {
  if (text.size() > kBytesMax) {
    return invalid("has " + std::to_string(text.size()) + " bytes; the limit is " +
                   std::to_string(kBytesMax));
  }
  std::unique_ptr<JsonDocument> tree(new JsonDocument());
  TreeBuilder builder(tree->storage_->nodes, tree->storage_->texts);
  const bool parsed = Json::sax_parse(text.begin(), text.end(), &builder);
  if (!parsed || !builder.failure.empty()) return invalid(builder.failure);
  return tree;
}

JsonType JsonValue::type() const { return tree_->storage_->nodes[index_].type; }

std::string JsonValue::path() const {
  const auto& nodes = tree_->storage_->nodes;
  std::string path;
  for (uint32_t at = index_; at != 0; at = nodes[at].parent) {
    const Node& parent = nodes[nodes[at].parent];
    std::string step;
    if (parent.type == JsonType::kArray) {
      uint32_t position = 0;
      for (uint32_t i = nodes[at].parent + 1; i < at; i = nodes[i].end) ++position;
      step = "[" + std::to_string(position) + "]";
    } else {
      step = shown_text(tree_->storage_->view(nodes[at].key));
      if (nodes[at].parent != 0) step = "." + step;
    }
    path = step + path;
  }
  return path.empty() ? "the document" : path;
}

std::string_view JsonValue::key() const {
  return tree_->storage_->view(tree_->storage_->nodes[index_].key);
}

Result<void> JsonValue::expect(JsonType wanted) const {
  if (type() == wanted) return {};
  return error(std::string("must be ") + json_type_name(wanted) + ", not " +
               json_type_name(type()));
}

Result<std::string_view> JsonValue::text() const {
  EBB_TRY_VOID(expect(JsonType::kString));
  return tree_->storage_->view(tree_->storage_->nodes[index_].value.text);
}

Result<int64_t> JsonValue::integer() const {
  EBB_TRY_VOID(expect(JsonType::kInteger));
  return tree_->storage_->nodes[index_].value.integer;
}

Result<double> JsonValue::number() const {
  if (type() == JsonType::kInteger) return static_cast<double>(EBB_TRY(integer()));
  EBB_TRY_VOID(expect(JsonType::kReal));
  return tree_->storage_->nodes[index_].value.real;
}

Result<bool> JsonValue::boolean() const {
  EBB_TRY_VOID(expect(JsonType::kBoolean));
  return tree_->storage_->nodes[index_].value.boolean;
}

JsonValue JsonValue::first() const {
  const Node& node = tree_->storage_->nodes[index_];
  return node.end == index_ + 1 ? JsonValue() : JsonValue(tree_, index_ + 1);
}

JsonValue JsonValue::next() const {
  const auto& nodes = tree_->storage_->nodes;
  const uint32_t end = nodes[index_].end;
  return index_ == 0 || end == nodes[nodes[index_].parent].end ? JsonValue()
                                                               : JsonValue(tree_, end);
}

uint32_t JsonValue::size() const {
  const Node& node = tree_->storage_->nodes[index_];
  const bool has_members = node.type == JsonType::kArray || node.type == JsonType::kObject;
  return has_members ? static_cast<uint32_t>(node.value.children) : 0;
}

std::optional<JsonValue> JsonValue::find(std::string_view name) const {
  if (type() != JsonType::kObject) return std::nullopt;
  for (JsonValue member = first(); member; member = member.next()) {
    if (member.key() == name) return member;
  }
  return std::nullopt;
}

Result<JsonValue> JsonValue::at(std::string_view name) const {
  EBB_TRY_VOID(expect(JsonType::kObject));
  if (const auto member = find(name)) return *member;
  return error("has no " + quoted_text(name));
}

Result<std::string_view> JsonValue::text_at(std::string_view name) const {
  const JsonValue member = EBB_TRY(at(name));
  return member.text();
}

Result<int64_t> JsonValue::integer_at(std::string_view name) const {
  const JsonValue member = EBB_TRY(at(name));
  return member.integer();
}

Result<JsonValue> JsonValue::array_at(std::string_view name) const {
  const JsonValue member = EBB_TRY(at(name));
  EBB_TRY_VOID(member.expect(JsonType::kArray));
  return member;
}

Result<bool> JsonValue::boolean_or(std::string_view name, bool otherwise) const {
  const auto member = find(name);
  return !member || member->is_null() ? Result<bool>(otherwise) : member->boolean();
}

Result<void> JsonValue::only(std::initializer_list<std::string_view> known) const {
  EBB_TRY_VOID(expect(JsonType::kObject));
  for (JsonValue member = first(); member; member = member.next()) {
    if (std::find(known.begin(), known.end(), member.key()) != known.end()) continue;
    std::string names;
    for (const std::string_view name : known)
      names += (names.empty() ? "" : ", ") + quoted_text(name);
    return member.not_supported("is not known here; known are " + names);
  }
  return {};
}

}  // namespace ebb::models
