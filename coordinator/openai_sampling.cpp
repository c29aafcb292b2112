#include "coordinator/openai_sampling.h"

#include <charconv>
#include <cmath>

namespace ebb::coordinator {
namespace {

constexpr uint32_t kBiasesMax = 1024;
constexpr double kBiasMax = 100;
constexpr double kPenaltyMax = 2;
constexpr double kRepetitionPenaltyMax = 10;

/// A number over `over` and up to `max`.
std::optional<double> read_share(FieldReader& fields, const std::string& name, double max) {
  const auto value = fields.real(name, 0, max);
  if (value && *value == 0) {
    fields.fail(name, "must be over 0 and at most " + number_text(max) + ", not 0");
  }
  return value;
}

/// {"50256": -100}: ids as names, as JSON wants it.
void read_logit_bias(FieldReader& fields, uint32_t vocabulary, control::SamplingParams& sampling) {
  const auto biases = fields.take("logit_bias");
  if (!biases) return;
  if (biases->kind() != JsonKind::kObject || biases->size() > kBiasesMax) {
    return fields.fail("logit_bias", "must be an object of at most " + std::to_string(kBiasesMax) +
                                         " token ids with numbers from -100 to 100");
  }
  for (const std::string& name : biases->keys()) {
    const std::string path = "logit_bias." + name.substr(0, 32);
    uint32_t id = 0;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data(), end, id);
    if (read.ec != std::errc() || read.ptr != end || id >= vocabulary) {
      return fields.fail(path, "must be a token id from 0 to " + std::to_string(vocabulary - 1));
    }
    const JsonNode value = *biases->find(name);
    const bool number = value.kind() == JsonKind::kInteger || value.kind() == JsonKind::kReal;
    if (!number || !(std::abs(value.number()) <= kBiasMax)) {
      return fields.fail(path, "must be a number from -100 to 100");
    }
    sampling.logit_bias.push_back({static_cast<TokenId>(id), static_cast<float>(value.number())});
  }
  // "5" and "05" are one token.
  for (size_t i = 0; i < sampling.logit_bias.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (sampling.logit_bias[i].token != sampling.logit_bias[j].token) continue;
      fields.fail("logit_bias",
                  "names token " + std::to_string(sampling.logit_bias[i].token) + " twice");
    }
  }
}

void read_penalties(FieldReader& fields, const models::GenerationDefaults& defaults,
                    control::SamplingParams& sampling) {
  sampling.repetition_penalty =
      static_cast<float>(read_share(fields, "repetition_penalty", kRepetitionPenaltyMax)
                             .value_or(defaults.repetition_penalty.value_or(1)));
  sampling.presence_penalty =
      static_cast<float>(fields.real("presence_penalty", -kPenaltyMax, kPenaltyMax).value_or(0));
  sampling.frequency_penalty =
      static_cast<float>(fields.real("frequency_penalty", -kPenaltyMax, kPenaltyMax).value_or(0));
}

}  // namespace

std::vector<TokenId> read_token_ids(FieldReader& fields, const std::string& path, JsonNode list,
                                    uint32_t vocabulary) {
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size() && !fields.failed(); ++i) {
    const JsonNode item = list.at(i);
    const std::string name = path + "[" + std::to_string(i) + "]";
    if (item.kind() != JsonKind::kInteger) {
      fields.fail(name, std::string("must be a token id, not ") + json_kind_name(item.kind()));
      break;
    }
    const auto id = item.integer();
    if (!id || *id < 0 || *id >= vocabulary) {
      fields.fail(name, "must be a token id from 0 to " + std::to_string(vocabulary - 1) +
                            ", not " + number_text(item.number()));
      break;
    }
    ids.push_back(static_cast<TokenId>(*id));
  }
  return ids;
}

void read_sampling(FieldReader& fields, const ApiLimits& limits, OpenAiRequest& request) {
  static const models::GenerationDefaults kNone;
  const models::GenerationDefaults& defaults =
      limits.defaults != nullptr ? *limits.defaults : kNone;
  control::SamplingParams& sampling = request.sampling;
  sampling.temperature = static_cast<float>(
      fields.real("temperature", 0, 2).value_or(defaults.temperature.value_or(1)));
  sampling.top_p =
      static_cast<float>(read_share(fields, "top_p", 1).value_or(defaults.top_p.value_or(1)));
  sampling.typical_p = static_cast<float>(read_share(fields, "typical_p", 1).value_or(1));
  sampling.min_p =
      static_cast<float>(fields.real("min_p", 0, 1).value_or(defaults.min_p.value_or(0)));
  const int64_t top_k = fields.integer("top_k", -1, INT32_MAX).value_or(defaults.top_k.value_or(0));
  sampling.top_k = top_k > 0 ? static_cast<uint32_t>(top_k) : 0;
  if (const auto seed = fields.integer("seed", INT64_MIN, INT64_MAX)) {
    sampling.seed = static_cast<uint64_t>(*seed);
    request.seeded = true;
  }
  read_penalties(fields, defaults, sampling);
  read_logit_bias(fields, limits.vocabulary, sampling);
  sampling.min_tokens = fields.u32("min_tokens", 0, kTokensMax).value_or(0);
}

void read_stop(FieldReader& fields, const ApiLimits& limits, OpenAiRequest& request) {
  request.ignore_eos = fields.boolean("ignore_eos").value_or(false);
  request.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  if (const auto ids = fields.take("stop_token_ids")) {
    if (ids->kind() != JsonKind::kArray || ids->size() > kStopsMax) {
      return fields.fail("stop_token_ids",
                         "must be a list of at most " + std::to_string(kStopsMax) + " token ids");
    }
    request.sampling.stop_tokens =
        read_token_ids(fields, "stop_token_ids", *ids, limits.vocabulary);
  }
  const auto stop = fields.take("stop");
  if (!stop) return;
  std::vector<JsonNode> items;
  if (stop->kind() == JsonKind::kArray) {
    if (stop->size() > kStopsMax) {
      return fields.fail("stop", "must hold at most " + std::to_string(kStopsMax) +
                                     " strings, not " + std::to_string(stop->size()));
    }
    for (size_t i = 0; i < stop->size(); ++i) items.push_back(stop->at(i));
  } else {
    items.push_back(*stop);
  }
  for (const JsonNode item : items) {
    if (item.kind() != JsonKind::kString) {
      return fields.fail("stop", std::string("must be a string or a list of strings, not ") +
                                     json_kind_name(item.kind()));
    }
    const size_t bytes = item.text().size();
    if (bytes == 0 || bytes > kStopBytesMax) {
      return fields.fail("stop", "strings must have 1 to " + std::to_string(kStopBytesMax) +
                                     " bytes, not " + std::to_string(bytes));
    }
    request.stop.push_back(item.text());
  }
}

void read_logprobs(FieldReader& fields, OpenAiRequest& request) {
  if (const auto count = fields.u32("prompt_logprobs", 0, kLogprobsMax)) {
    request.prompt_logprobs = *count;
    request.sampling.prompt_logprobs = true;
    request.sampling.prompt_top = *count;
  }
  if (request.endpoint == Endpoint::kCompletions) {
    if (const auto count = fields.u32("logprobs", 0, kLogprobsMax)) {
      request.sampling.logprobs = static_cast<int32_t>(*count);
    }
    return;
  }
  const bool wanted = fields.boolean("logprobs").value_or(false);
  const auto top = fields.u32("top_logprobs", 0, kLogprobsMax);
  if (top && *top > 0 && !wanted) {
    return fields.fail("top_logprobs", "needs logprobs: true");
  }
  if (wanted) request.sampling.logprobs = static_cast<int32_t>(top.value_or(0));
}

}  // namespace ebb::coordinator
