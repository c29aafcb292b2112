// The tokenizer itself: special tokens, pre-tokenizer and merges put together from a checked
// TokenizerData.
#include "models/tokenizer_data.h"

#include <span>
#include <unordered_map>

#include "models/bpe.h"
#include "models/byte_level.h"
#include "models/pre_tokenizer.h"
#include "models/special_tokens.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

using TokenIndex = std::unordered_map<std::string_view, TokenId>;

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

bool is_type(int32_t type, TokenType expected) { return type == static_cast<int32_t>(expected); }

/// Remembers the pieces of one text: long texts repeat their words. It lives as long as one
/// encode(), so that the tokenizer itself stays immutable and no thread waits for another.
class PieceCache {
 public:
  /// Null: not seen.
  const std::vector<TokenId>* find(std::string_view piece) const {
    const auto it = tokens_of_.find(piece);
    return it == tokens_of_.end() ? nullptr : &it->second;
  }
  /// `piece` must outlive the cache.
  void remember(std::string_view piece, std::span<const TokenId> tokens) {
    if (piece.size() > kPieceBytesMax || tokens_of_.size() >= kPiecesMax) return;
    tokens_of_.try_emplace(piece, tokens.begin(), tokens.end());
  }

 private:
  static constexpr size_t kPieceBytesMax = 64;
  static constexpr size_t kPiecesMax = 1 << 16;
  std::unordered_map<std::string_view, std::vector<TokenId>> tokens_of_;
};

class BpeTokenizer final : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const override {
    std::vector<TokenId> out;
    PieceCache cache;
    if (special == SpecialTokens::kAsText) {
      encode_text(text, cache, out);
      return out;
    }
    size_t at = 0;
    while (at < text.size()) {
      const auto match = special_.find(text, at);
      encode_text(text.substr(at, match.begin - at), cache, out);
      if (match.token >= 0) out.push_back(match.token);
      at = match.end;
    }
    return out;
  }

  std::string_view token_bytes(TokenId id) const override {
    return is_token(id) ? std::string_view(bytes_[id]) : std::string_view();
  }
  bool is_special(TokenId id) const override {
    return is_token(id) &&
           (is_type(types_[id], TokenType::kControl) || is_type(types_[id], TokenType::kUnknown));
  }
  uint32_t vocabulary() const override { return static_cast<uint32_t>(bytes_.size()); }
  TokenId end_of_text() const override { return end_of_text_; }
  bool adds_bos() const override { return adds_bos_; }
  TokenId begin_of_text() const override { return begin_of_text_; }

 private:
  friend class Builder;

  bool is_token(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < bytes_.size(); }

  /// Cuts into runs of valid UTF-8, which the expressions understand, and single invalid bytes.
  void encode_text(std::string_view text, PieceCache& cache, std::vector<TokenId>& out) const {
    while (!text.empty()) {
      const size_t valid = utf8_valid_prefix(text);
      for (std::string_view piece : pre_tokenizer_->split(text.substr(0, valid))) {
        encode_piece(piece, cache, out);
      }
      text.remove_prefix(valid);
      if (text.empty()) return;
      bpe_encode(merges_, text.substr(0, 1), out);
      text.remove_prefix(1);
    }
  }

  void encode_piece(std::string_view piece, PieceCache& cache, std::vector<TokenId>& out) const {
    if (whole_words_first_) {
      if (const auto it = words_.find(piece); it != words_.end()) return out.push_back(it->second);
    }
    if (const auto* known = cache.find(piece)) {
      out.insert(out.end(), known->begin(), known->end());
      return;
    }
    const size_t begin = out.size();
    bpe_encode(merges_, piece, out);
    cache.remember(piece, std::span(out).subspan(begin));
  }

  std::vector<std::string> bytes_;  ///< by token id
  std::vector<int32_t> types_;
  MergeTable merges_;
  SpecialTokenFinder special_;
  /// bytes of normal tokens, viewing bytes_; filled only for whole_words_first_
  TokenIndex words_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  TokenId begin_of_text_ = -1;
  TokenId end_of_text_ = -1;
  bool adds_bos_ = false;
  bool whole_words_first_ = false;
};

/// Checks a TokenizerData while it becomes a BpeTokenizer.
class Builder {
 public:
  explicit Builder(const TokenizerData& data) : data_(data) {}

  Result<std::unique_ptr<Tokenizer>> build() {
    const PreTokenizerSpec spec = EBB_TRY(find_pre_tokenizer(data_.pre));
    tokenizer_->pre_tokenizer_ = EBB_TRY(PreTokenizer::compile(spec.patterns));
    EBB_TRY_VOID(index_tokens());
    EBB_TRY_VOID(spell_tokens());
    EBB_TRY_VOID(add_merges());
    EBB_TRY_VOID(set_bounds(spec));
    tokenizer_->types_ = data_.types;
    if (spec.whole_words_first) index_words();
    return std::unique_ptr<Tokenizer>(std::move(tokenizer_));
  }

 private:
  Result<void> index_tokens() {
    const size_t count = data_.tokens.size();
    if (count == 0 || count > INT32_MAX) {
      return invalid("tokenizer.ggml.tokens has " + std::to_string(count) + " entries");
    }
    if (data_.types.size() != count) {
      return invalid("tokenizer.ggml.token_type has " + std::to_string(data_.types.size()) +
                     " entries, tokenizer.ggml.tokens " + std::to_string(count));
    }
    for (size_t i = 0; i < count; ++i) {
      if (data_.tokens[i].empty()) {
        return invalid("tokenizer.ggml.tokens[" + std::to_string(i) + "] is empty");
      }
      const auto [it, is_new] = id_of_.try_emplace(data_.tokens[i], static_cast<TokenId>(i));
      if (is_new) continue;
      return invalid("tokenizer.ggml.tokens: " + quoted(data_.tokens[i]) + " is both token " +
                     std::to_string(it->second) + " and token " + std::to_string(i));
    }
    return {};
  }

  Result<void> spell_tokens() {
    auto& bytes = tokenizer_->bytes_;
    bytes.reserve(data_.tokens.size());
    for (size_t i = 0; i < data_.tokens.size(); ++i) {
      const std::string_view token = data_.tokens[i];
      const int32_t type = data_.types[i];
      if (type < 1 || type > 6) {
        return invalid("tokenizer.ggml.token_type[" + std::to_string(i) + "] is " +
                       std::to_string(type) + "; the limits are 1 and 6");
      }
      if (is_type(type, TokenType::kControl) || is_type(type, TokenType::kUserDefined)) {
        tokenizer_->special_.add(token, static_cast<TokenId>(i));
      }
      auto spelled = is_type(type, TokenType::kNormal) ? alphabet_.bytes_of(token)
                                                       : std::optional(std::string(token));
      if (!spelled) {
        return invalid("tokenizer.ggml.tokens[" + std::to_string(i) + "] " + quoted(token) +
                       " has a character outside the byte alphabet");
      }
      bytes.push_back(*std::move(spelled));
    }
    for (int byte = 0; byte < 256; ++byte) {
      const auto it = id_of_.find(alphabet_.text_of(static_cast<uint8_t>(byte)));
      tokenizer_->merges_.token_of_byte[byte] = it == id_of_.end() ? -1 : it->second;
    }
    return {};
  }

  Result<TokenId> token_of_merge(size_t rank, const std::string& text) {
    const auto it = id_of_.find(text);
    if (it != id_of_.end()) return it->second;
    return invalid("tokenizer.ggml.merges[" + std::to_string(rank) + "] " +
                   quoted(data_.merges[rank]) + ": no token is " + quoted(text));
  }

  Result<void> add_merges() {
    for (size_t rank = 0; rank < data_.merges.size(); ++rank) {
      const std::string_view merge = data_.merges[rank];
      const size_t space = merge.find(' ');
      if (space == std::string_view::npos || merge.find(' ', space + 1) != merge.npos) {
        return invalid("tokenizer.ggml.merges[" + std::to_string(rank) + "] " + quoted(merge) +
                       " is not two words");
      }
      const std::string left(merge.substr(0, space));
      const std::string right(merge.substr(space + 1));
      const TokenId left_id = EBB_TRY(token_of_merge(rank, left));
      const TokenId right_id = EBB_TRY(token_of_merge(rank, right));
      const TokenId merged_id = EBB_TRY(token_of_merge(rank, left + right));
      const Merge entry{static_cast<uint32_t>(rank), merged_id};
      if (!tokenizer_->merges_.add(left_id, right_id, entry)) {
        return invalid("tokenizer.ggml.merges[" + std::to_string(rank) + "] " + quoted(merge) +
                       " is there twice");
      }
    }
    return {};
  }

  Result<void> check_token(const char* key, TokenId id) {
    if (id == -1 || tokenizer_->is_token(id)) return {};
    return invalid(std::string(key) + " is " + std::to_string(id) + "; the vocabulary has " +
                   std::to_string(data_.tokens.size()) + " tokens");
  }

  Result<void> set_bounds(const PreTokenizerSpec& spec) {
    EBB_TRY_VOID(check_token("tokenizer.ggml.bos_token_id", data_.begin_of_text));
    EBB_TRY_VOID(check_token("tokenizer.ggml.eos_token_id", data_.end_of_text));
    using AddBos = TokenizerData::AddBos;
    tokenizer_->begin_of_text_ = data_.begin_of_text;
    tokenizer_->end_of_text_ = data_.end_of_text;
    tokenizer_->adds_bos_ =
        data_.add_bos == AddBos::kByPreTokenizer ? spec.adds_bos : data_.add_bos == AddBos::kYes;
    if (tokenizer_->adds_bos_ && data_.begin_of_text < 0) {
      return invalid("tokenizer.ggml.add_bos_token is true, but there is no bos_token_id");
    }
    return {};
  }

  void index_words() {
    tokenizer_->whole_words_first_ = true;
    for (size_t i = 0; i < data_.types.size(); ++i) {
      if (!is_type(data_.types[i], TokenType::kNormal)) continue;
      tokenizer_->words_.emplace(tokenizer_->bytes_[i], static_cast<TokenId>(i));
    }
  }

  const TokenizerData& data_;
  ByteAlphabet alphabet_;
  TokenIndex id_of_;  ///< by the vocabulary's spelling
  std::unique_ptr<BpeTokenizer> tokenizer_ = std::make_unique<BpeTokenizer>();
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_tokenizer(const TokenizerData& data) {
  return Builder(data).build();
}

}  // namespace ebb::models
