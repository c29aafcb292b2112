#include "models/tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "models/shown_text.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

/// Where the white space begins that ends at `end`; not before `least`.
size_t white_space_before(std::string_view text, size_t least, size_t end) {
  for (;;) {
    size_t length = 0;
    for (size_t n = 1; n <= 3 && n <= end - least && length == 0; ++n) {
      if (utf8_white_space(text.substr(end - n, n)) == n) length = n;
    }
    if (length == 0) return end;
    end -= length;
  }
}

size_t white_space_behind(std::string_view text, size_t begin) {
  while (const size_t length = utf8_white_space(text.substr(begin))) begin += length;
  return begin;
}

/// The character that ends at `end`; empty when none does.
std::string_view character_before(std::string_view text, size_t end) {
  for (size_t n = 1; n <= 4 && n <= end; ++n) {
    const std::string_view last = text.substr(end - n, n);
    if (utf8_sequence_length(last) == n) return last;
  }
  return {};
}

std::string_view character_at(std::string_view text, size_t begin) {
  const std::string_view rest = text.substr(begin);
  return rest.substr(0, utf8_sequence_length(rest));
}

}  // namespace

Result<AddedTokenCutter> AddedTokenCutter::make(std::vector<AddedToken> tokens) {
  AddedTokenCutter cutter;
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  size_t bytes = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const AddedToken& token = tokens[i];
    bytes += token.content.size();
    const std::string name = "added token " + std::to_string(token.id);
    if (token.content.empty()) return invalid(name + " is empty");
    if (token.content.size() > kAddedTokenBytesMax) {
      return invalid(name + " has " + std::to_string(token.content.size()) +
                     " bytes; the limit is " + std::to_string(kAddedTokenBytesMax));
    }
    if (i > 0 && tokens[i - 1].content == token.content) {
      return invalid("added tokens " + std::to_string(tokens[i - 1].id) + " and " +
                     std::to_string(token.id) + " are both " + quoted_text(token.content));
    }
    if (bytes > kAddedTokensBytesMax) {
      return invalid("the added tokens have more than " + std::to_string(kAddedTokensBytesMax) +
                     " bytes together");
    }
    if (token.single_word && !cutter.word_) cutter.word_ = EBB_TRY(Pattern::compile("\\w"));
  }
  cutter.tokens_ = std::move(tokens);
  cutter.build_trie();
  return cutter;
}

void AddedTokenCutter::build_trie() {
  // Level by level: each node stands for the tokens [begin, end), which share `depth` bytes.
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
    size_t depth = 0;
  };
  std::vector<Range> ranges = {{0, static_cast<uint32_t>(tokens_.size()), 0}};
  for (size_t at = 0; at < ranges.size(); ++at) {
    auto [begin, end, depth] = ranges[at];
    Node node;
    node.edges_begin = static_cast<uint32_t>(edges_.size());
    if (begin < end && tokens_[begin].content.size() == depth) {
      node.token = static_cast<int32_t>(begin++);
    }
    while (begin < end) {
      const auto byte = static_cast<uint8_t>(tokens_[begin].content[depth]);
      uint32_t same = begin + 1;
      while (same < end && static_cast<uint8_t>(tokens_[same].content[depth]) == byte) ++same;
      edges_.push_back({byte, static_cast<uint32_t>(ranges.size())});
      ranges.push_back({begin, same, depth + 1});
      begin = same;
    }
    node.edges_end = static_cast<uint32_t>(edges_.size());
    nodes_.push_back(node);
  }
  for (uint32_t i = 0; i < nodes_[0].edges_end; ++i) begins_token_[edges_[i].byte] = true;
  if (nodes_[0].edges_end == 1) only_first_byte_ = edges_[0].byte;
}

const AddedTokenCutter::Node* AddedTokenCutter::child(const Node& node, uint8_t byte) const {
  const auto begin = edges_.begin() + node.edges_begin;
  const auto end = edges_.begin() + node.edges_end;
  const auto it =
      std::lower_bound(begin, end, byte, [](const Edge& e, uint8_t b) { return e.byte < b; });
  return it == end || it->byte != byte ? nullptr : &nodes_[it->node];
}

AddedTokenCutter::Match AddedTokenCutter::longest_at(std::string_view text, size_t begin) const {
  Match longest;
  const Node* node = nodes_.data();
  for (size_t i = begin; i < text.size(); ++i) {
    node = child(*node, static_cast<uint8_t>(text[i]));
    if (node == nullptr) break;
    if (node->token >= 0) longest = {begin, i + 1, &tokens_[static_cast<size_t>(node->token)]};
  }
  return longest;
}

AddedTokenCutter::Match AddedTokenCutter::next(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (only_first_byte_ >= 0) {
      const void* found = std::memchr(text.data() + begin, only_first_byte_, text.size() - begin);
      if (found == nullptr) break;
      begin = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    } else if (!begins_token_[static_cast<uint8_t>(text[begin])]) {
      continue;
    }
    const Match match = longest_at(text, begin);
    if (match.token != nullptr) return match;
  }
  return {};
}

bool AddedTokenCutter::is_word(std::string_view character) const {
  if (character.empty()) return false;
  // The reference takes the two joiners as word characters here, and only here.
  if (character == "\u200C" || character == "\u200D") return true;
  PatternRun run(character.size());
  std::vector<TextSpan> found;
  return word_->find_all(character, run, found).has_value() && !found.empty();
}

bool AddedTokenCutter::touches_word(std::string_view text, const Match& match) const {
  return is_word(character_before(text, match.begin)) || is_word(character_at(text, match.end));
}

void AddedTokenCutter::cut(std::string_view text, SpecialTokens special,
                           std::vector<Part>& out) const {
  size_t done = 0;  // everything before it is in `out`
  size_t from = 0;
  while (!tokens_.empty()) {
    const Match match = next(text, from);
    if (match.token == nullptr) break;
    from = match.end;
    const AddedToken& token = *match.token;
    if (token.special && special == SpecialTokens::kAsText) continue;
    if (token.single_word && touches_word(text, match)) continue;
    size_t begin = match.begin;
    size_t end = match.end;
    if (token.lstrip && begin > done) begin = white_space_before(text, done, begin);
    if (token.rstrip) end = white_space_behind(text, end);
    if (begin > done) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

}  // namespace ebb::models
