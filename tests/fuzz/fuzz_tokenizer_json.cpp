// Any text as a tokenizer.json; what stands behind a zero byte is the tokenizer_config.json. What
// loads must encode and decode.
#include "models/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using ebb::models::SpecialTokens;
using ebb::models::Tokenizer;

constexpr std::string_view kTexts[] = {
    "", "the ab  \n\t1234 h\u00e9llo \u4f60\u597d \U0001F600 <s>x</s>'s", "\xff\xc3( \x80"};

void use(const Tokenizer& tokenizer) {
  for (const std::string_view text : kTexts) {
    for (const SpecialTokens special : {SpecialTokens::kAsText, SpecialTokens::kParse}) {
      const auto ids = tokenizer.encode(text, special);
      ebb::fuzz::check_refusal(ids);
      if (!ids) continue;
      for (const ebb::TokenId id : *ids)
        EBB_CHECK(id >= 0 && static_cast<uint32_t>(id) < tokenizer.vocabulary());
      tokenizer.decode(*ids, /*skip_special=*/true);
      tokenizer.decode_text(*ids, /*skip_special=*/false);
    }
  }
  tokenizer.token_bytes(tokenizer.end_of_text());
  tokenizer.ids_before();
  tokenizer.ids_after();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = ebb::fuzz::text_of(data, size);
  const size_t end = text.find('\0');
  const std::string_view config = end == text.npos ? "" : text.substr(end + 1);
  const auto tokenizer = ebb::models::load_tokenizer_json(text.substr(0, end), config, "fuzz");
  ebb::fuzz::check_refusal(tokenizer);
  if (tokenizer) use(**tokenizer);
  return 0;
}
