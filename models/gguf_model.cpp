// A .gguf file as a model.
#include "models/architecture.h"
#include "models/chat_template_files.h"
#include "models/content_hash.h"
#include "models/generation_config.h"
#include "models/gguf.h"
#include "models/gguf_facts.h"
#include "models/opened_model.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

constexpr const char* kArchitecture = "general.architecture";
constexpr const char* kTokens = "tokenizer.ggml.tokens";

/// Metadata are optional; a model without a name is called by its file's.
std::string name_of(const GgufFile& file) {
  const Result<std::string> stated = file.get_string("general.name");
  if (stated && !stated->empty()) return *stated;
  const std::string name = file.path().substr(file.path().find_last_of('/') + 1);
  return name.substr(0, name.rfind(".gguf"));
}

Result<void> check_token_count(const GgufFile& file, const ModelShape& shape) {
  if (!file.has(kTokens)) return {};
  const size_t tokens = EBB_TRY(file.get_strings(kTokens)).size();
  if (tokens == shape.vocabulary) return {};
  return invalid("metadata " + std::string(kTokens) + ": " + std::to_string(tokens) +
                 " tokens, but the embedding has " + std::to_string(shape.vocabulary) + " rows");
}

Result<ModelShape> read_shape(const GgufFile& file) {
  const std::string architecture = EBB_TRY(file.get_string(kArchitecture));
  const Family* family = family_of_gguf(architecture);
  if (family == nullptr)
    return unsupported("metadata " + std::string(kArchitecture) + ": \"" +
                       shown_text(architecture) +
                       "\" is not supported (supported: " + known_gguf_architectures() + ")");
  const GgufFacts facts(file, architecture);
  ModelShape shape = EBB_TRY(read_gguf_shape(facts, *family, file.tensors()));
  shape.name = name_of(file);
  EBB_TRY_VOID(check_token_count(file, shape));
  EBB_TRY_VOID(check_tensors(file.tensors(), FileFormat::kGguf, shape));
  return shape;
}

class GgufModel : public OpenedModel {
 public:
  static Result<std::unique_ptr<ModelFiles>> open(const std::string& path) {
    auto file = EBB_TRY(GgufFile::open(path));
    auto shape = read_shape(*file);
    if (!shape) {
      Error error = shape.error();
      // To the caller a file without a key or tensor is a bad file, not a missing one.
      if (error.code == Code::kNotFound) error.code = Code::kInvalid;
      return with_context("model file " + path, error);
    }
    shape->f32_weights = file->tensors().all_of(WeightType::kF32);
    shape->digest = EBB_TRY(model_digest(file->mappings()));
    std::unique_ptr<GgufModel> model(new GgufModel(path, std::move(file), *std::move(shape)));
    auto defaults = read_generation_metadata(*model->file_);
    if (!defaults) return with_context("model file " + path, defaults.error());
    model->defaults_ = *std::move(defaults);
    return std::unique_ptr<ModelFiles>(std::move(model));
  }

  Result<std::unique_ptr<Tokenizer>> tokenizer() const override { return load_tokenizer(*file_); }

  Result<std::unique_ptr<ChatTemplate>> chat_template() const override {
    return load_chat_template(*file_);
  }
  GenerationDefaults generation_defaults() const override { return defaults_; }

 protected:
  const TensorTable& tensors() const override { return file_->tensors(); }

 private:
  GgufModel(const std::string& path, std::unique_ptr<GgufFile> file, ModelShape shape)
      : OpenedModel(FileFormat::kGguf, path), file_(std::move(file)) {
    shape_ = std::move(shape);
  }
  std::unique_ptr<GgufFile> file_;
  GenerationDefaults defaults_;
};

}  // namespace

Result<std::unique_ptr<ModelFiles>> open_gguf_model(const std::string& path) {
  return GgufModel::open(path);
}

}  // namespace ebb::models
