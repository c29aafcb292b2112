// JsonDocument and JsonNode: a tree that keeps the order of an object's names, since a prompt is
// made of it. The library's own ordered object looks names up one by one while it reads, which a
// hostile body could use; here names are sorted once, when the object ends.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/json_fields.h"
#include "models/utf8.h"

namespace ebb::coordinator {
namespace {

/// Nothing in the API nests deeper than about five levels, but tools bring schemas.
constexpr int kDepthMax = 64;
/// Values that one body may hold; each takes up to 100 bytes once parsed. Ids of 64 prompts of 64K
/// tokens fit.
constexpr uint32_t kValuesMax = 4u << 20;

struct Object;

struct Tree {
  JsonKind kind = JsonKind::kNull;
  bool is_small = true;  ///< an integer that fits `integer`
  union {
    bool boolean;
    int64_t integer = 0;
    double real;  ///< also of an integer that does not fit
  };
  // One of these by kind; else null.
  std::unique_ptr<std::string> text;
  std::unique_ptr<std::vector<Tree>> array;
  std::unique_ptr<Object> object;
};

/// Names in the order of the text; `by_name` is sorted.
struct Object {
  std::vector<std::pair<std::string, Tree>> entries;
  std::vector<uint32_t> by_name;
};

const Tree& tree(const void* value) { return *static_cast<const Tree*>(value); }

/// Refuses, before anything is built, what would take far more memory parsed than as text.
/// Malformed text is the parser's business.
Result<void> check_structure(std::string_view text) {
  int depth = 0;
  uint32_t values = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == ']' || c == '}') --depth;
    const bool opens = c == '[' || c == '{';
    if (opens && ++depth > kDepthMax) {
      return invalid("nests deeper than " + std::to_string(kDepthMax) + " levels at byte " +
                     std::to_string(i));
    }
    if ((opens || c == ',') && ++values > kValuesMax) {
      return invalid("holds more than " + std::to_string(kValuesMax) + " values");
    }
  }
  return {};
}

/// "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without the library's
/// own name.
std::string parser_message(const nlohmann::detail::exception& error) {
  const std::string text = error.what();
  const size_t end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

/// Sorts the names, and lets the last value of a name that occurs twice win.
void finish(Object& names) {
  auto& entries = names.entries;
  std::vector<uint32_t> order(entries.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return entries[a].first < entries[b].first; });
  std::vector<bool> superfluous(entries.size());
  bool any = false;
  for (size_t i = 1; i < order.size(); ++i) {
    if (entries[order[i]].first != entries[order[i - 1]].first) continue;
    entries[order[i - 1]].second = std::move(entries[order[i]].second);
    superfluous[order[i]] = any = true;
    order[i] = order[i - 1];
  }
  if (!any) {
    names.by_name = std::move(order);
    return;
  }
  size_t kept = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!superfluous[i] && kept++ != i) entries[kept - 1] = std::move(entries[i]);
  }
  entries.resize(kept);
  finish(names);
}

/// What the library's parser tells, as a tree.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return put(JsonKind::kNull) != nullptr; }
  bool boolean(bool v) override { return put(JsonKind::kBool)->boolean = v, true; }
  bool number_integer(number_integer_t v) override {
    return put(JsonKind::kInteger)->integer = v, true;
  }
  bool number_unsigned(number_unsigned_t v) override {
    if (v > uint64_t{INT64_MAX}) return put_big(static_cast<double>(v));
    return put(JsonKind::kInteger)->integer = static_cast<int64_t>(v), true;
  }
  bool number_float(number_float_t v, const string_t& text) override {
    // The library reads integers that do not fit as reals.
    if (text.find_first_of(".eE") == text.npos) return put_big(v);
    return put(JsonKind::kReal)->real = v, true;
  }
  bool string(string_t& v) override {
    return put(JsonKind::kString)->text = std::make_unique<std::string>(std::move(v)), true;
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override {
    Tree* tree = put(JsonKind::kObject);
    tree->object = std::make_unique<Object>();
    return open_.push_back(tree), true;
  }
  bool key(string_t& name) override {
    return open_.back()->object->entries.emplace_back(std::move(name), Tree()), true;
  }
  bool end_object() override {
    finish(*open_.back()->object);
    return open_.pop_back(), true;
  }
  bool start_array(size_t) override {
    Tree* tree = put(JsonKind::kArray);
    tree->array = std::make_unique<std::vector<Tree>>();
    return open_.push_back(tree), true;
  }
  bool end_array() override { return open_.pop_back(), true; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    error = parser_message(e);
    return false;
  }

  Tree root;
  std::string error;

 private:
  /// A new value where the text is. Containers around it do not grow while it is open, so pointers
  /// to them stay good.
  Tree* put(JsonKind kind) {
    Tree* tree = &root;
    if (!open_.empty() && open_.back()->array != nullptr) {
      tree = &open_.back()->array->emplace_back();
    } else if (!open_.empty()) {
      tree = &open_.back()->object->entries.back().second;
    }
    tree->kind = kind;
    return tree;
  }
  bool put_big(double value) {
    Tree* tree = put(JsonKind::kInteger);
    tree->is_small = false;
    tree->real = value;
    return true;
  }

  std::vector<Tree*> open_;
};

}  // namespace

JsonKind JsonNode::kind() const { return tree(value_).kind; }
bool JsonNode::boolean() const { return tree(value_).boolean; }

double JsonNode::number() const {
  const Tree& value = tree(value_);
  const bool integer = value.kind == JsonKind::kInteger && value.is_small;
  return integer ? static_cast<double>(value.integer) : value.real;
}

std::optional<int64_t> JsonNode::integer() const {
  const Tree& value = tree(value_);
  if (!value.is_small) return {};
  return value.integer;
}

const std::string& JsonNode::text() const { return *tree(value_).text; }

size_t JsonNode::size() const {
  const Tree& value = tree(value_);
  return value.array != nullptr ? value.array->size() : value.object->entries.size();
}

JsonNode JsonNode::at(size_t index) const { return JsonNode(&(*tree(value_).array)[index]); }

std::optional<JsonNode> JsonNode::find(const std::string& name) const {
  const auto& [entries, by_name] = *tree(value_).object;
  const auto it = std::lower_bound(by_name.begin(), by_name.end(), name,
                                   [&entries = entries](uint32_t i, const std::string& wanted) {
                                     return entries[i].first < wanted;
                                   });
  if (it == by_name.end() || entries[*it].first != name) return {};
  return JsonNode(&entries[*it].second);
}

std::vector<std::string> JsonNode::keys() const {
  std::vector<std::string> names;
  for (const auto& entry : tree(value_).object->entries) names.push_back(entry.first);
  return names;
}

Result<JsonDocument> JsonDocument::parse(std::string_view text) {
  const size_t valid = models::utf8_valid_prefix(text);
  if (valid < text.size()) {
    return invalid("is not valid UTF-8 at byte " + std::to_string(valid));
  }
  if (text.empty()) return invalid("is empty: a JSON object is expected");
  EBB_TRY_VOID(check_structure(text));
  Builder builder;
  try {
    if (!nlohmann::json::sax_parse(text, &builder)) return invalid("is not JSON: " + builder.error);
  } catch (const nlohmann::json::exception& error) {
    return invalid("is not JSON: " + parser_message(error));
  }
  JsonDocument document;
  document.value_ = std::make_shared<const Tree>(std::move(builder.root));
  return document;
}

JsonNode JsonDocument::root() const { return JsonNode(value_.get()); }

}  // namespace ebb::coordinator
