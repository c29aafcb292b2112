#include "tests/house/source_tree.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace ebb::house {
namespace {

namespace fs = std::filesystem;

bool is_text(const fs::path& path) {
  static const std::vector<std::string> kExtensions = {
      ".h",     ".cpp", ".cu",   ".cuh", ".capnp", ".cmake",
      ".txt",   ".md",  ".yaml", ".py",  ".sh",    ".json"};
  const std::string extension = path.extension().string();
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

bool is_left_out(const fs::path& path, const fs::path& root) {
  const std::string name = path.filename().string();
  const bool is_at_root = path.parent_path() == root;
  const bool is_golden_data =
      path.parent_path().filename() == "golden" && path.extension() != ".py";
  return (name.starts_with(".") && name != ".ci") || (is_at_root && name.starts_with("build")) ||
         name == "__pycache__" || is_golden_data;
}

bool is_word_part(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

}  // namespace

std::string SourceFile::name() const { return fs::path(path).filename().string(); }
std::string SourceFile::extension() const { return fs::path(path).extension().string(); }
std::string SourceFile::stem() const { return fs::path(path).stem().string(); }

SourceFile make_file(std::string path, std::string_view text) {
  SourceFile file{std::move(path), {}};
  std::istringstream in{std::string(text)};
  for (std::string line; std::getline(in, line);) file.lines.push_back(line);
  return file;
}

SourceTree SourceTree::read(const std::string& root_path) {
  const fs::path root = fs::path(root_path).lexically_normal();
  std::vector<SourceFile> files;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator();
       ++it) {
    if (is_left_out(it->path(), root)) {
      it.disable_recursion_pending();
      continue;
    }
    if (!it->is_regular_file() || !is_text(it->path())) continue;
    std::ifstream in(it->path());
    std::stringstream text;
    text << in.rdbuf();
    files.push_back(make_file(it->path().lexically_relative(root).generic_string(), text.str()));
  }
  std::sort(files.begin(), files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return SourceTree(std::move(files));
}

const SourceFile* SourceTree::find(std::string_view path) const {
  const auto it = std::find_if(files_.begin(), files_.end(),
                               [&](const SourceFile& file) { return file.path == path; });
  return it == files_.end() ? nullptr : &*it;
}

std::string at(const SourceFile& file, size_t line_index) {
  return file.path + ":" + std::to_string(line_index + 1) + ": ";
}

bool has_word(std::string_view text, std::string_view word) {
  for (size_t i = text.find(word); i != text.npos; i = text.find(word, i + 1)) {
    const size_t end = i + word.size();
    const bool begins = i == 0 || !is_word_part(text[i - 1]) || !is_word_part(word.front());
    const bool ends = end == text.size() || !is_word_part(text[end]) || !is_word_part(word.back());
    if (begins && ends) return true;
  }
  return false;
}

}  // namespace ebb::house
