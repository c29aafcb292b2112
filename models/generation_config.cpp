#include "models/generation_config.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string>

#include "models/grammar/json_tree.h"

namespace ebb::models {
namespace {

using grammar::JsonTree;
using Kind = JsonTree::Kind;

struct Range {
  double least;
  double most;
};

std::string field(const char* file, const char* name) { return std::string(file) + ": " + name; }

bool is_number(const JsonTree& value) { return value.is(Kind::kInteger) || value.is(Kind::kReal); }

/// Nothing where it is not there or null.
Result<std::optional<double>> read_number(const JsonTree& root, const char* name, Range range) {
  const JsonTree* value = root.find(name);
  if (value == nullptr || value->is(Kind::kNull)) return std::optional<double>();
  const double number =
      is_number(*value) ? std::strtod(value->text.c_str(), nullptr) : std::nan("");
  if (number >= range.least && number <= range.most) return std::optional<double>(number);
  return invalid(field("generation_config.json", name) + ": " +
                 (value->text.empty() ? json_tree_kind(*value) : value->text) +
                 " is not a number from " + std::to_string(range.least) + " to " +
                 std::to_string(range.most));
}

Result<TokenId> token_id(const JsonTree& value, const std::string& what) {
  errno = 0;
  const long long id =
      value.is(Kind::kInteger) ? std::strtoll(value.text.c_str(), nullptr, 10) : -1;
  if (errno != 0 || id < 0 || id > INT32_MAX) return invalid(what + ": is not a token id");
  return static_cast<TokenId>(id);
}

/// eos_token_id: one id, a list of them, or null.
Result<std::vector<TokenId>> read_ends(const JsonTree& root, const char* file) {
  constexpr size_t kEndsMax = 1024;
  const std::string what = field(file, "eos_token_id");
  std::vector<TokenId> ids;
  const JsonTree* value = root.find("eos_token_id");
  if (value == nullptr || value->is(Kind::kNull)) return ids;
  if (!value->is(Kind::kArray)) {
    ids.push_back(EBB_TRY(token_id(*value, what)));
    return ids;
  }
  if (value->items.size() > kEndsMax)
    return invalid(what + ": has more than " + std::to_string(kEndsMax) + " ids");
  for (const JsonTree& item : value->items) ids.push_back(EBB_TRY(token_id(item, what)));
  return ids;
}

/// Empty text: an empty object.
Result<JsonTree> parse_object(std::string_view text, const char* file) {
  if (text.empty()) text = "{}";
  Result<JsonTree> root = grammar::parse_json_tree(text);
  if (!root) return with_context(file, root.error());
  if (!root->is(Kind::kObject)) return invalid(std::string(file) + ": is not a JSON object");
  return root;
}

}  // namespace

Result<GenerationDefaults> read_generation_config(std::string_view generation_config,
                                                  std::string_view config) {
  const JsonTree own = EBB_TRY(parse_object(generation_config, "generation_config.json"));
  GenerationDefaults defaults;
  defaults.temperature = EBB_TRY(read_number(own, "temperature", {0, 100}));
  const auto top_k = EBB_TRY(read_number(own, "top_k", {0, INT32_MAX}));
  if (top_k) defaults.top_k = static_cast<int32_t>(*top_k);
  defaults.top_p = EBB_TRY(read_number(own, "top_p", {0, 1}));
  defaults.min_p = EBB_TRY(read_number(own, "min_p", {0, 1}));
  defaults.repetition_penalty = EBB_TRY(read_number(own, "repetition_penalty", {0.01, 100}));
  const JsonTree* sample = own.find("do_sample");
  if (sample != nullptr && sample->is(Kind::kBool) && !sample->boolean) defaults.temperature = 0;
  defaults.end_of_text = EBB_TRY(read_ends(own, "generation_config.json"));
  if (!defaults.end_of_text.empty()) return defaults;
  const JsonTree whole = EBB_TRY(parse_object(config, "config.json"));
  defaults.end_of_text = EBB_TRY(read_ends(whole, "config.json"));
  return defaults;
}

}  // namespace ebb::models
