#include "models/grammar/constraint.h"

#include "models/grammar/json_schema.h"
#include "models/grammar/json_tree.h"
#include "models/grammar/regex.h"

namespace ebb::models::grammar {
namespace {

Result<Grammar> compile_regex(std::string_view pattern) {
  GrammarBuilder builder;
  const Rule rule = builder.add_rule();
  EBB_TRY_VOID(add_regex(builder, builder.start(rule), pattern, Spelling::kPlain, Anchoring::kWhole,
                         builder.accept(rule)));
  return builder.finish(rule);
}

Result<Grammar> compile_choice(std::string_view source) {
  const JsonTree choices = EBB_TRY(parse_json_tree(source));
  if (!choices.is(JsonTree::Kind::kArray) || choices.items.empty() ||
      choices.items.size() > kChoicesMax || source.size() > kChoiceBytesMax) {
    return invalid("must be a list of 1 to " + std::to_string(kChoicesMax) +
                   " strings, of at most " + std::to_string(kChoiceBytesMax) + " bytes together");
  }
  GrammarBuilder builder;
  const Rule rule = builder.add_rule();
  for (const JsonTree& choice : choices.items) {
    if (!choice.is(JsonTree::Kind::kString) || choice.text.empty()) {
      return invalid(std::string("must hold strings that are not empty, not ") +
                     (choice.text.empty() ? "\"\"" : json_tree_kind(choice)));
    }
    builder.add_text(builder.start(rule), choice.text, builder.accept(rule));
  }
  return builder.finish(rule);
}

}  // namespace

Result<Grammar> compile_constraint(ConstraintKind kind, std::string_view source) {
  switch (kind) {
    case ConstraintKind::kJsonObject:
      return compile_json_object();
    case ConstraintKind::kJsonSchema:
      return compile_json_schema(source);
    case ConstraintKind::kRegex:
      return compile_regex(source);
    case ConstraintKind::kChoice:
      return compile_choice(source);
    case ConstraintKind::kNone:
      break;
  }
  return invalid("constraint of unknown kind");
}

std::string choice_source(const std::vector<std::string>& choices) {
  std::string source = "[";
  for (const std::string& choice : choices) {
    source += (source.size() > 1 ? "," : "") + json_string(choice);
  }
  return source + "]";
}

}  // namespace ebb::models::grammar
