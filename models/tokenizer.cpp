#include "models/tokenizer.h"

#include "models/utf8.h"

namespace ebb::models {

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool skip_special) const {
  std::string bytes;
  Detokenizer detokenizer(*this, Detokenizer::Begin::kText);
  for (const TokenId id : ids) {
    if (!skip_special || !is_special(id)) bytes += detokenizer.push(id);
  }
  return bytes;
}

std::string Tokenizer::decode_text(const std::vector<TokenId>& ids, bool skip_special) const {
  return utf8_replaced(decode(ids, skip_special));
}

std::string_view Detokenizer::push(TokenId id) {
  const std::string_view bytes = tokenizer_->token_bytes(id);
  if (!at_begin_ || bytes.empty()) return bytes;
  at_begin_ = false;
  return tokenizer_->token_bytes_at_begin(id);
}

}  // namespace ebb::models
