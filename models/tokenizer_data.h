// What a model file says about its tokenizer, as plain values: between the file format and the
// algorithm.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "models/gguf.h"
#include "models/tokenizer.h"

namespace ebb::models {

/// tokenizer.ggml.token_type: what a vocabulary entry is for.
enum class TokenType : int32_t {
  kNormal = 1,  ///< bytes, spelled in the byte alphabet
  kUnknown = 2,
  kControl = 3,      ///< its text is literal; left out of decoded text on wish
  kUserDefined = 4,  ///< its text is literal, and part of decoded text
  kUnused = 5,
  kByte = 6,
};

/// The views point into the GgufFile (or a test's own strings) and must outlive make_tokenizer(),
/// no more.
struct TokenizerData {
  std::string pre;                       ///< tokenizer.ggml.pre
  std::vector<std::string_view> tokens;  ///< index = token id
  std::vector<int32_t> types;            ///< as TokenType; one for each token
  std::vector<std::string_view> merges;  ///< "left right", in order of rank
  TokenId begin_of_text = -1;
  TokenId end_of_text = -1;
  enum class AddBos { kByPreTokenizer, kNo, kYes } add_bos = AddBos::kByPreTokenizer;
};

/// Errors: as load_tokenizer() in models/tokenizer.h.
Result<TokenizerData> read_tokenizer_data(const GgufFile& file);
Result<std::unique_ptr<Tokenizer>> make_tokenizer(const TokenizerData& data);

}  // namespace ebb::models
