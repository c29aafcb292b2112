#include "tests/house/document_rules.h"

#include <algorithm>
#include <optional>

#include "tests/house/covered_elsewhere.h"

namespace ebb::house {
namespace {

struct Mention {
  std::string_view path;
  std::string_view name;  ///< behind ':'; may be empty
};

bool is_path_part(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '/';
}

/// A mention is a whole quotation of the form folder/file.ext or folder/file.ext:name.
std::optional<Mention> read_mention(std::string_view quoted) {
  static const std::vector<std::string_view> kExtensions = {
      ".h",    ".cpp", ".capnp", ".cmake",         ".md",
      ".yaml", ".py",  ".sh",    "CMakeLists.txt", "packages.txt"};
  const size_t colon = quoted.find(':');
  const std::string_view path = quoted.substr(0, colon);
  const std::string_view name = colon == quoted.npos ? "" : quoted.substr(colon + 1);
  const bool is_path = path.find('/') != path.npos && !path.starts_with("/") &&
                       std::all_of(path.begin(), path.end(), is_path_part) &&
                       std::any_of(kExtensions.begin(), kExtensions.end(),
                                   [&](std::string_view end) { return path.ends_with(end); });
  if (!is_path) return std::nullopt;
  return Mention{path.starts_with("./") ? path.substr(2) : path, name};
}

/// "Class::method()" is looked up as "method".
std::string_view last_name(std::string_view name) {
  if (const size_t scope = name.rfind("::"); scope != name.npos) name.remove_prefix(scope + 2);
  return name.substr(0, name.find('('));
}

bool contains_name(const SourceFile& file, std::string_view name) {
  return std::any_of(file.lines.begin(), file.lines.end(),
                     [&](const std::string& line) { return has_word(line, name); });
}

std::optional<std::string> wrong_mention(const SourceTree& tree, const Mention& mention) {
  const SourceFile* file = tree.find(mention.path);
  if (file == nullptr) return "there is no file " + std::string(mention.path);
  if (mention.name.empty() || contains_name(*file, last_name(mention.name))) return std::nullopt;
  return std::string(mention.path) + " has no " + std::string(last_name(mention.name));
}

/// Null: none.
const Coverage* coverage_of(std::string_view path) {
  const auto table = covered_elsewhere();
  const auto at = std::find_if(table.begin(), table.end(),
                               [&](const Coverage& entry) { return entry.source == path; });
  return at == table.end() ? nullptr : &*at;
}

std::string own_test(std::string_view folder, const SourceFile& file) {
  return "tests/" + std::string(folder) + "/" + file.stem() + "_test.cpp";
}

/// Where a reader looks first: beside the folder's other tests, or in a folder of the same name.
bool has_own_test(const SourceTree& tree, const SourceFile& file) {
  const std::string_view path = file.path;
  return tree.find(own_test(path.substr(0, path.find('/')), file)) != nullptr ||
         tree.find(own_test(path.substr(0, path.rfind('/')), file)) != nullptr;
}

bool is_product_source(const SourceFile& file) {
  return file.is_source() && !file.is_test() && !file.path.starts_with("bench/");
}

}  // namespace

Violations check_document_paths(const SourceTree& tree, const SourceFile& document) {
  Violations found;
  bool in_code = false;
  for (size_t i = 0; i < document.lines.size(); ++i) {
    const std::string_view line = document.lines[i];
    if (line.starts_with("```")) in_code = !in_code;
    if (in_code) continue;
    for (size_t begin = line.find('`'); begin != line.npos;) {
      const size_t end = line.find('`', begin + 1);
      if (end == line.npos) break;
      if (const auto mention = read_mention(line.substr(begin + 1, end - begin - 1))) {
        if (const auto wrong = wrong_mention(tree, *mention)) {
          found.push_back(at(document, i) + *wrong);
        }
      }
      begin = line.find('`', end + 1);
    }
  }
  return found;
}

Violations check_sources_are_tested(const SourceTree& tree) {
  Violations found;
  for (const SourceFile& file : tree.files()) {
    if (!is_product_source(file) || has_own_test(tree, file)) continue;
    const Coverage* entry = coverage_of(file.path);
    if (entry == nullptr) {
      found.push_back(file.path + ": no " +
                      own_test(file.path.substr(0, file.path.find('/')), file) +
                      ", nor an entry in covered_elsewhere.cpp");
      continue;
    }
    if (tree.find(entry->test) == nullptr) {
      found.push_back(file.path + " is tested by " + std::string(entry->test) + ", which is gone");
    }
  }
  return found;
}

Violations check_coverage_table(const SourceTree& tree) {
  Violations found;
  for (const Coverage& entry : covered_elsewhere()) {
    const std::string says = "covered_elsewhere.cpp: " + std::string(entry.source);
    const SourceFile* file = tree.find(entry.source);
    if (file == nullptr || !is_product_source(*file)) {
      found.push_back(says + " is no source");
    } else if (coverage_of(entry.source) != &entry) {
      found.push_back(says + " stands there twice");
    } else if (has_own_test(tree, *file)) {
      found.push_back(says + " has a test of its own");
    }
  }
  return found;
}

}  // namespace ebb::house
