// A Hugging Face directory as a model: config.json, safetensors, and the files around them.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "models/architecture.h"
#include "models/chat_template_files.h"
#include "models/config_facts.h"
#include "models/content_hash.h"
#include "models/generation_config.h"
#include "models/opened_model.h"
#include "models/safetensors.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

constexpr uint64_t kConfigBytesMax = 4ull << 20;
constexpr uint64_t kTokenizerBytesMax = 128ull << 20;
constexpr uint64_t kTokenizerConfigBytesMax = 64ull << 20;
constexpr uint64_t kTemplateBytesMax = 4ull << 20;
constexpr const char* kConfig = "config.json";
constexpr const char* kJinja = ".jinja";

/// "models/x/" is the model x.
std::string last_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.find_last_of('/') + 1);
}

/// config.json's own names for the architecture, which must be of one family.
Result<const Family*> find_family(const ConfigFacts& facts) {
  if (!facts.has("model_type")) return invalid(facts.shown("model_type") + ": not there");
  const Result<std::string> type = facts.text("model_type");
  if (!type) return type.error();
  const Family* family = family_of_model_type(*type);
  if (family == nullptr)
    return unsupported(facts.shown("model_type") + ": \"" + shown_text(*type) +
                       "\" is not supported (supported: " + known_model_types() + ")");
  if (!facts.has("architectures")) return family;
  for (const std::string& name : EBB_TRY(facts.texts("architectures")))
    if (name != family->architecture)
      return unsupported(facts.shown("architectures") + ": \"" + shown_text(name) +
                         "\" is not supported (supported with this model_type: " +
                         std::string(family->architecture) + ")");
  return family;
}

/// Ties are by number, not by name: a head of its own that is saved beside them must be the same.
Result<void> check_tied_head(const TensorTable& tensors, const ModelShape& shape) {
  constexpr auto kFormat = FileFormat::kHuggingFace;
  constexpr uint64_t kStep = 16ull << 20;  // what is mapped in at once
  const std::string name = tensor_rule(TensorRole::kHead).name(kFormat, 0);
  const TensorView* head = tensors.find(name);
  if (!shape.tied_head || head == nullptr) return {};
  const TensorView& table = *tensors.find(tensor_rule(TensorRole::kEmbedding).name(kFormat, 0));
  bool same = head->type == table.type && head->bytes == table.bytes;
  for (uint64_t at = 0; same && at < head->bytes; at += kStep) {
    const uint64_t bytes = std::min(kStep, head->bytes - at);
    same = std::memcmp(head->data + at, table.data + at, bytes) == 0;
    forget_mapped_pages(head->data + at, bytes);
    forget_mapped_pages(table.data + at, bytes);
  }
  if (same) return {};
  return invalid("tensor " + name +
                 ": differs from the embedding, but tie_word_embeddings says that they are one");
}

class HuggingFaceModel : public OpenedModel {
 public:
  static Result<std::unique_ptr<ModelFiles>> open(const std::string& path) {
    std::unique_ptr<HuggingFaceModel> model(new HuggingFaceModel(path));
    Result<void> read = model->read();
    if (!read) {
      Error error = read.error();
      // The directory is there: what it lacks makes it a bad model.
      if (error.code == Code::kNotFound) error.code = Code::kInvalid;
      return with_context("model directory " + path, error);
    }
    return std::unique_ptr<ModelFiles>(std::move(model));
  }

  Result<std::unique_ptr<Tokenizer>> tokenizer() const override;
  Result<std::unique_ptr<ChatTemplate>> chat_template() const override;
  GenerationDefaults generation_defaults() const override { return defaults_; }

 protected:
  const TensorTable& tensors() const override { return weights_.table; }

 private:
  explicit HuggingFaceModel(std::string path) : OpenedModel(FileFormat::kHuggingFace, path) {}
  Result<void> read();
  Result<void> read_digest();
  Result<std::vector<ChatTemplateSource>> read_templates() const;
  /// The text of a file; empty where there is none. Errors name the file.
  Result<std::string> read_optional(const std::string& name, uint64_t bytes_max) const;

  SafetensorsWeights weights_;
  GenerationDefaults defaults_;
};

Result<std::string> HuggingFaceModel::read_optional(const std::string& name,
                                                    uint64_t bytes_max) const {
  Result<std::string> text = read_small_file(path_ + "/" + name, bytes_max);
  if (text) return text;
  if (text.error().code == Code::kNotFound) return std::string();
  return with_context(name, text.error());
}

Result<void> HuggingFaceModel::read() {
  Result<std::string> config = read_small_file(path_ + "/" + kConfig, kConfigBytesMax);
  if (!config) return with_context(kConfig, config.error());
  const ConfigFacts facts = EBB_TRY(ConfigFacts::parse(*config));
  const Family* family = EBB_TRY(find_family(facts));
  shape_ = EBB_TRY(read_config_shape(facts, *family));
  shape_.name = last_name(path_);
  const std::string generation = EBB_TRY(read_optional("generation_config.json", kConfigBytesMax));
  defaults_ = EBB_TRY(read_generation_config(generation, *config));
  weights_ = EBB_TRY(open_safetensors(path_));
  EBB_TRY_VOID(check_tensors(weights_.table, FileFormat::kHuggingFace, shape_));
  EBB_TRY_VOID(check_tied_head(weights_.table, shape_));
  return read_digest();
}

Result<void> HuggingFaceModel::read_digest() {
  const auto config = EBB_TRY(MappedFile::open(path_ + "/" + kConfig));
  std::vector<const MappedFile*> files = {config.get()};
  for (const auto& file : weights_.files) files.push_back(file.get());
  shape_.f32_weights = weights_.table.all_of(WeightType::kF32);
  shape_.digest = EBB_TRY(model_digest(files));
  return {};
}

Result<std::unique_ptr<Tokenizer>> HuggingFaceModel::tokenizer() const {
  const std::string file = path_ + "/tokenizer.json";
  const Result<std::string> tokenizer = read_small_file(file, kTokenizerBytesMax);
  if (!tokenizer) return with_context(file, tokenizer.error());
  std::string config = EBB_TRY(read_optional("tokenizer_config.json", kTokenizerConfigBytesMax));
  if (config.empty()) {  // names the same special tokens, in older directories alone
    config = EBB_TRY(read_optional("special_tokens_map.json", kTokenizerConfigBytesMax));
  }
  auto loaded = EBB_TRY(load_tokenizer_json(*tokenizer, config, file));
  if (loaded->vocabulary() > shape_.vocabulary) {
    return invalid(file + " has " + std::to_string(loaded->vocabulary()) +
                   " ids, but the model's vocab_size is " + std::to_string(shape_.vocabulary));
  }
  return loaded;
}

/// NAME.jinja below additional_chat_templates/, in the order of their names.
Result<std::vector<std::string>> template_names(const std::string& directory) {
  constexpr size_t kTemplatesMax = 32;
  std::vector<std::string> names;
  DIR* const open = opendir(directory.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open)) {
    const std::string name = entry->d_name;
    if (name.ends_with(kJinja) && !name.starts_with('.')) names.push_back(name);
    if (names.size() > kTemplatesMax) break;
  }
  closedir(open);
  if (names.size() > kTemplatesMax)
    return invalid("additional_chat_templates: more than " + std::to_string(kTemplatesMax));
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<ChatTemplateSource>> HuggingFaceModel::read_templates() const {
  constexpr const char* kMore = "additional_chat_templates";
  std::vector<ChatTemplateSource> all;
  std::string main = EBB_TRY(read_optional("chat_template.jinja", kTemplateBytesMax));
  if (!main.empty()) all.push_back({"default", std::move(main)});
  for (const std::string& file : EBB_TRY(template_names(path_ + "/" + kMore))) {
    std::string source = EBB_TRY(read_optional(std::string(kMore) + "/" + file, kTemplateBytesMax));
    all.push_back({file.substr(0, file.size() - std::strlen(kJinja)), std::move(source)});
  }
  return all;
}

Result<std::unique_ptr<ChatTemplate>> HuggingFaceModel::chat_template() const {
  const std::string config =
      EBB_TRY(read_optional("tokenizer_config.json", kTokenizerConfigBytesMax));
  const std::string map =
      EBB_TRY(read_optional("special_tokens_map.json", kTokenizerConfigBytesMax));
  ChatTemplateFiles files;
  files.tokenizer_config = config;
  files.special_tokens_map = map;
  files.templates = EBB_TRY(read_templates());
  const std::string older = EBB_TRY(read_optional("chat_template.json", kTemplateBytesMax));
  files.template_json = older;
  auto parsed = load_chat_template(files);
  if (!parsed) return with_context("model directory " + path_, parsed.error());
  return parsed;
}

}  // namespace

Result<std::unique_ptr<ModelFiles>> open_hugging_face_model(const std::string& path) {
  return HuggingFaceModel::open(path);
}

}  // namespace ebb::models
