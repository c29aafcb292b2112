#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "models/utf8.h"

// White space is spelled \p{White_Space} (Unicode's property) and not \s: PCRE2's \s also takes
// U+180E, which the tokenizers that these models were trained with do not.
#define EBB_SPACE "\\p{White_Space}"
#define EBB_NOT_SPACE "\\P{White_Space}"

namespace ebb::models {
namespace {

constexpr const char* kGpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" EBB_SPACE
                              "\\p{L}\\p{N}]+"
                              "|" EBB_SPACE "+(?!" EBB_NOT_SPACE ")|" EBB_SPACE "+";

constexpr const char* kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^" EBB_SPACE "\\p{L}\\p{N}]+[\\r\\n]*|" EBB_SPACE
    "*[\\r\\n]+"
    "|" EBB_SPACE "+(?!" EBB_NOT_SPACE ")|" EBB_SPACE "+";

/// As Llama 3's, with single digits. (Qwen also normalises text to NFC first; here text is taken as
/// it comes, which differs only for decomposed accents.)
constexpr const char* kQwen2 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
    "| ?[^" EBB_SPACE "\\p{L}\\p{N}]+[\\r\\n]*|" EBB_SPACE
    "*[\\r\\n]+"
    "|" EBB_SPACE "+(?!" EBB_NOT_SPACE ")|" EBB_SPACE "+";

constexpr const char* kOneDigit = "\\p{N}";

std::vector<PreTokenizerSpec> known_pre_tokenizers() {
  return {
      {.name = "gpt-2", .patterns = {kGpt2}},
      {.name = "smollm", .patterns = {kOneDigit, kGpt2}},
      {.name = "llama-bpe", .patterns = {kLlama3}, .whole_words_first = true, .adds_bos = true},
      {.name = "qwen2", .patterns = {kQwen2}},
  };
}

template <auto free_function>
struct Free {
  template <class T>
  void operator()(T* p) const {
    free_function(p);
  }
};
using Code2 = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;

/// The patterns backtrack over a run of white space once or twice, so this many steps for a text of
/// `bytes` are never reached; they are here so that a mistake in a pattern costs tokens, not the
/// server.
uint32_t match_limit(size_t bytes) {
  return static_cast<uint32_t>(std::min<uint64_t>(1'000'000 + 16 * uint64_t{bytes}, UINT32_MAX));
}

/// What one split() needs: PCRE2's match data must not be shared between threads.
struct Scratch {
  MatchData data;
  MatchContext context;
};

struct Span {
  size_t begin = 0;
  size_t end = 0;
};

/// The first match in `text` at or after `from`; {size, size} for none. Never empty otherwise.
Span find_match(const pcre2_code* code, std::string_view text, size_t from,
                const Scratch& scratch) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int found = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY,
                          scratch.data.get(), scratch.context.get());
  if (found < 0 && found != PCRE2_ERROR_NOMATCH) {  // the compiled matcher ran out of stack
    found = pcre2_match(code, subject, text.size(), from,
                        PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | PCRE2_NO_JIT, scratch.data.get(),
                        scratch.context.get());
  }
  if (found == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
  // A limit that no pattern here can reach. Cutting off one code point keeps the promise that the
  // pieces together are the text.
  if (found < 0) return {from, from + std::max<size_t>(1, utf8_sequence_length(text.substr(from)))};
  const size_t* ends = pcre2_get_ovector_pointer(scratch.data.get());
  return {ends[0], ends[1]};
}

void cut(const pcre2_code* code, std::string_view text, const Scratch& scratch,
         std::vector<std::string_view>& pieces) {
  size_t at = 0;
  while (at < text.size()) {
    const Span match = find_match(code, text, at, scratch);
    if (match.begin > at) pieces.push_back(text.substr(at, match.begin - at));
    if (match.end > match.begin)
      pieces.push_back(text.substr(match.begin, match.end - match.begin));
    at = match.end;
  }
}

class RegexPreTokenizer final : public PreTokenizer {
 public:
  explicit RegexPreTokenizer(std::vector<Code2> stages) : stages_(std::move(stages)) {}

  std::vector<std::string_view> split(std::string_view text) const override {
    if (text.empty()) return {};
    const Scratch scratch{MatchData(pcre2_match_data_create(1, nullptr)),
                          MatchContext(pcre2_match_context_create(nullptr))};
    EBB_CHECK(scratch.data && scratch.context);
    pcre2_set_match_limit(scratch.context.get(), match_limit(text.size()));
    std::vector<std::string_view> pieces = {text};
    for (const Code2& stage : stages_) {
      std::vector<std::string_view> finer;
      for (std::string_view piece : pieces) cut(stage.get(), piece, scratch, finer);
      pieces = std::move(finer);
    }
    return pieces;
  }

 private:
  std::vector<Code2> stages_;
};

}  // namespace

Result<PreTokenizerSpec> find_pre_tokenizer(std::string_view name) {
  std::string known;
  for (PreTokenizerSpec& spec : known_pre_tokenizers()) {
    if (spec.name == name) return std::move(spec);
    known += (known.empty() ? "" : ", ") + std::string(spec.name);
  }
  return unsupported("tokenizer.ggml.pre is '" + std::string(name) + "'; known are " + known);
}

Result<std::unique_ptr<PreTokenizer>> PreTokenizer::compile(
    const std::vector<const char*>& patterns) {
  std::vector<Code2> stages;
  for (const char* pattern : patterns) {
    int error = 0;
    size_t offset = 0;
    Code2 code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                             PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr));
    if (!code) {
      return internal_error("pre-tokenizer pattern: PCRE2 error " + std::to_string(error) +
                            " at offset " + std::to_string(offset));
    }
    // Without JIT (a machine that forbids writable code pages) matching is slower, and the same.
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    stages.push_back(std::move(code));
  }
  return std::unique_ptr<PreTokenizer>(new RegexPreTokenizer(std::move(stages)));
}

}  // namespace ebb::models
