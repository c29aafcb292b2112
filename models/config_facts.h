// config.json of a Hugging Face directory, as facts. Internal to models/.
#pragma once

#include <string>

#include "models/grammar/json_tree.h"
#include "models/model_facts.h"

namespace ebb::models {

class ConfigFacts : public ModelFacts {
 public:
  /// Errors: kInvalid (not a JSON object, a key twice, too large or too deep: says where).
  static Result<ConfigFacts> parse(std::string_view text);

  std::string shown(std::string_view key) const override;

 protected:
  bool has_key(std::string_view key) const override { return find(key) != nullptr; }
  bool has_value(std::string_view key) const override;
  Result<uint64_t> read_integer(std::string_view key) const override;
  Result<double> read_number(std::string_view key) const override;
  Result<bool> read_flag(std::string_view key) const override;
  Result<std::string> read_text(std::string_view key) const override;
  Result<std::vector<uint64_t>> read_integers(std::string_view key) const override;
  Result<std::vector<std::string>> read_texts(std::string_view key) const override;
  std::vector<std::string> telling_keys() const override;

 private:
  using Tree = grammar::JsonTree;
  explicit ConfigFacts(Tree root) : root_(std::move(root)) {}
  /// By the key itself, or "object.member". Null: not there.
  const Tree* find(std::string_view key) const;
  Result<const Tree*> get(std::string_view key) const;
  Error wrong_type(std::string_view key, const Tree& value, const char* wanted) const;
  Tree root_;
};

}  // namespace ebb::models
