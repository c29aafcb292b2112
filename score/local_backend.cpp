#include "score/local_backend.h"

#include <ctime>

#include "coordinator/choice.h"
#include "coordinator/openai_request.h"
#include "coordinator/prompt_builder.h"
#include "kernels/cpu/process_environment.h"
#include "models/utf8.h"
#include "score/local_group.h"
#include "score/local_observer.h"
#include "score/requests.h"

namespace ebb::score {
namespace {

Tokens unsigned_ids(const std::vector<TokenId>& ids) { return {ids.begin(), ids.end()}; }
std::vector<TokenId> token_ids(const Tokens& tokens) { return {tokens.begin(), tokens.end()}; }

Cost cost_of(const coordinator::Usage& usage, uint64_t decoded) {
  const control::SequenceCounters& counters = usage.counters;
  Cost cost;
  cost.decoded = decoded;
  cost.prefill_seconds = usage.prefill_seconds;
  cost.decode_seconds = usage.decode_seconds;
  cost.selected_tokens = counters.selected_tokens;
  cost.hot_hits = counters.hot_hits;
  cost.restored_records = counters.restored_host_records + counters.restored_ssd_records;
  cost.released_records = counters.released_records;
  cost.device_bytes_max = usage.device_bytes_max;
  return cost;
}

std::vector<std::vector<Selection>> selections_of(
    const std::vector<std::vector<control::SelectionTrace>>& traces) {
  std::vector<std::vector<Selection>> out;
  for (const auto& step : traces) {
    out.emplace_back();
    for (const control::SelectionTrace& set : step)
      out.back().push_back({set.anchor, set.positions});
  }
  return out;
}

class LocalBackend final : public Backend {
 public:
  explicit LocalBackend(LocalModel model) : model_(std::move(model)) {}
  Result<void> start(const LocalBackendOptions& options) {
    group_ = EBB_TRY(LocalGroup::start(model_, options));
    return {};
  }

  Result<ModelFacts> model() override {
    return ModelFacts{model_.name, group_->max_model_len(),
                      unsigned_ids(model_.tokenizer->ids_before())};
  }
  Result<Tokens> tokenize(const std::string& text) override {
    if (models::utf8_valid_prefix(text) < text.size()) return invalid("the text is not UTF-8");
    return unsigned_ids(EBB_TRY(model_.tokenizer->encode(text, models::SpecialTokens::kParse)));
  }
  Result<std::string> detokenize(const Tokens& tokens) override {
    return model_.tokenizer->decode_text(token_ids(tokens), /*skip_special=*/false);
  }
  Result<ChatFrame> chat_frame() override;
  Result<Answer> run(const Task& task) override;
  bool alive() override { return true; }
  bool sees_inside() const override { return true; }

 private:
  Result<coordinator::GenerateRequest> request_of(const Task& task) const;
  Result<void> refer_to_dense(const Task& task);
  Result<Answer> answer_of(const Task& task, LocalRun run) const;

  LocalModel model_;
  std::unique_ptr<LocalGroup> group_;
  DenseReference dense_;  ///< of the last prompt that was compared
};

Result<ChatFrame> LocalBackend::chat_frame() {
  if (model_.chat_template == nullptr)
    return invalid("model " + model_.name + " has no chat template");
  const auto message = [](const char* role, const char* content) {
    models::jinja::Dict out;
    out.set("role", role);
    out.set("content", content);
    return models::jinja::Value(std::move(out));
  };
  models::ChatInput input;
  input.messages = {message("user", kUserMark), message("assistant", kAnswerMark)};
  input.add_generation_prompt = false;
  input.continue_final_message = true;
  const std::time_t now = std::time(nullptr);
  localtime_r(&now, &input.local_time.emplace());
  const std::string text = EBB_TRY(model_.chat_template->render(input));
  const Tokens shown = EBB_TRY(tokenize(text));
  return frame_of(*this, shown);
}

/// As the service reads the same body.
Result<coordinator::GenerateRequest> LocalBackend::request_of(const Task& task) const {
  coordinator::ApiLimits limits;
  limits.max_model_len = group_->max_model_len();
  limits.vocabulary = model_.shape.vocabulary;
  coordinator::OpenAiRequest asked;
  if (const auto error = coordinator::parse_openai_request(
          completion_body(model_.name, task), coordinator::Endpoint::kCompletions, limits, asked))
    return invalid(error->message);
  coordinator::BuiltPrompt prompt;
  prompt.tokens = std::get<std::vector<TokenId>>(asked.prompts.front());
  prompt.max_tokens = asked.max_tokens.value_or(0);
  return coordinator::engine_request(model_.stop_tokens, asked, prompt, asked.sampling.seed);
}

/// Makes dense_ cover the task.
Result<void> LocalBackend::refer_to_dense(const Task& task) {
  if (dense_.covers(task)) return {};
  Task dense{task.prompt, task.decode_from, 0, R"({"policy":"dense"})"};
  LocalObserver observer(dense);
  observer.record(dense_);
  auto request = EBB_TRY(request_of(dense));
  auto ran = group_->run(std::move(request), &observer);
  if (!ran) return with_context("dense, to compare with", ran.error());
  return {};
}

Result<Answer> LocalBackend::run(const Task& task) {
  auto request = EBB_TRY(request_of(task));
  LocalObserver observer(task);
  // Dense's own run is the reference, where there is none yet.
  const bool refers =
      task.divergence && request.policy == control::PolicyKind::kDense && !dense_.covers(task);
  if (refers) observer.record(dense_);
  if (task.divergence && !refers) {
    EBB_TRY_VOID(refer_to_dense(task));
    observer.compare(dense_);
  }
  auto run = EBB_TRY(group_->run(std::move(request), &observer));
  Answer answer = EBB_TRY(answer_of(task, std::move(run)));
  observer.move_into(answer);
  if (refers) answer.divergence.assign(dense_.logprobs.size(), 0.0);
  return answer;
}

Result<Answer> LocalBackend::answer_of(const Task& task, LocalRun run) const {
  Answer answer;
  for (const control::TokenLogprob& scored : run.scored) answer.forced.push_back(scored.logprob);
  answer.cost = cost_of(run.usage, task.prompt.size() + run.tokens.size() - task.decode_from - 1);
  answer.trace = selections_of(run.traces);
  answer.forced_trace = selections_of(run.forced_traces);
  coordinator::ChoiceSetup setup;
  setup.prompt = std::make_shared<const std::vector<TokenId>>(token_ids(task.prompt));
  setup.show_prompt = true;
  setup.scored_from = static_cast<uint32_t>(task.decode_from);
  coordinator::Choice choice(*model_.tokenizer, std::move(setup));
  coordinator::Piece piece = EBB_TRY(choice.scored(std::move(run.scored)));
  for (const control::TokenLogprob& token : run.tokens)
    piece.append(EBB_TRY(choice.token(token, {})));
  piece.append(EBB_TRY(choice.finish()));
  answer.text = std::move(piece.text);
  return answer;
}

}  // namespace

Result<std::unique_ptr<Backend>> make_local_backend(const LocalBackendOptions& options) {
  auto backend = std::make_unique<LocalBackend>(EBB_TRY(open_local_model(options)));
  EBB_TRY_VOID(backend->start(options));
  return std::unique_ptr<Backend>(std::move(backend));
}

void prepare_local_process(char** argv) { kernels::prepare_process_environment(argv); }

}  // namespace ebb::score
