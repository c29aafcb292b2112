#include "models/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "models/tokenizer/normalizer.h"

namespace ebb::models {
namespace {

void add(std::string_view piece, std::vector<std::string_view>& pieces) {
  if (!piece.empty()) pieces.push_back(piece);
}

/// A match, or what lies before, between or behind matches.
struct Part {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = false;
};

std::vector<Part> parts_of(std::string_view text, const std::vector<TextSpan>& matches,
                           const PreTokenizerStep& step) {
  std::vector<Part> parts;
  size_t at = 0;
  for (const TextSpan& match : matches) {
    if (match.begin > at) parts.push_back({at, match.begin, step.invert});
    parts.push_back({match.begin, match.end, !step.invert});
    at = match.end;
  }
  if (at < text.size()) parts.push_back({at, text.size(), step.invert});
  return parts;
}

/// Each match joins the part before it (`parts` from left to right) or behind it (from right to
/// left), unless that is a match itself.
std::vector<Part> merge_matches(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous_is_match = false;
  for (const Part& part : parts) {
    if (part.is_match && !previous_is_match && !merged.empty()) {
      merged.back().begin = std::min(merged.back().begin, part.begin);
      merged.back().end = std::max(merged.back().end, part.end);
    } else {
      merged.push_back(part);
    }
    previous_is_match = part.is_match;
  }
  return merged;
}

std::vector<Part> merge_alike(const std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous_is_match = false;
  for (const Part& part : parts) {
    if (part.is_match == previous_is_match && !merged.empty()) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
    previous_is_match = part.is_match;
  }
  return merged;
}

std::vector<Part> behave(SplitBehavior behavior, std::vector<Part> parts) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return parts;
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.is_match; });
      return parts;
    case SplitBehavior::kContiguous:
      return merge_alike(parts);
    case SplitBehavior::kMergedWithPrevious:
      return merge_matches(parts);
    case SplitBehavior::kMergedWithNext: {
      parts = merge_matches(std::vector<Part>(parts.rbegin(), parts.rend()));
      return {parts.rbegin(), parts.rend()};
    }
  }
  return parts;
}

/// Most patterns isolate their matches: then the pieces are simply what lies between all borders.
void isolate(std::string_view text, const std::vector<TextSpan>& matches,
             std::vector<std::string_view>& pieces) {
  size_t at = 0;
  for (const TextSpan& match : matches) {
    add(text.substr(at, match.begin - at), pieces);
    add(text.substr(match.begin, match.end - match.begin), pieces);
    at = match.end;
  }
  add(text.substr(at), pieces);
}

void find_literal(std::string_view text, std::string_view literal, std::vector<TextSpan>& out) {
  for (size_t at = 0; (at = text.find(literal, at)) != text.npos; at += literal.size()) {
    out.push_back({at, at + literal.size()});
  }
}

/// The marks instead of spaces, and one before the text where `step` wants it.
std::string marked(const PreTokenizerStep& step, std::string_view piece, bool is_first) {
  using Prepend = PreTokenizerStep::Prepend;
  std::string text = replace_all(piece, " ", step.content);
  const bool wanted =
      step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && is_first);
  return wanted && !text.starts_with(step.content) ? step.content + text : text;
}

}  // namespace

Result<PreTokenizer> PreTokenizer::make(const std::vector<PreTokenizerStep>& steps) {
  PreTokenizer made;
  for (const PreTokenizerStep& step : steps) {
    Stage stage{step, nullptr};
    if (step.kind == PreTokenizerStep::Kind::kPattern) {
      auto pattern = Pattern::compile(step.pattern);
      if (!pattern) {
        Error error = std::move(pattern).error();
        error.message = step.where + " " + error.message;
        return error;
      }
      stage.pattern = *std::move(pattern);
    }
    made.stages_.push_back(std::move(stage));
  }
  return made;
}

Result<void> PreTokenizer::apply(const Stage& stage, std::string_view piece, Place place,
                                 Run& run) const {
  const PreTokenizerStep& step = stage.step;
  switch (step.kind) {
    case PreTokenizerStep::Kind::kPrefixSpace:
      if (!piece.starts_with(' ')) piece = run.kept.emplace_back(" " + std::string(piece));
      add(piece, run.pieces);
      return {};
    case PreTokenizerStep::Kind::kMetaspace:
      add(run.kept.emplace_back(marked(step, piece, place == Place::kTextBegin)), run.pieces);
      return {};
    case PreTokenizerStep::Kind::kLiteral:
      run.matches.clear();
      find_literal(piece, step.pattern, run.matches);
      break;
    case PreTokenizerStep::Kind::kPattern:
      run.matches.clear();
      EBB_TRY_VOID(stage.pattern->find_all(piece, run.patterns, run.matches));
      break;
  }
  if (step.behavior == SplitBehavior::kIsolated) {
    isolate(piece, run.matches, run.pieces);
    return {};
  }
  for (const Part& part : behave(step.behavior, parts_of(piece, run.matches, step))) {
    add(piece.substr(part.begin, part.end - part.begin), run.pieces);
  }
  return {};
}

Result<void> PreTokenizer::split(std::string_view text, Place place, Run& run) const {
  run.pieces.assign(1, text);
  for (const Stage& stage : stages_) {
    std::swap(run.pieces, run.coarse);
    run.pieces.clear();
    for (size_t i = 0; i < run.coarse.size(); ++i) {
      EBB_TRY_VOID(apply(stage, run.coarse[i], i == 0 ? place : Place::kLater, run));
    }
  }
  return {};
}

}  // namespace ebb::models
