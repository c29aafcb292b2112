// Any bytes as a GGUF file: its structure, then everything that a model reads out of it.
#include "models/architecture.h"
#include "models/chat_template_files.h"
#include "models/gguf.h"
#include "models/gguf_facts.h"
#include "models/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using ebb::fuzz::check_refusal;
using ebb::models::GgufFile;

void read_values(const GgufFile& file) {
  for (const std::string_view key : file.keys()) {
    file.tells(key);
    check_refusal(file.get_u64(key));
    check_refusal(file.get_f64(key));
    check_refusal(file.get_bool(key));
    check_refusal(file.get_i32s(key));
    check_refusal(file.get_f32s(key));
    const auto text = file.get_string(key);
    if (text) ebb::fuzz::touch(std::as_bytes(std::span(*text)));
    const auto texts = file.get_strings(key);
    if (!texts) continue;
    for (const std::string_view one : *texts) ebb::fuzz::touch(std::as_bytes(std::span(one)));
  }
}

void read_model(const GgufFile& file) {
  const auto name = file.get_string("general.architecture");
  if (!name) return;
  const ebb::models::Family* family = ebb::models::family_of_gguf(*name);
  if (family == nullptr) return;
  const ebb::models::GgufFacts facts(file, *name);
  const auto shape = ebb::models::read_gguf_shape(facts, *family, file.tensors());
  check_refusal(shape);
  if (!shape) return;
  check_refusal(ebb::models::check_tensors(file.tensors(), ebb::models::FileFormat::kGguf, *shape));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = GgufFile::parse(ebb::fuzz::bytes_of(data, size), "fuzz");
  check_refusal(file);
  if (!file) return 0;
  read_values(**file);
  for (const ebb::models::TensorView& view : (*file)->tensors().all())
    ebb::fuzz::touch({view.data, view.bytes});
  read_model(**file);
  const auto tokenizer = ebb::models::load_tokenizer(**file);
  check_refusal(tokenizer);
  if (tokenizer) {
    const auto ids = (*tokenizer)->encode("the water's 12 <s>", ebb::models::SpecialTokens::kParse);
    check_refusal(ids);
    if (ids) (*tokenizer)->decode_text(*ids, /*skip_special=*/false);
  }
  check_refusal(ebb::models::load_chat_template(**file), ebb::fuzz::Lines::kMany);
  return 0;
}
