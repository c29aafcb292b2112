#include "models/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace ebb::models::jinja {
namespace {

/// A bool counts as 0 or 1, as in Python.
std::optional<double> as_real(const Value& value) {
  if (const bool* b = value.boolean()) return *b ? 1.0 : 0.0;
  if (const int64_t* i = value.integer()) return static_cast<double>(*i);
  if (const double* d = value.real()) return *d;
  return std::nullopt;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && equal(entry.second, *other);
  });
}

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

void write_json_string(std::string_view text, std::string& out) {
  constexpr const char* kHex = "0123456789abcdef";
  out += '"';
  for (char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

/// Recursive: the interpreter bounds how deep values nest.
class JsonWriter {
 public:
  explicit JsonWriter(int64_t indent) : indent_(indent) {}

  Result<void> write(const Value& value) {
    if (const List* list = value.list()) return write_list(*list);
    if (const Dict* dict = value.dict()) return write_dict(*dict);
    if (value.is_undefined()) return invalid(value.undefined_text());
    if (value.name_space() != nullptr) return unsupported("tojson of a namespace");
    if (const std::string* text = value.string()) {
      write_json_string(*text, out);
    } else if (const bool* b = value.boolean()) {
      out += *b ? "true" : "false";
    } else if (value.is_none()) {
      out += "null";
    } else if (const double* d = value.real(); d != nullptr && !std::isfinite(*d)) {
      out += std::isnan(*d) ? "NaN" : *d > 0 ? "Infinity" : "-Infinity";
    } else {
      out += EBB_TRY(to_text(value));
    }
    return {};
  }

  std::string out;

 private:
  void new_line() {
    if (indent_ < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent_) * depth_, ' ');
  }
  void separate(bool first) {
    if (!first) out += indent_ < 0 ? ", " : ",";
    new_line();
  }
  Result<void> write_list(const List& list) {
    if (list.empty()) return out += "[]", Result<void>();
    out += '[';
    ++depth_;
    for (size_t i = 0; i < list.size(); ++i) {
      separate(i == 0);
      EBB_TRY_VOID(write(list[i]));
    }
    --depth_;
    new_line();
    out += ']';
    return {};
  }
  Result<void> write_dict(const Dict& dict) {
    if (dict.entries.empty()) return out += "{}", Result<void>();
    out += '{';
    ++depth_;
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      separate(i == 0);
      write_json_string(dict.entries[i].first, out);
      out += ": ";
      EBB_TRY_VOID(write(dict.entries[i].second));
    }
    --depth_;
    new_line();
    out += '}';
    return {};
  }

  int64_t indent_;
  size_t depth_ = 0;
};

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto& [name, old] : entries) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  entries.emplace_back(std::string(key), std::move(value));
}

Value::Value(List l) {
  for (const Value& element : l) depth_ = std::max(depth_, element.depth_);
  ++depth_;
  state_ = std::make_shared<const List>(std::move(l));
}

Value::Value(Dict d) {
  for (const auto& entry : d.entries) depth_ = std::max(depth_, entry.second.depth_);
  ++depth_;
  state_ = std::make_shared<const Dict>(std::move(d));
}

Value Value::undefined(std::string_view name) {
  Value value;
  value.state_ = Undefined{std::make_shared<const std::string>(name)};
  return value;
}

Namespace* Value::name_space() const {
  const auto* p = std::get_if<std::shared_ptr<Namespace>>(&state_);
  return p == nullptr ? nullptr : p->get();
}

bool Value::is_nothing() const {
  const auto* p = std::get_if<Undefined>(&state_);
  return p != nullptr && p->name->empty();
}

std::string Value::undefined_text() const {
  const auto* p = std::get_if<Undefined>(&state_);
  if (is_nothing()) return "the value of an 'if' without 'else' is undefined";
  return "'" + (p == nullptr ? std::string() : *p->name) + "' is undefined";
}

bool Value::truthy() const {
  if (is_none() || is_undefined()) return false;
  if (const std::string* text = string()) return !text->empty();
  if (const List* elements = list()) return !elements->empty();
  if (const Dict* entries = dict()) return !entries->entries.empty();
  if (const auto number = as_real(*this)) return *number != 0;
  return true;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"none",   "undefined", "boolean", "integer",  "float",
                                    "string", "list",      "mapping", "namespace"};
  return kNames[state_.index()];
}

bool equal(const Value& a, const Value& b) {
  if (a.integer() && b.integer()) return *a.integer() == *b.integer();
  const auto left = as_real(a);
  const auto right = as_real(b);
  if (left || right) return left && right && *left == *right;
  if (a.string() && b.string()) return *a.string() == *b.string();
  if (a.list() && b.list()) {
    return std::equal(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(),
                      equal);
  }
  if (a.dict() && b.dict()) return equal_dicts(*a.dict(), *b.dict());
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

Result<std::string> to_text(const Value& value) {
  if (const std::string* text = value.string()) return *text;
  if (const int64_t* i = value.integer()) return std::to_string(*i);
  if (const bool* b = value.boolean()) return std::string(*b ? "True" : "False");
  if (const double* d = value.real()) return real_text(*d);
  if (value.is_none()) return std::string("None");
  if (value.is_nothing()) return std::string();
  if (value.is_undefined()) return invalid(value.undefined_text());
  return unsupported(std::string("a ") + value.type_name() + " as text (tojson can write it)");
}

Result<std::string> to_json(const Value& value, int64_t indent) {
  JsonWriter writer(indent);
  EBB_TRY_VOID(writer.write(value));
  return std::move(writer.out);
}

}  // namespace ebb::models::jinja
