#include "models/jinja/print.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "models/jinja/text.h"
#include "models/jinja/unicode.h"
#include "models/utf8.h"

namespace ebb::models::jinja {
namespace {

/// Python's repr(float): the shortest digits that give the number back, with an exponent from 1e16
/// on and below 1e-4, and always a sign that it is no integer.
std::string real_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char buffer[64];
  const double size = std::fabs(d);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, format).ptr;
  std::string text(buffer, end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

void append_hex(std::string& out, uint32_t number, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    out += "0123456789abcdef"[(number >> shift) & 15];
  }
}

/// Python's repr(str).
std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const std::string_view character = text.substr(0, character_bytes(text));
    const char32_t code = utf8_decode(character);
    text.remove_prefix(character.size());
    if (code == '\\' || code == static_cast<char32_t>(quote)) {
      out += '\\';
      out += character;
    } else if (code == '\n' || code == '\r' || code == '\t') {
      out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
    } else if (is_printable(code)) {
      out += character;
    } else {
      out += code < 0x100 ? "\\x" : code < 0x10000 ? "\\u" : "\\U";
      append_hex(out, code, code < 0x100 ? 2 : code < 0x10000 ? 4 : 8);
    }
  }
  return out += quote;
}

/// Recursive, as is the next: the interpreter bounds how deep values nest.
class PythonWriter {
 public:
  explicit PythonWriter(Budget& budget) : budget_(budget) {}

  Result<void> write(const Value& value) {
    if (const std::string* text = value.string()) {
      return append(value.is_markup() ? "Markup(" + quoted(*text) + ")" : quoted(*text));
    }
    if (const Dict* dict = value.dict()) return write_dict(*dict);
    if (const List* list = value.list()) {
      const bool tuple = value.sequence()->kind == SequenceKind::kTuple;
      return write_list(*list, tuple);
    }
    if (value.is_undefined()) return append("Undefined");
    return append(EBB_TRY(to_text(value, budget_)));
  }

  std::string out;

 private:
  Result<void> append(std::string_view text) {
    EBB_TRY_VOID(budget_.build(text.size()));
    out += text;
    return {};
  }
  Result<void> write_list(const List& list, bool tuple) {
    EBB_TRY_VOID(append(tuple ? "(" : "["));
    for (size_t i = 0; i < list.size(); ++i) {
      EBB_TRY_VOID(budget_.step());
      if (i > 0) EBB_TRY_VOID(append(", "));
      EBB_TRY_VOID(write(list[i]));
    }
    return append(tuple ? (list.size() == 1 ? ",)" : ")") : "]");
  }
  Result<void> write_dict(const Dict& dict) {
    EBB_TRY_VOID(append("{"));
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      EBB_TRY_VOID(budget_.step());
      if (i > 0) EBB_TRY_VOID(append(", "));
      EBB_TRY_VOID(append(quoted(dict.entries[i].first)));
      EBB_TRY_VOID(append(": "));
      EBB_TRY_VOID(write(dict.entries[i].second));
    }
    return append("}");
  }

  Budget& budget_;
};

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  Result<void> write(const Value& value) {
    EBB_TRY_VOID(budget_.step());
    if (const std::string* text = value.string()) return write_string(*text);
    if (const List* list = value.list()) return write_list(*list);
    if (const Dict* dict = value.dict()) return write_dict(*dict);
    if (const bool* b = value.boolean()) return append(*b ? "true" : "false");
    if (value.is_none()) return append("null");
    if (const double* d = value.real(); d != nullptr && !std::isfinite(*d)) {
      return append(std::isnan(*d) ? "NaN" : *d > 0 ? "Infinity" : "-Infinity");
    }
    if (value.integer() != nullptr || value.real() != nullptr) {
      return append(EBB_TRY(to_text(value, budget_)));
    }
    if (value.is_undefined()) return invalid(value.undefined_text());
    return invalid(value.a_type() + " has no JSON");
  }

  std::string out;

 private:
  Result<void> append(std::string_view text) {
    EBB_TRY_VOID(budget_.build(text.size()));
    out += text;
    return {};
  }

  Result<void> write_string(std::string_view text) {
    EBB_TRY_VOID(budget_.read(text.size()));
    std::string quoted_text = "\"";
    while (!text.empty()) {
      const size_t bytes = style_.ensure_ascii ? character_bytes(text) : 1;
      append_character(text.substr(0, bytes), quoted_text);
      text.remove_prefix(bytes);
    }
    quoted_text += '"';
    return append(quoted_text);
  }

  /// With ensure_ascii one character; else one byte, of which only ASCII's are looked at.
  void append_character(std::string_view character, std::string& to) const {
    constexpr std::string_view kShort = "\"\\\n\r\t\b\f";
    constexpr std::string_view kLetters = "\"\\nrtbf";
    const auto first = static_cast<unsigned char>(character[0]);
    const size_t place = kShort.find(character[0]);
    if (character.size() == 1 && place != kShort.npos) {
      to += '\\';
      to += kLetters[place];
    } else if (first < 0x20 || (style_.ensure_ascii && first > 0x7E)) {
      append_escape(utf8_decode(character), to);
    } else {
      to += character;
    }
  }

  static void append_escape(char32_t code, std::string& to) {
    if (code < 0x10000) {
      to += "\\u";
      return append_hex(to, code, 4);
    }
    to += "\\u";
    append_hex(to, 0xD800 + ((code - 0x10000) >> 10), 4);
    to += "\\u";
    append_hex(to, 0xDC00 + ((code - 0x10000) & 0x3FF), 4);
  }

  Result<void> new_line() {
    if (!style_.indent) return {};
    EBB_TRY_VOID(append("\n"));
    for (size_t i = 0; i < depth_; ++i) EBB_TRY_VOID(append(*style_.indent));
    return {};
  }
  Result<void> separate(bool first) {
    if (!first) EBB_TRY_VOID(append(style_.item_separator));
    return new_line();
  }
  Result<void> write_list(const List& list) {
    if (list.empty()) return append("[]");
    EBB_TRY_VOID(append("["));
    ++depth_;
    for (size_t i = 0; i < list.size(); ++i) {
      EBB_TRY_VOID(separate(i == 0));
      EBB_TRY_VOID(write(list[i]));
    }
    --depth_;
    EBB_TRY_VOID(new_line());
    return append("]");
  }
  Result<void> write_dict(const Dict& dict) {
    if (dict.entries.empty()) return append("{}");
    EBB_TRY_VOID(append("{"));
    ++depth_;
    std::vector<size_t> order(dict.entries.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (style_.sort_keys) {
      std::sort(order.begin(), order.end(),
                [&](size_t a, size_t b) { return dict.entries[a].first < dict.entries[b].first; });
    }
    for (size_t i = 0; i < order.size(); ++i) {
      EBB_TRY_VOID(separate(i == 0));
      EBB_TRY_VOID(write_string(dict.entries[order[i]].first));
      EBB_TRY_VOID(append(style_.key_separator));
      EBB_TRY_VOID(write(dict.entries[order[i]].second));
    }
    --depth_;
    EBB_TRY_VOID(new_line());
    return append("}");
  }

  const JsonStyle& style_;
  Budget& budget_;
  size_t depth_ = 0;
};

}  // namespace

Result<std::string> to_text(const Value& value, Budget& budget) {
  if (const std::string* text = value.string()) {
    EBB_TRY_VOID(budget.build(text->size()));
    return *text;
  }
  if (const int64_t* i = value.integer()) return std::to_string(*i);
  if (const bool* b = value.boolean()) return std::string(*b ? "True" : "False");
  if (const double* d = value.real()) return real_text(*d);
  if (value.is_none()) return std::string("None");
  if (value.is_undefined()) return std::string();
  if (value.list() == nullptr && value.dict() == nullptr) {
    return unsupported(value.a_type() + " as text");
  }
  return to_repr(value, budget);
}

Result<std::string> to_repr(const Value& value, Budget& budget) {
  PythonWriter writer(budget);
  EBB_TRY_VOID(writer.write(value));
  return std::move(writer.out);
}

Result<std::string> to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  EBB_TRY_VOID(writer.write(value));
  return std::move(writer.out);
}

}  // namespace ebb::models::jinja
