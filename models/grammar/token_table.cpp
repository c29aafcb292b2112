#include "models/grammar/token_table.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/checksum.h"

namespace ebb::models::grammar {
namespace {

void put_number(std::string& out, uint32_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(0x80 | (value & 0x7F));
    value >>= 7;
  }
  out += static_cast<char>(value);
}

Result<uint32_t> take_number(std::string_view& packed) {
  uint64_t value = 0;
  for (int shift = 0; shift < 35 && !packed.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(packed[0]);
    packed.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80 && value <= UINT32_MAX) return static_cast<uint32_t>(value);
  }
  return invalid("token table: truncated");
}

}  // namespace

TokenTable make_token_table(const Tokenizer& tokenizer, const std::vector<TokenId>& ends) {
  TokenTable table;
  const auto count = static_cast<TokenId>(tokenizer.vocabulary());
  for (TokenId id = 0; id < count; ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    const bool text = !tokenizer.is_special(id) && bytes.size() <= kTokenBytesMax &&
                      std::find(ends.begin(), ends.end(), id) == ends.end();
    table.tokens.emplace_back(text ? bytes : std::string_view());
  }
  return table;
}

std::string pack_token_table(const TokenTable& table) {
  std::string packed;
  put_number(packed, static_cast<uint32_t>(table.tokens.size()));
  for (const std::string& token : table.tokens) {
    EBB_CHECK(token.size() <= kTokenBytesMax);
    put_number(packed, static_cast<uint32_t>(token.size()));
  }
  for (const std::string& token : table.tokens) packed += token;
  return packed;
}

Result<TokenTable> unpack_token_table(std::string_view packed) {
  const uint32_t count = EBB_TRY(take_number(packed));
  if (count > kVocabularyMax || count > packed.size()) {
    return invalid("token table: " + std::to_string(count) + " tokens in " +
                   std::to_string(packed.size()) + " bytes, at most " +
                   std::to_string(kVocabularyMax) + " are possible");
  }
  std::vector<uint32_t> lengths;
  for (uint32_t i = 0; i < count; ++i) lengths.push_back(EBB_TRY(take_number(packed)));
  TokenTable table;
  for (const uint32_t length : lengths) {
    if (length > packed.size() || length > kTokenBytesMax) {
      return invalid("token table: a token of " + std::to_string(length) + " bytes");
    }
    table.tokens.emplace_back(packed.substr(0, length));
    packed.remove_prefix(length);
  }
  if (!packed.empty()) return invalid("token table: bytes left over");
  return table;
}

Digest token_table_digest(std::string_view packed) {
  return DigestBuilder().add(std::string_view("token table")).add(packed).digest();
}

TokenTrie::TokenTrie(const TokenTable& table)
    : vocabulary_(static_cast<uint32_t>(table.tokens.size())), bytes_(table.tokens) {
  std::vector<TokenId> order(bytes_.size());
  std::iota(order.begin(), order.end(), 0);
  const auto text = [&](TokenId id) -> const std::string& {
    return bytes_[static_cast<size_t>(id)];
  };
  std::erase_if(order, [&](TokenId id) { return text(id).empty(); });
  std::stable_sort(order.begin(), order.end(),
                   [&](TokenId a, TokenId b) { return text(a) < text(b); });
  std::vector<uint32_t> open;  // the nodes on the way to the last one
  const auto close = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) end_[open.back()] = nodes();
  };
  std::string_view last;
  for (const TokenId id : order) {
    const std::string& token = text(id);
    const auto [a, b] = std::mismatch(last.begin(), last.end(), token.begin(), token.end());
    const auto common = static_cast<size_t>(a - last.begin());
    close(common);
    for (size_t depth = common; depth < token.size(); ++depth) {
      open.push_back(nodes());
      byte_.push_back(static_cast<uint8_t>(token[depth]));
      depth_.push_back(static_cast<uint32_t>(depth + 1));
      end_.push_back(0);
      tokens_.push_back(static_cast<uint32_t>(ids_.size()));
    }
    ids_.push_back(id);
    depth_max_ = std::max(depth_max_, static_cast<uint32_t>(token.size()));
    last = token;
  }
  close(0);
  tokens_.push_back(static_cast<uint32_t>(ids_.size()));
}

std::string_view TokenTrie::bytes(TokenId id) const {
  if (id < 0 || static_cast<uint32_t>(id) >= vocabulary_) return {};
  return bytes_[static_cast<size_t>(id)];
}

}  // namespace ebb::models::grammar
