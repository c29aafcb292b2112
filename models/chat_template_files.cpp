#include "models/chat_template_files.h"

#include <optional>

#include "models/json_document.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

constexpr const char* kDefaultName = "default";
/// Far above any real file; templates have a limit of their own.
constexpr size_t kJsonBytesMax = 64ull << 20;
/// Of a model; transformers knows "default", "tool_use" and "rag".
constexpr size_t kTemplatesMax = 32;

constexpr const char* kSpecialNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                         "pad_token", "cls_token", "mask_token"};

/// Empty text: an empty object.
Result<std::unique_ptr<JsonDocument>> parse_json(std::string_view text, const char* file) {
  if (text.empty()) text = "{}";
  if (text.size() > kJsonBytesMax) {
    return invalid(std::string(file) + ": " + std::to_string(text.size()) +
                   " bytes exceed the limit of " + std::to_string(kJsonBytesMax));
  }
  auto json = JsonDocument::parse(text);
  if (!json) return with_context(file, json.error());
  const Result<void> object = (*json)->root().expect(JsonType::kObject);
  if (!object) return with_context(file, object.error());
  return json;
}

std::optional<std::string> text_of(std::optional<JsonValue> value) {
  if (!value || value->type() != JsonType::kString) return std::nullopt;
  return std::string(*value->text());
}

/// "<s>", or {"content": "<s>", ...}; nothing for null and for false, which old files have.
std::optional<std::string> token_text(JsonValue object, const char* name) {
  const auto found = object.find(name);
  return text_of(found ? found->find("content").value_or(*found) : found);
}

SpecialTexts special_texts(JsonValue config, JsonValue map) {
  SpecialTexts texts;
  for (const char* name : kSpecialNames) {
    auto text = token_text(config, name);
    if (!text) text = token_text(map, name);
    if (text) texts.emplace_back(name, *std::move(text));
  }
  return texts;
}

/// What the file's "chat_template" holds: a template, or a list of {"name", "template"}.
Result<std::vector<ChatTemplateSource>> templates_of(JsonValue config, const char* file) {
  const auto bad_template = [&](const std::string& what) {
    return invalid(std::string(file) + ": chat_template " + what);
  };
  std::vector<ChatTemplateSource> sources;
  const auto found = config.find("chat_template");
  if (!found || found->is_null()) return sources;
  if (auto only = text_of(found)) {
    sources.push_back({kDefaultName, *std::move(only)});
    return sources;
  }
  if (found->type() != JsonType::kArray) return bad_template("is neither a string nor a list");
  if (found->size() > kTemplatesMax) {
    return bad_template("has more than " + std::to_string(kTemplatesMax) + " entries");
  }
  for (JsonValue entry = found->first(); entry; entry = entry.next()) {
    auto name = text_of(entry.find("name"));
    auto source = text_of(entry.find("template"));
    if (!name || !source) return bad_template("has an entry without name or template");
    sources.push_back({*std::move(name), *std::move(source)});
  }
  return sources;
}

Result<std::unique_ptr<ChatTemplate>> parse_or_none(std::vector<ChatTemplateSource> sources,
                                                    SpecialTexts special) {
  if (sources.empty()) return std::unique_ptr<ChatTemplate>();
  return ChatTemplate::parse(std::move(sources), std::move(special), ChatTemplate::Limits());
}

/// Special tokens stand in the vocabulary as their text.
Result<SpecialTexts> gguf_special_texts(const GgufFile& file) {
  constexpr std::pair<const char*, const char*> kKeys[] = {
      {"tokenizer.ggml.bos_token_id", "bos_token"},
      {"tokenizer.ggml.eos_token_id", "eos_token"},
      {"tokenizer.ggml.unknown_token_id", "unk_token"},
      {"tokenizer.ggml.padding_token_id", "pad_token"}};
  const auto tokens = EBB_TRY(file.get_strings("tokenizer.ggml.tokens"));
  SpecialTexts texts;
  for (const auto& [key, name] : kKeys) {
    if (!file.has(key)) continue;
    const uint64_t id = EBB_TRY(file.get_u64(key));
    if (id >= tokens.size()) continue;  // some files write -1 for "none"
    texts.emplace_back(name, std::string(tokens[id]));
  }
  return texts;
}

}  // namespace

Result<std::unique_ptr<ChatTemplate>> load_chat_template(const GgufFile& file) {
  const std::string key = "tokenizer.chat_template";
  std::vector<ChatTemplateSource> sources;
  if (file.has(key)) sources.push_back({kDefaultName, EBB_TRY(file.get_string(key))});
  constexpr const char* kNames = "tokenizer.chat_templates";
  if (file.has(kNames)) {
    for (std::string_view name : EBB_TRY(file.get_strings(kNames))) {
      if (sources.size() >= kTemplatesMax) {
        return invalid(std::string(kNames) + ": more than " + std::to_string(kTemplatesMax));
      }
      auto text = file.get_string(key + "." + std::string(name));
      if (!text) return invalid(text.error().message);  // named, so it must be there
      sources.push_back({std::string(name), *std::move(text)});
    }
  }
  if (sources.empty()) return std::unique_ptr<ChatTemplate>();
  auto parsed = parse_or_none(std::move(sources), EBB_TRY(gguf_special_texts(file)));
  if (!parsed) return with_context("model file " + file.path() + ": " + key, parsed.error());
  return parsed;
}

Result<std::unique_ptr<ChatTemplate>> load_chat_template(const ChatTemplateFiles& files) {
  constexpr const char* kConfigFile = "tokenizer_config.json";
  constexpr const char* kOlderFile = "chat_template.json";
  const auto config = EBB_TRY(parse_json(files.tokenizer_config, kConfigFile));
  const auto older = EBB_TRY(parse_json(files.template_json, kOlderFile));
  const auto map = EBB_TRY(parse_json(files.special_tokens_map, "special_tokens_map.json"));
  std::vector<ChatTemplateSource> sources = files.templates;
  if (sources.empty()) sources = EBB_TRY(templates_of(config->root(), kConfigFile));
  if (sources.empty()) sources = EBB_TRY(templates_of(older->root(), kOlderFile));
  return parse_or_none(std::move(sources), special_texts(config->root(), map->root()));
}

}  // namespace ebb::models
