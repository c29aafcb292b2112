#include "models/tokenizer/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

/// All code points below U+0300 stand for themselves in form C and compose only with a mark that
/// follows. Their bytes are below this.
constexpr unsigned char kFirstByteOfMarks = 0xCC;

bool may_change(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) >= kFirstByteOfMarks; });
}

utf8proc_propval_t combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

/// Appends what `code_point` decomposes to, canonically and all the way down.
void decompose(char32_t code_point, std::vector<utf8proc_int32_t>& out) {
  constexpr size_t kMost = 18;  // UAX #15: no code point has a longer decomposition
  utf8proc_int32_t parts[kMost];
  int boundary_class = 0;
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts,
                                             kMost, UTF8PROC_DECOMPOSE, &boundary_class);
  EBB_CHECK(count >= 0 && static_cast<size_t>(count) <= kMost);
  out.insert(out.end(), parts, parts + count);
}

/// Sorts each run of marks by their classes. (utf8proc_decompose() does this too, by exchanging
/// neighbours: a megabyte of marks would take it hours.)
void order_marks(std::vector<utf8proc_int32_t>& points) {
  const auto is_mark = [](utf8proc_int32_t c) { return combining_class(c) != 0; };
  for (auto begin = points.begin(); begin != points.end();) {
    if (!is_mark(*begin)) {
      ++begin;
      continue;
    }
    const auto end = std::find_if_not(begin, points.end(), is_mark);
    std::stable_sort(begin, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    begin = end;
  }
}

}  // namespace

std::optional<std::string> to_nfc(std::string_view text) {
  if (!may_change(text)) return std::nullopt;
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (std::string_view rest = text; !rest.empty();) {
    decompose(utf8_decode(rest), points);
    rest.remove_prefix(utf8_sequence_length(rest));
  }
  order_marks(points);
  const auto count =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  EBB_CHECK(count >= 0);
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    utf8_append(out, static_cast<char32_t>(points[static_cast<size_t>(i)]));
  }
  if (out == text) return std::nullopt;
  return out;
}

}  // namespace ebb::models
