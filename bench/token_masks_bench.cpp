// ebb-masks-bench: what structured output costs on one rank: microseconds for the set of tokens
// that may come next, when it is computed and when it is remembered, with the vocabulary of a
// model. Prints one JSON line for each case.
#include <chrono>
#include <cstdio>
#include <random>

#include <CLI/CLI.hpp>

#include "models/grammar/constraint.h"
#include "models/grammar/token_matcher.h"
#include "models/model_files.h"

namespace {

using namespace ebb;
using namespace ebb::models::grammar;
using Micros = std::chrono::duration<double, std::micro>;

struct Case {
  const char* name;
  ConstraintKind kind;
  const char* source;
};

constexpr Case kCases[] = {
    {"json_object", ConstraintKind::kJsonObject, ""},
    {"schema", ConstraintKind::kJsonSchema,
     R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},
         "tags":{"type":"array","items":{"type":"string"}}},"required":["name","age","tags"]})"},
    {"schema with lengths", ConstraintKind::kJsonSchema,
     R"({"type":"array","items":{"type":"string","maxLength":200}})"},
    {"regex", ConstraintKind::kRegex, "([A-Z][a-z]+ ){3,20}[0-9]{4}-[0-9]{2}"},
    {"any text", ConstraintKind::kRegex, "(.|\\n)*"},
};

/// Random walks: each token is drawn from the allowed ones, as a model at high temperature would.
Result<void> run(const Case& one, const std::shared_ptr<const TokenTrie>& trie, uint32_t tokens) {
  const auto began = std::chrono::steady_clock::now();
  auto grammar = EBB_TRY(compile_constraint(one.kind, one.source));
  const double compile_us = Micros(std::chrono::steady_clock::now() - began).count();
  TokenMatcher matcher(std::make_shared<const Grammar>(std::move(grammar)), trie);
  std::mt19937_64 random(1);
  auto cursor = std::make_unique<TokenMatcher::Cursor>(matcher);
  double made_us = 0, kept_us = 0, worst_us = 0;
  for (uint32_t i = 0; i < tokens; ++i) {
    if (cursor->ends()) cursor = std::make_unique<TokenMatcher::Cursor>(matcher);
    const uint64_t before = matcher.sets_made();
    const auto start = std::chrono::steady_clock::now();
    const TokenSet* allowed = EBB_TRY(cursor->allowed());
    const double us = Micros(std::chrono::steady_clock::now() - start).count();
    (matcher.sets_made() > before ? made_us : kept_us) += us;
    worst_us = std::max(worst_us, us);
    std::vector<TokenId> ids;
    for (TokenId id = 0; id < static_cast<TokenId>(trie->vocabulary()); ++id) {
      if (allowed->contains(id)) ids.push_back(id);
    }
    if (ids.empty()) {
      cursor = std::make_unique<TokenMatcher::Cursor>(matcher);
      continue;
    }
    cursor->advance(ids[random() % ids.size()]);
  }
  const auto made = static_cast<double>(matcher.sets_made());
  std::printf(
      "{\"case\": \"%s\", \"compile_us\": %.0f, \"tokens\": %u, \"sets_made\": %.0f, "
      "\"us_per_made_set\": %.1f, \"us_per_kept_set\": %.2f, \"us_worst\": %.0f, "
      "\"us_per_token\": %.1f, \"bytes\": %llu}\n",
      one.name, compile_us, tokens, made, made_us / std::max(made, 1.0),
      kept_us / std::max(tokens - made, 1.0), worst_us, (made_us + kept_us) / tokens,
      static_cast<unsigned long long>(matcher.bytes()));
  return {};
}

Result<void> run_all(const std::string& model, uint32_t tokens) {
  const auto files = EBB_TRY(models::ModelFiles::open(model));
  const auto tokenizer = EBB_TRY(files->tokenizer());
  const auto began = std::chrono::steady_clock::now();
  const auto trie = std::make_shared<const TokenTrie>(make_token_table(*tokenizer, {}));
  std::printf("{\"case\": \"trie\", \"vocabulary\": %u, \"nodes\": %u, \"build_us\": %.0f}\n",
              trie->vocabulary(), trie->nodes(),
              Micros(std::chrono::steady_clock::now() - began).count());
  for (const Case& one : kCases) EBB_TRY_VOID(run(one, trie, tokens));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  std::string model;
  uint32_t tokens = 500;
  CLI::App app("What masks of structured output cost", "ebb-masks-bench");
  app.add_option("--model", model, "model file or directory")->required();
  app.add_option("--tokens", tokens, "tokens of each case");
  CLI11_PARSE(app, argc, argv);
  const auto ran = run_all(model, tokens);
  if (ran) return 0;
  std::fprintf(stderr, "ebb-masks-bench: %s\n", ran.error().message.c_str());
  return 1;
}
