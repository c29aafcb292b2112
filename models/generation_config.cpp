#include "models/generation_config.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string>

#include "models/grammar/json_tree.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

using grammar::JsonTree;
using Kind = JsonTree::Kind;

struct Range {
  double least;
  double most;
  bool holds(double value) const { return value >= least && value <= most; }
  std::string text() const { return std::to_string(least) + " to " + std::to_string(most); }
};
constexpr Range kTemperature = {0, 100}, kTopK = {0, INT32_MAX}, kProbability = {0, 1},
                kPenalty = {0.01, 100};

std::string field(const char* file, const char* name) { return std::string(file) + ": " + name; }

bool is_number(const JsonTree& value) { return value.is(Kind::kInteger) || value.is(Kind::kReal); }

/// Nothing where it is not there or null.
Result<std::optional<double>> read_number(const JsonTree& root, const char* name, Range range) {
  const JsonTree* value = root.find(name);
  if (value == nullptr || value->is(Kind::kNull)) return std::optional<double>();
  const double number =
      is_number(*value) ? std::strtod(value->text.c_str(), nullptr) : std::nan("");
  if (range.holds(number)) return std::optional<double>(number);
  return invalid(field("generation_config.json", name) + ": " +
                 (value->text.empty() ? json_tree_kind(*value) : shown_text(value->text)) +
                 " is not a number from " + range.text());
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

Result<std::optional<double>> read_metadata(const GgufFile& file, const char* key, Range range) {
  if (!file.has(key)) return std::optional<double>();
  const Result<uint64_t> whole = file.get_u64(key);
  const double number = whole ? static_cast<double>(*whole) : EBB_TRY(file.get_f64(key));
  if (range.holds(number)) return std::optional<double>(number);
  return invalid("metadata " + std::string(key) + ": " + std::to_string(number) +
                 " is not a number from " + range.text());
}

}  // namespace

Result<GenerationDefaults> read_generation_metadata(const GgufFile& file) {
  GenerationDefaults defaults;
  defaults.temperature = EBB_TRY(read_metadata(file, "general.sampling.temp", kTemperature));
  const auto top_k = EBB_TRY(read_metadata(file, "general.sampling.top_k", kTopK));
  if (top_k) defaults.top_k = static_cast<int32_t>(*top_k);
  defaults.top_p = EBB_TRY(read_metadata(file, "general.sampling.top_p", kProbability));
  defaults.min_p = EBB_TRY(read_metadata(file, "general.sampling.min_p", kProbability));
  defaults.repetition_penalty =
      EBB_TRY(read_metadata(file, "general.sampling.penalty_repeat", kPenalty));
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const auto id = EBB_TRY(read_metadata(file, key, {0, INT32_MAX}));
    if (!id) continue;
    const auto token = static_cast<TokenId>(*id);
    const auto& known = defaults.end_of_text;
    if (std::find(known.begin(), known.end(), token) == known.end())
      defaults.end_of_text.push_back(token);
  }
  return defaults;
}

Result<GenerationDefaults> read_generation_config(std::string_view generation_config,
                                                  std::string_view config) {
  const JsonTree own = EBB_TRY(parse_object(generation_config, "generation_config.json"));
  GenerationDefaults defaults;
  defaults.temperature = EBB_TRY(read_number(own, "temperature", kTemperature));
  const auto top_k = EBB_TRY(read_number(own, "top_k", kTopK));
  if (top_k) defaults.top_k = static_cast<int32_t>(*top_k);
  defaults.top_p = EBB_TRY(read_number(own, "top_p", kProbability));
  defaults.min_p = EBB_TRY(read_number(own, "min_p", kProbability));
  defaults.repetition_penalty = EBB_TRY(read_number(own, "repetition_penalty", kPenalty));
  const JsonTree* sample = own.find("do_sample");
  if (sample != nullptr && sample->is(Kind::kBool) && !sample->boolean) defaults.temperature = 0;
  defaults.end_of_text = EBB_TRY(read_ends(own, "generation_config.json"));
  if (!defaults.end_of_text.empty()) return defaults;
  const JsonTree whole = EBB_TRY(parse_object(config, "config.json"));
  defaults.end_of_text = EBB_TRY(read_ends(whole, "config.json"));
  return defaults;
}

}  // namespace ebb::models
