// Cuts added tokens out of a text: at each place the longest, from left to right. What a token
// takes along (white space) and where it may not stand is in its flags.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/tokenizer.h"
#include "models/tokenizer/pattern.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// Immutable after construction: cut() any thread.
class AddedTokenCutter {
 public:
  /// A part of a text: one token, or text between tokens (token -1).
  struct Part {
    size_t begin = 0;
    size_t end = 0;
    TokenId token = -1;
  };

  /// `tokens`: those that are looked for in the same text; each `content` as it is looked for.
  /// Errors: kInvalid: two with the same content, one that is empty or longer than
  /// kAddedTokenBytesMax.
  static Result<AddedTokenCutter> make(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  /// The parts of `text`, none of them empty text, from left to right. With kAsText special tokens
  /// are text.
  void cut(std::string_view text, SpecialTokens special, std::vector<Part>& out) const;

 private:
  /// A trie over bytes. A node's edges stand side by side, in the order of their bytes.
  struct Node {
    uint32_t edges_begin = 0;
    uint32_t edges_end = 0;
    int32_t token = -1;  ///< index in tokens_
  };
  struct Edge {
    uint8_t byte = 0;
    uint32_t node = 0;
  };
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    const AddedToken* token = nullptr;  ///< null: none
  };

  AddedTokenCutter() = default;
  void build_trie();
  const Node* child(const Node& node, uint8_t byte) const;
  Match longest_at(std::string_view text, size_t begin) const;
  Match next(std::string_view text, size_t from) const;
  bool is_word(std::string_view character) const;
  bool touches_word(std::string_view text, const Match& match) const;

  std::vector<AddedToken> tokens_;  ///< by content
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::array<bool, 256> begins_token_{};
  int only_first_byte_ = -1;       ///< of all tokens; -1: there are several
  std::unique_ptr<Pattern> word_;  ///< null unless a token has single_word
};

}  // namespace ebb::models
