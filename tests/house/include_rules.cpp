#include "tests/house/include_rules.h"

#include <algorithm>
#include <optional>
#include <set>

#include "tests/house/include_table.h"

namespace ebb::house {
namespace {

struct Include {
  std::string_view header;
  bool is_quoted = false;
};

std::optional<Include> read_include(std::string_view line) {
  constexpr std::string_view kDirective = "#include ";
  if (!line.starts_with(kDirective)) return std::nullopt;
  line.remove_prefix(kDirective.size());
  const char closing = line.starts_with("<") ? '>' : line.starts_with("\"") ? '"' : '\0';
  const size_t end = closing == '\0' ? line.npos : line.find(closing, 1);
  if (end == line.npos) return std::nullopt;
  return Include{line.substr(1, end - 1), closing == '"'};
}

bool starts_with_any(std::string_view text, const Names& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

const FolderRule* rule_for(std::string_view path) {
  const FolderRule* best = nullptr;
  for (const FolderRule& rule : folder_rules()) {
    if (!path.starts_with(rule.folder)) continue;
    if (best == nullptr || rule.folder.size() > best->folder.size()) best = &rule;
  }
  return best;
}

bool is_system_header(std::string_view header) {
  if (header.find_first_of("./") == header.npos) return true;
  return std::any_of(std::begin(kSystemHeaders), std::end(kSystemHeaders),
                     [&](std::string_view known) { return header.starts_with(known); });
}

/// What `file` includes, itself and through our own headers.
void collect_includes(const SourceTree& tree, const SourceFile& file,
                      std::set<std::string_view>& included) {
  for (const std::string& line : file.lines) {
    const auto include = read_include(line);
    if (!include || !included.insert(include->header).second) continue;
    const SourceFile* ours = include->is_quoted ? tree.find(include->header) : nullptr;
    if (ours != nullptr) collect_includes(tree, *ours, included);
  }
}

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

}  // namespace

Violations check_our_includes(const SourceTree& tree, const SourceFile& file) {
  Violations found;
  const FolderRule* rule = rule_for(file.path);
  if (rule == nullptr) return {file.path + ": a folder that the include table does not know"};
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const auto include = read_include(file.lines[i]);
    if (!include || !include->is_quoted) continue;
    if (include->header.ends_with(".capnp.h")) {
      if (!file.path.starts_with("transport/control/")) {
        found.push_back(at(file, i) + "generated messages stay inside transport/control/");
      }
    } else if (tree.find(include->header) == nullptr) {
      found.push_back(at(file, i) + quoted(include->header) + " is no file, seen from the root");
    } else if (!starts_with_any(include->header, rule->may_include)) {
      found.push_back(at(file, i) + std::string(rule->folder) + " must not know " +
                      quoted(include->header));
    }
  }
  return found;
}

Violations check_vendor_includes(const SourceFile& file) {
  Violations found;
  if (file.is_test() || file.path.starts_with("bench/")) return found;
  for (size_t i = 0; i < file.lines.size(); ++i) {
    const auto include = read_include(file.lines[i]);
    if (!include || include->is_quoted) continue;
    const auto rule = std::find_if(
        vendor_rules().begin(), vendor_rules().end(),
        [&](const VendorRule& candidate) { return include->header.starts_with(candidate.header); });
    const std::string header = "<" + std::string(include->header) + ">";
    if (rule == vendor_rules().end()) {
      if (!is_system_header(include->header)) {
        found.push_back(at(file, i) + header + " is not in the table of libraries");
      }
      continue;
    }
    const bool is_at_home =
        std::any_of(rule->where.begin(), rule->where.end(), [&](std::string_view place) {
          return file.path.starts_with(place) || file.path.ends_with(place);
        });
    if (is_at_home) continue;
    found.push_back(at(file, i) + header + " belongs only to " + std::string(rule->where.front()));
  }
  return found;
}

Violations check_header_stands_alone(const SourceTree& tree, const SourceFile& file) {
  Violations found;
  if (!file.is_header()) return found;
  std::set<std::string_view> included;
  collect_includes(tree, file, included);
  for (const StandardNeed& need : standard_needs()) {
    if (included.contains(need.header)) continue;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string_view line = file.lines[i];
      // Neither comments nor quoted text count.
      const size_t code_end = std::min(line.find("//"), line.find('"'));
      if (!has_word(line.substr(0, code_end), need.used)) continue;
      found.push_back(at(file, i) + "uses " + std::string(need.used) + " without <" +
                      std::string(need.header) + ">");
      break;
    }
  }
  return found;
}

}  // namespace ebb::house
