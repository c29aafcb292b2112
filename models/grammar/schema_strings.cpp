// Strings and numbers of a schema.
#include <cmath>
#include <cstdlib>

#include "models/grammar/number_range.h"
#include "models/grammar/regex.h"
#include "models/grammar/schema_compiler.h"

namespace ebb::models::grammar {
namespace {

using Kind = JsonTree::Kind;

constexpr uint32_t kLengthMax = 32768;

struct Format {
  std::string_view name;
  std::string_view regex;
};

/// RFC 3339 and others, each as texts that every validator accepts; 29 February and leap seconds
/// are never generated.
#define EBB_DATE                                                                           \
  "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|" \
  "02-(0[1-9]|1[0-9]|2[0-8]))"
#define EBB_TIME                                                                                   \
  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+\\-]([01][0-9]|2[0-3]):[0-5][0-9]" \
  ")"
#define EBB_BYTE "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
constexpr Format kFormats[] = {
    {"date", EBB_DATE},
    {"time", EBB_TIME},
    {"date-time", EBB_DATE "T" EBB_TIME},
    {"uuid", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"},
    {"ipv4", EBB_BYTE "(\\." EBB_BYTE "){3}"},
    {"email",
     "[A-Za-z0-9_+\\-]+(\\.[A-Za-z0-9_+\\-]+)*@([A-Za-z0-9]([A-Za-z0-9\\-]{0,30}[A-Za-z0-9])?\\.)+"
     "[A-Za-z]{2,10}"},
};
#undef EBB_DATE
#undef EBB_TIME
#undef EBB_BYTE

struct Limit {
  double value = 0;
  bool open = false;
};

/// `minimum` and `exclusiveMinimum` together, or those of the maximum: the tighter one.
Result<std::optional<Limit>> read_limit(const JsonTree& node, const std::string& path,
                                        const char* closed, const char* open, bool lower) {
  std::optional<Limit> limit;
  for (const char* name : {closed, open}) {
    const JsonTree* value = node.find(name);
    if (value == nullptr) continue;
    if (!value->is(Kind::kInteger) && !value->is(Kind::kReal)) {
      return schema_error(member_path(path, name),
                          std::string("must be a number, not ") + json_tree_kind(*value));
    }
    // Up to 2^53 a double holds every whole number.
    const Limit next{std::strtod(value->text.c_str(), nullptr), name == open};
    if (!(std::abs(next.value) <= 9007199254740992.0)) {
      return schema_error(member_path(path, name), "must lie within +-2^53, not be " + value->text);
    }
    const bool tighter = !limit ||
                         (lower ? next.value > limit->value : next.value < limit->value) ||
                         (next.value == limit->value && next.open);
    if (tighter) limit = next;
  }
  return limit;
}

Result<std::optional<RealLimit>> real_limit(const std::optional<Limit>& limit,
                                            const std::string& path) {
  if (!limit) return std::optional<RealLimit>();
  if (limit->value != std::floor(limit->value) || std::abs(limit->value) > kRealLimitMax) {
    return schema_error(path,
                        "limits of a number that need not be an integer must be whole numbers "
                        "within +-" +
                            std::to_string(kRealLimitMax));
  }
  return std::optional(RealLimit{static_cast<int64_t>(limit->value), limit->open});
}

}  // namespace

Result<void> SchemaCompiler::add_string(const JsonTree& node, const std::string& path, Span span) {
  const bool length = node.find("minLength") != nullptr || node.find("maxLength") != nullptr;
  const JsonTree* pattern = node.find("pattern");
  const JsonTree* format = node.find("format");
  if (int{length} + int{pattern != nullptr} + int{format != nullptr} > 1) {
    return schema_error(path,
                        "of pattern, format, and minLength or maxLength, one at a time is "
                        "supported");
  }
  if (format != nullptr) return add_format(node, path, span);
  if (length) return add_length(node, path, span);
  if (pattern == nullptr) {
    builder_.add_call(span.from, json_.string(), span.to);
    return {};
  }
  const std::string at = member_path(path, "pattern");
  if (!pattern->is(Kind::kString)) return schema_error(at, "must be a string");
  const State begin = builder_.add_state(), end = builder_.add_state();
  builder_.add_bytes(span.from, '"', '"', begin);
  const auto added =
      add_regex(builder_, begin, pattern->text, Spelling::kJsonString, Anchoring::kSearch, end);
  if (!added) return schema_error(at, added.error().message);
  builder_.add_bytes(end, '"', '"', span.to);
  return {};
}

Result<void> SchemaCompiler::add_format(const JsonTree& node, const std::string& path, Span span) {
  const JsonTree& wanted = *node.find("format");
  std::string known;
  for (const Format& format : kFormats) {
    known += (known.empty() ? "" : ", ") + std::string(format.name);
    if (!wanted.is(Kind::kString) || wanted.text != format.name) continue;
    const State begin = builder_.add_state(), end = builder_.add_state();
    builder_.add_bytes(span.from, '"', '"', begin);
    EBB_TRY_VOID(
        add_regex(builder_, begin, format.regex, Spelling::kJsonString, Anchoring::kWhole, end));
    builder_.add_bytes(end, '"', '"', span.to);
    return {};
  }
  return schema_error(member_path(path, "format"),
                      json_text(wanted) + " is not supported; known are " + known);
}

Result<void> SchemaCompiler::add_length(const JsonTree& node, const std::string& path, Span span) {
  uint32_t min = 0;
  std::optional<uint32_t> max;
  if (const JsonTree* value = node.find("minLength")) {
    min = EBB_TRY(read_count(*value, member_path(path, "minLength"), kLengthMax));
  }
  if (const JsonTree* value = node.find("maxLength")) {
    max = EBB_TRY(read_count(*value, member_path(path, "maxLength"), kLengthMax));
    if (*max < min) return schema_error(path, "maxLength is less than minLength");
  }
  State at = builder_.add_state();
  builder_.add_bytes(span.from, '"', '"', at);
  const State end = builder_.add_state();
  for (uint32_t i = 0; i < max.value_or(min) && !builder_.full(); ++i) {
    if (i >= min) builder_.add_skip(at, end);
    const State next = builder_.add_state();
    builder_.add_call(at, json_.character(), next);
    at = next;
  }
  builder_.add_skip(at, end);
  if (!max) builder_.add_call(at, json_.character(), at);
  builder_.add_bytes(end, '"', '"', span.to);
  return {};
}

Result<void> SchemaCompiler::add_number(const JsonTree& node, const std::string& path,
                                        SchemaTypes types, Span span) {
  const auto low = EBB_TRY(read_limit(node, path, "minimum", "exclusiveMinimum", true));
  const auto high = EBB_TRY(read_limit(node, path, "maximum", "exclusiveMaximum", false));
  const bool reals = (types & kTypeNumber) != 0;
  if (!low && !high) {
    builder_.add_call(span.from, reals ? json_.number() : json_.integer(), span.to);
    return {};
  }
  if (reals) {
    const auto least = EBB_TRY(real_limit(low, path)), most = EBB_TRY(real_limit(high, path));
    add_reals(builder_, span.from, least, most, span.to);
    return {};
  }
  int64_t least = -kIntegerMax, most = kIntegerMax;
  if (low) least = static_cast<int64_t>(std::ceil(low->value));
  if (low && low->open && static_cast<double>(least) == low->value) ++least;
  if (high) most = static_cast<int64_t>(std::floor(high->value));
  if (high && high->open && static_cast<double>(most) == high->value) --most;
  if (least <= most) add_integers(builder_, span.from, least, most, span.to);
  return {};
}

}  // namespace ebb::models::grammar
