// How fast a tokenizer is, and, for against_tokenizers.py, what it makes of texts: with --serve it
// answers requests on standard input. A request is an operation (one byte), a length (u32) and as
// many bytes; an answer is a length and as many bytes, all little-endian:
//   e  text to ids (u32 each), special tokens' texts are the tokens;  t  the same, taken as text
//   d  ids to text, special tokens left out;                          D  nothing left out
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "models/gguf.h"
#include "models/tokenizer.h"

namespace ebb {
namespace {

using models::SpecialTokens;
using models::Tokenizer;

struct Options {
  std::string tokenizer;
  std::string text;
  uint32_t rounds = 5;
  bool serve = false;
};

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return not_found("cannot read " + path);
  std::stringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

Result<std::unique_ptr<Tokenizer>> load(const std::string& path) {
  if (path.ends_with(".gguf")) {
    const auto file = EBB_TRY(models::GgufFile::open(path));
    return models::load_tokenizer(*file);
  }
  const std::string text = EBB_TRY(read_file(path));
  return models::load_tokenizer_json(text, "", path);
}

bool read_exactly(void* data, size_t bytes) { return std::fread(data, 1, bytes, stdin) == bytes; }

Result<std::string> answer(const Tokenizer& tokenizer, char operation, const std::string& request) {
  if (operation == 'd' || operation == 'D') {
    std::vector<TokenId> ids(request.size() / sizeof(TokenId));
    std::memcpy(ids.data(), request.data(), ids.size() * sizeof(TokenId));
    return tokenizer.decode_text(ids, operation == 'd');
  }
  const auto special = operation == 't' ? SpecialTokens::kAsText : SpecialTokens::kParse;
  const std::vector<TokenId> ids = EBB_TRY(tokenizer.encode(request, special));
  return std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
}

Result<void> serve(const Tokenizer& tokenizer) {
  char operation = 0;
  while (read_exactly(&operation, 1)) {
    uint32_t size = 0;
    if (!read_exactly(&size, sizeof(size))) return invalid("a request ends too soon");
    std::string request(size, '\0');
    if (!read_exactly(request.data(), size)) return invalid("a request ends too soon");
    const std::string reply = EBB_TRY(answer(tokenizer, operation, request));
    size = static_cast<uint32_t>(reply.size());
    std::fwrite(&size, sizeof(size), 1, stdout);
    std::fwrite(reply.data(), 1, reply.size(), stdout);
    std::fflush(stdout);
  }
  return {};
}

/// Seconds of CPU: other processes on the machine do not count.
double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

Result<void> measure(const Tokenizer& tokenizer, const Options& options) {
  const std::string text = EBB_TRY(read_file(options.text));
  double encode = 1e9, decode = 1e9;
  size_t tokens = 0;
  for (uint32_t i = 0; i < options.rounds; ++i) {
    const double begin = cpu_seconds();
    const auto ids = EBB_TRY(tokenizer.encode(text, SpecialTokens::kParse));
    const double middle = cpu_seconds();
    const std::string back = tokenizer.decode_text(ids, /*skip_special=*/false);
    const double end = cpu_seconds();
    encode = std::min(encode, middle - begin);
    decode = std::min(decode, end - middle);
    tokens = ids.size();
  }
  std::printf("{\"bytes\":%zu,\"tokens\":%zu,\"encode_seconds\":%.6f,\"decode_seconds\":%.6f}\n",
              text.size(), tokens, encode, decode);
  return {};
}

Result<void> run(const Options& options) {
  const auto tokenizer = EBB_TRY(load(options.tokenizer));
  return options.serve ? serve(*tokenizer) : measure(*tokenizer, options);
}

}  // namespace
}  // namespace ebb

int main(int argc, char** argv) {
  ebb::Options options;
  CLI::App app{"Measures a tokenizer on one text: the best of some rounds, in seconds of CPU."};
  app.add_option("--tokenizer", options.tokenizer, "tokenizer.json or a .gguf file")->required();
  app.add_option("--text", options.text, "file to encode and decode");
  app.add_option("--rounds", options.rounds, "the best of so many counts");
  app.add_flag("--serve", options.serve, "answer requests on standard input instead");
  CLI11_PARSE(app, argc, argv);
  const auto done = ebb::run(options);
  if (done) return 0;
  std::fprintf(stderr, "ebb-tokenizer-bench: %s\n", done.error().message.c_str());
  return 1;
}
