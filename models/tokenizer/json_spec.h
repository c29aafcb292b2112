// Reads Hugging Face's tokenizer.json and tokenizer_config.json into a TokenizerSpec. Untrusted
// input: whatever is not known is refused by its path in the file, and nothing is ignored. Must not
// know what the algorithm does with it.
#pragma once

#include <optional>

#include "base/result.h"
#include "models/json_document.h"
#include "models/tokenizer/spec.h"

namespace ebb::models {

/// Errors: kInvalid, kUnsupported: name the path.
Result<TokenizerSpec> read_tokenizer_json(JsonValue root);

/// The stages, one by one (json_stages.cpp). null and a missing part are the same.
Result<void> read_normalizer(std::optional<JsonValue> part, TokenizerSpec& spec);
/// Also decides spec.bpe.alphabet.
Result<void> read_pre_tokenizer(std::optional<JsonValue> part, TokenizerSpec& spec);
/// spec.texts must be complete.
Result<void> read_post_processor(std::optional<JsonValue> part, TokenizerSpec& spec);
Result<void> read_decoder(std::optional<JsonValue> part, TokenizerSpec& spec);

/// What tokenizer_config.json adds: BOS, EOS, and for the Llama classes whether they are put around
/// a text, whatever the post-processor says (as `transformers` has it). All its other keys belong
/// to other libraries.
Result<void> apply_tokenizer_config(JsonValue root, TokenizerSpec& spec);

}  // namespace ebb::models
