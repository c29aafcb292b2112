#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/tokenizer/pattern.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "models/tokenizer/known_patterns.h"
#include "models/tokenizer/pattern_syntax.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

template <auto free_function>
struct Free {
  template <class T>
  void operator()(T* p) const {
    free_function(p);
  }
};
using Code2 = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using CompileContext = std::unique_ptr<pcre2_compile_context, Free<pcre2_compile_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;

PCRE2_SPTR pcre2_text(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

/// PCRE2's match data must not be shared between threads.
struct PatternRun::Scratch {
  MatchData data{pcre2_match_data_create(1, nullptr)};
  MatchContext context{pcre2_match_context_create(nullptr)};
  /// One for each item of a watched pattern that is tried, and one for each byte that the item
  /// before it walked over.
  uint64_t steps_left = 0;
  size_t position = 0;
};

namespace {

/// PCRE2 calls this before each item of a watched pattern.
int count_steps(pcre2_callout_block* block, void* data) {
  auto& [steps_left, position] = *static_cast<std::pair<uint64_t&, size_t&>*>(data);
  const size_t at = block->current_position;
  const uint64_t steps = 1 + (at > position ? at - position : 0);
  position = at;
  if (steps > steps_left) return PCRE2_ERROR_CALLOUT;
  steps_left -= steps;
  return 0;
}

}  // namespace

class Pcre2Pattern final : public Pattern {
 public:
  enum class Trust { kLinear, kWatched };
  Pcre2Pattern(Code2 code, Trust trust, std::string shown)
      : code_(std::move(code)), trust_(trust), shown_(std::move(shown)) {
    // Without JIT (a machine that forbids writable code pages) matching is slower, and the same.
    has_jit_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;
  }

  Result<void> find_all(std::string_view text, PatternRun& run,
                        std::vector<TextSpan>& out) const override {
    PatternRun::Scratch& scratch = *run.scratch_;
    std::pair<uint64_t&, size_t&> watch{scratch.steps_left, scratch.position};
    const bool watched = trust_ == Trust::kWatched;
    pcre2_set_callout(scratch.context.get(), watched ? count_steps : nullptr, &watch);
    size_t from = 0;
    std::optional<size_t> last_end;
    while (from <= text.size()) {
      scratch.position = from;
      const auto match = EBB_TRY(find(text, from, scratch));
      if (!match) break;
      from = match->end;
      if (match->end == match->begin && last_end == match->end) {
        // An empty match right behind a match is none: look on from the next character.
        from += std::max<size_t>(1, utf8_sequence_length(text.substr(from)));
        continue;
      }
      last_end = match->end;
      out.push_back(*match);
    }
    return {};
  }

 private:
  int match(std::string_view text, size_t from, uint32_t options,
            const PatternRun::Scratch& scratch) const {
    const auto* subject = pcre2_text(text);
    if (has_jit_ && (options & PCRE2_NO_JIT) == 0) {
      return pcre2_jit_match(code_.get(), subject, text.size(), from, 0, scratch.data.get(),
                             scratch.context.get());
    }
    return pcre2_match(code_.get(), subject, text.size(), from, options | PCRE2_NO_UTF_CHECK,
                       scratch.data.get(), scratch.context.get());
  }

  Result<std::optional<TextSpan>> find(std::string_view text, size_t from,
                                       const PatternRun::Scratch& scratch) const {
    int found = match(text, from, 0, scratch);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(text, from, PCRE2_NO_JIT, scratch);
    if (found == PCRE2_ERROR_NOMATCH) return std::optional<TextSpan>();
    if (found < 0) {
      return invalid("a text of " + std::to_string(text.size()) +
                     " bytes is too much for the model's pattern " + shown_ +
                     (found == PCRE2_ERROR_CALLOUT
                          ? ": it takes more steps than the limit for this text"
                          : ": PCRE2 error " + std::to_string(found)));
    }
    const size_t* ends = pcre2_get_ovector_pointer(scratch.data.get());
    return std::optional<TextSpan>({ends[0], ends[1]});
  }

  Code2 code_;
  Trust trust_;
  std::string shown_;
  bool has_jit_ = false;
};

PatternRun::PatternRun(size_t text_bytes) : scratch_(std::make_unique<Scratch>()) {
  EBB_CHECK(scratch_->data && scratch_->context);
  scratch_->steps_left = uint64_t{10'000'000} + 500 * uint64_t{text_bytes};
  // Known patterns walk far over long runs; the others are counted more closely than this does.
  pcre2_set_match_limit(scratch_->context.get(), UINT32_MAX);
}

PatternRun::~PatternRun() = default;

Result<std::unique_ptr<Pattern>> compile_with_pcre2(std::string_view pattern) {
  const std::string text = EBB_TRY(pcre2_syntax(pattern));
  const auto trust =
      is_linear_pattern(text) ? Pcre2Pattern::Trust::kLinear : Pcre2Pattern::Trust::kWatched;
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  if (trust == Pcre2Pattern::Trust::kWatched) options |= PCRE2_AUTO_CALLOUT;
  const CompileContext context(pcre2_compile_context_create(nullptr));
  EBB_CHECK(context);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t offset = 0;
  Code2 code(pcre2_compile(pcre2_text(text), text.size(), options, &error, &offset, context.get()));
  if (!code) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    return invalid(std::string("is not a pattern: ") + reinterpret_cast<const char*>(message));
  }
  std::string shown(pattern.substr(0, 60));
  while (utf8_valid_prefix(shown) != shown.size()) shown.pop_back();
  return std::unique_ptr<Pattern>(
      new Pcre2Pattern(std::move(code), trust, "'" + std::move(shown) + "'"));
}

Result<std::unique_ptr<Pattern>> Pattern::compile(std::string_view pattern) {
  if (auto scanner = make_scanner(pattern)) return scanner;
  return compile_with_pcre2(pattern);
}

}  // namespace ebb::models
