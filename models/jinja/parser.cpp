#include "models/jinja/parser.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "models/jinja/builtins.h"
#include "models/jinja/token_reader.h"

namespace ebb::models::jinja {
namespace {

constexpr size_t kSourceBytesMax = 1 << 20;
/// With TokenReader's limit on nesting it bounds the recursion of parser, interpreter and
/// destructors.
constexpr size_t kTokensOfTagMax = 1000;

struct GivenArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> by_name;
};

/// Expressions. Each parse function reads one level of precedence, loosest first.
class ExpressionParser : protected TokenReader {
 public:
  using TokenReader::TokenReader;

  Result<ExpressionPtr> parse_expression() {
    const Level level(depth_);
    if (level.too_deep()) return fail_deep();
    const Place place = peek().place;
    ExpressionPtr value = EBB_TRY(parse_or());
    while (take_name("if")) {
      ExpressionPtr condition = EBB_TRY(parse_or());
      ExpressionPtr otherwise;
      if (take_name("else")) otherwise = EBB_TRY(parse_expression());
      value =
          make(place, Conditional{std::move(condition), std::move(value), std::move(otherwise)});
    }
    return value;
  }

  /// Everything but a conditional, whose `if` would belong to the `for` around it.
  Result<ExpressionPtr> parse_or() {
    ExpressionPtr left = EBB_TRY(parse_and());
    while (sees_name("or")) {
      const Place place = next().place;
      ExpressionPtr right = EBB_TRY(parse_and());
      left = make(place, Logical{false, std::move(left), std::move(right)});
    }
    return left;
  }

 protected:
  template <class Node>
  static ExpressionPtr make(Place place, Node node) {
    auto expression = std::make_unique<Expression>();
    expression->place = place;
    expression->node = std::move(node);
    return expression;
  }

 private:
  Result<ExpressionPtr> parse_and() {
    ExpressionPtr left = EBB_TRY(parse_not());
    while (sees_name("and")) {
      const Place place = next().place;
      ExpressionPtr right = EBB_TRY(parse_not());
      left = make(place, Logical{true, std::move(left), std::move(right)});
    }
    return left;
  }

  Result<ExpressionPtr> parse_not() {
    const Level level(depth_);
    if (level.too_deep()) return fail_deep();
    const Place place = peek().place;
    if (!take_name("not")) return parse_comparison();
    ExpressionPtr operand = EBB_TRY(parse_not());
    return make(place, Unary{UnaryOperator::kNot, std::move(operand)});
  }

  std::optional<CompareOperator> take_comparison() {
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

  Result<ExpressionPtr> parse_comparison() {
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

  using Operators = std::initializer_list<std::pair<std::string_view, BinaryOperator>>;

  /// operand { operator operand }, from the left.
  Result<ExpressionPtr> parse_chain(Operators operators,
                                    Result<ExpressionPtr> (ExpressionParser::*parse_next)()) {
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
  Result<ExpressionPtr> parse_sum() {
    return parse_chain({{"+", BinaryOperator::kAdd}, {"-", BinaryOperator::kSubtract}},
                       &ExpressionParser::parse_concat);
  }
  Result<ExpressionPtr> parse_concat() {
    return parse_chain({{"~", BinaryOperator::kConcat}}, &ExpressionParser::parse_product);
  }
  Result<ExpressionPtr> parse_product() {
    return parse_chain({{"*", BinaryOperator::kMultiply},
                        {"/", BinaryOperator::kDivide},
                        {"//", BinaryOperator::kFloorDivide},
                        {"%", BinaryOperator::kModulo}},
                       &ExpressionParser::parse_operand);
  }

  Result<ExpressionPtr> parse_operand() {
    ExpressionPtr value = EBB_TRY(parse_signed());
    value = EBB_TRY(parse_filters_and_tests(std::move(value)));
    if (sees_operator("**")) return fail_unsupported(peek().place, "the operator '**'");
    return value;
  }

  /// A filter behind `-x` applies to the whole, as in Jinja: `-1|string` is "-1".
  Result<ExpressionPtr> parse_signed() {
    const Level level(depth_);
    if (level.too_deep()) return fail_deep();
    const Place place = peek().place;
    for (const auto& [text, op] :
         {std::pair{"-", UnaryOperator::kMinus}, {"+", UnaryOperator::kPlus}}) {
      if (!take_operator(text)) continue;
      ExpressionPtr operand = EBB_TRY(parse_signed());
      return make(place, Unary{op, std::move(operand)});
    }
    ExpressionPtr value = EBB_TRY(parse_primary());
    return parse_postfix(std::move(value));
  }

  Result<ExpressionPtr> parse_primary() {
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
    if (take_operator("[")) {
      ListDisplay list{EBB_TRY(parse_elements("]"))};
      return make(place, std::move(list));
    }
    if (take_operator("{")) return parse_mapping(place);
    return fail_expected("a value");
  }

  Result<ExpressionPtr> parse_name() {
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
    if (take_operator("(")) return parse_function_call(token.place, name);
    return make(token.place, Name{name});
  }

  Result<ExpressionPtr> parse_integer() {
    int64_t value = 0;
    const std::string& text = peek().text;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return fail("integers have at most 63 bits");
    return make(next().place, Literal{value});
  }

  /// Behind "(": a value in parentheses, or a tuple, which is a list here.
  Result<ExpressionPtr> parse_parentheses(Place place) {
    ListDisplay tuple;
    while (!take_operator(")")) {
      tuple.elements.push_back(EBB_TRY(parse_expression()));
      if (tuple.elements.size() == 1 && take_operator(")")) return std::move(tuple.elements[0]);
      if (!sees_operator(")")) EBB_TRY_VOID(expect_operator(","));
    }
    return make(place, std::move(tuple));
  }

  Result<std::vector<ExpressionPtr>> parse_elements(const std::string& closing) {
    std::vector<ExpressionPtr> elements;
    while (!take_operator(closing)) {
      elements.push_back(EBB_TRY(parse_expression()));
      if (!sees_operator(closing)) EBB_TRY_VOID(expect_operator(","));
    }
    return elements;
  }

  Result<ExpressionPtr> parse_mapping(Place place) {
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

  Result<ExpressionPtr> parse_postfix(ExpressionPtr value) {
    for (;;) {
      const Place place = peek().place;
      if (take_operator(".")) {
        value = EBB_TRY(parse_attribute(place, std::move(value)));
      } else if (take_operator("[")) {
        value = EBB_TRY(parse_subscript(place, std::move(value)));
      } else if (sees_operator("(")) {
        return fail_unsupported(place, "calling something that is no function or method");
      } else {
        return value;
      }
    }
  }

  Result<ExpressionPtr> parse_attribute(Place place, ExpressionPtr subject) {
    if (sees(TokenKind::kInteger)) {
      ExpressionPtr index = EBB_TRY(parse_integer());
      return make(place, Subscript{std::move(subject), std::move(index)});
    }
    const Place name_place = peek().place;
    std::string name = EBB_TRY(expect_name("a name behind '.'"));
    if (!take_operator("(")) return make(place, Attribute{std::move(subject), std::move(name)});
    const Builtin* method = find_method(name);
    if (method == nullptr) return fail_unsupported(name_place, "the method '" + name + "'");
    return parse_call(name_place, method, std::move(subject));
  }

  Result<ExpressionPtr> parse_subscript(Place place, ExpressionPtr subject) {
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

  Result<ExpressionPtr> parse_filters_and_tests(ExpressionPtr value) {
    for (;;) {
      if (take_operator("|")) {
        value = EBB_TRY(parse_filter(std::move(value)));
      } else if (take_name("is")) {
        value = EBB_TRY(parse_test(std::move(value)));
      } else {
        return value;
      }
    }
  }

  Result<ExpressionPtr> parse_filter(ExpressionPtr subject) {
    const Place place = peek().place;
    const std::string name = EBB_TRY(expect_name("a filter's name"));
    const Builtin* filter = find_filter(name);
    if (filter == nullptr) return fail_unsupported(place, "the filter '" + name + "'");
    if (take_operator("(")) return parse_call(place, filter, std::move(subject));
    return bind(place, filter, std::move(subject), {});
  }

  /// A test's argument may stand without parentheses: `x is divisibleby 3`.
  Result<ExpressionPtr> parse_test(ExpressionPtr subject) {
    const bool negated = take_name("not");
    const Place place = peek().place;
    const std::string name = EBB_TRY(expect_name("a test's name"));
    const Builtin* test = find_test(name);
    if (test == nullptr) return fail_unsupported(place, "the test '" + name + "'");
    ExpressionPtr call;
    if (take_operator("(")) {
      call = EBB_TRY(parse_call(place, test, std::move(subject)));
    } else {
      GivenArguments given;
      if (!test->parameters.empty()) given.positional.push_back(EBB_TRY(parse_signed()));
      call = EBB_TRY(bind(place, test, std::move(subject), std::move(given)));
    }
    std::get<Call>(call->node).negated = negated;
    return call;
  }

  /// Behind "(".
  Result<ExpressionPtr> parse_function_call(Place place, const std::string& name) {
    if (const Builtin* function = find_function(name)) return parse_call(place, function, nullptr);
    GivenArguments given = EBB_TRY(parse_arguments());
    if (name != "namespace") return make(place, UnknownCall{name});
    if (!given.positional.empty()) {
      return fail_unsupported(place, "namespace() with unnamed arguments");
    }
    return make(place, NamespaceCall{std::move(given.by_name)});
  }

  Result<ExpressionPtr> parse_call(Place place, const Builtin* builtin, ExpressionPtr subject) {
    GivenArguments given = EBB_TRY(parse_arguments());
    return bind(place, builtin, std::move(subject), std::move(given));
  }

  /// Behind "(", up to and with ")".
  Result<GivenArguments> parse_arguments() {
    GivenArguments given;
    while (!take_operator(")")) {
      const bool named =
          sees(TokenKind::kName) && peek(1).kind == TokenKind::kOperator && peek(1).text == "=";
      if (named) {
        std::string name = next().text;
        next();
        ExpressionPtr value = EBB_TRY(parse_expression());
        given.by_name.emplace_back(std::move(name), std::move(value));
      } else if (given.by_name.empty()) {
        given.positional.push_back(EBB_TRY(parse_expression()));
      } else {
        return fail("an unnamed argument behind a named one");
      }
      if (!sees_operator(")")) EBB_TRY_VOID(expect_operator(","));
    }
    return given;
  }

  /// Puts the given arguments into the order of the builtin's parameters.
  Result<ExpressionPtr> bind(Place place, const Builtin* builtin, ExpressionPtr subject,
                             GivenArguments given) {
    const auto refuse = [&](const std::string& what) {
      return at_place(place, invalid("'" + std::string(builtin->name) + "' " + what));
    };
    const auto& parameters = builtin->parameters;
    Call call{builtin, std::move(subject), {}};
    call.arguments.resize(parameters.size());
    if (given.positional.size() > parameters.size()) {
      return refuse("takes at most " + std::to_string(parameters.size()) + " arguments");
    }
    std::move(given.positional.begin(), given.positional.end(), call.arguments.begin());
    for (auto& [name, value] : given.by_name) {
      const auto it = std::find(parameters.begin(), parameters.end(), name);
      if (it == parameters.end()) return refuse("has no parameter '" + name + "' here");
      auto& argument = call.arguments[static_cast<size_t>(it - parameters.begin())];
      if (argument != nullptr) return refuse("has '" + name + "' twice");
      argument = std::move(value);
    }
    for (size_t i = 0; i < builtin->required; ++i) {
      if (call.arguments[i] == nullptr) {
        return refuse("needs the argument '" + std::string(parameters[i]) + "'");
      }
    }
    return make(place, std::move(call));
  }
};

/// Tags and text around expressions.
class TemplateParser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> run() {
    Body body = EBB_TRY(parse_body({}));
    return body;
  }

 private:
  using Names = std::initializer_list<std::string_view>;

  /// Up to a tag whose name is in `ends`, which stays unread; up to the end when there are none.
  Result<Body> parse_body(Names ends) {
    const Level level(depth_);
    if (level.too_deep()) return fail_deep();
    Body body;
    while (!sees(TokenKind::kEnd)) {
      if (sees(TokenKind::kText)) {
        const Token& token = next();
        body.push_back({token.place, Text{token.text}});
        continue;
      }
      EBB_TRY_VOID(check_tag_size());
      if (sees(TokenKind::kOutputBegin)) {
        EBB_TRY_VOID(parse_output(body));
        continue;
      }
      const auto* end = std::find_if(ends.begin(), ends.end(),
                                     [&](std::string_view name) { return sees_name(name, 1); });
      if (end != ends.end()) return body;
      EBB_TRY_VOID(parse_tag(body));
    }
    if (ends.size() == 0) return body;
    return fail("expected the tag '" + std::string(*(ends.end() - 1)) + "' before the end");
  }

  Result<void> check_tag_size() const {
    for (size_t ahead = 0; ahead <= kTokensOfTagMax; ++ahead) {
      const TokenKind kind = peek(ahead).kind;
      if (kind == TokenKind::kTagEnd || kind == TokenKind::kOutputEnd) return {};
    }
    return fail("this tag has more than " + std::to_string(kTokensOfTagMax) + " parts");
  }

  Result<void> parse_output(Body& body) {
    const Place place = next().place;
    ExpressionPtr value = EBB_TRY(parse_expression());
    if (!sees(TokenKind::kOutputEnd)) return fail_expected("'}}'");
    next();
    body.push_back({place, Output{std::move(value)}});
    return {};
  }

  Result<void> expect_tag_end() {
    if (!sees(TokenKind::kTagEnd)) return fail_expected("'%}'");
    next();
    return {};
  }

  /// The whole tag `name`, which stands here.
  Result<void> expect_tag(std::string_view name) {
    next();
    EBB_CHECK(take_name(name));  // parse_body stopped at it
    return expect_tag_end();
  }

  Result<void> parse_tag(Body& body) {
    const Place place = next().place;
    const std::string name = EBB_TRY(expect_name("a tag's name"));
    if (name == "if") return parse_if(place, body);
    if (name == "for") return parse_for(place, body);
    if (name == "set") return parse_set(place, body);
    if (name == "break" || name == "continue") return parse_jump(place, name, body);
    if (name == "generation") return parse_generation(body);
    constexpr std::string_view kStrays[] = {"elif", "else", "endif", "endfor", "endgeneration"};
    if (std::find(std::begin(kStrays), std::end(kStrays), name) != std::end(kStrays)) {
      return at_place(place, invalid("the tag '" + name + "' has no beginning"));
    }
    return fail_unsupported(place, "the tag '" + name + "'");
  }

  Result<void> parse_if(Place place, Body& body) {
    If choice;
    do {
      ExpressionPtr condition = EBB_TRY(parse_expression());
      EBB_TRY_VOID(expect_tag_end());
      Body branch = EBB_TRY(parse_body({"elif", "else", "endif"}));
      choice.branches.emplace_back(std::move(condition), std::move(branch));
    } while (take_tag_name("elif"));
    if (sees_name("else", 1)) {
      EBB_TRY_VOID(expect_tag("else"));
      Body branch = EBB_TRY(parse_body({"endif"}));
      choice.branches.emplace_back(nullptr, std::move(branch));
    }
    EBB_TRY_VOID(expect_tag("endif"));
    body.push_back({place, std::move(choice)});
    return {};
  }

  bool take_tag_name(std::string_view name) {
    if (!sees_name(name, 1)) return false;
    next();
    next();
    return true;
  }

  Result<void> parse_for(Place place, Body& body) {
    For loop;
    do {
      if (sees_operator("(")) return fail_unsupported(place, "a loop's target in parentheses");
      loop.targets.push_back(EBB_TRY(expect_name("a name")));
    } while (take_operator(","));
    if (!take_name("in")) return fail_expected("'in'");
    loop.sequence = EBB_TRY(parse_or());
    if (take_name("if")) loop.filter = EBB_TRY(parse_expression());
    if (sees_name("recursive")) return fail_unsupported(place, "a recursive loop");
    EBB_TRY_VOID(expect_tag_end());
    ++loops_;
    loop.body = EBB_TRY(parse_body({"else", "endfor"}));
    --loops_;
    if (sees_name("else", 1)) {
      EBB_TRY_VOID(expect_tag("else"));
      loop.otherwise = EBB_TRY(parse_body({"endfor"}));
    }
    EBB_TRY_VOID(expect_tag("endfor"));
    body.push_back({place, std::move(loop)});
    return {};
  }

  Result<void> parse_set(Place place, Body& body) {
    Set set;
    set.name = EBB_TRY(expect_name("a name"));
    if (take_operator(".")) set.attribute = EBB_TRY(expect_name("an attribute's name"));
    if (sees(TokenKind::kTagEnd)) return fail_unsupported(place, "a set block");
    if (sees_operator(",")) return fail_unsupported(place, "setting several names at once");
    EBB_TRY_VOID(expect_operator("="));
    set.value = EBB_TRY(parse_expression());
    EBB_TRY_VOID(expect_tag_end());
    body.push_back({place, std::move(set)});
    return {};
  }

  Result<void> parse_jump(Place place, const std::string& name, Body& body) {
    if (loops_ == 0) return at_place(place, invalid("the tag '" + name + "' is outside a loop"));
    EBB_TRY_VOID(expect_tag_end());
    Statement statement{place, Break{}};
    if (name == "continue") statement.node = Continue{};
    body.push_back(std::move(statement));
    return {};
  }

  /// `{% generation %}` marks what the model wrote, for training; here it is its content.
  Result<void> parse_generation(Body& body) {
    EBB_TRY_VOID(expect_tag_end());
    Body inner = EBB_TRY(parse_body({"endgeneration"}));
    EBB_TRY_VOID(expect_tag("endgeneration"));
    std::move(inner.begin(), inner.end(), std::back_inserter(body));
    return {};
  }

  size_t loops_ = 0;
};

}  // namespace

Result<Body> parse_template(std::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return invalid("a chat template has at most " + std::to_string(kSourceBytesMax) +
                   " bytes; this one has " + std::to_string(source.size()));
  }
  std::vector<Token> tokens = EBB_TRY(tokenize(source));
  return TemplateParser(std::move(tokens)).run();
}

}  // namespace ebb::models::jinja
