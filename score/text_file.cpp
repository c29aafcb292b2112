#include "score/text_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <span>

#include "base/checksum.h"
#include "base/units.h"

namespace ebb::score {
namespace {

constexpr uint64_t kTextMax = 12 * kMiB;  // the service's body limit is 16 MiB by default

}  // namespace

Result<std::string> read_text(const std::string& option, const std::string& path) {
  const std::string what = option + " " + path;
  std::ifstream file(path, std::ios::binary);
  if (!file) return not_found(what + ": " + std::strerror(errno));
  std::string text(kTextMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad()) return invalid(what + ": cannot be read (is it a folder?)");
  if (text.empty()) return invalid(what + " is empty");
  if (text.size() > kTextMax) return invalid(what + " is longer than " + format_bytes(kTextMax));
  return text;
}

Result<TextFile> read_text_file(Backend& backend, const std::string& path) {
  std::string text = EBB_TRY(read_text("--text", path));
  auto tokens = backend.tokenize(text);
  if (!tokens) return with_context("--text " + path, tokens.error());
  TextFile out;
  out.name = std::filesystem::path(path).filename().string();
  out.text = std::move(text);
  out.tokens = *std::move(tokens);
  out.fingerprint = std::to_string(crc32c(std::as_bytes(std::span(out.tokens))));
  return out;
}

Result<std::vector<TextFile>> read_text_files(Backend& backend,
                                              const std::vector<std::string>& paths,
                                              uint64_t needed, const std::string& sum) {
  if (paths.empty()) return invalid("--text is missing: at least one file is needed");
  std::vector<TextFile> texts;
  std::set<std::string> names;
  for (const std::string& path : paths) {
    TextFile text = EBB_TRY(read_text_file(backend, path));
    if (text.tokens.size() < needed)
      return invalid("--text " + path + " has " + std::to_string(text.tokens.size()) + " tokens; " +
                     sum + " = " + std::to_string(needed) + " are needed");
    if (!names.insert(text.name).second)
      return invalid("--text " + path + ": another file is called " + text.name + " too");
    texts.push_back(std::move(text));
  }
  return texts;
}

std::string list_text(const std::vector<TextFile>& texts) {
  std::string out;
  for (const TextFile& text : texts)
    out += (out.empty() ? "" : ", ") + text.name + " (tokens " + text.fingerprint + ")";
  return out;
}

Tokens prompt_of(const ModelFacts& model, const TextFile& text, uint64_t begin, uint64_t count) {
  Tokens out = model.prefix;
  const auto from = text.tokens.begin() + static_cast<std::ptrdiff_t>(begin);
  out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(count - model.prefix.size()));
  return out;
}

}  // namespace ebb::score
