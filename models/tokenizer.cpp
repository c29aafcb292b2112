#include "models/tokenizer.h"

#include "models/tokenizer_data.h"

namespace ebb::models {
namespace {

Result<TokenId> read_token_id(const GgufFile& file, const char* key) {
  if (!file.has(key)) return TokenId{-1};
  const uint64_t id = EBB_TRY(file.get_u64(key));
  if (id > INT32_MAX) return invalid(std::string(key) + " is " + std::to_string(id));
  return static_cast<TokenId>(id);
}

Result<void> check_kind(const GgufFile& file) {
  const Result<std::string> model = file.get_string("tokenizer.ggml.model");
  if (!model) return model.error();
  if (*model != "gpt2") {
    return unsupported("tokenizer.ggml.model is '" + *model + "'; known is gpt2 (byte-level BPE)");
  }
  constexpr const char* kSpacePrefix = "tokenizer.ggml.add_space_prefix";
  if (file.has(kSpacePrefix) && EBB_TRY(file.get_bool(kSpacePrefix))) {
    return unsupported(std::string(kSpacePrefix) + " is true; only false is supported");
  }
  return {};
}

}  // namespace

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool skip_special) const {
  std::string text;
  for (TokenId id : ids) {
    if (!skip_special || !is_special(id)) text += token_bytes(id);
  }
  return text;
}

Result<TokenizerData> read_tokenizer_data(const GgufFile& file) {
  EBB_TRY_VOID(check_kind(file));
  TokenizerData data;
  data.pre = EBB_TRY(file.get_string("tokenizer.ggml.pre"));
  data.tokens = EBB_TRY(file.get_strings("tokenizer.ggml.tokens"));
  data.types = EBB_TRY(file.get_i32s("tokenizer.ggml.token_type"));
  data.merges = EBB_TRY(file.get_strings("tokenizer.ggml.merges"));
  data.begin_of_text = EBB_TRY(read_token_id(file, "tokenizer.ggml.bos_token_id"));
  data.end_of_text = EBB_TRY(read_token_id(file, "tokenizer.ggml.eos_token_id"));
  constexpr const char* kAddBos = "tokenizer.ggml.add_bos_token";
  if (file.has(kAddBos)) {
    const bool adds = EBB_TRY(file.get_bool(kAddBos));
    data.add_bos = adds ? TokenizerData::AddBos::kYes : TokenizerData::AddBos::kNo;
  }
  return data;
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const GgufFile& file) {
  const TokenizerData data = EBB_TRY(read_tokenizer_data(file));
  return make_tokenizer(data);
}

}  // namespace ebb::models
