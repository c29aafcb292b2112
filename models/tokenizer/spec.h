// What a model file says about its tokenizer, as plain values: between the file formats and the
// algorithm. The words are those of Hugging Face's tokenizer.json, which has a part for each stage:
//   text - added tokens cut out - normalizer - pre-tokenizer - BPE - post-processor - ids
//   ids - decoder - text
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/tokenizer.h"

namespace ebb::models {

/// A text that is one token wherever it stands, cut out before anything else looks at the text.
struct AddedToken {
  std::string content;
  TokenId id = -1;
  bool single_word = false;  ///< not where a word character touches it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< and behind it
  bool normalized = false;   ///< looked for in the normalised text, itself normalised
  bool special = false;      ///< is no text: left out of decoded text on wish
};

struct NormalizerStep {
  enum class Kind { kNfc, kPrepend, kReplace };
  Kind kind = Kind::kNfc;
  std::string pattern;  ///< kReplace: literal, not empty
  std::string content;  ///< kReplace, kPrepend
};

/// What becomes of a match and of what lies between matches.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct PreTokenizerStep {
  enum class Kind {
    kPattern,      ///< by a regular expression, in Oniguruma's syntax
    kLiteral,      ///< by a literal text
    kPrefixSpace,  ///< puts a space before each part that does not begin with one
    kMetaspace,    ///< spaces become `content`; one is put before parts, by `prepend`
  };
  enum class Prepend { kNever, kFirst, kAlways };
  Kind kind = Kind::kPattern;
  std::string pattern = {};
  std::string where = {};  ///< the file's name for `pattern`, for errors
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  ///< matches and what lies between them change places
  std::string content = {};
  Prepend prepend = Prepend::kNever;
};

struct MergeSpec {
  TokenId left = -1;
  TokenId right = -1;
  TokenId merged = -1;
  uint32_t rank = 0;
};

struct BpeSpec {
  /// What a piece's first symbols are.
  enum class Alphabet {
    kBytes,       ///< each byte, spelled as in byte_level.h
    kCharacters,  ///< each code point; one that is no token becomes byte tokens or `unknown`
  };
  Alphabet alphabet = Alphabet::kBytes;
  std::vector<MergeSpec> merges;
  TokenId unknown = -1;            ///< -1: what has no token vanishes
  bool fuses_unknown = false;      ///< neighbours that are unknown become one token
  bool byte_fallback = false;      ///< "<0xE2>" and so on, when the vocabulary has all it takes
  bool whole_words_first = false;  ///< a piece that is a token is that token, whatever merges say
};

/// What becomes of a space at the very beginning of decoded text.
enum class LeadingSpace {
  kKept,
  kOneDropped,       ///< the text's first character, if it is a space
  kFirstTokenMarks,  ///< all marks that stand for spaces in the first token
};

struct DecoderSpec {
  /// How an id's text becomes bytes.
  enum class Kind { kByteLevel, kText };
  struct Replacement {
    std::string pattern;  ///< literal, not empty
    std::string content;
  };
  Kind kind = Kind::kByteLevel;
  std::vector<Replacement> replacements;  ///< kText: in each token, in this order
  bool byte_fallback = false;             ///< kText: "<0xE2>" stands for the byte
  LeadingSpace leading_space = LeadingSpace::kKept;
  std::string mark;  ///< of kFirstTokenMarks
};

struct TokenizerSpec {
  std::vector<std::string> texts;  ///< by id, without holes
  /// By id. kModel: BPE may make it. kLiteral: decoded, it is its text.
  enum Flag : uint8_t { kModel = 1, kLiteral = 2 };
  std::vector<uint8_t> flags;
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  BpeSpec bpe;
  DecoderSpec decoder;
  std::vector<TokenId> before;  ///< what the post-processor puts before a text
  std::vector<TokenId> after;
  TokenId begin_of_text = -1;
  TokenId end_of_text = -1;
};

inline constexpr size_t kVocabularyMax = size_t{1} << 20;
inline constexpr size_t kMergesMax = size_t{1} << 22;
inline constexpr size_t kTokenBytesMax = 4096;
/// Short, because a text may hold many beginnings of one: looking costs this much for each byte.
inline constexpr size_t kAddedTokenBytesMax = 512;
inline constexpr size_t kAddedTokensBytesMax = size_t{4} << 20;  ///< all together
inline constexpr size_t kPatternBytesMax = 16384;

/// Errors: kInvalid, kUnsupported: a pattern that does not compile, two added tokens alike.
/// Everything else of `spec` must have been checked by whoever made it.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerSpec spec);

}  // namespace ebb::models
