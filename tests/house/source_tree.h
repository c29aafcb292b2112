// The files of the source tree, as the house's rules see them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ebb::house {

struct SourceFile {
  std::string path;  ///< from the tree's root, with '/'
  std::vector<std::string> lines;

  std::string name() const;       ///< without folders
  std::string extension() const;  ///< with the dot; empty: none
  std::string stem() const;
  bool is_header() const { return extension() == ".h" || extension() == ".cuh"; }
  bool is_source() const { return extension() == ".cpp" || extension() == ".cu"; }
  bool is_cpp() const { return is_header() || is_source(); }
  bool is_test() const { return path.starts_with("tests/"); }
};

SourceFile make_file(std::string path, std::string_view text);

class SourceTree {
 public:
  /// All text files below `root`, without build folders, hidden folders and golden data.
  static SourceTree read(const std::string& root);
  explicit SourceTree(std::vector<SourceFile> files) : files_(std::move(files)) {}

  const std::vector<SourceFile>& files() const { return files_; }
  /// Null: no such file.
  const SourceFile* find(std::string_view path) const;

 private:
  std::vector<SourceFile> files_;  ///< by path
};

/// One sentence for each broken rule: "kernels/x.cpp:12: 104 columns; the limit is 100".
using Violations = std::vector<std::string>;
std::string at(const SourceFile& file, size_t line_index);

/// True when `text` has `word` with no letter, digit or '_' on either side.
bool has_word(std::string_view text, std::string_view word);

}  // namespace ebb::house
