// Python's string methods on UTF-8: positions and lengths count code points. Must not know values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ebb::models::jinja {

/// Where `what` first stands at `from` or behind; npos. Linear in both sizes, which std::string's
/// own search is not.
size_t find_text(std::string_view text, std::string_view what, size_t from = 0);

/// Bytes of the code point that begins at `text`; an invalid byte counts as one of its own.
size_t character_bytes(std::string_view text);
size_t count_characters(std::string_view text);
std::vector<std::string_view> characters(std::string_view text);
/// text[place]; negative places count from the end. Empty when there is none.
std::string_view character_at(std::string_view text, int64_t place);
/// text[begin:end].
std::string_view slice(std::string_view text, std::optional<int64_t> begin,
                       std::optional<int64_t> end);

enum class Sides { kBoth, kLeft, kRight };
/// str.strip(): of the characters in `set`, or of white space (Unicode's) when there is none.
std::string_view strip(std::string_view text, std::optional<std::string_view> set, Sides sides);

/// str.split(separator, splits_max); `separator` must not be empty. splits_max < 0: no limit.
std::vector<std::string_view> split(std::string_view text, std::string_view separator,
                                    int64_t splits_max);
/// str.split(): at runs of white space, which also vanish at both ends (at the right end only when
/// no split is left out).
std::vector<std::string_view> split_at_space(std::string_view text, int64_t splits_max);

/// str.rsplit(separator, splits_max): counted from the right.
std::vector<std::string_view> split_right(std::string_view text, std::string_view separator,
                                          int64_t splits_max);
std::vector<std::string_view> split_right_at_space(std::string_view text, int64_t splits_max);
/// str.splitlines(): at every line break that Unicode knows.
std::vector<std::string_view> split_lines(std::string_view text);

/// Occurrences that str.replace() would replace, not overlapping; `what` must not be empty.
size_t count_occurrences(std::string_view text, std::string_view what);
/// str.replace(what, with, count); an empty `what` stands before each character and at the end.
/// count < 0: all.
std::string replace(std::string_view text, std::string_view what, std::string_view with,
                    int64_t count);

bool is_ascii(std::string_view text);

/// What str.center(), ljust() and rjust() add.
struct Padding {
  size_t left = 0;
  size_t right = 0;
};
Padding centered(size_t characters, int64_t width);

/// The places that [begin:end:step] takes of a sequence of `size`, as Python's slice.indices().
/// step != 0.
std::vector<size_t> slice_places(size_t size, std::optional<int64_t> begin,
                                 std::optional<int64_t> end, int64_t step);

}  // namespace ebb::models::jinja
