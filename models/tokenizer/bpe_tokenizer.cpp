// The tokenizer itself: the stages of spec.h put together.
#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/bpe.h"
#include "models/tokenizer/byte_level.h"
#include "models/tokenizer/decoder.h"
#include "models/tokenizer/first_symbols.h"
#include "models/tokenizer/normalizer.h"
#include "models/tokenizer/piece_cache.h"
#include "models/tokenizer/pre_tokenizer.h"
#include "models/tokenizer/spec.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

using TokenIndex = std::unordered_map<std::string_view, TokenId, SeededHash>;

struct WordHash : SeededHash {
  using is_transparent = void;
  uint64_t operator()(std::string_view text) const { return SeededHash::operator()(text); }
};
using WordIndex = std::unordered_map<std::string, TokenId, WordHash, std::equal_to<>>;

/// U+2581, which stands for a space in vocabularies of the SentencePiece kind.
constexpr std::string_view kMark = "\u2581";

bool contains_mark_behind_another(std::string_view text) {
  for (size_t at = 0; (at = text.find(kMark, at)) != text.npos; at += kMark.size()) {
    if (at > 0 && !text.substr(0, at).ends_with(kMark)) return true;
  }
  return false;
}

/// All that make_tokenizer() puts together. Immutable.
struct Stages {
  Normalizer normalizer;
  AddedTokenCutter added;             ///< looked for in the text as it comes
  AddedTokenCutter added_normalized;  ///< looked for in the normalised text
  PreTokenizer pre_tokenizer;
  FirstSymbols first_symbols;
  MergeTable merges;
  WordIndex words;  ///< by a piece's bytes; filled only where whole words come first
  /// No merge joins a mark to another character before it, so words can be looked at one by one.
  bool cuts_before_marks = false;
};

/// One encode().
class Encoding {
 public:
  Encoding(const Stages& stages, std::string_view text, SpecialTokens special)
      : stages_(stages), text_(text), special_(special), run_(text.size()) {}

  Result<std::vector<TokenId>> encode() {
    std::vector<AddedTokenCutter::Part> parts;
    stages_.added.cut(text_, special_, parts);
    for (const auto& part : parts) {
      if (part.token >= 0) {
        out_.push_back(part.token);
      } else {
        const bool is_first = part.begin == 0;
        EBB_TRY_VOID(encode_section(text_.substr(part.begin, part.end - part.begin), is_first));
      }
    }
    return std::move(out_);
  }

 private:
  /// Text between added tokens.
  Result<void> encode_section(std::string_view section, bool is_first) {
    if (auto normalized = stages_.normalizer.normalize(section)) {
      section = run_.kept.emplace_back(*std::move(normalized));
    }
    std::vector<AddedTokenCutter::Part> parts;
    stages_.added_normalized.cut(section, special_, parts);
    for (const auto& part : parts) {
      if (part.token >= 0) {
        out_.push_back(part.token);
      } else {
        const std::string_view text = section.substr(part.begin, part.end - part.begin);
        EBB_TRY_VOID(encode_text(text, is_first && part.begin == 0));
      }
    }
    return {};
  }

  /// Cuts into runs of valid UTF-8, which the patterns understand, and single invalid bytes.
  Result<void> encode_text(std::string_view text, bool is_first) {
    auto place = is_first ? PreTokenizer::Place::kTextBegin : PreTokenizer::Place::kLater;
    while (!text.empty()) {
      const size_t valid = utf8_valid_prefix(text);
      if (valid > 0) {
        EBB_TRY_VOID(stages_.pre_tokenizer.split(text.substr(0, valid), place, run_));
        for (const std::string_view piece : run_.pieces) encode_words(piece);
        text.remove_prefix(valid);
      }
      place = PreTokenizer::Place::kLater;
      if (text.empty()) break;
      merge(text.substr(0, 1));
      text.remove_prefix(1);
    }
    return {};
  }

  void encode_words(std::string_view piece) {
    if (!stages_.cuts_before_marks) return encode_piece(piece);
    size_t begin = 0;
    size_t behind = piece.npos;  // the last mark
    for (size_t at = 0; (at = piece.find(kMark, at)) != piece.npos; behind = at += kMark.size()) {
      if (at == begin || at == behind) continue;
      encode_piece(piece.substr(begin, at - begin));
      begin = at;
    }
    encode_piece(piece.substr(begin));
  }

  void encode_piece(std::string_view piece) {
    if (!stages_.words.empty()) {
      if (const auto it = stages_.words.find(piece); it != stages_.words.end()) {
        out_.push_back(it->second);
        return;
      }
    }
    if (!PieceCache::takes(piece)) return merge(piece);
    PieceCache::Slot slot;
    if (const auto hit = cache_.find(piece, slot); hit.tokens != nullptr) {
      out_.insert(out_.end(), hit.tokens, hit.tokens + hit.count);
      return;
    }
    const size_t begin = out_.size();
    merge(piece);
    cache_.remember(piece, slot, std::span(out_).subspan(begin));
  }

  void merge(std::string_view piece) {
    symbols_.clear();
    stages_.first_symbols.append(piece, symbols_);
    bpe_encode(stages_.merges, symbols_, scratch_, out_);
  }

  const Stages& stages_;
  std::string_view text_;
  SpecialTokens special_;
  PreTokenizer::Run run_;
  PieceCache cache_;
  std::vector<TokenId> symbols_;
  BpeScratch scratch_;
  std::vector<TokenId> out_;
};

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(Stages stages, TokenDecoder decoder, std::vector<bool> special, TokenizerSpec spec)
      : stages_(std::move(stages)),
        decoder_(std::move(decoder)),
        special_(std::move(special)),
        before_(std::move(spec.before)),
        after_(std::move(spec.after)),
        begin_of_text_(spec.begin_of_text),
        end_of_text_(spec.end_of_text) {}

  Result<std::vector<TokenId>> encode(std::string_view text, SpecialTokens special) const override {
    return Encoding(stages_, text, special).encode();
  }

  std::string_view token_bytes(TokenId id) const override {
    return is_token(id) ? decoder_.bytes(id) : std::string_view();
  }
  std::string_view token_bytes_at_begin(TokenId id) const override {
    return is_token(id) ? decoder_.bytes_at_begin(id) : std::string_view();
  }
  bool is_special(TokenId id) const override {
    return is_token(id) && special_[static_cast<size_t>(id)];
  }
  uint32_t vocabulary() const override { return static_cast<uint32_t>(special_.size()); }
  TokenId end_of_text() const override { return end_of_text_; }
  bool adds_bos() const override { return !before_.empty(); }
  TokenId begin_of_text() const override { return begin_of_text_; }
  std::vector<TokenId> ids_before() const override { return before_; }
  std::vector<TokenId> ids_after() const override { return after_; }

  std::string decode_text(const std::vector<TokenId>& ids, bool skip_special) const override {
    if (!decoder_.has_byte_tokens()) return Tokenizer::decode_text(ids, skip_special);
    std::string text;
    std::string bytes;  // of the run of byte tokens that is going on
    const auto end_run = [&] {
      if (utf8_valid_prefix(bytes) == bytes.size()) {
        text += bytes;
      } else {
        for (size_t i = 0; i < bytes.size(); ++i) text += "\uFFFD";
      }
      bytes.clear();
    };
    for (const TokenId id : ids) {
      if (!is_token(id) || (skip_special && is_special(id))) continue;
      if (!decoder_.is_byte(id)) end_run();
      (decoder_.is_byte(id) ? bytes : text) += decoder_.bytes(id);
    }
    end_run();
    // Not before: a space may be a byte of a run that is not UTF-8.
    if (decoder_.drops_first_space() && text.starts_with(' ')) text.erase(0, 1);
    return utf8_replaced(text);
  }

 private:
  bool is_token(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < special_.size(); }

  Stages stages_;
  TokenDecoder decoder_;
  std::vector<bool> special_;  ///< by id
  std::vector<TokenId> before_;
  std::vector<TokenId> after_;
  TokenId begin_of_text_;
  TokenId end_of_text_;
};

/// The tokens that BPE may make, by the text that the file spells them with.
TokenIndex index_model_tokens(const TokenizerSpec& spec) {
  TokenIndex index;
  index.reserve(spec.texts.size());
  for (size_t i = 0; i < spec.texts.size(); ++i) {
    if ((spec.flags[i] & TokenizerSpec::kModel) == 0) continue;
    index.emplace(spec.texts[i], static_cast<TokenId>(i));
  }
  return index;
}

/// The same by the bytes of a piece that is this token.
WordIndex index_words(const TokenizerSpec& spec) {
  WordIndex words;
  if (!spec.bpe.whole_words_first) return words;
  const ByteAlphabet alphabet;
  words.reserve(spec.texts.size());
  for (size_t i = 0; i < spec.texts.size(); ++i) {
    if ((spec.flags[i] & TokenizerSpec::kModel) == 0) continue;
    const auto bytes = spec.bpe.alphabet == BpeSpec::Alphabet::kBytes
                           ? alphabet.bytes_of(spec.texts[i])
                           : std::optional(spec.texts[i]);
    if (bytes) words.emplace(*bytes, static_cast<TokenId>(i));
  }
  return words;
}

bool can_cut_before_marks(const TokenizerSpec& spec, const TokenIndex& index) {
  if (spec.bpe.alphabet != BpeSpec::Alphabet::kCharacters || !index.contains(kMark)) return false;
  return std::none_of(spec.bpe.merges.begin(), spec.bpe.merges.end(), [&](const MergeSpec& merge) {
    return contains_mark_behind_another(spec.texts[static_cast<size_t>(merge.merged)]);
  });
}

/// Two lists: those to be looked for in the text as it comes, and in the normalised text.
struct AddedTokens {
  std::vector<AddedToken> as_they_are;
  std::vector<AddedToken> normalized;
};

/// Also makes the texts of normalised tokens what they are looked for as: so they are decoded.
AddedTokens sort_added_tokens(const Normalizer& normalizer, TokenizerSpec& spec) {
  AddedTokens sorted;
  for (AddedToken& token : spec.added) {
    if (token.normalized) {
      token.content = normalizer.normalize(token.content).value_or(token.content);
      spec.texts[static_cast<size_t>(token.id)] = token.content;
    }
    (token.normalized ? sorted.normalized : sorted.as_they_are).push_back(token);
  }
  return sorted;
}

Result<MergeTable> make_merges(const std::vector<MergeSpec>& specs) {
  MergeTable merges(specs.size());
  for (const MergeSpec& merge : specs) {
    if (merges.add(merge.left, merge.right, {merge.rank, merge.merged})) continue;
    return invalid("merge " + std::to_string(&merge - specs.data()) + ", of the tokens " +
                   std::to_string(merge.left) + " and " + std::to_string(merge.right) +
                   ", is there twice");
  }
  return merges;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerSpec spec) {
  // Views spec.texts, which sort_added_tokens() changes: not to be used after that.
  const TokenIndex index = index_model_tokens(spec);
  const auto token_of = [&](std::string_view text) {
    const auto it = index.find(text);
    return it == index.end() ? -1 : it->second;
  };
  std::vector<bool> special(spec.texts.size(), false);
  for (const AddedToken& token : spec.added) special[static_cast<size_t>(token.id)] = token.special;
  FirstSymbols first_symbols(spec.bpe, token_of, spec.texts);
  WordIndex words = index_words(spec);
  const bool cuts = can_cut_before_marks(spec, index);

  Normalizer normalizer(spec.normalizer);
  AddedTokens added = sort_added_tokens(normalizer, spec);
  auto as_they_are = EBB_TRY(AddedTokenCutter::make(std::move(added.as_they_are)));
  auto normalized = EBB_TRY(AddedTokenCutter::make(std::move(added.normalized)));
  auto pre_tokenizer = EBB_TRY(PreTokenizer::make(spec.pre_tokenizer));
  auto merges = EBB_TRY(make_merges(spec.bpe.merges));
  Stages stages{std::move(normalizer),    std::move(as_they_are),
                std::move(normalized),    std::move(pre_tokenizer),
                std::move(first_symbols), std::move(merges),
                std::move(words),         cuts};
  TokenDecoder decoder(spec.decoder, spec.texts, spec.flags);
  return std::unique_ptr<Tokenizer>(
      new BpeTokenizer(std::move(stages), std::move(decoder), std::move(special), std::move(spec)));
}

}  // namespace ebb::models
