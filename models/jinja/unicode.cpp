#include "models/jinja/unicode.h"

#include <algorithm>
#include <optional>
#include <span>

#include "models/jinja/text.h"
#include "models/jinja/unicode_tables.h"
#include "models/utf8.h"

namespace ebb::models::jinja {
namespace {

constexpr char32_t kCapitalSigma = 0x3A3;

const char* find_text(std::span<const CaseText> table, char32_t code) {
  const auto it = std::lower_bound(table.begin(), table.end(), code,
                                   [](const CaseText& row, char32_t c) { return row.code < c; });
  return it == table.end() || it->code != code ? nullptr : it->text;
}

std::optional<char32_t> find_run(std::span<const CaseRun> table, char32_t code) {
  auto it = std::upper_bound(table.begin(), table.end(), code,
                             [](char32_t c, const CaseRun& row) { return c < row.first; });
  if (it == table.begin()) return std::nullopt;
  --it;
  if (code > it->last || (code - it->first) % it->stride != 0) return std::nullopt;
  return static_cast<char32_t>(static_cast<int32_t>(code) + it->delta);
}

struct CaseTables {
  std::span<const CaseText> texts;
  std::span<const CaseRun> runs;
};
CaseTables upper_tables() { return {{kUpperTexts, kUpperTextsSize}, {kUpper, kUpperSize}}; }
CaseTables lower_tables() { return {{kLowerTexts, kLowerTextsSize}, {kLower, kLowerSize}}; }

/// Appends one character of text in the case of `tables`.
void append_mapped(std::string_view character, const CaseTables& tables, std::string& out) {
  if (utf8_sequence_length(character) != character.size()) {
    out += character;
    return;
  }
  const char32_t code = utf8_decode(character);
  if (const char* text = find_text(tables.texts, code)) {
    out += text;
  } else if (const auto other = find_run(tables.runs, code)) {
    utf8_append(out, *other);
  } else {
    out += character;
  }
}

std::string mapped(std::string_view text, const CaseTables& tables) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = character_bytes(text);
    append_mapped(text.substr(0, bytes), tables, out);
    text.remove_prefix(bytes);
  }
  return out;
}

/// What separates words for the filter `title`.
bool separates_words(std::string_view character) {
  if (strip(character, std::nullopt, Sides::kBoth).empty()) return true;
  return std::string_view("-({[<").find(character) != std::string_view::npos;
}

}  // namespace

bool is_printable(char32_t character) {
  const std::span<const CodeRange> table(kUnprintable, kUnprintableSize);
  const auto it =
      std::upper_bound(table.begin(), table.end(), character,
                       [](char32_t c, const CodeRange& range) { return c < range.first; });
  return it == table.begin() || character > std::prev(it)->last;
}

std::string to_upper(std::string_view text) { return mapped(text, upper_tables()); }

Result<std::string> to_lower(std::string_view text) {
  std::string sigma;
  utf8_append(sigma, kCapitalSigma);
  if (text.find(sigma) != std::string_view::npos) {
    return unsupported("a capital sigma in lower case");
  }
  return mapped(text, lower_tables());
}

Result<std::string> capitalized(std::string_view text) {
  if (text.empty()) return std::string();
  const std::string_view first = text.substr(0, character_bytes(text));
  const bool whole = utf8_sequence_length(first) == first.size();
  const std::span<const CaseText> titles(kTitleTexts, kTitleTextsSize);
  const char* title = whole ? find_text(titles, utf8_decode(first)) : nullptr;
  std::string out = title == nullptr ? to_upper(first) : std::string(title);
  return out += EBB_TRY(to_lower(text.substr(first.size())));
}

Result<std::string> in_title_case(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t end = 0;
    const auto character = [&] { return text.substr(end, character_bytes(text.substr(end))); };
    // A word, or what stands between two: of each the first character rises.
    const bool between = separates_words(character());
    while (end < text.size() && separates_words(character()) == between) end += character().size();
    const std::string_view item = text.substr(0, end);
    const size_t first = character_bytes(item);
    out += to_upper(item.substr(0, first));
    out += EBB_TRY(to_lower(item.substr(first)));
    text.remove_prefix(end);
  }
  return out;
}

}  // namespace ebb::models::jinja
