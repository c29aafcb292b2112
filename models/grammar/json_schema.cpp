#include "models/grammar/json_schema.h"

#include <string>

#include "models/grammar/schema_compiler.h"

namespace ebb::models::grammar {

Result<Grammar> compile_json_schema(std::string_view text) {
  if (text.size() > kSchemaBytesMax) {
    return invalid("must have at most " + std::to_string(kSchemaBytesMax) + " bytes, not " +
                   std::to_string(text.size()));
  }
  const JsonTree schema = EBB_TRY(parse_json_tree(text));
  return SchemaCompiler(schema).compile();
}

Result<Grammar> compile_json_object() {
  GrammarBuilder builder;
  JsonRules rules(builder);
  return builder.finish(rules.object());
}

}  // namespace ebb::models::grammar
