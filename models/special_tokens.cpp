#include "models/special_tokens.h"

namespace ebb::models {

void SpecialTokenFinder::add(std::string_view text, TokenId token) {
  uint32_t at = 0;
  for (char c : text) {
    const auto [it, is_new] = nodes_[at].next.try_emplace(c, static_cast<uint32_t>(nodes_.size()));
    at = it->second;
    if (is_new) nodes_.emplace_back();
  }
  nodes_[at].token = token;
}

SpecialTokenFinder::Match SpecialTokenFinder::longest_at(std::string_view text,
                                                         size_t begin) const {
  Match longest{text.size(), text.size(), -1};
  uint32_t at = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto it = nodes_[at].next.find(text[i]);
    if (it == nodes_[at].next.end()) break;
    at = it->second;
    if (nodes_[at].token >= 0) longest = {begin, i + 1, nodes_[at].token};
  }
  return longest;
}

SpecialTokenFinder::Match SpecialTokenFinder::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    const Match match = longest_at(text, begin);
    if (match.token >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace ebb::models
