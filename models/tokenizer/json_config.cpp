// What tokenizer_config.json adds to a tokenizer.json.
#include <algorithm>
#include <array>
#include <string>

#include "models/shown_text.h"
#include "models/tokenizer/json_spec.h"

namespace ebb::models {
namespace {

/// `transformers` gives these classes a post-processor of its own making.
constexpr std::array<std::string_view, 4> kLlamaClasses = {
    "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"};

/// The token's text: a string, or an object with its `content`. Empty: there is none.
Result<std::string> token_text(JsonValue root, std::string_view name) {
  const auto member = root.find(name);
  if (!member || member->is_null()) return std::string();
  const std::string_view text = member->type() == JsonType::kObject
                                    ? EBB_TRY(member->text_at("content"))
                                    : EBB_TRY(member->text());
  return std::string(text);
}

Result<TokenId> token_of(JsonValue root, std::string_view name, std::string_view text,
                         const TokenizerSpec& spec) {
  const auto it = std::find(spec.texts.begin(), spec.texts.end(), text);
  if (it != spec.texts.end()) return static_cast<TokenId>(it - spec.texts.begin());
  return invalid(root.find(name)->path() + " is " + quoted_text(text) +
                 ", which the vocabulary does not have");
}

/// BOS and EOS are special in `transformers`, also where tokenizer.json does not say so.
void make_special(TokenId id, TokenizerSpec& spec) {
  const auto it = std::find_if(spec.added.begin(), spec.added.end(),
                               [&](const AddedToken& token) { return token.id == id; });
  if (it != spec.added.end()) {
    it->special = true;
    return;
  }
  AddedToken token;
  token.content = spec.texts[static_cast<size_t>(id)];
  token.id = id;
  token.special = true;
  spec.added.push_back(std::move(token));
}

Result<void> put_around_texts(JsonValue root, TokenizerSpec& spec) {
  spec.before.clear();
  spec.after.clear();
  const bool adds_begin = EBB_TRY(root.boolean_or("add_bos_token", true));
  const bool adds_end = EBB_TRY(root.boolean_or("add_eos_token", false));
  if (adds_begin) {
    if (spec.begin_of_text < 0) return invalid("add_bos_token is true, but there is no bos_token");
    spec.before.push_back(spec.begin_of_text);
  }
  if (adds_end) {
    if (spec.end_of_text < 0) return invalid("add_eos_token is true, but there is no eos_token");
    spec.after.push_back(spec.end_of_text);
  }
  return {};
}

}  // namespace

Result<void> apply_tokenizer_config(JsonValue root, TokenizerSpec& spec) {
  EBB_TRY_VOID(root.expect(JsonType::kObject));
  const std::string begin = EBB_TRY(token_text(root, "bos_token"));
  const std::string end = EBB_TRY(token_text(root, "eos_token"));
  if (!begin.empty()) spec.begin_of_text = EBB_TRY(token_of(root, "bos_token", begin, spec));
  if (!end.empty()) spec.end_of_text = EBB_TRY(token_of(root, "eos_token", end, spec));
  for (const TokenId id : {spec.begin_of_text, spec.end_of_text}) {
    if (id >= 0) make_special(id, spec);
  }
  const auto name = root.find("tokenizer_class");
  if (!name || name->is_null()) return {};
  const std::string_view class_name = EBB_TRY(name->text());
  const bool is_llama =
      std::find(kLlamaClasses.begin(), kLlamaClasses.end(), class_name) != kLlamaClasses.end();
  return is_llama ? put_around_texts(root, spec) : Result<void>();
}

}  // namespace ebb::models
