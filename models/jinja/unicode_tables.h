// Unicode's tables, as far as templates need them; unicode.h reads them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ebb::models::jinja {

struct CodeRange {  ///< [first, last]
  uint32_t first;
  uint32_t last;
};
struct CaseRun {  ///< first, first + stride, ... last: each maps to itself + delta
  uint32_t first;
  uint32_t last;
  uint32_t stride;
  int32_t delta;
};
struct CaseText {  ///< maps to text, of one or several characters
  uint32_t code;
  const char* text;
};

// All sorted by code point.
extern const CodeRange kUnprintable[];  ///< what Python's repr() writes as an escape
extern const size_t kUnprintableSize;
extern const CaseRun kLower[];
extern const size_t kLowerSize;
extern const CaseRun kUpper[];
extern const size_t kUpperSize;
extern const CaseText kLowerTexts[];
extern const size_t kLowerTextsSize;
extern const CaseText kUpperTexts[];
extern const size_t kUpperTextsSize;
extern const CaseText kTitleTexts[];  ///< where title case differs from upper case
extern const size_t kTitleTextsSize;

}  // namespace ebb::models::jinja
