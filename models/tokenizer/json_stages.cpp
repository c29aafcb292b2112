// The stages of a tokenizer.json: normalizer, pre-tokenizer, post-processor and decoder.
#include <array>

#include "models/shown_text.h"
#include "models/tokenizer/json_spec.h"
#include "models/tokenizer/known_patterns.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

constexpr size_t kStepsMax = 64;

Error unknown_type(JsonValue type, std::string_view name, std::string_view known) {
  return type.not_supported("is " + quoted_text(name) + "; known are " + std::string(known));
}

Error too_many(JsonValue part) {
  return part.error("has more than " + std::to_string(kStepsMax) + " steps");
}

/// A text that is looked for, or put somewhere: of bounded length.
Result<std::string> bounded_text(JsonValue value, size_t least) {
  const std::string_view text = EBB_TRY(value.text());
  if (text.size() >= least && text.size() <= kPatternBytesMax) return std::string(text);
  return value.error("has " + std::to_string(text.size()) + " bytes; the limits are " +
                     std::to_string(least) + " and " + std::to_string(kPatternBytesMax));
}

Result<std::string> bounded_text_at(JsonValue object, std::string_view name, size_t least) {
  const JsonValue member = EBB_TRY(object.at(name));
  return bounded_text(member, least);
}

/// {"String": "..."}: the only form that replacements of these families use.
Result<std::string> literal_pattern(JsonValue part) {
  const JsonValue pattern = EBB_TRY(part.at("pattern"));
  EBB_TRY_VOID(pattern.only({"String"}));
  return bounded_text_at(pattern, "String", 1);
}

/// Of a Metaspace, as pre-tokenizer and as decoder.
Result<PreTokenizerStep::Prepend> read_prepend_scheme(JsonValue part) {
  using Prepend = PreTokenizerStep::Prepend;
  const bool adds = EBB_TRY(part.boolean_or("add_prefix_space", true));
  const auto scheme = part.find("prepend_scheme");
  if (!scheme) return adds ? Prepend::kAlways : Prepend::kNever;
  const std::string_view name = EBB_TRY(scheme->text());
  if (!adds && name != "never") return scheme->error("contradicts add_prefix_space");
  if (name == "always") return Prepend::kAlways;
  if (name == "first") return Prepend::kFirst;
  if (name == "never") return Prepend::kNever;
  return unknown_type(*scheme, name, "always, first, never");
}

/// The character that stands for a space.
Result<std::string> replacement_of(JsonValue part) {
  const JsonValue value = EBB_TRY(part.at("replacement"));
  const std::string_view text = EBB_TRY(value.text());
  if (!text.empty() && utf8_sequence_length(text) == text.size()) return std::string(text);
  return value.error("must be one character, not " + quoted_text(text));
}

Result<void> check_metaspace(JsonValue part) {
  return part.only(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
}

// --- Normalizer ---------------------------------------------------------------------------------

Result<void> add_normalizer(JsonValue part, TokenizerSpec& spec) {
  const JsonValue type = EBB_TRY(part.at("type"));
  const std::string_view name = EBB_TRY(type.text());
  NormalizerStep step;
  if (name == "Sequence") {
    EBB_TRY_VOID(part.only({"type", "normalizers"}));
    const JsonValue list = EBB_TRY(part.array_at("normalizers"));
    for (JsonValue v = list.first(); v; v = v.next()) EBB_TRY_VOID(add_normalizer(v, spec));
    return {};
  }
  if (name == "NFC") {
    EBB_TRY_VOID(part.only({"type"}));
  } else if (name == "Prepend") {
    EBB_TRY_VOID(part.only({"type", "prepend"}));
    step.kind = NormalizerStep::Kind::kPrepend;
    step.content = EBB_TRY(bounded_text_at(part, "prepend", 0));
  } else if (name == "Replace") {
    EBB_TRY_VOID(part.only({"type", "pattern", "content"}));
    step.kind = NormalizerStep::Kind::kReplace;
    step.pattern = EBB_TRY(literal_pattern(part));
    step.content = EBB_TRY(bounded_text_at(part, "content", 0));
  } else {
    return unknown_type(type, name, "NFC, Prepend, Replace, Sequence");
  }
  if (spec.normalizer.size() >= kStepsMax) return too_many(part);
  spec.normalizer.push_back(std::move(step));
  return {};
}

// --- Pre-tokenizer ------------------------------------------------------------------------------

Result<SplitBehavior> read_behavior(JsonValue value) {
  static constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kNames = {{
      {"Isolated", SplitBehavior::kIsolated},
      {"Removed", SplitBehavior::kRemoved},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  }};
  const std::string_view name = EBB_TRY(value.text());
  for (const auto& [known, behavior] : kNames) {
    if (known == name) return behavior;
  }
  return unknown_type(value, name,
                      "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

class PreTokenizerReader {
 public:
  explicit PreTokenizerReader(TokenizerSpec& spec) : spec_(spec) {}

  Result<void> add(JsonValue part) {
    const JsonValue type = EBB_TRY(part.at("type"));
    const std::string_view name = EBB_TRY(type.text());
    if (name == "Sequence") return add_sequence(part);
    if (spec_.bpe.alphabet == BpeSpec::Alphabet::kBytes) {
      return part.not_supported("stands behind a ByteLevel, which must be the last");
    }
    if (spec_.pre_tokenizer.size() + 2 > kStepsMax) return too_many(part);
    if (name == "Split") return add_split(part);
    if (name == "ByteLevel") return add_byte_level(part);
    if (name == "Digits") return add_digits(part);
    if (name == "Metaspace") return add_metaspace(part);
    return unknown_type(type, name, "ByteLevel, Digits, Metaspace, Sequence, Split");
  }

 private:
  using Step = PreTokenizerStep;

  Result<void> add_sequence(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "pretokenizers"}));
    const JsonValue list = EBB_TRY(part.array_at("pretokenizers"));
    for (JsonValue v = list.first(); v; v = v.next()) EBB_TRY_VOID(add(v));
    return {};
  }

  Result<void> add_split(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "pattern", "behavior", "invert"}));
    Step step;
    const JsonValue pattern = EBB_TRY(part.at("pattern"));
    EBB_TRY_VOID(pattern.only({"Regex", "String"}));
    const auto regex = pattern.find("Regex");
    const JsonValue text = EBB_TRY(pattern.at(regex ? "Regex" : "String"));
    if (pattern.size() != 1) return pattern.error("has both 'Regex' and 'String'");
    step.kind = regex ? Step::Kind::kPattern : Step::Kind::kLiteral;
    step.pattern = EBB_TRY(bounded_text(text, 1));
    step.where = text.path();
    const JsonValue behavior = EBB_TRY(part.at("behavior"));
    step.behavior = EBB_TRY(read_behavior(behavior));
    step.invert = EBB_TRY(part.boolean_or("invert", false));
    spec_.pre_tokenizer.push_back(std::move(step));
    return {};
  }

  Result<void> add_byte_level(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    if (EBB_TRY(part.boolean_or("add_prefix_space", true))) {
      spec_.pre_tokenizer.push_back({.kind = Step::Kind::kPrefixSpace});
    }
    if (EBB_TRY(part.boolean_or("use_regex", true))) {
      spec_.pre_tokenizer.push_back({.pattern = std::string(kGpt2Pattern), .where = part.path()});
    }
    spec_.bpe.alphabet = BpeSpec::Alphabet::kBytes;
    return {};
  }

  Result<void> add_digits(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "individual_digits"}));
    const bool individual = EBB_TRY(part.boolean_or("individual_digits", false));
    spec_.pre_tokenizer.push_back(
        {.pattern = individual ? "\\p{N}" : "\\p{N}+", .where = part.path()});
    return {};
  }

  Result<void> add_metaspace(JsonValue part) {
    EBB_TRY_VOID(check_metaspace(part));
    Step step;
    step.kind = Step::Kind::kMetaspace;
    step.content = EBB_TRY(replacement_of(part));
    step.prepend = EBB_TRY(read_prepend_scheme(part));
    const std::string mark = step.content;
    spec_.pre_tokenizer.push_back(std::move(step));
    if (EBB_TRY(part.boolean_or("split", true))) {
      spec_.pre_tokenizer.push_back({.kind = Step::Kind::kLiteral,
                                     .pattern = mark,
                                     .where = part.path(),
                                     .behavior = SplitBehavior::kMergedWithNext});
    }
    return {};
  }

  TokenizerSpec& spec_;
};

// --- Post-processor -----------------------------------------------------------------------------

/// The ids that `name` stands for in a template.
Result<std::vector<TokenId>> template_ids(JsonValue part, JsonValue name,
                                          const TokenizerSpec& spec) {
  const JsonValue tokens = EBB_TRY(part.at("special_tokens"));
  const std::string_view wanted = EBB_TRY(name.text());
  const auto entry = tokens.find(wanted);
  if (!entry)
    return name.error("is " + quoted_text(wanted) + ", which special_tokens does not have");
  EBB_TRY_VOID(entry->only({"id", "ids", "tokens"}));
  const JsonValue list = EBB_TRY(entry->at("ids"));
  EBB_TRY_VOID(list.expect(JsonType::kArray));
  if (list.size() > kStepsMax) return too_many(list);
  std::vector<TokenId> ids;
  for (JsonValue value = list.first(); value; value = value.next()) {
    const int64_t id = EBB_TRY(value.integer());
    if (id < 0 || id >= static_cast<int64_t>(spec.texts.size())) {
      return value.error("is " + std::to_string(id) + "; the vocabulary has " +
                         std::to_string(spec.texts.size()) + " tokens");
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

Result<void> add_template(JsonValue part, TokenizerSpec& spec) {
  EBB_TRY_VOID(part.only({"type", "single", "pair", "special_tokens"}));
  const JsonValue single = EBB_TRY(part.array_at("single"));
  std::vector<TokenId> before;
  std::vector<TokenId> after;
  int texts = 0;
  for (JsonValue piece = single.first(); piece; piece = piece.next()) {
    EBB_TRY_VOID(piece.only({"SpecialToken", "Sequence"}));
    if (piece.size() != 1) return piece.error("must be one of 'SpecialToken' and 'Sequence'");
    const JsonValue inside = piece.first();
    EBB_TRY_VOID(inside.only({"id", "type_id"}));
    const JsonValue id = EBB_TRY(inside.at("id"));
    if (inside.key() == "Sequence") {
      const std::string_view text = EBB_TRY(id.text());
      if (text != "A") return id.error("is not 'A': there is one text");
      ++texts;
      continue;
    }
    auto& where = texts == 0 ? before : after;
    const auto ids = EBB_TRY(template_ids(part, id, spec));
    where.insert(where.end(), ids.begin(), ids.end());
  }
  if (texts != 1) return single.error("must hold the Sequence 'A' once");
  if (before.size() + after.size() + spec.before.size() + spec.after.size() > kStepsMax) {
    return too_many(single);
  }
  spec.before.insert(spec.before.begin(), before.begin(), before.end());
  spec.after.insert(spec.after.end(), after.begin(), after.end());
  return {};
}

Result<void> add_post_processor(JsonValue part, TokenizerSpec& spec) {
  const JsonValue type = EBB_TRY(part.at("type"));
  const std::string_view name = EBB_TRY(type.text());
  if (name == "TemplateProcessing") return add_template(part, spec);
  if (name == "ByteLevel") {  // moves offsets in the text; adds nothing
    return part.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  if (name != "Sequence")
    return unknown_type(type, name, "ByteLevel, Sequence, TemplateProcessing");
  EBB_TRY_VOID(part.only({"type", "processors"}));
  const JsonValue list = EBB_TRY(part.array_at("processors"));
  for (JsonValue v = list.first(); v; v = v.next()) EBB_TRY_VOID(add_post_processor(v, spec));
  return {};
}

// --- Decoder ------------------------------------------------------------------------------------

/// A chain is known in this order: ByteLevel alone, Metaspace alone, or any number of Replace, then
/// ByteFallback, Fuse and Strip, each of them once or not at all.
class DecoderReader {
 public:
  explicit DecoderReader(TokenizerSpec& spec) : spec_(spec) {}

  Result<void> add(JsonValue part) {
    const JsonValue type = EBB_TRY(part.at("type"));
    const std::string_view name = EBB_TRY(type.text());
    if (name == "Sequence") return add_sequence(part);
    if (name == "ByteLevel") {
      EBB_TRY_VOID(part.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
      spec_.decoder.kind = DecoderSpec::Kind::kByteLevel;
      return move_to(Place::kAlone, part);
    }
    spec_.decoder.kind = DecoderSpec::Kind::kText;
    if (name == "Metaspace") return add_metaspace(part);
    if (name == "Replace") return add_replace(part);
    if (name == "ByteFallback") {
      EBB_TRY_VOID(part.only({"type"}));
      spec_.decoder.byte_fallback = true;
      return move_to(Place::kByteFallback, part);
    }
    if (name == "Fuse") {
      EBB_TRY_VOID(part.only({"type"}));
      return move_to(Place::kFuse, part);
    }
    if (name == "Strip") return add_strip(part);
    return unknown_type(type, name,
                        "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip");
  }

 private:
  enum class Place { kNone, kReplace, kByteFallback, kFuse, kStrip, kAlone };

  Result<void> move_to(Place place, JsonValue part) {
    const bool repeats = place == Place::kReplace && place_ == Place::kReplace;
    const bool in_order = place == Place::kAlone ? place_ == Place::kNone : place > place_;
    if (!repeats && !in_order) {
      return part.not_supported(
          "stands in an order that is not known; known are ByteLevel alone, Metaspace alone, and "
          "Replace, ByteFallback, Fuse, Strip");
    }
    place_ = place;
    return {};
  }

  Result<void> add_sequence(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "decoders"}));
    const JsonValue list = EBB_TRY(part.array_at("decoders"));
    if (list.size() == 0) return list.not_supported("is empty");
    for (JsonValue v = list.first(); v; v = v.next()) EBB_TRY_VOID(add(v));
    return {};
  }

  Result<void> add_metaspace(JsonValue part) {
    EBB_TRY_VOID(check_metaspace(part));
    EBB_TRY_VOID(move_to(Place::kAlone, part));
    const std::string mark = EBB_TRY(replacement_of(part));
    const auto prepend = EBB_TRY(read_prepend_scheme(part));
    spec_.decoder.replacements.push_back({mark, " "});
    spec_.decoder.mark = mark;
    spec_.decoder.leading_space = prepend == PreTokenizerStep::Prepend::kNever
                                      ? LeadingSpace::kKept
                                      : LeadingSpace::kFirstTokenMarks;
    return {};
  }

  Result<void> add_replace(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "pattern", "content"}));
    EBB_TRY_VOID(move_to(Place::kReplace, part));
    if (spec_.decoder.replacements.size() >= kStepsMax) return too_many(part);
    std::string pattern = EBB_TRY(literal_pattern(part));
    std::string content = EBB_TRY(bounded_text_at(part, "content", 0));
    spec_.decoder.replacements.push_back({std::move(pattern), std::move(content)});
    return {};
  }

  Result<void> add_strip(JsonValue part) {
    EBB_TRY_VOID(part.only({"type", "content", "start", "stop"}));
    if (place_ != Place::kFuse) return part.not_supported("is known only right behind a Fuse");
    EBB_TRY_VOID(move_to(Place::kStrip, part));
    const JsonValue content = EBB_TRY(part.at("content"));
    const std::string_view space = EBB_TRY(content.text());
    if (space != " ") return content.not_supported("is not one space");
    const JsonValue start = EBB_TRY(part.at("start"));
    const JsonValue stop = EBB_TRY(part.at("stop"));
    const int64_t from_start = EBB_TRY(start.integer());
    if (from_start != 0 && from_start != 1) return start.not_supported("is not 0 or 1");
    const int64_t from_stop = EBB_TRY(stop.integer());
    if (from_stop != 0) return stop.not_supported("is not 0");
    if (from_start == 1) spec_.decoder.leading_space = LeadingSpace::kOneDropped;
    return {};
  }

  TokenizerSpec& spec_;
  Place place_ = Place::kNone;
};

}  // namespace

Result<void> read_normalizer(std::optional<JsonValue> part, TokenizerSpec& spec) {
  if (!part || part->is_null()) return {};
  return add_normalizer(*part, spec);
}

Result<void> read_pre_tokenizer(std::optional<JsonValue> part, TokenizerSpec& spec) {
  spec.bpe.alphabet = BpeSpec::Alphabet::kCharacters;
  if (!part || part->is_null()) return {};
  return PreTokenizerReader(spec).add(*part);
}

Result<void> read_post_processor(std::optional<JsonValue> part, TokenizerSpec& spec) {
  if (!part || part->is_null()) return {};
  return add_post_processor(*part, spec);
}

Result<void> read_decoder(std::optional<JsonValue> part, TokenizerSpec& spec) {
  if (!part || part->is_null()) {
    return unsupported("decoder is missing: tokens would be joined with spaces");
  }
  return DecoderReader(spec).add(*part);
}

}  // namespace ebb::models
