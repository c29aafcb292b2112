#include "coordinator/policy_fields.h"

#include <utility>

#include "coordinator/policy_reads.h"
#include "models/selection_profile.h"

namespace ebb::coordinator {
namespace {

constexpr size_t kSelectLayersMax = 1024;

template <class T>
using Names = std::vector<std::pair<const char*, T>>;

/// One of a few words.
template <class T>
std::optional<T> read_name(FieldReader& fields, const std::string& field, const Names<T>& names) {
  const auto text = fields.text(field, 64);
  if (!text) return {};
  std::string known;
  for (const auto& [name, value] : names) {
    if (*text == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  fields.fail(field, "must be one of " + known + ", not \"" + *text + "\"");
  return {};
}

void read_select_layers(FieldReader& fields, PolicyOptions& options) {
  const auto node = fields.take("select_layers");
  if (!node) return;
  const std::string wanted = "must be a list of 1 to " + std::to_string(kSelectLayersMax) +
                             " layers, each above the one before, or \"all\"";
  if (node->kind() == JsonKind::kString && node->text() == "all") {
    options.select_all = true;
    return;
  }
  if (node->kind() != JsonKind::kArray || node->size() == 0 || node->size() > kSelectLayersMax) {
    return fields.fail("select_layers", wanted);
  }
  std::vector<uint32_t> layers;
  for (size_t i = 0; i < node->size(); ++i) {
    const JsonNode item = node->at(i);
    const auto layer = item.kind() == JsonKind::kInteger ? item.integer() : std::nullopt;
    const bool ascends = layer && *layer >= 0 && *layer < int64_t{kSelectLayersMax} &&
                         (layers.empty() || *layer > int64_t{layers.back()});
    if (!ascends) return fields.fail("select_layers", wanted);
    layers.push_back(static_cast<uint32_t>(*layer));
  }
  options.select_layers = std::move(layers);
}

/// Of tidal and composed.
void read_tidal(FieldReader& fields, PolicyOptions& options) {
  options.variant = read_name<TidalVariant>(fields, "variant",
                                            {{"calibrated", TidalVariant::kCalibrated},
                                             {"faithful", TidalVariant::kFaithful},
                                             {"lessismore", TidalVariant::kLessIsMore}});
  Names<control::SetScope> scopes;
  for (const auto scope : control::kSetScopes) scopes.emplace_back(scope_name(scope), scope);
  options.scope = read_name<control::SetScope>(fields, "scope", scopes);
  read_select_layers(fields, options);
  options.correct_every = fields.u32("correct_every", 1, kPolicyStepsMax);
}

/// Of recycled and composed.
void read_refresh(FieldReader& fields, PolicyOptions& options) {
  options.stride = fields.u32("stride", 1, kPolicyStepsMax);
  options.check_every = fields.u32("check_every", 1, kPolicyStepsMax);
  options.similarity = fields.real("similarity", -2, 2);
  options.pool = fields.u32("pool", 1, kPolicyPoolMax);
  if (options.pool && *options.pool % 2 == 0) {
    fields.fail("pool", "must be odd, not " + std::to_string(*options.pool));
  }
  options.refresh = read_name<Refresh>(
      fields, "refresh",
      {{"full", Refresh::kFull}, {"score_only", Refresh::kScoreOnly}, {"none", Refresh::kNone}});
  options.post_rope =
      read_name<bool>(fields, "check_query", {{"pre_rope", false}, {"post_rope", true}});
  options.self_candidate = fields.boolean("self_candidate");
}

void read_hysteresis(FieldReader& fields, PolicyOptions& options) {
  const auto node = fields.take("hysteresis");
  if (!node) return;
  const std::string wanted = "must be [e, m]: a boost e from 0 to " + std::to_string(kBoostMax) +
                             " and a number of steps m from 1 to " +
                             std::to_string(kPolicyStepsMax);
  if (node->kind() != JsonKind::kArray || node->size() != 2) {
    return fields.fail("hysteresis", wanted);
  }
  const JsonNode first = node->at(0);
  const bool real = first.kind() == JsonKind::kInteger || first.kind() == JsonKind::kReal;
  const double boost = real ? first.number() : -1;
  const JsonNode second = node->at(1);
  const int64_t steps = second.kind() == JsonKind::kInteger ? second.integer().value_or(0) : 0;
  const bool good =
      boost >= 0 && boost <= kBoostMax && steps >= 1 && steps <= int64_t{kPolicyStepsMax};
  if (!good) return fields.fail("hysteresis", wanted);
  options.hysteresis = Hysteresis{static_cast<float>(boost), static_cast<uint32_t>(steps)};
}

void read_layer_budgets(FieldReader& fields, PolicyOptions& options) {
  const auto node = fields.take("layer_budgets");
  if (!node) return;
  LayerBudgets read;
  if (node->kind() == JsonKind::kString && node->text() == "profile") {
    read.from_profile = true;
  } else if (node->kind() == JsonKind::kArray && node->size() > 0 &&
             node->size() <= kSelectLayersMax) {
    for (size_t i = 0; i < node->size(); ++i) {
      const JsonNode item = node->at(i);
      const bool real = item.kind() == JsonKind::kInteger || item.kind() == JsonKind::kReal;
      const double weight = real ? item.number() : 0;
      if (weight >= models::kBudgetWeightMin && weight <= models::kBudgetWeightMax) {
        read.weights.push_back(weight);
      }
    }
  }
  const bool even = node->kind() == JsonKind::kString && node->text() == "even";
  const bool listed =
      node->kind() == JsonKind::kArray && node->size() > 0 && read.weights.size() == node->size();
  if (even || read.from_profile || listed) {
    options.layer_budgets = std::move(read);
    return;
  }
  fields.fail("layer_budgets",
              "must be \"profile\", \"even\", or a list of weights from 0.25 to 4, one for each "
              "of the model's layers");
}

/// Of anchored.
void read_anchored(FieldReader& fields, PolicyOptions& options) {
  Names<control::DigestKind> digests;
  for (const auto digest : control::kDigestKinds) digests.emplace_back(digest_name(digest), digest);
  options.digest = read_name<control::DigestKind>(fields, "digest", digests);
  const auto left_out = fields.u32("left_out", 0, kLeftOutTokens);
  if (left_out && *left_out != 0 && *left_out != kLeftOutTokens) {
    fields.fail("left_out", "must be 0 or " + std::to_string(kLeftOutTokens) + ", not " +
                                std::to_string(*left_out));
  }
  if (left_out) options.left_out = *left_out != 0;
  read_hysteresis(fields, options);
  options.predict = fields.boolean("predict");
  read_layer_budgets(fields, options);
}

void read_rebuild(FieldReader& fields, PolicyOptions& options) {
  options.rebuild = fields.u32("rebuild", 0, kPolicyRebuildMax);
  options.rebuild_mode = read_name<RebuildMode>(fields, "rebuild_mode",
                                                {{"recompute", RebuildMode::kRecompute},
                                                 {"restore", RebuildMode::kRestore},
                                                 {"auto", RebuildMode::kAuto}});
}

}  // namespace

void read_policy(FieldReader& fields, EbbOptions& ebb) {
  Names<control::PolicyKind> kinds;
  for (const auto kind : control::kPolicyKinds) kinds.emplace_back(policy_name(kind), kind);
  ebb.policy = read_name<control::PolicyKind>(fields, "policy", kinds);
  ebb.budget = fields.u32("budget", 1, kPolicyTokensMax);
  ebb.sinks = fields.u32("sinks", 0, kPolicyTokensMax);
  ebb.window = fields.u32("window", 0, kPolicyTokensMax);
  const uint64_t forced = uint64_t{ebb.sinks.value_or(0)} + ebb.window.value_or(0);
  if (ebb.budget && forced > *ebb.budget) {
    fields.fail("budget", "counts sinks and window: " + std::to_string(*ebb.budget) +
                              " tokens are fewer than sinks + window = " + std::to_string(forced));
  }
  read_tidal(fields, ebb.options);
  read_refresh(fields, ebb.options);
  read_anchored(fields, ebb.options);
  read_rebuild(fields, ebb.options);
}

Result<EbbOptions> read_policy_defaults(const PolicyConfig& config) {
  EbbOptions defaults;
  for (const auto policy : control::kPolicyKinds) {
    if (config.name == control::policy_name(policy)) defaults.policy = policy;
  }
  if (!defaults.policy) return invalid("policy.name: \"" + config.name + "\" is not known");
  if (config.parameters.empty()) return defaults;
  const std::string key = "policy.parameters";
  const auto document = JsonDocument::parse(config.parameters);
  if (!document) return invalid(key + ": " + document.error().message);
  if (document->root().kind() != JsonKind::kObject) return invalid(key + ": must be a JSON object");
  std::optional<ApiError> error;
  FieldReader fields(document->root(), key + ".", error);
  EbbOptions read;
  read_policy(fields, read);
  for (const std::string& name : fields.untaken()) {
    fields.fail(name,
                "is not known; the nearest known key is " + nearest_name(name, fields.taken()));
  }
  if (read.policy) fields.fail("policy", "is what policy.name is for");
  const CommonGiven given{read.budget.has_value(), read.sinks.has_value(), read.window.has_value()};
  if (const char* unread = unread_parameter(*defaults.policy, given, read.options)) {
    fields.fail(unread, "is no parameter of policy " + config.name);
  }
  if (error) return invalid(error->message);
  read.policy = defaults.policy;
  return read;
}

namespace {

template <class T>
void fill(std::optional<T>& asked, const std::optional<T>& otherwise) {
  if (!asked) asked = otherwise;
}

bool has_schedule(const PolicyOptions& options) {
  return options.stride || options.check_every || options.similarity || options.refresh ||
         options.post_rope;
}

}  // namespace

void take_policy_defaults(const EbbOptions& defaults, EbbOptions& asked) {
  if (asked.policy && asked.policy != defaults.policy) return;
  // A stream's budget is its sinks and window: one of them says the other.
  const bool stream = defaults.policy == control::PolicyKind::kStreaming;
  const bool sized = stream && (asked.budget || asked.window);
  if (!sized) fill(asked.budget, defaults.budget);
  if (!sized) fill(asked.window, defaults.window);
  fill(asked.sinks, defaults.sinks);
  PolicyOptions& options = asked.options;
  const PolicyOptions& otherwise = defaults.options;
  fill(options.variant, otherwise.variant);
  fill(options.scope, otherwise.scope);
  if (!options.select_all) fill(options.select_layers, otherwise.select_layers);
  if (!options.select_layers) options.select_all = options.select_all || otherwise.select_all;
  fill(options.digest, otherwise.digest);
  fill(options.left_out, otherwise.left_out);
  fill(options.hysteresis, otherwise.hysteresis);
  fill(options.predict, otherwise.predict);
  fill(options.layer_budgets, otherwise.layer_budgets);
  fill(options.correct_every, otherwise.correct_every);
  fill(options.pool, otherwise.pool);
  fill(options.self_candidate, otherwise.self_candidate);
  fill(options.rebuild, otherwise.rebuild);
  fill(options.rebuild_mode, otherwise.rebuild_mode);
  if (has_schedule(options)) return;
  options.stride = otherwise.stride;
  options.check_every = otherwise.check_every;
  options.similarity = otherwise.similarity;
  options.refresh = otherwise.refresh;
  options.post_rope = otherwise.post_rope;
}

}  // namespace ebb::coordinator
