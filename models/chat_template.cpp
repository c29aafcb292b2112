#include "models/chat_template.h"

#include <algorithm>
#include <optional>

#include "models/jinja/interpreter.h"
#include "models/jinja/parser.h"
#include "models/jinja/text.h"
#include "models/shown_text.h"
#include "models/utf8.h"

namespace ebb::models {
namespace {

constexpr std::string_view kDefaultName = "default";
constexpr std::string_view kToolName = "tool_use";

struct NamedTemplate {
  std::string name;
  jinja::Body body;
  bool takes_parts = false;
};

/// What a template raises, and the names in it, may be megabytes long; answers and logs are not.
Error shortened(Error error) {
  constexpr size_t kMessageBytesMax = 2048;
  if (error.message.size() <= kMessageBytesMax) return error;
  error.message.resize(kMessageBytesMax);
  error.message = utf8_replaced(error.message) + "...";
  return error;
}

constexpr const char* kReasoningNames[] = {"reasoning_content", "thinking", "reasoning"};

/// A message as templates should see it: with its reasoning under the names that they know,
/// whichever it came under. As transformers does it, order included.
jinja::Value normalized(const jinja::Value& message) {
  const jinja::Dict* given = message.dict();
  const jinja::Value* reasoning = nullptr;
  for (const char* name : kReasoningNames) {
    if (given == nullptr || reasoning != nullptr) break;
    reasoning = given->find(name);
    if (reasoning != nullptr && reasoning->is_none()) reasoning = nullptr;
  }
  if (reasoning == nullptr) return message;
  const auto old_value = [&](const char* name) {
    const jinja::Value* value = given->find(name);
    return value != nullptr ? *value : *reasoning;
  };
  jinja::Dict out;
  out.entries.emplace_back("thinking", old_value("thinking"));
  bool is_there = false;
  for (const auto& [name, value] : given->entries) {
    const bool content = name == "reasoning_content";
    is_there = is_there || content;
    if (name != "thinking") out.entries.emplace_back(name, content ? *reasoning : value);
  }
  if (!is_there) out.entries.emplace_back("reasoning_content", *reasoning);
  return out;
}

/// The text that the last message ends with, and what that message is with `mark` behind it.
struct OpenMessage {
  std::string text;
  jinja::Value marked;
};

Result<OpenMessage> open_message(const jinja::List& messages, const std::string& mark) {
  const jinja::Dict* last = messages.empty() ? nullptr : messages.back().dict();
  const jinja::Value* content = last == nullptr ? nullptr : last->find("content");
  if (content == nullptr) return invalid("the last message has no content to continue");
  OpenMessage open;
  jinja::Dict changed = *last;
  if (const std::string* text = content->string()) {
    open.text = *text;
    changed.set("content", *text + mark);
    open.marked = std::move(changed);
    return open;
  }
  const jinja::List none;
  jinja::List parts = content->list() == nullptr ? none : *content->list();
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    const jinja::Value* text = part->dict() == nullptr ? nullptr : part->dict()->find("text");
    if (text == nullptr || text->string() == nullptr) continue;
    open.text = *text->string();
    jinja::Dict inner = *part->dict();
    inner.set("text", open.text + mark);
    *part = std::move(inner);
    changed.set("content", std::move(parts));
    open.marked = std::move(changed);
    return open;
  }
  return invalid("the last message has no text to continue");
}

constexpr std::string_view kMarkBegin = "#ebb-cut-";

/// The longest run of zeros behind a kMarkBegin within `value`.
size_t longest_mark(const jinja::Value& value) {
  size_t longest = 0;
  if (const std::string* text = value.string()) {
    const auto begin = [&](size_t from) { return jinja::find_text(*text, kMarkBegin, from); };
    for (size_t at = begin(0); at != text->npos; at = begin(at)) {
      at += kMarkBegin.size();
      longest = std::max(longest, std::min(text->find_first_not_of('0', at), text->size()) - at);
    }
  } else if (const jinja::List* list = value.list()) {
    for (const jinja::Value& element : *list) longest = std::max(longest, longest_mark(element));
  } else if (const jinja::Dict* dict = value.dict()) {
    for (const auto& entry : dict->entries) longest = std::max(longest, longest_mark(entry.second));
  }
  return longest;
}

/// Text that occurs nowhere in `messages`.
std::string unused_mark(const jinja::List& messages) {
  return std::string(kMarkBegin) + std::string(longest_mark(messages) + 1, '0') + "#";
}

std::string_view stripped(std::string_view text, jinja::Sides sides) {
  return jinja::strip(text, std::nullopt, sides);
}

/// Cuts where the mark stands. A template that took the blank behind it trims messages, and would
/// have taken the blanks before it too.
Result<std::string> cut_at_mark(std::string text, const std::string& mark,
                                std::string_view message) {
  const size_t cut = text.rfind(mark);
  if (cut == std::string::npos ||
      jinja::find_text(text, stripped(message, jinja::Sides::kBoth)) == std::string::npos) {
    return invalid("the model's chat template changes or leaves out the last message");
  }
  const bool keeps_blanks = text.compare(cut + mark.size(), 1, " ") == 0;
  text.resize(cut);
  // A template may have written the message before, too.
  text = jinja::replace(text, mark + (keeps_blanks ? " " : ""), "", -1);
  if (keeps_blanks) return text;
  return std::string(stripped(text, jinja::Sides::kRight));
}

jinja::Value message(const char* role, jinja::Value content) {
  jinja::Dict dict;
  dict.set("role", role);
  dict.set("content", std::move(content));
  return dict;
}

/// Any time will do, so long as both renderings see the same: noon of 1 January 2000, a Saturday.
std::tm probe_time() {
  std::tm time{};
  time.tm_year = 100;
  time.tm_mday = 1;
  time.tm_hour = 12;
  time.tm_wday = 6;
  return time;
}

}  // namespace

struct ChatTemplate::Impl {
  std::vector<NamedTemplate> templates;
  SpecialTexts special;
  Limits limits;

  Result<void> add(ChatTemplateSource source);
  Result<const NamedTemplate*> choose(const ChatInput& input) const;
  const NamedTemplate* find(std::string_view name) const;
  Result<std::string> run(const NamedTemplate& chosen, const ChatInput& input) const;
  Result<std::string> run_continued(const NamedTemplate& chosen, ChatInput input) const;
  bool probe_parts(const NamedTemplate& candidate) const;
};

const NamedTemplate* ChatTemplate::Impl::find(std::string_view name) const {
  const auto it = std::find_if(templates.begin(), templates.end(),
                               [&](const NamedTemplate& t) { return t.name == name; });
  return it == templates.end() ? nullptr : &*it;
}

Result<void> ChatTemplate::Impl::add(ChatTemplateSource source) {
  if (find(source.name) != nullptr) {
    return invalid("chat template: the name \"" + shown_text(source.name) + "\" occurs twice");
  }
  auto body = jinja::parse_template(source.text);
  if (!body) {
    const bool plain = source.name == kDefaultName;
    return with_context(
        plain ? "chat template" : "chat template \"" + shown_text(source.name) + "\"",
        shortened(std::move(body).error()));
  }
  NamedTemplate parsed{std::move(source.name), *std::move(body)};
  parsed.takes_parts = probe_parts(parsed);
  templates.push_back(std::move(parsed));
  return {};
}

/// Which of a model's templates: transformers' rule.
Result<const NamedTemplate*> ChatTemplate::Impl::choose(const ChatInput& input) const {
  const NamedTemplate* chosen = nullptr;
  if (!input.template_name.empty()) {
    chosen = find(input.template_name);
  } else {
    if (!input.tools.is_none()) chosen = find(kToolName);
    if (chosen == nullptr) chosen = find(kDefaultName);
  }
  if (chosen != nullptr) return chosen;
  std::string names;
  for (const NamedTemplate& known : templates) {
    names += (names.empty() ? "\"" : ", \"") + known.name + "\"";
  }
  const std::string& wanted = input.template_name;
  if (wanted.empty()) {
    return not_found("this model has several chat templates and no default: choose one of " +
                     names);
  }
  return not_found("this model has no chat template \"" + wanted + "\", only " + names);
}

/// Renders one message as text and as a list of parts: a template that knows parts makes the same
/// of both. Others would print the list or fail.
bool ChatTemplate::Impl::probe_parts(const NamedTemplate& candidate) const {
  constexpr const char* kProbe = "probe";
  jinja::Dict part;
  part.set("type", "text");
  part.set("text", kProbe);
  ChatInput plain, parts;
  plain.local_time = parts.local_time = probe_time();
  plain.messages = {message("user", kProbe)};
  parts.messages = {message("user", jinja::List{part})};
  const auto expected = run(candidate, plain);
  if (!expected || expected->find(kProbe) == std::string::npos) return false;
  const auto got = run(candidate, parts);
  return got && *got == *expected;
}

Result<std::string> ChatTemplate::Impl::run(const NamedTemplate& chosen,
                                            const ChatInput& input) const {
  jinja::Dict variables;
  for (const auto& [name, text] : special) variables.set(name, text);
  for (const auto& [name, value] : input.variables.entries) variables.set(name, value);
  variables.set("messages", input.messages);
  variables.set("tools", input.tools);
  variables.set("documents", input.documents);
  variables.set("add_generation_prompt", input.add_generation_prompt);
  const jinja::RenderOptions options{limits.steps_max, limits.output_max, input.local_time};
  auto text = jinja::render(chosen.body, variables, options);
  if (!text) return with_context("chat template", shortened(std::move(text).error()));
  return text;
}

Result<std::string> ChatTemplate::Impl::run_continued(const NamedTemplate& chosen,
                                                      ChatInput input) const {
  const std::string mark = unused_mark(input.messages);
  OpenMessage open = EBB_TRY(open_message(input.messages, mark + " "));
  input.messages.back() = std::move(open.marked);
  return cut_at_mark(EBB_TRY(run(chosen, input)), mark, open.text);
}

ChatTemplate::ChatTemplate() : impl_(std::make_unique<Impl>()) {}
ChatTemplate::~ChatTemplate() = default;

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::vector<ChatTemplateSource> sources,
                                                          SpecialTexts special, Limits limits) {
  if (sources.empty()) return invalid("chat template: there is none");
  std::unique_ptr<ChatTemplate> parsed(new ChatTemplate());
  parsed->impl_->special = std::move(special);
  parsed->impl_->limits = limits;
  for (ChatTemplateSource& source : sources) EBB_TRY_VOID(parsed->impl_->add(std::move(source)));
  return parsed;
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string source, std::string bos_text,
                                                          std::string eos_text) {
  SpecialTexts special;
  if (!bos_text.empty()) special.emplace_back("bos_token", std::move(bos_text));
  if (!eos_text.empty()) special.emplace_back("eos_token", std::move(eos_text));
  return parse({{std::string(kDefaultName), std::move(source)}}, std::move(special), Limits());
}

bool ChatTemplate::takes_content_parts(const ChatInput& input) const {
  const auto chosen = impl_->choose(input);
  return chosen && (*chosen)->takes_parts;
}

Result<std::string> ChatTemplate::render(const ChatInput& input) const {
  const NamedTemplate* chosen = EBB_TRY(impl_->choose(input));
  ChatInput own = input;
  for (jinja::Value& message : own.messages) message = normalized(message);
  return own.continue_final_message ? impl_->run_continued(*chosen, std::move(own))
                                    : impl_->run(*chosen, own);
}

}  // namespace ebb::models
