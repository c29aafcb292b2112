// Turns the nodes of a schema into rules, one rule a node, so that references may be recursive.
// Nodes wait in a queue: nothing here recurses over the schema.
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/grammar/json_rules.h"
#include "models/grammar/schema_keywords.h"

namespace ebb::models::grammar {

class SchemaCompiler {
 public:
  /// `schema` outlives the compiler.
  explicit SchemaCompiler(const JsonTree& schema) : root_(schema), json_(builder_) {}
  Result<Grammar> compile();

 private:
  /// A node whose rule has still to be filled.
  struct Due {
    const JsonTree* node;
    std::string path;
    Rule rule;
  };
  /// Between two states: where a part of a node's rule goes.
  struct Span {
    State from, to;
  };

  Rule rule_of(const JsonTree& node, const std::string& path);
  Result<void> add_node(const Due& due);
  Result<void> check_keywords(const JsonTree& node, const std::string& path) const;
  Result<void> add_reference(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_values(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_any_of(const JsonTree& node, const std::string& path, std::string_view keyword,
                          Span span);
  Result<void> add_all_of(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_types(const JsonTree& node, const std::string& path, Span span);

  // schema_strings.cpp: strings and numbers
  Result<void> add_string(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_format(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_length(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_number(const JsonTree& node, const std::string& path, SchemaTypes types,
                          Span span);
  // schema_containers.cpp: arrays and objects
  struct Property {
    std::string name;
    Rule value;
    bool required;
  };
  struct Items {
    uint32_t min = 0;
    std::optional<uint32_t> max;
    std::vector<Rule> first;  ///< of the first items, one each
    Rule rest = 0;
  };
  Result<Items> read_items(const JsonTree& node, const std::string& path);
  Result<void> add_array(const JsonTree& node, const std::string& path, Span span);
  Result<void> add_object(const JsonTree& node, const std::string& path, Span span);
  Result<std::vector<Property>> read_properties(const JsonTree& node, const std::string& path,
                                                std::optional<Rule> others);
  Result<std::optional<Rule>> other_properties(const JsonTree& node, const std::string& path);
  void add_members(Span span, const std::vector<Property>& properties, std::optional<Rule> others);

  const JsonTree& root_;
  GrammarBuilder builder_;
  JsonRules json_;
  std::unordered_map<const JsonTree*, Rule> rules_;
  std::deque<Due> due_;
};

/// The node that a reference names: "#", "#/$defs/name" or another JSON pointer (RFC 6901) into
/// this schema. Errors: kInvalid.
Result<const JsonTree*> resolve_reference(const JsonTree& root, const JsonTree& reference,
                                          const std::string& path);

/// No value is valid for both: seen by their types, their listed values, or a property that both
/// require and that has different listed values in each. False: not known.
bool are_disjoint(const JsonTree& root, const JsonTree& a, const JsonTree& b);

}  // namespace ebb::models::grammar
