#include "score/text_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
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

}  // namespace ebb::score
