// The metadata of a GGUF file below its architecture's name, as facts. Internal to models/.
#pragma once

#include "models/gguf.h"
#include "models/model_facts.h"

namespace ebb::models {

class GgufFacts : public ModelFacts {
 public:
  /// `file` must outlive the facts.
  GgufFacts(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  std::string shown(std::string_view key) const override;

 protected:
  bool has_key(std::string_view key) const override { return file_.has(full(key)); }
  bool has_value(std::string_view key) const override { return file_.has(full(key)); }
  Result<uint64_t> read_integer(std::string_view key) const override;
  Result<double> read_number(std::string_view key) const override;
  Result<bool> read_flag(std::string_view key) const override;
  Result<std::string> read_text(std::string_view key) const override;
  Result<std::vector<uint64_t>> read_integers(std::string_view key) const override;
  Result<std::vector<std::string>> read_texts(std::string_view key) const override;
  std::vector<std::string> telling_keys() const override;

 private:
  std::string full(std::string_view key) const { return prefix_ + std::string(key); }
  const GgufFile& file_;
  std::string prefix_;
};

}  // namespace ebb::models
