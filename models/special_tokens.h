// Finds the literal texts of special tokens inside a text: at each place the longest.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace ebb::models {

class SpecialTokenFinder {
 public:
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    TokenId token = -1;  ///< -1: none; begin and end are then the text's size
  };

  SpecialTokenFinder() : nodes_(1) {}
  /// `text` must not be empty.
  void add(std::string_view text, TokenId token);
  /// The first match at or after `from`, and of those that begin there the longest.
  Match find(std::string_view text, size_t from) const;

 private:
  /// A trie over bytes: a mismatch ends the walk, so thousands of special tokens cost no more than
  /// one.
  struct Node {
    std::map<char, uint32_t> next;
    TokenId token = -1;
  };
  Match longest_at(std::string_view text, size_t begin) const;
  std::vector<Node> nodes_;
};

}  // namespace ebb::models
