// The lines that tokenizers are compared on, each a function of its number: the same as
// tests/golden/make_tokenizer_lines.py makes, which says how.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "models/utf8.h"
#include "tests/models/golden_files.h"

namespace ebb::testing {

/// splitmix64.
class LineRandom {
 public:
  explicit LineRandom(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) {}
  uint64_t below(uint64_t n) {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return (z ^ (z >> 31)) % n;
  }

 private:
  uint64_t state_;
};

class GeneratedLines {
 public:
  GeneratedLines() : tables_(read_golden("tokenizers/lines.json")) {
    for (const auto& kind : tables_["kinds"]) {
      kinds_.push_back(
          {kind["kind"], kind["weight"],
           kind.value("texts", nlohmann::json::array()).get<std::vector<std::string>>()});
      weight_ += kinds_.back().weight;
    }
    for (const auto& entry : tables_["long"]) {
      std::string& text = long_[entry["line"]];
      for (int i = 0; i < entry["times"].get<int>(); ++i) text += entry["text"].get<std::string>();
    }
  }

  uint64_t count() const { return tables_["count"]; }

  std::string line(uint64_t number) const {
    if (const auto it = long_.find(number); it != long_.end()) return it->second;
    LineRandom random(number);
    std::string text;
    for (uint64_t parts = 1 + random.below(24); parts > 0; --parts) add_part(random, text);
    return text;
  }

 private:
  struct Kind {
    std::string kind;
    uint64_t weight = 0;
    std::vector<std::string> texts;
  };

  void add_part(LineRandom& random, std::string& text) const {
    uint64_t at = random.below(weight_);
    size_t i = 0;
    for (; at >= kinds_[i].weight; ++i) at -= kinds_[i].weight;
    const Kind& kind = kinds_[i];
    if (kind.kind == "chars") return add_characters(random, text);
    const std::string& chosen = kind.texts[random.below(kind.texts.size())];
    uint64_t times = kind.kind == "run" ? 1 + random.below(40) : 1;
    while (times-- > 0) text += chosen;
  }

  void add_characters(LineRandom& random, std::string& text) const {
    const auto& range = tables_["ranges"][random.below(tables_["ranges"].size())];
    const uint32_t first = range[0], last = range[1];
    for (uint64_t count = 1 + random.below(6); count > 0; --count) {
      models::utf8_append(text, first + static_cast<char32_t>(random.below(last - first + 1)));
    }
  }

  nlohmann::json tables_;
  std::vector<Kind> kinds_;
  uint64_t weight_ = 0;
  std::map<uint64_t, std::string> long_;
};

/// A sequence of ids that no text gives: for decoders.
inline std::vector<TokenId> random_ids(uint64_t number, uint64_t vocabulary) {
  LineRandom random(1'000'000 + number);
  std::vector<TokenId> ids(1 + random.below(30));
  for (TokenId& id : ids) id = static_cast<TokenId>(random.below(vocabulary));
  return ids;
}

}  // namespace ebb::testing
