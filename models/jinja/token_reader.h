// The parser's place in the list of tokens: looking ahead, taking, and errors that say where.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "models/jinja/lexer.h"

namespace ebb::models::jinja {

class TokenReader {
 public:
  explicit TokenReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() {
    const Token& token = peek();
    at_ = std::min(at_ + 1, tokens_.size() - 1);
    return token;
  }
  bool sees(TokenKind kind) const { return peek().kind == kind; }
  bool sees_name(std::string_view name, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kName && peek(ahead).text == name;
  }
  bool sees_operator(std::string_view op) const {
    return peek().kind == TokenKind::kOperator && peek().text == op;
  }
  bool take_name(std::string_view name) { return sees_name(name) && (next(), true); }
  bool take_operator(std::string_view op) { return sees_operator(op) && (next(), true); }

  Error fail(const std::string& what) const { return at_place(peek().place, invalid(what)); }
  Error fail_unsupported(Place place, const std::string& what) const {
    return at_place(place, unsupported(what + " is not supported in chat templates"));
  }
  Error fail_deep() const {
    return fail("nested deeper than the limit of " + std::to_string(kNestingMax));
  }
  Error fail_expected(const std::string& what) const {
    const Token& token = peek();
    if (token.kind == TokenKind::kEnd) return fail("expected " + what + ", not the end");
    const bool has_text = token.kind == TokenKind::kName || token.kind == TokenKind::kOperator ||
                          token.kind == TokenKind::kInteger || token.kind == TokenKind::kReal;
    return fail("expected " + what + (has_text ? ", not '" + token.text + "'" : ""));
  }
  Result<void> expect_operator(const std::string& op) {
    if (take_operator(op)) return {};
    return fail_expected("'" + op + "'");
  }
  Result<std::string> expect_name(const std::string& what) {
    if (!sees(TokenKind::kName)) return fail_expected(what);
    return next().text;
  }

  static constexpr size_t kNestingMax = 100;

  /// Counts a level of nesting for as long as it lives.
  class Level {
   public:
    explicit Level(size_t& depth) : depth_(depth) { ++depth_; }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    bool too_deep() const { return depth_ > kNestingMax; }

   private:
    size_t& depth_;
  };

  size_t depth_ = 0;  ///< levels that are open

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace ebb::models::jinja
