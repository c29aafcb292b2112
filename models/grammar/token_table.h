// The bytes of every token of a vocabulary, as they travel from the coordinator to a worker, and
// as a trie that an automaton is walked along. Must not know grammars.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/tokenizer.h"

namespace ebb::models::grammar {

constexpr uint32_t kVocabularyMax = 1u << 22;
constexpr uint32_t kTokenBytesMax = 1u << 16;

/// Tokens without bytes are not text: special ones, and those that no text is made of.
struct TokenTable {
  std::vector<std::string> tokens;  ///< by id
  friend bool operator==(const TokenTable&, const TokenTable&) = default;
};

/// `ends` (tokens that end an answer) are no text either, whatever the tokenizer says of them.
TokenTable make_token_table(const Tokenizer& tokenizer, const std::vector<TokenId>& ends);

/// Lengths as LEB128, then all bytes.
std::string pack_token_table(const TokenTable& table);
/// Errors: kInvalid (truncated, too many tokens, a token too long).
Result<TokenTable> unpack_token_table(std::string_view packed);
Digest token_table_digest(std::string_view packed);

/// All tokens with bytes, as a tree in which a way from the root spells a token. Nodes are in
/// preorder, so that a walk goes forward through arrays and skips a subtree by one jump.
class TokenTrie {
 public:
  explicit TokenTrie(const TokenTable& table);
  uint32_t vocabulary() const { return vocabulary_; }
  uint32_t nodes() const { return static_cast<uint32_t>(byte_.size()); }
  uint8_t byte(uint32_t node) const { return byte_[node]; }
  uint32_t depth(uint32_t node) const { return depth_[node]; }  ///< 1: below the root
  uint32_t end(uint32_t node) const { return end_[node]; }      ///< first node behind its subtree
  /// Ids spelled by the way to this node.
  std::pair<const TokenId*, const TokenId*> tokens(uint32_t node) const {
    return {ids_.data() + tokens_[node], ids_.data() + tokens_[node + 1]};
  }
  uint32_t depth_max() const { return depth_max_; }
  std::string_view bytes(TokenId id) const;

 private:
  uint32_t vocabulary_ = 0;
  uint32_t depth_max_ = 0;
  std::vector<uint8_t> byte_;
  std::vector<uint32_t> depth_;
  std::vector<uint32_t> end_;
  std::vector<uint32_t> tokens_;  ///< by node, one more than nodes: where its ids begin
  std::vector<TokenId> ids_;
  std::vector<std::string> bytes_;  ///< by id
};

}  // namespace ebb::models::grammar
