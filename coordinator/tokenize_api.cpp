#include "coordinator/tokenize_api.h"

#include <nlohmann/json.hpp>

#include "coordinator/json_fields.h"

namespace ebb::coordinator {
namespace {

using Json = nlohmann::ordered_json;

/// The body's fields, or an error.
template <class Act>
http::Response with_fields(const http::Request& request, Act act) {
  auto document = JsonDocument::parse(request.body);
  if (!document) return error_response(bad_field("", "request body " + document.error().message));
  if (document->root().kind() != JsonKind::kObject) {
    return error_response(bad_field("", "request body must be a JSON object"));
  }
  std::optional<ApiError> error;
  FieldReader fields(document->root(), "", error);
  http::Response response;
  response.body = act(fields);
  return error ? error_response(*error) : response;
}

}  // namespace

http::Response tokenize(const ApiContext& context, const http::Request& request) {
  return with_fields(request, [&](FieldReader& fields) -> std::string {
    const auto prompt = fields.text("prompt", SIZE_MAX);
    const bool add = fields.boolean("add_special_tokens").value_or(true);
    if (!prompt) fields.fail("prompt", "is missing: a string is expected");
    if (fields.failed()) return {};
    const models::Tokenizer& tokenizer = context.tokenizer;
    auto encoded = tokenizer.encode(*prompt, models::SpecialTokens::kParse);
    if (!encoded) {
      fields.fail("prompt", encoded.error().message);
      return {};
    }
    std::vector<TokenId> tokens = *std::move(encoded);
    if (add) {
      const auto before = tokenizer.ids_before();
      const auto after = tokenizer.ids_after();
      tokens.insert(tokens.begin(), before.begin(), before.end());
      tokens.insert(tokens.end(), after.begin(), after.end());
    }
    return Json{
        {"count", tokens.size()}, {"max_model_len", context.max_model_len}, {"tokens", tokens}}
        .dump();
  });
}

http::Response detokenize(const ApiContext& context, const http::Request& request) {
  return with_fields(request, [&](FieldReader& fields) -> std::string {
    const auto list = fields.take("tokens");
    if (!list || list->kind() != JsonKind::kArray) {
      fields.fail("tokens", "must be a list of token ids");
      return {};
    }
    std::vector<TokenId> ids;
    const uint32_t vocabulary = context.tokenizer.vocabulary();
    for (size_t i = 0; i < list->size(); ++i) {
      const JsonNode item = list->at(i);
      const auto id = item.kind() == JsonKind::kInteger ? item.integer() : std::nullopt;
      if (!id || *id < 0 || *id >= vocabulary) {
        fields.fail("tokens[" + std::to_string(i) + "]",
                    "must be a token id from 0 to " + std::to_string(vocabulary - 1));
        return {};
      }
      ids.push_back(static_cast<TokenId>(*id));
    }
    return Json{{"prompt", context.tokenizer.decode_text(ids, /*skip_special=*/false)}}.dump();
  });
}

}  // namespace ebb::coordinator
