// Reads tokenizer.ggml.* of a GGUF file into a TokenizerSpec. Must not know what the algorithm does
// with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/gguf.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// tokenizer.ggml.token_type: what a vocabulary entry is for.
enum class TokenType : int32_t {
  kNormal = 1,  ///< in byte-level vocabularies spelled in the byte alphabet
  kUnknown = 2,
  kControl = 3,      ///< its text is literal; left out of decoded text on wish
  kUserDefined = 4,  ///< its text is literal, and part of decoded text
  kUnused = 5,
  kByte = 6,  ///< "<0xE2>"
};

/// The values of tokenizer.ggml.*, by their names there. The views point into the GgufFile (or a
/// test's own strings) and must outlive make_spec(), no more.
struct GgufTokenizer {
  std::string model;  ///< "gpt2" or "llama"
  std::string pre;    ///< "gpt2" only
  std::vector<std::string_view> tokens;
  std::vector<int32_t> token_type;
  std::vector<std::string_view> merges;  ///< "gpt2" only: "left right", in order of rank
  std::vector<float> scores;             ///< "llama" only
  TokenId bos_token_id = -1;
  TokenId eos_token_id = -1;
  TokenId unknown_token_id = -1;
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_space_prefix;
};

/// Errors: as load_tokenizer() in models/tokenizer.h; they name the key.
Result<GgufTokenizer> read_gguf_tokenizer(const GgufFile& file);
Result<TokenizerSpec> make_spec(const GgufTokenizer& file);

}  // namespace ebb::models
