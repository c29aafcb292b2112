#include "models/tokenizer/known_patterns.h"

#include <algorithm>

#include "models/shown_text.h"
#include "models/tokenizer/pattern_syntax.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

// All in Oniguruma's syntax, as the families' own tokenizer.json has them; other than ASCII by code
// point, because some of these letters are not what an editor makes of them.

#define EBB_SPACES_LAST "\\s+(?!\\S)|\\s+"
#define EBB_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define EBB_WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define EBB_PUNCTUATION " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define EBB_LINES "\\s*[\\r\\n]+"
#define EBB_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define EBB_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

constexpr std::string_view kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" EBB_SPACES_LAST;
constexpr std::string_view kLlama3 =
    EBB_CONTRACTIONS "|" EBB_WORD "|\\p{N}{1,3}|" EBB_PUNCTUATION "|" EBB_LINES "|" EBB_SPACES_LAST;
constexpr std::string_view kQwen2 =
    EBB_CONTRACTIONS "|" EBB_WORD "|\\p{N}|" EBB_PUNCTUATION "|" EBB_LINES "|" EBB_SPACES_LAST;
constexpr std::string_view kTekken =
    "[^\\r\\n\\p{L}\\p{N}]?" EBB_UPPER "*" EBB_LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" EBB_UPPER
    "+" EBB_LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" EBB_LINES "|" EBB_SPACES_LAST;
constexpr std::string_view kDeepSeek3 =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" EBB_LINES
    "|" EBB_SPACES_LAST;
constexpr std::string_view kDeepSeek3Ideographs =
    "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";
constexpr std::string_view kLineEnd = "[\\r\\n]";
/// Cased letters, as they were when the pattern was written.
constexpr std::string_view kDeepSeekLetters =
    "\\s?["
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}"
    "\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
    "]+";
constexpr std::string_view kDeepSeekPunctuation =
    "\\s?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+";
constexpr std::string_view kSpacesAtEnd = "\\s+$";
constexpr std::string_view kDeepSeekIdeographs =
    "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+";
constexpr std::string_view kSpaceAndLetters = "\\s?\\p{L}+";
constexpr std::string_view kSpaceAndPunctuation = "\\s?\\p{P}+";
constexpr std::string_view kNumber = "\\p{N}";
constexpr std::string_view kNumbers = "\\p{N}+";
constexpr std::string_view kUpToThreeNumbers = "\\p{N}{1,3}";

std::vector<KnownPreTokenizer> known_pre_tokenizers() {
  return {
      {.names = {"gpt-2"}, .patterns = {kGpt2}},
      {.names = {"smollm"}, .patterns = {kNumber, kGpt2}},
      {.names = {"llama-bpe", "llama3", "llama-v3"},
       .patterns = {kLlama3},
       .whole_words_first = true,
       .adds_bos = true},
      {.names = {"qwen2", "deepseek-r1-qwen"}, .patterns = {kQwen2}, .normalizes_to_nfc = true},
      {.names = {"deepseek-llm"},
       .patterns = {kLineEnd, kDeepSeekLetters, kDeepSeekPunctuation, kSpacesAtEnd,
                    kDeepSeekIdeographs, kNumbers}},
      {.names = {"deepseek-coder"},
       .patterns = {kLineEnd, kSpaceAndLetters, kSpaceAndPunctuation, kDeepSeekIdeographs,
                    kNumber}},
      {.names = {"deepseek-v3"}, .patterns = {kUpToThreeNumbers, kDeepSeek3Ideographs, kDeepSeek3}},
      {.names = {"tekken"}, .patterns = {kTekken}, .whole_words_first = true, .adds_bos = true},
  };
}

/// `\s+$`: PCRE2, like the reference, would try it from each of a run's spaces and walk to the
/// run's end each time.
class SpacesAtEnd final : public Pattern {
 public:
  Result<void> find_all(std::string_view text, PatternRun&,
                        std::vector<TextSpan>& out) const override {
    size_t at = 0;
    while (at < text.size()) {
      const size_t begin = at;
      size_t end = begin;       // of the run
      size_t line_end = begin;  // the last place in it where a line ends
      while (end < text.size()) {
        const size_t length = utf8_white_space(text.substr(end));
        if (length == 0) break;
        if (text[end] == '\n') line_end = end;
        end += length;
      }
      if (end == text.size()) line_end = end;
      if (line_end > begin) out.push_back({begin, line_end});
      at = end;
      if (at < text.size()) at += std::max<size_t>(1, utf8_sequence_length(text.substr(at)));
    }
    return {};
  }
};

}  // namespace

const std::string_view kGpt2Pattern = kGpt2;

Result<KnownPreTokenizer> find_pre_tokenizer(std::string_view name) {
  std::string known;
  for (KnownPreTokenizer& entry : known_pre_tokenizers()) {
    for (const std::string_view other : entry.names) {
      if (other == name) return std::move(entry);
      known += (known.empty() ? "" : ", ") + std::string(other);
    }
  }
  return unsupported("tokenizer.ggml.pre is " + quoted_text(name) + "; known are " + known);
}

std::vector<std::string_view> known_patterns() {
  std::vector<std::string_view> all;
  for (const KnownPreTokenizer& entry : known_pre_tokenizers()) {
    for (const std::string_view pattern : entry.patterns) {
      if (std::find(all.begin(), all.end(), pattern) == all.end()) all.push_back(pattern);
    }
  }
  return all;
}

bool is_linear_pattern(std::string_view rewritten) {
  for (const std::string_view pattern : known_patterns()) {
    if (pattern == kSpacesAtEnd) continue;  // has a scanner, because it is not linear
    const auto known = pcre2_syntax(pattern);
    if (known && *known == rewritten) return true;
  }
  return false;
}

std::unique_ptr<Pattern> make_scanner(std::string_view pattern) {
  if (pattern == kSpacesAtEnd) return std::make_unique<SpacesAtEnd>();
  return nullptr;
}

}  // namespace ebb::models
