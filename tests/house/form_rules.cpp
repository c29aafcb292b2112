#include "tests/house/form_rules.h"

#include <algorithm>
#include <optional>

namespace ebb::house {
namespace {

constexpr size_t kColumnsMax = 100;
constexpr size_t kColumnsOfOthersMax = 120;  ///< schemas, build files, scripts
constexpr size_t kFileLinesMax = 600;
constexpr size_t kTestFileLinesMax = 800;  ///< stories one after another, not one idea
constexpr size_t kFunctionLinesMax = 70;

using Names = std::vector<std::string_view>;

size_t columns(std::string_view line) {
  return static_cast<size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // code points, not bytes
  }));
}

/// Code without its line comment.
std::string_view code_of(std::string_view line) { return line.substr(0, line.find("//")); }

size_t indentation(std::string_view line) {
  return std::min(line.find_first_not_of(' '), line.size());
}

/// The line on which the statement begins that `line` continues: signatures may take several.
size_t first_line_of(const std::vector<std::string>& lines, size_t line) {
  const auto ends_something = [](std::string_view text) {
    const std::string_view code = text.substr(0, text.find_last_not_of(' ') + 1);
    return code.empty() || code.starts_with("#") || code.find("//") != code.npos ||
           code.ends_with(";") || code.ends_with("}") || code.ends_with("{") || code.ends_with(":");
  };
  while (line > 0 && !ends_something(lines[line - 1])) --line;
  return line;
}

/// Opens the body of a function at namespace or class level, in clang-format's form. `begin` is the
/// first line of its signature.
bool opens_function(std::string_view begin, std::string_view line) {
  static const Names kOthers = {"if ",       "for ",    "while ",  "switch ", "do ",    "else",
                                "namespace", "class ",  "struct ", "enum ",   "union ", "}",
                                "return ",   "extern ", "EXPECT_", "ASSERT_"};
  const size_t indent = indentation(begin);
  const std::string_view text = begin.substr(indent);
  if (indent > 4 || !line.ends_with("{") || line.find(')') == line.npos) return false;
  return std::none_of(kOthers.begin(), kOthers.end(),
                      [&](std::string_view other) { return text.starts_with(other); });
}

struct Ban {
  std::string_view word;
  std::string_view instead;
  Names allowed;  ///< paths that begin or end so
};

bool is_allowed(const Ban& ban, std::string_view path) {
  return std::any_of(ban.allowed.begin(), ban.allowed.end(), [&](std::string_view place) {
    return path.starts_with(place) || path.ends_with(place);
  });
}

}  // namespace

Violations check_line_length(const SourceFile& file) {
  Violations found;
  static const Names kOthers = {".capnp", ".cmake", ".txt", ".py", ".sh"};
  const bool is_other =
      std::find(kOthers.begin(), kOthers.end(), file.extension()) != kOthers.end();
  if (!file.is_cpp() && !is_other) return found;
  const size_t limit = file.is_cpp() ? kColumnsMax : kColumnsOfOthersMax;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const size_t length = columns(file.lines[i]);
    if (length <= limit) continue;
    found.push_back(at(file, i) + std::to_string(length) + " columns; the limit is " +
                    std::to_string(limit));
  }
  return found;
}

Violations check_file_length(const SourceFile& file) {
  const size_t limit = file.is_test() ? kTestFileLinesMax : kFileLinesMax;
  if (!file.is_cpp() || file.lines.size() <= limit) return {};
  return {file.path + ": " + std::to_string(file.lines.size()) + " lines; the limit is " +
          std::to_string(limit)};
}

Violations check_function_length(const SourceFile& file) {
  Violations found;
  if (!file.is_cpp()) return found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const size_t begin = first_line_of(file.lines, i);
    if (!opens_function(file.lines[begin], file.lines[i])) continue;
    const std::string closing = std::string(indentation(file.lines[begin]), ' ') + "}";
    size_t end = i + 1;
    while (end < file.lines.size() && !file.lines[end].starts_with(closing)) ++end;
    const size_t length = end - begin + 1;
    if (length > kFunctionLinesMax) {
      found.push_back(at(file, begin) + "a function of " + std::to_string(length) +
                      " lines; the limit is " + std::to_string(kFunctionLinesMax));
    }
    i = end;
  }
  return found;
}

Violations check_header_form(const SourceFile& file) {
  Violations found;
  const auto guards = std::count(file.lines.begin(), file.lines.end(), "#pragma once");
  if (!file.is_header()) {
    if (file.is_source() && guards > 0) found.push_back(file.path + ": #pragma once in a source");
    return found;
  }
  if (guards != 1) {
    found.push_back(file.path + ": " + std::to_string(guards) + " times #pragma once; one is due");
  }
  if (file.lines.empty() || !file.lines[0].starts_with("// ")) {
    found.push_back(at(file, 0) + "the first line must say what the header is for");
  }
  return found;
}

Violations check_banned_code(const SourceFile& file) {
  static const std::vector<Ban> kBans = {
      {"using namespace std;", "write std::", {}},
      {"std::cout", "log, or return text", {"cli/", "ctl/", "tests/", "bench/", "/main.cpp"}},
      {"std::cerr", "log, or return text", {"cli/", "ctl/", "tests/", "bench/", "/main.cpp"}},
      {"sleep_for",
       "wait for the event, with a deadline",
       {"base/", "tests/", "bench/",
        // These poll other processes, which cannot notify them.
        "ctl/up.cpp", "ctl/supervisor.cpp"}},
      {"sleep_until", "wait for the event, with a deadline", {"base/", "tests/"}},
      {"usleep", "wait for the event, with a deadline", {"tests/"}},
      {"rand()", "a seeded generator of <random>", {}},
      {"strtok", "std::string_view", {}},
      {"sprintf", "std::string", {}},
      {"FIXME", "TODO(kind)", {}},
      {"XXX", "TODO(kind)", {"ctl/", "tests/", "bench/"}},  // mkdtemp() templates
  };
  Violations found;
  if (!file.is_cpp() || file.path.starts_with("tests/house/")) return found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    for (const Ban& ban : kBans) {
      if (!has_word(code_of(file.lines[i]), ban.word) || is_allowed(ban, file.path)) continue;
      found.push_back(at(file, i) + std::string(ban.word) +
                      "; instead: " + std::string(ban.instead));
    }
  }
  return found;
}

Violations check_todos(const SourceFile& file) {
  static const Names kKinds = {"TODO(perf): ", "TODO(cleanup): ", "TODO(test): ", "TODO(port): "};
  Violations found;
  if (file.path.starts_with("tests/house/")) return found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const std::string_view line = file.lines[i];
    const size_t todo = line.find("TODO");
    if (todo == line.npos || !has_word(line, "TODO")) continue;
    const bool has_kind = std::any_of(kKinds.begin(), kKinds.end(), [&](std::string_view kind) {
      return line.substr(todo).starts_with(kind);
    });
    if (!has_kind) found.push_back(at(file, i) + "TODO(perf|cleanup|test|port): and a sentence");
  }
  return found;
}

Violations check_banned_words(const SourceFile& file) {
  // Written in two halves, so that this list does not find itself.
  static const std::vector<std::string> kWords = {
      "/wor"
      "k/",
      "/tmp/w"
      "t",
      "/tmp/e"
      "bb",
      "DES"
      "IGN",
      "platfor"
      "m.md",
      "methods"
      ".md",
      "BRI"
      "EF",
      "work"
      "tree",
      "sub"
      "agent",
      "integra"
      "tor",
      "Clau"
      "de",
      "Anthro"
      "pic",
      "this sess"
      "ion",
      "iss"
      "ue 3",
      "artif"
      "actory",
      "as an A"
      "I",
  };
  Violations found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    for (const std::string& word : kWords) {
      if (!has_word(file.lines[i], word)) continue;
      found.push_back(at(file, i) + "'" + word + "' is not the product's vocabulary");
    }
  }
  return found;
}

}  // namespace ebb::house
