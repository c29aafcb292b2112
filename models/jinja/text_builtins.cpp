// Filters on text and methods of strings.
#include <algorithm>
#include <array>

#include "models/jinja/builtin_groups.h"
#include "models/jinja/format.h"
#include "models/jinja/print.h"
#include "models/jinja/text.h"
#include "models/jinja/unicode.h"

namespace ebb::models::jinja {
namespace {

/// Widths of padding and indentation.
constexpr int64_t kWidthMax = 1 << 16;

/// The text that a filter works on: filters take any value, as its text.
Result<std::string> filtered_text(const Value& subject, Budget& budget) {
  std::string text = EBB_TRY(to_text(subject, budget));
  EBB_TRY_VOID(budget.read(text.size()));
  return text;
}

/// A method's string; methods are only found on strings.
Result<std::string_view> method_text(const Value& subject, Budget& budget) {
  const std::string* text = subject.string();
  if (text == nullptr) return wrong_type("string", subject);
  EBB_TRY_VOID(budget.read(text->size()));
  return std::string_view(*text);
}

Result<Value> built_list(std::span<const std::string_view> parts, Budget& budget) {
  constexpr uint64_t kStringBytes = 64;  // what an element takes beside its characters
  EBB_TRY_VOID(budget.step(parts.size()));
  EBB_TRY_VOID(budget.build(parts.size() * kStringBytes));
  List list;
  list.reserve(parts.size());
  for (std::string_view part : parts) list.push_back(EBB_TRY(built(part, budget)));
  return Value(std::move(list));
}

Result<Value> padded(std::string_view text, Padding padding, std::string_view fill,
                     Budget& budget) {
  std::string out;
  for (size_t i = 0; i < padding.left; ++i) out += fill;
  out += text;
  for (size_t i = 0; i < padding.right; ++i) out += fill;
  return paid(std::move(out), budget);
}

Result<int64_t> width_argument(const Arguments& arguments, size_t i, int64_t otherwise) {
  const int64_t width = EBB_TRY(integer_argument(arguments, i, otherwise));
  if (width <= kWidthMax) return width;
  return invalid("a width is at most " + std::to_string(kWidthMax));
}

Result<int64_t> needed_width(const Arguments& arguments) {
  EBB_TRY(needed_integer(arguments, 0));
  return width_argument(arguments, 0, 0);
}

// --- Stripping, cases, parts of the text ---

template <Sides sides>
Result<Value> run_strip(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const MaybeText set = EBB_TRY(text_argument(arguments, 0));
  if (set) EBB_TRY_VOID(context.budget.read(text.size() * set->size()));
  return built(strip(text, set, sides), context.budget);
}

Result<Value> run_trim(const Value& subject, const Arguments& arguments, CallContext& context) {
  const Value text = EBB_TRY(filtered_text(subject, context.budget));
  return run_strip<Sides::kBoth>(text, arguments, context);
}

Result<std::string> upper(std::string_view text) { return to_upper(text); }

template <Result<std::string> (*change)(std::string_view)>
Result<Value> run_case(const Value& subject, const Arguments&, CallContext& context) {
  const std::string text = EBB_TRY(filtered_text(subject, context.budget));
  return paid(EBB_TRY(change(text)), context.budget);
}

/// Unlike the filter, Python's method sees words end at any character that is no letter.
Result<Value> run_title_method(const Value& subject, const Arguments&, CallContext& context) {
  std::string text(EBB_TRY(method_text(subject, context.budget)));
  if (!is_ascii(text)) return unsupported("title() of letters beyond ASCII");
  bool inside = false;
  for (char& c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter) c = static_cast<char>(inside ? c | 0x20 : c & ~0x20);
    inside = letter;
  }
  return paid(std::move(text), context.budget);
}

/// A string, or a tuple of them: whichever fits.
template <bool (*fits)(std::string_view text, std::string_view part)>
Result<Value> run_edge(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const Sequence* several = arguments[0]->sequence();
  if (several == nullptr || several->kind != SequenceKind::kTuple) {
    return Value(fits(text, EBB_TRY(needed_text(arguments, 0))));
  }
  for (const Value& part : several->elements) {
    EBB_TRY_VOID(context.budget.step());
    if (part.string() == nullptr) return wrong_type("string", part);
    if (part.string()->size() <= text.size()) {
      EBB_TRY_VOID(context.budget.read(part.string()->size()));
    }
    if (fits(text, *part.string())) return Value(true);
  }
  return Value(false);
}

bool starts_with(std::string_view text, std::string_view part) { return text.starts_with(part); }
bool ends_with(std::string_view text, std::string_view part) { return text.ends_with(part); }

Result<Value> run_remove_prefix(const Value& subject, const Arguments& arguments,
                                CallContext& context) {
  std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const std::string_view prefix = EBB_TRY(needed_text(arguments, 0));
  if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  return built(text, context.budget);
}

Result<Value> run_remove_suffix(const Value& subject, const Arguments& arguments,
                                CallContext& context) {
  std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const std::string_view suffix = EBB_TRY(needed_text(arguments, 0));
  if (text.ends_with(suffix)) text.remove_suffix(suffix.size());
  return built(text, context.budget);
}

/// Looking for the last place takes as long as both sizes multiplied, at worst.
Result<size_t> find_last(std::string_view text, std::string_view part, Budget& budget) {
  EBB_TRY_VOID(budget.read(text.size() * part.size()));
  return text.rfind(part);
}

using Splitter = std::vector<std::string_view> (*)(std::string_view, std::string_view, int64_t);
using SpaceSplitter = std::vector<std::string_view> (*)(std::string_view, int64_t);

template <Splitter split_by, SpaceSplitter split_by_space, bool from_right>
Result<Value> run_split(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const MaybeText separator = EBB_TRY(text_argument(arguments, 0));
  const int64_t splits_max = EBB_TRY(integer_argument(arguments, 1, -1));
  if (!separator) return built_list(split_by_space(text, splits_max), context.budget);
  if (separator->empty()) return invalid("split() by an empty separator");
  EBB_TRY_VOID(context.budget.step(count_occurrences(text, *separator)));
  if (from_right) EBB_TRY_VOID(context.budget.read(text.size() * separator->size()));
  return built_list(split_by(text, *separator, splits_max), context.budget);
}

Result<Value> run_split_lines(const Value& subject, const Arguments& arguments,
                              CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  if (flag_argument(arguments, 0)) return unsupported("splitlines() that keeps the line ends");
  return built_list(split_lines(text), context.budget);
}

template <bool from_right>
Result<Value> run_partition(const Value& subject, const Arguments& arguments,
                            CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const std::string_view separator = EBB_TRY(needed_text(arguments, 0));
  if (separator.empty()) return invalid("partition() by an empty separator");
  const size_t at =
      from_right ? EBB_TRY(find_last(text, separator, context.budget)) : find_text(text, separator);
  std::array<std::string_view, 3> parts = {text, "", ""};
  if (at != text.npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  } else if (from_right) {
    parts = {"", "", text};
  }
  const Value list = EBB_TRY(built_list(parts, context.budget));
  return Value::tuple(*list.list());
}

/// str.find() and its kin, in characters. `must`: not to be found is an error.
template <bool from_right, bool must>
Result<Value> run_find(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const std::string_view part = EBB_TRY(needed_text(arguments, 0));
  const size_t at =
      from_right ? EBB_TRY(find_last(text, part, context.budget)) : find_text(text, part);
  if (at == text.npos && must) return invalid("the text does not hold what is looked for");
  if (at == text.npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(count_characters(text.substr(0, at))));
}

Result<Value> run_count(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const std::string_view part = EBB_TRY(needed_text(arguments, 0));
  const size_t count = part.empty() ? count_characters(text) + 1 : count_occurrences(text, part);
  return Value(static_cast<int64_t>(count));
}

Result<Value> replaced(std::string_view text, std::string_view what, std::string_view with,
                       int64_t count, Budget& budget) {
  const size_t places = what.empty() ? text.size() + 1 : count_occurrences(text, what);
  EBB_TRY_VOID(budget.build(text.size()));
  const uint64_t most =
      count < 0 ? places : std::min<uint64_t>(places, static_cast<uint64_t>(count));
  EBB_TRY_VOID(budget.build(most * with.size()));  // both are below 2^32
  return Value(replace(text, what, with, count));
}

/// The filter takes any values, as their text.
Result<Value> run_replace(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string text = EBB_TRY(filtered_text(subject, context.budget));
  const std::string what = EBB_TRY(to_text(*arguments[0], context.budget));
  const std::string with = EBB_TRY(to_text(*arguments[1], context.budget));
  const int64_t count = EBB_TRY(integer_argument(arguments, 2, -1));
  return replaced(text, what, with, count, context.budget);
}

Result<Value> run_replace_method(const Value& subject, const Arguments& arguments,
                                 CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const std::string_view what = EBB_TRY(needed_text(arguments, 0));
  const std::string_view with = EBB_TRY(needed_text(arguments, 1));
  const int64_t count = EBB_TRY(integer_argument(arguments, 2, -1));
  return replaced(text, what, with, count, context.budget);
}

// --- Padding and layout ---

enum class Side { kLeft, kRight, kCenter };

template <Side side>
Result<Value> run_pad(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const int64_t width = EBB_TRY(needed_width(arguments));
  const std::string_view fill = EBB_TRY(text_argument(arguments, 1)).value_or(" ");
  if (count_characters(fill) != 1) return invalid("the character to fill with must be one");
  const size_t size = count_characters(text);
  const size_t missing = width > static_cast<int64_t>(size) ? static_cast<size_t>(width) - size : 0;
  const Padding padding = side == Side::kCenter ? centered(size, width)
                          : side == Side::kLeft ? Padding{0, missing}
                                                : Padding{missing, 0};
  return padded(text, padding, fill, context.budget);
}

Result<Value> run_fill_zeros(const Value& subject, const Arguments& arguments,
                             CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  const int64_t width = EBB_TRY(needed_width(arguments));
  const auto size = static_cast<int64_t>(count_characters(text));
  if (width <= size) return built(text, context.budget);
  const bool sign = text.starts_with('-') || text.starts_with('+');
  std::string out(text.substr(0, sign ? 1 : 0));
  out.append(static_cast<size_t>(width - size), '0');
  out += text.substr(sign ? 1 : 0);
  return paid(std::move(out), context.budget);
}

Result<Value> run_center(const Value& subject, const Arguments& arguments, CallContext& context) {
  const std::string text = EBB_TRY(filtered_text(subject, context.budget));
  const int64_t width = EBB_TRY(width_argument(arguments, 0, 80));
  return padded(text, centered(count_characters(text), width), " ", context.budget);
}

/// What stands before each line: so many blanks, or a text.
Result<std::string> indentation(const Arguments& arguments) {
  if (arguments[0] && arguments[0]->string()) return *arguments[0]->string();
  if (arguments[0]) EBB_TRY(needed_integer(arguments, 0));
  const int64_t width = EBB_TRY(width_argument(arguments, 0, 4));
  return std::string(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
}

/// Empty lines are indented only with `blank`, the first one only with `first`.
Result<Value> run_indent(const Value& subject, const Arguments& arguments, CallContext& context) {
  if (subject.string() == nullptr) return wrong_type("string", subject);
  const std::string text = EBB_TRY(filtered_text(subject, context.budget)) + "\n";
  const std::string indent = EBB_TRY(indentation(arguments));
  const bool first = flag_argument(arguments, 1), blank = flag_argument(arguments, 2);
  const auto lines = split_lines(text);
  EBB_TRY_VOID(context.budget.build(lines.size() * indent.size()));
  std::string out = first ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += indent;
    out += lines[i];
  }
  return paid(std::move(out), context.budget);
}

/// truncate(length, killwords, end, leeway).
Result<Value> run_truncate(const Value& subject, const Arguments& arguments, CallContext& context) {
  const int64_t length = EBB_TRY(integer_argument(arguments, 0, 255));
  const std::string_view end = EBB_TRY(text_argument(arguments, 2)).value_or("...");
  const int64_t leeway = EBB_TRY(integer_argument(arguments, 3, 5));
  const auto end_size = static_cast<int64_t>(count_characters(end));
  if (length < end_size || leeway < 0) return invalid("truncate: length or leeway is too small");
  const Value size = EBB_TRY(call_builtin(*find_filter("length"), subject, {}, context));
  if (*size.integer() - leeway <= length) return subject;
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  std::string_view kept = slice(text, 0, length - end_size);
  if (!flag_argument(arguments, 1)) kept = kept.substr(0, kept.rfind(' '));
  return paid(std::string(kept) + std::string(end), context.budget);
}

Result<Value> run_string(const Value& subject, const Arguments&, CallContext& context) {
  if (subject.string() != nullptr) return subject;
  return Value(EBB_TRY(to_text(subject, context.budget)));
}

/// format(*values) or format(key=value): the text itself is the format.
Result<Value> run_format(const Value& subject, GivenValues given, CallContext& context) {
  if (subject.is_markup()) return unsupported("format of text marked safe, which would escape");
  const std::string text = EBB_TRY(filtered_text(subject, context.budget));
  if (given.by_name.empty()) {
    const Value values = Value::tuple(std::move(given.positional));
    return Value(EBB_TRY(format_text(text, values, context.budget)));
  }
  if (!given.positional.empty()) return invalid("format takes values or names, not both");
  Dict named;
  for (auto& [name, value] : given.by_name) named.set(name, std::move(value));
  return Value(EBB_TRY(format_text(text, Value(std::move(named)), context.budget)));
}

// --- Marked text and JSON ---

Result<Value> run_safe(const Value& subject, const Arguments&, CallContext& context) {
  return Value::markup(EBB_TRY(to_text(subject, context.budget)));
}

Result<Value> run_escape(const Value& subject, const Arguments&, CallContext& context) {
  if (subject.is_markup()) return subject;
  std::string out;
  for (char c : EBB_TRY(filtered_text(subject, context.budget))) {
    constexpr std::string_view kSpecial = "&<>'\"";
    constexpr const char* kNames[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const size_t place = kSpecial.find(c);
    if (place == kSpecial.npos) {
      out += c;
    } else {
      out += kNames[place];
    }
  }
  EBB_TRY_VOID(context.budget.build(out.size()));
  return Value::markup(std::move(out));
}

Result<void> read_separators(const Arguments& arguments, JsonStyle& style) {
  if (!arguments[2] || arguments[2]->is_none()) {
    if (style.indent) style.item_separator = ",";
    return {};
  }
  const List* pair = arguments[2]->list();
  if (pair == nullptr || pair->size() != 2 || !(*pair)[0].string() || !(*pair)[1].string()) {
    return invalid("tojson: separators are a pair of strings");
  }
  style.item_separator = *(*pair)[0].string();
  style.key_separator = *(*pair)[1].string();
  return {};
}

Result<Value> run_to_json(const Value& subject, const Arguments& arguments, CallContext& context) {
  JsonStyle style;
  style.ensure_ascii = flag_argument(arguments, 0);
  if (arguments[1] && !arguments[1]->is_none()) {
    if (const std::string* text = arguments[1]->string()) {
      style.indent = *text;
    } else {
      const int64_t width = EBB_TRY(width_argument(arguments, 1, 0));
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
    }
  }
  EBB_TRY_VOID(read_separators(arguments, style));
  style.sort_keys = flag_argument(arguments, 3);
  return Value(EBB_TRY(to_json(subject, style, context.budget)));
}

// --- Joining ---

/// Unlike the filter, Python's method takes strings only.
Result<Value> run_join_method(const Value& subject, const Arguments& arguments,
                              CallContext& context) {
  const std::string_view separator = EBB_TRY(method_text(subject, context.budget));
  std::string joined;
  const List elements = EBB_TRY(elements_of(*arguments[0], context.budget));
  for (size_t i = 0; i < elements.size(); ++i) {
    if (elements[i].string() == nullptr) return wrong_type("string", elements[i]);
    EBB_TRY_VOID(context.budget.build(elements[i].string()->size() + separator.size()));
    if (i > 0) joined += separator;
    joined += *elements[i].string();
  }
  return Value(std::move(joined));
}

// --- What strings are made of ---

/// Of characters beyond ASCII Python asks tables that are not here.
template <bool (*holds)(char)>
Result<Value> run_all_are(const Value& subject, const Arguments&, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  if (!is_ascii(text)) return unsupported("the kinds of characters beyond ASCII");
  return Value(!text.empty() && std::all_of(text.begin(), text.end(), holds));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_letter_or_digit(char c) { return is_digit(c) || is_letter(c); }

Result<Value> run_is_space(const Value& subject, const Arguments&, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  return Value(!text.empty() && strip(text, std::nullopt, Sides::kBoth).empty());
}

/// str.isupper() and islower(), which Jinja's tests `upper` and `lower` are too.
template <bool wants_upper>
Result<Value> run_is_case(const Value& subject, const Arguments&, CallContext& context) {
  const std::string_view text = EBB_TRY(method_text(subject, context.budget));
  if (!is_ascii(text)) return unsupported("the kinds of characters beyond ASCII");
  const auto in = [](char first, char last) {
    return [=](char c) { return c >= first && c <= last; };
  };
  const auto wanted = wants_upper ? in('A', 'Z') : in('a', 'z');
  const auto other = wants_upper ? in('a', 'z') : in('A', 'Z');
  return Value(std::any_of(text.begin(), text.end(), wanted) &&
               std::none_of(text.begin(), text.end(), other));
}

}  // namespace

std::span<const Builtin> text_filters() {
  static const std::array kTable = {
      Builtin{"trim", {"chars"}, 0, run_trim},
      Builtin{"upper", {}, 0, run_case<upper>},
      Builtin{"lower", {}, 0, run_case<to_lower>},
      Builtin{"capitalize", {}, 0, run_case<capitalized>},
      Builtin{"title", {}, 0, run_case<in_title_case>},
      Builtin{"center", {"width"}, 0, run_center},
      Builtin{"indent", {"width", "first", "blank"}, 0, run_indent},
      Builtin{"truncate", {"length", "killwords", "end", "leeway"}, 0, run_truncate},
      Builtin{"replace", {"old", "new", "count"}, 2, run_replace},
      Builtin{"format", {}, 0, nullptr, run_format},
      Builtin{"string", {}, 0, run_string},
      Builtin{"safe", {}, 0, run_safe},
      Builtin{"escape", {}, 0, run_escape},
      Builtin{"e", {}, 0, run_escape},
      Builtin{"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, run_to_json},
  };
  return kTable;
}

std::span<const Builtin> text_methods() {
  static const std::array kTable = {
      Builtin{"strip", {"chars"}, 0, run_strip<Sides::kBoth>},
      Builtin{"lstrip", {"chars"}, 0, run_strip<Sides::kLeft>},
      Builtin{"rstrip", {"chars"}, 0, run_strip<Sides::kRight>},
      Builtin{"startswith", {"prefix"}, 1, run_edge<starts_with>},
      Builtin{"endswith", {"suffix"}, 1, run_edge<ends_with>},
      Builtin{"removeprefix", {"prefix"}, 1, run_remove_prefix},
      Builtin{"removesuffix", {"suffix"}, 1, run_remove_suffix},
      Builtin{"split", {"sep", "maxsplit"}, 0, run_split<split, split_at_space, false>},
      Builtin{"rsplit", {"sep", "maxsplit"}, 0, run_split<split_right, split_right_at_space, true>},
      Builtin{"splitlines", {"keepends"}, 0, run_split_lines},
      Builtin{"partition", {"sep"}, 1, run_partition<false>},
      Builtin{"rpartition", {"sep"}, 1, run_partition<true>},
      Builtin{"replace", {"old", "new", "count"}, 2, run_replace_method},
      Builtin{"find", {"sub"}, 1, run_find<false, false>},
      Builtin{"rfind", {"sub"}, 1, run_find<true, false>},
      Builtin{"index", {"sub"}, 1, run_find<false, true>},
      Builtin{"rindex", {"sub"}, 1, run_find<true, true>},
      Builtin{"count", {"sub"}, 1, run_count},
      Builtin{"upper", {}, 0, run_case<upper>},
      Builtin{"lower", {}, 0, run_case<to_lower>},
      Builtin{"capitalize", {}, 0, run_case<capitalized>},
      Builtin{"title", {}, 0, run_title_method},
      Builtin{"join", {"iterable"}, 1, run_join_method},
      Builtin{"ljust", {"width", "fillchar"}, 1, run_pad<Side::kLeft>},
      Builtin{"rjust", {"width", "fillchar"}, 1, run_pad<Side::kRight>},
      Builtin{"center", {"width", "fillchar"}, 1, run_pad<Side::kCenter>},
      Builtin{"zfill", {"width"}, 1, run_fill_zeros},
      Builtin{"isdigit", {}, 0, run_all_are<is_digit>},
      Builtin{"isnumeric", {}, 0, run_all_are<is_digit>},
      Builtin{"isdecimal", {}, 0, run_all_are<is_digit>},
      Builtin{"isalpha", {}, 0, run_all_are<is_letter>},
      Builtin{"isalnum", {}, 0, run_all_are<is_letter_or_digit>},
      Builtin{"isspace", {}, 0, run_is_space},
      Builtin{"isupper", {}, 0, run_is_case<true>},
      Builtin{"islower", {}, 0, run_is_case<false>},
  };
  return kTable;
}

}  // namespace ebb::models::jinja
