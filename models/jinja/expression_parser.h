// Expressions, by recursive descent with Jinja's precedences: each function reads one level, the
// loosest first. Must not know tags.
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "models/jinja/ast.h"
#include "models/jinja/token_reader.h"

namespace ebb::models::jinja {

class ExpressionParser : protected TokenReader {
 public:
  using TokenReader::TokenReader;

 protected:
  Result<ExpressionPtr> parse_expression();
  /// Everything but a conditional, whose `if` would belong to the `for` or tag around it.
  Result<ExpressionPtr> parse_or();
  enum class Conditionals { kAllowed, kLeft };
  /// One value, or several with commas: a tuple.
  Result<ExpressionPtr> parse_tuple(Conditionals conditionals);
  /// Behind "|".
  Result<Filter> parse_filter();
  /// Names that expressions have used since it was last cleared.
  std::set<std::string, std::less<>> names_used;

 private:
  using Operators = std::initializer_list<std::pair<std::string_view, BinaryOperator>>;

  Result<ExpressionPtr> parse_and();
  Result<ExpressionPtr> parse_not();
  Result<ExpressionPtr> parse_comparison();
  std::optional<CompareOperator> take_comparison();
  Result<ExpressionPtr> parse_chain(Operators operators,
                                    Result<ExpressionPtr> (ExpressionParser::*parse_next)());
  Result<ExpressionPtr> parse_sum();
  Result<ExpressionPtr> parse_concat();
  Result<ExpressionPtr> parse_product();
  Result<ExpressionPtr> parse_operand();
  Result<ExpressionPtr> parse_signed();
  Result<ExpressionPtr> parse_primary();
  Result<ExpressionPtr> parse_name();
  Result<ExpressionPtr> parse_integer();
  Result<ExpressionPtr> parse_parentheses(Place place);
  Result<ExpressionPtr> parse_list(Place place);
  Result<ExpressionPtr> parse_mapping(Place place);
  Result<ExpressionPtr> parse_postfix(ExpressionPtr value);
  Result<ExpressionPtr> parse_attribute(Place place, ExpressionPtr subject);
  Result<ExpressionPtr> parse_subscript(Place place, ExpressionPtr subject);
  Result<ExpressionPtr> parse_call(ExpressionPtr callee);
  Result<ExpressionPtr> parse_filters_and_tests(ExpressionPtr value);
  Result<ExpressionPtr> parse_test(ExpressionPtr subject);
  Result<Given> parse_arguments();
  bool begins_test_argument() const;
  bool ends_tuple() const;
};

}  // namespace ebb::models::jinja
