// Percent decoding by RFC 3986; '+' is a space in queries only (HTML forms).
#include "transport/http/target.h"

namespace ebb::http {
namespace {

enum class Plus { kLiteral, kSpace };

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> decode(std::string_view text, Plus plus) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus == Plus::kSpace) {
      out += ' ';
      continue;
    }
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return invalid("request target: '%' at byte " + std::to_string(i) +
                     " is not followed by two hexadecimal digits");
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

/// "http://host:1/path" -> "/path"; other forms as they are.
std::string_view without_authority(std::string_view text) {
  const size_t scheme = text.find("://");
  if (text.empty() || text[0] == '/' || scheme == std::string_view::npos) return text;
  const size_t path = text.find_first_of("/?", scheme + 3);
  return path == std::string_view::npos ? std::string_view("/") : text.substr(path);
}

}  // namespace

Result<Target> parse_target(std::string_view text) {
  Target target;
  if (text == "*") {
    target.path = "*";
    return target;
  }
  text = without_authority(text);
  text = text.substr(0, text.find('#'));
  const size_t mark = text.find('?');
  const std::string_view path = text.substr(0, mark);
  if (path.empty() || path[0] != '/') return invalid("request target does not begin with '/'");
  target.path = EBB_TRY(decode(path, Plus::kLiteral));
  if (mark == std::string_view::npos) return target;

  std::string_view rest = text.substr(mark + 1);
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    std::string name = EBB_TRY(decode(pair.substr(0, equals), Plus::kSpace));
    std::string value;
    if (equals != std::string_view::npos) {
      value = EBB_TRY(decode(pair.substr(equals + 1), Plus::kSpace));
    }
    target.query[std::move(name)] = std::move(value);
  }
  return target;
}

}  // namespace ebb::http
