#include "models/gguf_facts.h"

#include "models/shown_text.h"

namespace ebb::models {

std::string GgufFacts::shown(std::string_view key) const {
  return "metadata " + shown_text(full(key));
}

Result<uint64_t> GgufFacts::read_integer(std::string_view key) const {
  return file_.get_u64(full(key));
}

Result<double> GgufFacts::read_number(std::string_view key) const {
  Result<uint64_t> whole = file_.get_u64(full(key));
  if (whole) return static_cast<double>(*whole);
  return file_.get_f64(full(key));
}

Result<bool> GgufFacts::read_flag(std::string_view key) const { return file_.get_bool(full(key)); }

Result<std::string> GgufFacts::read_text(std::string_view key) const {
  return file_.get_string(full(key));
}

Result<std::vector<uint64_t>> GgufFacts::read_integers(std::string_view key) const {
  std::vector<uint64_t> values;
  for (const int32_t value : EBB_TRY(file_.get_i32s(full(key)))) {
    if (value < 0) return invalid(shown(key) + ": holds a negative number");
    values.push_back(static_cast<uint64_t>(value));
  }
  return values;
}

Result<std::vector<std::string>> GgufFacts::read_texts(std::string_view key) const {
  const auto views = EBB_TRY(file_.get_strings(full(key)));
  return std::vector<std::string>(views.begin(), views.end());
}

std::vector<std::string> GgufFacts::telling_keys() const {
  std::vector<std::string> keys;
  for (const std::string_view key : file_.keys())
    if (key.starts_with(prefix_) && file_.tells(key)) keys.emplace_back(key.substr(prefix_.size()));
  return keys;
}

}  // namespace ebb::models
