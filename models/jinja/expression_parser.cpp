#include "models/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "models/jinja/builtins.h"

namespace ebb::models::jinja {
namespace {

template <class Node>
ExpressionPtr make(Place place, Node node) {
  auto expression = std::make_unique<Expression>();
  expression->place = place;
  expression->node = std::move(node);
  return expression;
}

/// Whether the builtin can take these arguments, of which only number and names are known yet.
Result<void> check_given(Place place, const Builtin& builtin, const Given& given) {
  std::vector<std::string_view> names;
  for (const auto& entry : given.by_name) names.push_back(entry.first);
  auto checked = check_arguments(builtin, given.positional.size(), names);
  if (!checked) return at_place(place, std::move(checked).error());
  return {};
}

}  // namespace

Result<ExpressionPtr> ExpressionParser::parse_expression() {
  const Level level(depth_);
  if (level.too_deep()) return fail_deep();
  const Place place = peek().place;
  ExpressionPtr value = EBB_TRY(parse_or());
  while (take_name("if")) {
    ExpressionPtr condition = EBB_TRY(parse_or());
    ExpressionPtr otherwise;
    if (take_name("else")) otherwise = EBB_TRY(parse_expression());
    value = make(place, Conditional{std::move(condition), std::move(value), std::move(otherwise)});
  }
  return value;
}

bool ExpressionParser::ends_tuple() const {
  return sees(TokenKind::kTagEnd) || sees(TokenKind::kOutputEnd) || sees_operator(")");
}

Result<ExpressionPtr> ExpressionParser::parse_tuple(Conditionals conditionals) {
  const Place place = peek().place;
  const auto parse_one = [&] {
    return conditionals == Conditionals::kAllowed ? parse_expression() : parse_or();
  };
  if (ends_tuple()) return fail_expected("a value");
  ExpressionPtr first = EBB_TRY(parse_one());
  if (!sees_operator(",")) return first;
  ListDisplay tuple{SequenceKind::kTuple, {}};
  tuple.elements.push_back(std::move(first));
  while (take_operator(",") && !ends_tuple()) tuple.elements.push_back(EBB_TRY(parse_one()));
  return make(place, std::move(tuple));
}

Result<ExpressionPtr> ExpressionParser::parse_or() {
  ExpressionPtr left = EBB_TRY(parse_and());
  while (sees_name("or")) {
    const Place place = next().place;
    ExpressionPtr right = EBB_TRY(parse_and());
    left = make(place, Logical{false, std::move(left), std::move(right)});
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::parse_and() {
  ExpressionPtr left = EBB_TRY(parse_not());
  while (sees_name("and")) {
    const Place place = next().place;
    ExpressionPtr right = EBB_TRY(parse_not());
    left = make(place, Logical{true, std::move(left), std::move(right)});
  }
  return left;
}

Result<ExpressionPtr> ExpressionParser::parse_not() {
  const Level level(depth_);
  if (level.too_deep()) return fail_deep();
  const Place place = peek().place;
  if (!take_name("not")) return parse_comparison();
  ExpressionPtr operand = EBB_TRY(parse_not());
  return make(place, Unary{UnaryOperator::kNot, std::move(operand)});
}

std::optional<CompareOperator> ExpressionParser::take_comparison() {
  using Pair = std::pair<std::string_view, CompareOperator>;
  for (const auto& [text, op] :
       {Pair{"==", CompareOperator::kEqual}, Pair{"!=", CompareOperator::kNotEqual},
        Pair{"<=", CompareOperator::kLessEqual}, Pair{"<", CompareOperator::kLess},
        Pair{">=", CompareOperator::kGreaterEqual}, Pair{">", CompareOperator::kGreater}}) {
    if (take_operator(text)) return op;
  }
  if (take_name("in")) return CompareOperator::kIn;
  if (sees_name("not") && sees_name("in", 1)) {
    next();
    next();
    return CompareOperator::kNotIn;
  }
  return std::nullopt;
}

Result<ExpressionPtr> ExpressionParser::parse_comparison() {
  const Place place = peek().place;
  ExpressionPtr first = EBB_TRY(parse_sum());
  Compare compare;
  while (const auto op = take_comparison()) {
    ExpressionPtr right = EBB_TRY(parse_sum());
    compare.rest.emplace_back(*op, std::move(right));
  }
  if (compare.rest.empty()) return first;
  compare.first = std::move(first);
  return make(place, std::move(compare));
}

/// operand { operator operand }, from the left.
Result<ExpressionPtr> ExpressionParser::parse_chain(
    Operators operators, Result<ExpressionPtr> (ExpressionParser::*parse_next)()) {
  ExpressionPtr left = EBB_TRY((this->*parse_next)());
  for (;;) {
    const auto* op = std::find_if(operators.begin(), operators.end(),
                                  [&](const auto& o) { return sees_operator(o.first); });
    if (op == operators.end()) return left;
    const Place place = next().place;
    ExpressionPtr right = EBB_TRY((this->*parse_next)());
    left = make(place, Binary{op->second, std::move(left), std::move(right)});
  }
}

Result<ExpressionPtr> ExpressionParser::parse_sum() {
  return parse_chain({{"+", BinaryOperator::kAdd}, {"-", BinaryOperator::kSubtract}},
                     &ExpressionParser::parse_concat);
}

Result<ExpressionPtr> ExpressionParser::parse_concat() {
  const Place place = peek().place;
  ExpressionPtr first = EBB_TRY(parse_product());
  if (!sees_operator("~")) return first;
  Concat concat;
  concat.parts.push_back(std::move(first));
  while (take_operator("~")) concat.parts.push_back(EBB_TRY(parse_product()));
  return make(place, std::move(concat));
}

Result<ExpressionPtr> ExpressionParser::parse_product() {
  return parse_chain({{"*", BinaryOperator::kMultiply},
                      {"/", BinaryOperator::kDivide},
                      {"//", BinaryOperator::kFloorDivide},
                      {"%", BinaryOperator::kModulo}},
                     &ExpressionParser::parse_operand);
}

Result<ExpressionPtr> ExpressionParser::parse_operand() {
  ExpressionPtr value = EBB_TRY(parse_signed());
  value = EBB_TRY(parse_filters_and_tests(std::move(value)));
  if (sees_operator("**")) return fail_unsupported(peek().place, "the operator '**'");
  return value;
}

/// A filter behind `-x` applies to the whole, as in Jinja: `-1|string` is "-1".
Result<ExpressionPtr> ExpressionParser::parse_signed() {
  const Level level(depth_);
  if (level.too_deep()) return fail_deep();
  const Place place = peek().place;
  for (const auto& [text, op] :
       {std::pair{"-", UnaryOperator::kMinus}, {"+", UnaryOperator::kPlus}}) {
    if (!take_operator(text)) continue;
    ExpressionPtr operand = EBB_TRY(parse_signed());
    return parse_postfix(make(place, Unary{op, std::move(operand)}));
  }
  ExpressionPtr value = EBB_TRY(parse_primary());
  return parse_postfix(std::move(value));
}

Result<ExpressionPtr> ExpressionParser::parse_primary() {
  const Place place = peek().place;
  switch (peek().kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kInteger:
      return parse_integer();
    case TokenKind::kReal:
      return make(place, Literal{std::strtod(next().text.c_str(), nullptr)});
    case TokenKind::kString: {
      std::string text;
      while (sees(TokenKind::kString)) text += next().text;  // 'a' 'b' is 'ab'
      return make(place, Literal{std::move(text)});
    }
    default:
      break;
  }
  if (take_operator("(")) return parse_parentheses(place);
  if (take_operator("[")) return parse_list(place);
  if (take_operator("{")) return parse_mapping(place);
  return fail_expected("a value");
}

Result<ExpressionPtr> ExpressionParser::parse_name() {
  constexpr std::string_view kKeywords[] = {"if", "else", "and", "or", "in", "is"};
  const Token& token = peek();
  if (std::find(std::begin(kKeywords), std::end(kKeywords), token.text) != std::end(kKeywords)) {
    return fail_expected("a value");
  }
  next();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return make(token.place, Literal{true});
  if (name == "false" || name == "False") return make(token.place, Literal{false});
  if (name == "none" || name == "None") return make(token.place, Literal{Value()});
  names_used.insert(name);
  return make(token.place, Name{name});
}

Result<ExpressionPtr> ExpressionParser::parse_integer() {
  int64_t value = 0;
  const std::string& text = peek().text;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return fail("integers have at most 63 bits");
  return make(next().place, Literal{value});
}

/// Behind "(": a value in parentheses, or a tuple.
Result<ExpressionPtr> ExpressionParser::parse_parentheses(Place place) {
  if (take_operator(")")) return make(place, ListDisplay{SequenceKind::kTuple, {}});
  ExpressionPtr value = EBB_TRY(parse_tuple(Conditionals::kAllowed));
  EBB_TRY_VOID(expect_operator(")"));
  return value;
}

Result<ExpressionPtr> ExpressionParser::parse_list(Place place) {
  ListDisplay list{SequenceKind::kList, {}};
  while (!take_operator("]")) {
    list.elements.push_back(EBB_TRY(parse_expression()));
    if (!sees_operator("]")) EBB_TRY_VOID(expect_operator(","));
  }
  return make(place, std::move(list));
}

Result<ExpressionPtr> ExpressionParser::parse_mapping(Place place) {
  DictDisplay dict;
  while (!take_operator("}")) {
    ExpressionPtr key = EBB_TRY(parse_expression());
    EBB_TRY_VOID(expect_operator(":"));
    ExpressionPtr value = EBB_TRY(parse_expression());
    dict.entries.emplace_back(std::move(key), std::move(value));
    if (!sees_operator("}")) EBB_TRY_VOID(expect_operator(","));
  }
  return make(place, std::move(dict));
}

Result<ExpressionPtr> ExpressionParser::parse_postfix(ExpressionPtr value) {
  for (;;) {
    const Place place = peek().place;
    if (take_operator(".")) {
      value = EBB_TRY(parse_attribute(place, std::move(value)));
    } else if (take_operator("[")) {
      value = EBB_TRY(parse_subscript(place, std::move(value)));
    } else if (sees_operator("(")) {
      value = EBB_TRY(parse_call(std::move(value)));
    } else {
      return value;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::parse_attribute(Place place, ExpressionPtr subject) {
  if (sees(TokenKind::kInteger)) {
    ExpressionPtr index = EBB_TRY(parse_integer());
    return make(place, Subscript{std::move(subject), std::move(index)});
  }
  const Place name_place = peek().place;
  std::string name = EBB_TRY(expect_name("a name behind '.'"));
  const bool known = is_method_name(name) || name == "cycle";
  if (sees_operator("(") && !known) {
    return fail_unsupported(name_place, "the method '" + name + "'");
  }
  return make(name_place, Attribute{std::move(subject), std::move(name)});
}

Result<ExpressionPtr> ExpressionParser::parse_subscript(Place place, ExpressionPtr subject) {
  ExpressionPtr parts[3];
  size_t colons = 0;
  while (!sees_operator("]")) {
    if (take_operator(":")) {
      if (++colons > 2) return fail("a slice has at most two ':'");
    } else if (parts[colons] == nullptr) {
      parts[colons] = EBB_TRY(parse_expression());
    } else {
      return fail_expected("']'");
    }
  }
  if (colons == 0 && parts[0] == nullptr) return fail_expected("a value");
  next();
  if (colons == 0) return make(place, Subscript{std::move(subject), std::move(parts[0])});
  return make(place, Slice{std::move(subject), std::move(parts[0]), std::move(parts[1]),
                           std::move(parts[2])});
}

Result<ExpressionPtr> ExpressionParser::parse_call(ExpressionPtr callee) {
  const Place place = callee->place;
  next();
  Given given = EBB_TRY(parse_arguments());
  return make(place, Call{std::move(callee), std::move(given)});
}

Result<ExpressionPtr> ExpressionParser::parse_filters_and_tests(ExpressionPtr value) {
  for (;;) {
    const Place place = peek().place;
    if (take_operator("|")) {
      Filter filter = EBB_TRY(parse_filter());
      value = make(place, FilterCall{std::move(value), std::move(filter)});
    } else if (take_name("is")) {
      value = EBB_TRY(parse_test(std::move(value)));
    } else if (sees_operator("(")) {
      value = EBB_TRY(parse_call(std::move(value)));
    } else {
      return value;
    }
  }
}

Result<Filter> ExpressionParser::parse_filter() {
  const Place place = peek().place;
  const std::string name = EBB_TRY(expect_name("a filter's name"));
  Filter filter{find_filter(name), place, {}};
  if (filter.builtin == nullptr) return fail_unsupported(place, "the filter '" + name + "'");
  if (take_operator("(")) filter.given = EBB_TRY(parse_arguments());
  EBB_TRY_VOID(check_given(place, *filter.builtin, filter.given));
  return filter;
}

/// What Jinja takes for a test's argument without parentheses. Any name but three counts, so a
/// test in front of another word takes that word.
bool ExpressionParser::begins_test_argument() const {
  const TokenKind kind = peek().kind;
  if (kind == TokenKind::kName) {
    return !sees_name("else") && !sees_name("or") && !sees_name("and");
  }
  return kind == TokenKind::kString || kind == TokenKind::kInteger || kind == TokenKind::kReal ||
         sees_operator("(") || sees_operator("[") || sees_operator("{");
}

Result<ExpressionPtr> ExpressionParser::parse_test(ExpressionPtr subject) {
  const bool negated = take_name("not");
  const Place place = peek().place;
  const std::string name = EBB_TRY(expect_name("a test's name"));
  TestCall call{std::move(subject), find_test(name), {}, negated};
  if (call.builtin == nullptr) return fail_unsupported(place, "the test '" + name + "'");
  if (take_operator("(")) {
    call.given = EBB_TRY(parse_arguments());
  } else if (begins_test_argument()) {
    if (sees_name("is")) return fail("tests cannot be chained: 'x is a is b'");
    ExpressionPtr argument = EBB_TRY(parse_primary());
    call.given.positional.push_back(EBB_TRY(parse_postfix(std::move(argument))));
  }
  EBB_TRY_VOID(check_given(place, *call.builtin, call.given));
  return make(place, std::move(call));
}

/// Behind "(", up to and with ")".
Result<Given> ExpressionParser::parse_arguments() {
  Given given;
  while (!take_operator(")")) {
    const bool named =
        sees(TokenKind::kName) && peek(1).kind == TokenKind::kOperator && peek(1).text == "=";
    if (named) {
      std::string name = next().text;
      next();
      ExpressionPtr value = EBB_TRY(parse_expression());
      given.by_name.emplace_back(std::move(name), std::move(value));
    } else if (sees_operator("*") || sees_operator("**")) {
      return fail_unsupported(peek().place, "unpacking arguments by '*'");
    } else if (given.by_name.empty()) {
      given.positional.push_back(EBB_TRY(parse_expression()));
    } else {
      return fail("an unnamed argument behind a named one");
    }
    if (!sees_operator(")")) EBB_TRY_VOID(expect_operator(","));
  }
  return given;
}

}  // namespace ebb::models::jinja
