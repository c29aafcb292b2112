// Words for tests of grammars: is a text in the language, what may follow it, and random texts of
// the language.
#pragma once

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "models/grammar/automaton.h"
#include "models/grammar/constraint.h"

namespace ebb::models::grammar::testing {

/// A compiled grammar and its automaton.
class Language {
 public:
  explicit Language(Grammar grammar)
      : automaton_(std::make_shared<const Grammar>(std::move(grammar))) {}

  bool has(std::string_view text) {
    const auto state = after(text);
    return state != Automaton::kDead && automaton_.accepts(state);
  }
  /// `text` begins some text of the language.
  bool begins(std::string_view text) { return after(text) != Automaton::kDead; }
  bool ends_after(std::string_view text) { return automaton_.ends(after(text)); }

  /// Every byte is chosen among those that may follow; from `soft_length` on mostly one that closes
  /// something, if there is one.
  std::string random_text(std::mt19937_64& random, size_t soft_length) {
    std::string text;
    auto state = automaton_.start();
    while (text.size() < soft_length + 5000) {
      const bool late = text.size() > soft_length;
      if (automaton_.ends(state)) return text;
      if (automaton_.accepts(state) && (late || random() % 4 == 0)) return text;
      std::vector<uint8_t> bytes, closing;
      for (int byte = 0; byte < 256; ++byte) {
        if (automaton_.next(state, static_cast<uint8_t>(byte)) == Automaton::kDead) continue;
        bytes.push_back(static_cast<uint8_t>(byte));
        if (byte == '"' || byte == ']' || byte == '}') closing.push_back(bytes.back());
      }
      // No dead ends: that is the automaton's promise.
      if (bytes.empty()) return "dead end after: " + text.substr(0, 100);
      const bool close = late && !closing.empty() && random() % 2 == 0;
      const auto& from = close ? closing : bytes;
      const uint8_t byte = from[random() % from.size()];
      text += static_cast<char>(byte);
      state = automaton_.next(state, byte);
    }
    return "no end after: " + text.substr(0, 100);
  }

  Automaton& automaton() { return automaton_; }

 private:
  Automaton::StateId after(std::string_view text) {
    auto state = automaton_.start();
    for (const char c : text) state = automaton_.next(state, static_cast<uint8_t>(c));
    return state;
  }
  Automaton automaton_;
};

inline Language regex(std::string_view pattern) {
  auto grammar = compile_constraint(ConstraintKind::kRegex, pattern);
  EBB_CHECK(grammar.has_value());
  return Language(*std::move(grammar));
}
inline Language schema(std::string_view text) {
  auto grammar = compile_constraint(ConstraintKind::kJsonSchema, text);
  if (!grammar) fprintf(stderr, "schema: %s\n", grammar.error().message.c_str());
  EBB_CHECK(grammar.has_value());
  return Language(*std::move(grammar));
}
/// The sentence with which a source is refused; empty: it is not.
inline std::string refusal(ConstraintKind kind, std::string_view source) {
  const auto grammar = compile_constraint(kind, source);
  return grammar ? "" : grammar.error().message;
}

}  // namespace ebb::models::grammar::testing
