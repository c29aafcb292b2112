// load_tokenizer_json(): the texts of the files to a tokenizer.
#include "models/json_document.h"
#include "models/tokenizer.h"
#include "models/tokenizer/json_spec.h"

namespace ebb::models {
namespace {

Result<TokenizerSpec> read_spec(std::string_view tokenizer_json) {
  const auto tree = EBB_TRY(JsonDocument::parse(tokenizer_json));
  return read_tokenizer_json(tree->root());
}

Result<void> apply_config(std::string_view config_json, TokenizerSpec& spec) {
  const auto tree = EBB_TRY(JsonDocument::parse(config_json));
  return apply_tokenizer_config(tree->root(), spec);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(std::string_view tokenizer_json,
                                                       std::string_view tokenizer_config_json,
                                                       const std::string& where) {
  auto spec = read_spec(tokenizer_json);
  if (!spec) return with_context(where, std::move(spec).error());
  if (!tokenizer_config_json.empty()) {
    const auto applied = apply_config(tokenizer_config_json, *spec);
    if (!applied) return with_context(where + ": tokenizer_config.json", applied.error());
  }
  auto tokenizer = make_tokenizer(*std::move(spec));
  if (!tokenizer) return with_context(where, std::move(tokenizer).error());
  return tokenizer;
}

}  // namespace ebb::models
