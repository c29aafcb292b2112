#include "models/tokenizer/gguf_spec.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_map>

#include "models/seeded_hash.h"
#include "models/shown_text.h"
#include "models/tokenizer/byte_level.h"
#include "models/tokenizer/known_patterns.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

using TokenIndex = std::unordered_map<std::string_view, TokenId, SeededHash>;

constexpr std::string_view kMark = "\u2581";

std::string entry_name(const char* key, size_t index) {
  return std::string("tokenizer.ggml.") + key + "[" + std::to_string(index) + "]";
}

class SpecMaker {
 public:
  explicit SpecMaker(const GgufTokenizer& file) : file_(file) {}

  Result<TokenizerSpec> make() {
    EBB_TRY_VOID(index_tokens());
    EBB_TRY_VOID(place_tokens());
    EBB_TRY_VOID(file_.model == "llama" ? make_sentence_pieces() : make_byte_level());
    EBB_TRY_VOID(set_bounds());
    return std::move(spec_);
  }

 private:
  Result<void> index_tokens() {
    const size_t count = file_.tokens.size();
    if (count == 0 || count > kVocabularyMax) {
      return invalid("tokenizer.ggml.tokens has " + std::to_string(count) +
                     " entries; the limits are 1 and " + std::to_string(kVocabularyMax));
    }
    if (file_.token_type.size() != count) {
      return invalid("tokenizer.ggml.token_type has " + std::to_string(file_.token_type.size()) +
                     " entries, tokenizer.ggml.tokens " + std::to_string(count));
    }
    id_of_.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      const std::string_view text = file_.tokens[i];
      if (text.empty()) return invalid(entry_name("tokens", i) + " is empty");
      if (text.size() > kTokenBytesMax) {
        return invalid(entry_name("tokens", i) + " has " + std::to_string(text.size()) +
                       " bytes; the limit is " + std::to_string(kTokenBytesMax));
      }
      const auto [it, is_new] = id_of_.try_emplace(text, static_cast<TokenId>(i));
      if (is_new) continue;
      return invalid("tokenizer.ggml.tokens: " + quoted_text(text) + " is both token " +
                     std::to_string(it->second) + " and token " + std::to_string(i));
    }
    return {};
  }

  TokenType type_of(size_t index) const { return static_cast<TokenType>(file_.token_type[index]); }

  Result<void> place_tokens() {
    const bool byte_level = file_.model != "llama";
    const ByteAlphabet alphabet;
    for (size_t i = 0; i < file_.tokens.size(); ++i) {
      const std::string_view text = file_.tokens[i];
      const int32_t type = file_.token_type[i];
      if (type < 1 || type > 6) {
        return invalid(entry_name("token_type", i) + " is " + std::to_string(type) +
                       "; the limits are 1 and 6");
      }
      if (byte_level && type_of(i) == TokenType::kNormal && !alphabet.bytes_of(text)) {
        return invalid(entry_name("tokens", i) + " " + quoted_text(text) +
                       " has a character outside the byte alphabet");
      }
      const bool in_model =
          type_of(i) == TokenType::kNormal || (!byte_level && type_of(i) == TokenType::kByte);
      spec_.texts.emplace_back(text);
      spec_.flags.push_back(in_model ? TokenizerSpec::kModel : TokenizerSpec::kLiteral);
      add_if_added(static_cast<TokenId>(i));
    }
    return {};
  }

  void add_if_added(TokenId id) {
    const TokenType type = type_of(static_cast<size_t>(id));
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if (!special && type != TokenType::kUserDefined) return;
    AddedToken token;
    token.content = spec_.texts[static_cast<size_t>(id)];
    token.id = id;
    token.special = special;
    spec_.added.push_back(std::move(token));
  }

  // --- Byte-level BPE ---------------------------------------------------------------------------

  Result<void> make_byte_level() {
    const KnownPreTokenizer known = EBB_TRY(find_pre_tokenizer(file_.pre));
    if (known.normalizes_to_nfc) spec_.normalizer.push_back({});
    for (const std::string_view pattern : known.patterns) {
      spec_.pre_tokenizer.push_back(
          {.pattern = std::string(pattern), .where = "tokenizer.ggml.pre"});
    }
    spec_.bpe.alphabet = BpeSpec::Alphabet::kBytes;
    spec_.bpe.whole_words_first = known.whole_words_first;
    spec_.decoder.kind = DecoderSpec::Kind::kByteLevel;
    adds_bos_ = known.adds_bos;
    return read_merges();
  }

  Result<TokenId> token_of_merge(size_t rank, std::string_view text) {
    const auto it = id_of_.find(text);
    if (it != id_of_.end()) return it->second;
    return invalid(entry_name("merges", rank) + " " + quoted_text(file_.merges[rank]) +
                   ": no token is " + quoted_text(text));
  }

  Result<void> read_merges() {
    if (file_.merges.size() > kMergesMax) {
      return invalid("tokenizer.ggml.merges has " + std::to_string(file_.merges.size()) +
                     " entries; the limit is " + std::to_string(kMergesMax));
    }
    for (size_t rank = 0; rank < file_.merges.size(); ++rank) {
      const std::string_view merge = file_.merges[rank];
      const size_t space = merge.find(' ');
      if (space == merge.npos || merge.find(' ', space + 1) != merge.npos || space == 0 ||
          space + 1 == merge.size()) {
        return invalid(entry_name("merges", rank) + " " + quoted_text(merge) + " is not two words");
      }
      const std::string_view left = merge.substr(0, space);
      const std::string_view right = merge.substr(space + 1);
      MergeSpec made;
      made.left = EBB_TRY(token_of_merge(rank, left));
      made.right = EBB_TRY(token_of_merge(rank, right));
      made.merged = EBB_TRY(token_of_merge(rank, std::string(left) + std::string(right)));
      made.rank = static_cast<uint32_t>(rank);
      spec_.bpe.merges.push_back(made);
    }
    return {};
  }

  // --- SentencePiece ----------------------------------------------------------------------------

  Result<void> make_sentence_pieces() {
    const bool prefix = file_.add_space_prefix.value_or(true);
    using Kind = NormalizerStep::Kind;
    if (prefix) spec_.normalizer.push_back({Kind::kPrepend, "", std::string(kMark)});
    spec_.normalizer.push_back({Kind::kReplace, " ", std::string(kMark)});
    spec_.bpe.alphabet = BpeSpec::Alphabet::kCharacters;
    spec_.bpe.byte_fallback = true;
    spec_.bpe.fuses_unknown = true;
    spec_.bpe.unknown = file_.unknown_token_id;
    spec_.decoder.kind = DecoderSpec::Kind::kText;
    spec_.decoder.replacements.push_back({std::string(kMark), " "});
    spec_.decoder.byte_fallback = true;
    if (prefix) spec_.decoder.leading_space = LeadingSpace::kOneDropped;
    adds_bos_ = true;
    return make_merges_of_scores();
  }

  /// Ranks of scores: the highest score merges first, and equal scores are equal.
  Result<std::vector<uint32_t>> rank_scores() {
    if (file_.scores.size() != file_.tokens.size()) {
      return invalid("tokenizer.ggml.scores has " + std::to_string(file_.scores.size()) +
                     " entries, tokenizer.ggml.tokens " + std::to_string(file_.tokens.size()));
    }
    std::vector<float> sorted;
    for (size_t i = 0; i < file_.scores.size(); ++i) {
      if (!std::isfinite(file_.scores[i]))
        return invalid(entry_name("scores", i) + " is no number");
      sorted.push_back(file_.scores[i]);
    }
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    std::vector<uint32_t> ranks;
    for (const float score : file_.scores) {
      const auto it = std::lower_bound(sorted.begin(), sorted.end(), score, std::greater<>());
      ranks.push_back(static_cast<uint32_t>(it - sorted.begin()));
    }
    return ranks;
  }

  bool is_normal(TokenId id) const {
    return type_of(static_cast<size_t>(id)) == TokenType::kNormal;
  }

  /// These vocabularies have no merges: two neighbours merge when what they are together is a
  /// token. So each token gives a merge for each way to cut it into two tokens.
  Result<void> make_merges_of_scores() {
    const std::vector<uint32_t> ranks = EBB_TRY(rank_scores());
    uint64_t work = 0;  // bytes that are looked up
    for (size_t i = 0; i < file_.tokens.size(); ++i) {
      const std::string_view text = file_.tokens[i];
      if (type_of(i) != TokenType::kNormal) continue;
      work += uint64_t{text.size()} * text.size();
      if (work > kWorkMax) return invalid("tokenizer.ggml.tokens: too many too long tokens");
      size_t cut = std::max<size_t>(1, utf8_sequence_length(text));
      while (cut < text.size()) {
        EBB_TRY_VOID(add_cut(text, cut, static_cast<TokenId>(i), ranks[i]));
        cut += std::max<size_t>(1, utf8_sequence_length(text.substr(cut)));
      }
    }
    return {};
  }

  Result<void> add_cut(std::string_view text, size_t cut, TokenId merged, uint32_t rank) {
    const auto left = id_of_.find(text.substr(0, cut));
    if (left == id_of_.end() || !is_normal(left->second)) return {};
    const auto right = id_of_.find(text.substr(cut));
    if (right == id_of_.end() || !is_normal(right->second)) return {};
    if (spec_.bpe.merges.size() >= kMergesMax) {
      return invalid("tokenizer.ggml.tokens can merge in more than " + std::to_string(kMergesMax) +
                     " ways");
    }
    spec_.bpe.merges.push_back({left->second, right->second, merged, rank});
    return {};
  }

  // --- Both -------------------------------------------------------------------------------------

  Result<void> check_token(const char* key, TokenId id) {
    if (id == -1 || (id >= 0 && static_cast<size_t>(id) < file_.tokens.size())) return {};
    return invalid(std::string("tokenizer.ggml.") + key + " is " + std::to_string(id) +
                   "; the vocabulary has " + std::to_string(file_.tokens.size()) + " tokens");
  }

  Result<void> set_bounds() {
    EBB_TRY_VOID(check_token("bos_token_id", file_.bos_token_id));
    EBB_TRY_VOID(check_token("eos_token_id", file_.eos_token_id));
    EBB_TRY_VOID(check_token("unknown_token_id", file_.unknown_token_id));
    spec_.begin_of_text = file_.bos_token_id;
    spec_.end_of_text = file_.eos_token_id;
    if (file_.add_bos_token.value_or(adds_bos_)) {
      if (spec_.begin_of_text < 0) {
        return invalid("tokenizer.ggml.add_bos_token is true, but there is no bos_token_id");
      }
      spec_.before.push_back(spec_.begin_of_text);
    }
    if (file_.add_eos_token.value_or(false)) {
      if (spec_.end_of_text < 0) {
        return invalid("tokenizer.ggml.add_eos_token is true, but there is no eos_token_id");
      }
      spec_.after.push_back(spec_.end_of_text);
    }
    return {};
  }

  static constexpr uint64_t kWorkMax = uint64_t{1} << 30;

  const GgufTokenizer& file_;
  TokenIndex id_of_;
  TokenizerSpec spec_;
  bool adds_bos_ = false;  ///< unless the file says otherwise
};

Result<TokenId> read_token_id(const GgufFile& file, const char* key, TokenId otherwise) {
  if (!file.has(key)) return otherwise;
  const uint64_t id = EBB_TRY(file.get_u64(key));
  if (id > INT32_MAX) return invalid(std::string(key) + " is " + std::to_string(id));
  return static_cast<TokenId>(id);
}

Result<std::optional<bool>> read_flag(const GgufFile& file, const char* key) {
  if (!file.has(key)) return std::optional<bool>();
  return std::optional<bool>(EBB_TRY(file.get_bool(key)));
}

/// Keys that would change what tokens a text has, and that are not known here.
Result<void> refuse_others(const GgufFile& file, const GgufTokenizer& read) {
  constexpr const char* kCharacterMap = "tokenizer.ggml.precompiled_charsmap";
  if (file.has(kCharacterMap)) return unsupported(std::string(kCharacterMap) + " is there");
  constexpr const char* kRemoveSpaces = "tokenizer.ggml.remove_extra_whitespaces";
  if (EBB_TRY(read_flag(file, kRemoveSpaces)).value_or(false)) {
    return unsupported(std::string(kRemoveSpaces) + " is true; only false is supported");
  }
  if (read.model != "llama" && read.add_space_prefix.value_or(false)) {
    return unsupported("tokenizer.ggml.add_space_prefix is true; only false is supported for " +
                       read.model);
  }
  return {};
}

}  // namespace

Result<GgufTokenizer> read_gguf_tokenizer(const GgufFile& file) {
  GgufTokenizer read;
  read.model = EBB_TRY(file.get_string("tokenizer.ggml.model"));
  if (read.model != "gpt2" && read.model != "llama") {
    return unsupported("tokenizer.ggml.model is " + quoted_text(read.model) +
                       "; known are gpt2 (byte-level BPE), llama (SentencePiece's BPE)");
  }
  read.tokens = EBB_TRY(file.get_strings("tokenizer.ggml.tokens"));
  read.token_type = EBB_TRY(file.get_i32s("tokenizer.ggml.token_type"));
  if (read.model == "gpt2") {
    read.pre = EBB_TRY(file.get_string("tokenizer.ggml.pre"));
    read.merges = EBB_TRY(file.get_strings("tokenizer.ggml.merges"));
  } else {
    read.scores = EBB_TRY(file.get_f32s("tokenizer.ggml.scores"));
  }
  // SentencePiece's own ids, which files of this kind may leave out.
  const bool pieces = read.model == "llama" && read.tokens.size() > 2;
  const auto id = [&](const char* key, TokenId usual) {
    return read_token_id(file, key, pieces ? usual : -1);
  };
  read.bos_token_id = EBB_TRY(id("tokenizer.ggml.bos_token_id", 1));
  read.eos_token_id = EBB_TRY(id("tokenizer.ggml.eos_token_id", 2));
  read.unknown_token_id = EBB_TRY(id("tokenizer.ggml.unknown_token_id", 0));
  read.add_bos_token = EBB_TRY(read_flag(file, "tokenizer.ggml.add_bos_token"));
  read.add_eos_token = EBB_TRY(read_flag(file, "tokenizer.ggml.add_eos_token"));
  read.add_space_prefix = EBB_TRY(read_flag(file, "tokenizer.ggml.add_space_prefix"));
  EBB_TRY_VOID(refuse_others(file, read));
  return read;
}

Result<TokenizerSpec> make_spec(const GgufTokenizer& file) { return SpecMaker(file).make(); }

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const GgufFile& file) {
  const GgufTokenizer read = EBB_TRY(read_gguf_tokenizer(file));
  return make_tokenizer(EBB_TRY(make_spec(read)));
}

}  // namespace ebb::models
