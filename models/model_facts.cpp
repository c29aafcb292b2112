#include "models/model_facts.h"

#include <cmath>

namespace ebb::models {

bool ModelFacts::has(std::string_view key) const {
  note(key);
  return has_value(key);
}
bool ModelFacts::states(std::string_view key) const {
  note(key);
  return has_key(key);
}
Result<uint64_t> ModelFacts::integer(std::string_view key) const {
  note(key);
  return read_integer(key);
}
Result<double> ModelFacts::number(std::string_view key) const {
  note(key);
  return read_number(key);
}
Result<bool> ModelFacts::flag(std::string_view key) const {
  note(key);
  return read_flag(key);
}
Result<std::string> ModelFacts::text(std::string_view key) const {
  note(key);
  return read_text(key);
}
Result<std::vector<uint64_t>> ModelFacts::integers(std::string_view key) const {
  note(key);
  return read_integers(key);
}
Result<std::vector<std::string>> ModelFacts::texts(std::string_view key) const {
  note(key);
  return read_texts(key);
}

Result<uint32_t> ModelFacts::count(std::string_view key, uint64_t most) const {
  const uint64_t value = EBB_TRY(integer(key));
  if (value < 1 || value > most)
    return invalid(shown(key) + ": " + std::to_string(value) + " is out of range (1 to " +
                   std::to_string(most) + ")");
  return static_cast<uint32_t>(value);
}

Result<uint32_t> ModelFacts::count_or(std::string_view key, uint64_t most,
                                      uint32_t fallback) const {
  if (!has(key)) return fallback;
  return count(key, most);
}

Result<double> ModelFacts::positive(std::string_view key) const {
  const double value = EBB_TRY(number(key));
  if (!std::isfinite(value) || value <= 0)
    return invalid(shown(key) + ": " + std::to_string(value) + " is not a finite number above 0");
  return value;
}

Result<double> ModelFacts::positive_or(std::string_view key, double fallback) const {
  if (!has(key)) return fallback;
  return positive(key);
}

Result<bool> ModelFacts::flag_or(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  return flag(key);
}

std::vector<std::string> ModelFacts::unasked() const {
  std::vector<std::string> keys;
  for (std::string& key : telling_keys())
    if (!asked_.contains(key)) keys.push_back(std::move(key));
  return keys;
}

}  // namespace ebb::models
