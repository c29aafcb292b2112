// Tags and text around expressions.
#include "models/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "models/jinja/expression_parser.h"

namespace ebb::models::jinja {
namespace {

constexpr size_t kSourceBytesMax = 1 << 20;
/// With TokenReader's limit on nesting it bounds the recursion of parser, interpreter and
/// destructors.
constexpr size_t kTokensOfTagMax = 1000;

class TemplateParser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> run() { return parse_body({}); }

 private:
  using Names = std::initializer_list<std::string_view>;
  using ParseTag = Result<Statement> (TemplateParser::*)(Place place);

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
      body.push_back(EBB_TRY(parse_tag()));
    }
    if (ends.size() == 0) return body;
    return fail("expected the tag '" + std::string(*(ends.end() - 1)) + "' before the end");
  }

  /// The body of something that is a function in Jinja: loops around it are out of reach.
  Result<Body> parse_function_body(std::string_view end) {
    const size_t loops = std::exchange(loops_, 0);
    auto body = parse_body({end});
    loops_ = loops;
    return body;
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
    ExpressionPtr value = EBB_TRY(parse_tuple(Conditionals::kAllowed));
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

  /// The begin of the tag `name`, if it stands here.
  bool take_tag_name(std::string_view name) {
    if (!sees_name(name, 1)) return false;
    next();
    next();
    return true;
  }

  Result<Statement> parse_tag() {
    constexpr std::pair<std::string_view, ParseTag> kTags[] = {
        {"if", &TemplateParser::parse_if},
        {"for", &TemplateParser::parse_for},
        {"set", &TemplateParser::parse_set},
        {"break", &TemplateParser::parse_break},
        {"continue", &TemplateParser::parse_continue},
        {"macro", &TemplateParser::parse_macro},
        {"call", &TemplateParser::parse_call_block},
        {"filter", &TemplateParser::parse_filter_block},
        {"with", &TemplateParser::parse_with},
        {"generation", &TemplateParser::parse_generation}};
    const Place place = next().place;
    const std::string name = EBB_TRY(expect_name("a tag's name"));
    for (const auto& [known, parse] : kTags) {
      if (known == name) return (this->*parse)(place);
    }
    if (name == "elif" || name == "else" || name.starts_with("end")) {
      return at_place(place, invalid("the tag '" + name + "' has no beginning"));
    }
    return fail_unsupported(place, "the tag '" + name + "'");
  }

  Result<Statement> parse_if(Place place) {
    If choice;
    do {
      ExpressionPtr condition = EBB_TRY(parse_tuple(Conditionals::kLeft));
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
    return Statement{place, std::move(choice)};
  }

  /// One name, or a tuple of names without parentheses.
  Result<Target> parse_target() {
    Target target = EBB_TRY(parse_one_target());
    if (!sees_operator(",")) return target;
    Target several;
    several.parts.push_back(std::move(target));
    while (take_operator(",")) {
      if (sees_operator(")")) break;  // "(a,)"
      several.parts.push_back(EBB_TRY(parse_one_target()));
    }
    return several;
  }

  Result<Target> parse_one_target() {
    const Level level(depth_);
    if (level.too_deep()) return fail_deep();
    if (take_operator("(")) {
      Target inner = EBB_TRY(parse_target());
      EBB_TRY_VOID(expect_operator(")"));
      return inner;
    }
    constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
    if (std::any_of(std::begin(kConstants), std::end(kConstants),
                    [&](std::string_view name) { return sees_name(name); })) {
      return fail("a constant cannot be assigned to");
    }
    Target target;
    target.name = EBB_TRY(expect_name("a name"));
    if (take_operator(".")) target.attribute = EBB_TRY(expect_name("an attribute's name"));
    if (target.attribute.starts_with("_")) {
      return fail("attributes of namespaces do not begin with '_'");
    }
    return target;
  }

  static bool assigns_to(const Target& target, std::string_view name) {
    return target.name == name ||
           std::any_of(target.parts.begin(), target.parts.end(),
                       [&](const Target& part) { return assigns_to(part, name); });
  }
  static bool has_attribute(const Target& target) {
    return !target.attribute.empty() ||
           std::any_of(target.parts.begin(), target.parts.end(), has_attribute);
  }

  Result<Statement> parse_for(Place place) {
    For loop;
    loop.target = EBB_TRY(parse_target());
    if (assigns_to(loop.target, "loop") || has_attribute(loop.target)) {
      return at_place(place, invalid("a loop assigns to plain names, and not to 'loop'"));
    }
    if (!take_name("in")) return fail_expected("'in'");
    loop.sequence = EBB_TRY(parse_tuple(Conditionals::kLeft));
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
    return Statement{place, std::move(loop)};
  }

  Result<Statement> parse_set(Place place) {
    Target target = EBB_TRY(parse_target());
    if (take_operator("=")) {
      ExpressionPtr value = EBB_TRY(parse_tuple(Conditionals::kAllowed));
      EBB_TRY_VOID(expect_tag_end());
      return Statement{place, Set{std::move(target), std::move(value)}};
    }
    if (!target.parts.empty()) return fail_expected("'='");
    SetBlock block{std::move(target), {}, {}};
    while (take_operator("|")) block.filters.push_back(EBB_TRY(parse_filter()));
    EBB_TRY_VOID(expect_tag_end());
    block.body = EBB_TRY(parse_body({"endset"}));
    EBB_TRY_VOID(expect_tag("endset"));
    return Statement{place, std::move(block)};
  }

  Result<Statement> parse_break(Place place) {
    if (loops_ == 0) return at_place(place, invalid("the tag 'break' is outside a loop"));
    EBB_TRY_VOID(expect_tag_end());
    return Statement{place, Break{}};
  }

  Result<Statement> parse_continue(Place place) {
    if (loops_ == 0) return at_place(place, invalid("the tag 'continue' is outside a loop"));
    EBB_TRY_VOID(expect_tag_end());
    return Statement{place, Continue{}};
  }

  /// "(a, b=1)".
  Result<void> parse_parameters(MacroDefinition& macro) {
    EBB_TRY_VOID(expect_operator("("));
    while (!take_operator(")")) {
      std::string name = EBB_TRY(expect_name("a parameter's name"));
      const auto& known = macro.parameters;
      if (std::find(known.begin(), known.end(), name) != known.end()) {
        return fail("the parameter '" + name + "' occurs twice");
      }
      macro.parameters.push_back(std::move(name));
      if (take_operator("=")) {
        macro.defaults.push_back(EBB_TRY(parse_expression()));
      } else if (!macro.defaults.empty()) {
        return fail("a parameter without a default behind one that has one");
      }
      if (!sees_operator(")")) EBB_TRY_VOID(expect_operator(","));
    }
    return {};
  }

  /// Body and end of a macro, and which of the special names it uses.
  Result<void> parse_macro_body(std::string_view end, MacroDefinition& macro) {
    EBB_TRY_VOID(expect_tag_end());
    auto outer = std::exchange(names_used, {});
    macro.body = EBB_TRY(parse_function_body(end));
    EBB_TRY_VOID(expect_tag(end));
    macro.takes_caller = names_used.contains("caller");
    macro.takes_further = names_used.contains("varargs");
    macro.takes_named = names_used.contains("kwargs");
    names_used.merge(outer);
    return {};
  }

  Result<Statement> parse_macro(Place place) {
    auto macro = std::make_unique<MacroDefinition>();
    macro->name = EBB_TRY(expect_name("a macro's name"));
    EBB_TRY_VOID(parse_parameters(*macro));
    EBB_TRY_VOID(parse_macro_body("endmacro", *macro));
    return Statement{place, Macro{std::move(macro)}};
  }

  Result<Statement> parse_call_block(Place place) {
    CallBlock block;
    block.caller = std::make_unique<MacroDefinition>();
    block.caller->name = "caller";
    if (sees_operator("(")) EBB_TRY_VOID(parse_parameters(*block.caller));
    block.call = EBB_TRY(parse_expression());
    if (!std::holds_alternative<Call>(block.call->node)) return fail("expected a call of a macro");
    EBB_TRY_VOID(parse_macro_body("endcall", *block.caller));
    return Statement{place, std::move(block)};
  }

  Result<Statement> parse_filter_block(Place place) {
    FilterBlock block;
    do {
      block.filters.push_back(EBB_TRY(parse_filter()));
    } while (take_operator("|"));
    EBB_TRY_VOID(expect_tag_end());
    block.body = EBB_TRY(parse_body({"endfilter"}));
    EBB_TRY_VOID(expect_tag("endfilter"));
    return Statement{place, std::move(block)};
  }

  Result<Statement> parse_with(Place place) {
    With with;
    while (!sees(TokenKind::kTagEnd)) {
      if (!with.bindings.empty()) EBB_TRY_VOID(expect_operator(","));
      Target target = EBB_TRY(parse_one_target());
      if (has_attribute(target)) return fail("'with' assigns to plain names");
      EBB_TRY_VOID(expect_operator("="));
      ExpressionPtr value = EBB_TRY(parse_expression());
      with.bindings.emplace_back(std::move(target), std::move(value));
    }
    EBB_TRY_VOID(expect_tag_end());
    with.body = EBB_TRY(parse_body({"endwith"}));
    EBB_TRY_VOID(expect_tag("endwith"));
    return Statement{place, std::move(with)};
  }

  Result<Statement> parse_generation(Place place) {
    EBB_TRY_VOID(expect_tag_end());
    Body body = EBB_TRY(parse_function_body("endgeneration"));
    EBB_TRY_VOID(expect_tag("endgeneration"));
    return Statement{place, Generation{std::move(body)}};
  }

  size_t loops_ = 0;  ///< that `break` could leave
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
