#include "models/tokenizer/normalizer.h"

#include "models/tokenizer/nfc.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

std::optional<std::string> valid_parts_to_nfc(std::string_view text) {
  const size_t valid = utf8_valid_prefix(text);
  if (valid == text.size()) return to_nfc(text);
  std::string out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, utf8_valid_prefix(text));
    if (auto changed = to_nfc(part)) {
      out += *changed;
    } else {
      out += part;
    }
    text.remove_prefix(part.size());
    if (text.empty()) break;
    out += text[0];
    text.remove_prefix(1);
  }
  return out;
}

std::optional<std::string> apply(const NormalizerStep& step, std::string_view text) {
  switch (step.kind) {
    case NormalizerStep::Kind::kNfc:
      return valid_parts_to_nfc(text);
    case NormalizerStep::Kind::kPrepend:
      if (text.empty()) return std::nullopt;
      return step.content + std::string(text);
    case NormalizerStep::Kind::kReplace:
      if (text.find(step.pattern) == text.npos) return std::nullopt;
      return replace_all(text, step.pattern, step.content);
  }
  return std::nullopt;
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t at = 0;
  for (size_t found; (found = text.find(pattern, at)) != text.npos; at = found + pattern.size()) {
    out += text.substr(at, found - at);
    out += content;
  }
  return out += text.substr(at);
}

std::optional<std::string> Normalizer::normalize(std::string_view text) const {
  std::optional<std::string> kept;
  for (const NormalizerStep& step : steps_) {
    if (auto changed = apply(step, kept ? *kept : text)) kept = std::move(changed);
  }
  return kept;
}

}  // namespace ebb::models
