// Sets of code points, and how they are spelled as bytes in a grammar. Must not know regular
// expressions.
#pragma once

#include <cstdint>
#include <vector>

#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

constexpr uint32_t kCodePointMax = 0x10FFFF;

/// Code points as ranges. Surrogates are never members: UTF-8 has no bytes for them.
class CodePointSet {
 public:
  struct Range {
    uint32_t low = 0, high = 0;  ///< both included
    friend bool operator==(const Range&, const Range&) = default;
  };
  CodePointSet() = default;
  explicit CodePointSet(std::vector<Range> ranges);  ///< in any order, overlapping or not

  void add(uint32_t low, uint32_t high);
  void add(const CodePointSet& other);
  CodePointSet complement() const;
  CodePointSet without(const CodePointSet& other) const;
  bool contains(uint32_t code_point) const;
  bool empty() const { return ranges_.empty(); }
  const std::vector<Range>& ranges() const { return ranges_; }

 private:
  void normalise();
  std::vector<Range> ranges_;  ///< ascending, apart, without surrogates
};

/// How a text stands in the bytes: as itself in UTF-8, or as the content of a JSON string.
enum class Spelling : uint8_t { kPlain, kJsonString };

/// One code point of `set`. As JSON: as itself where JSON allows it, else by its short escape, else
/// as \u00XX; other spellings that JSON would allow are not produced.
void add_code_points(GrammarBuilder& builder, State from, const CodePointSet& set,
                     Spelling spelling, State to);

}  // namespace ebb::models::grammar
