#include "coordinator/generation.h"

#include <algorithm>
#include <mutex>
#include <random>

#include "base/log.h"
#include "coordinator/event_stream.h"
#include "coordinator/openai_answer.h"
#include "coordinator/policy_fields.h"
#include "coordinator/prompt_builder.h"

namespace ebb::coordinator {
namespace {

/// Positions that one request's trace may hold; each costs up to 8 bytes of JSON.
constexpr uint64_t kTracePositionsMax = 4u << 20;

double seconds_since(TimePoint then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

std::string random_hex() {
  thread_local std::mt19937_64 random(std::random_device{}());
  char text[40];
  std::snprintf(text, sizeof text, "%016llx%08llx", static_cast<unsigned long long>(random()),
                static_cast<unsigned long long>(random() >> 32));
  return text;
}

/// Of 53 bits: usage.ebb.seed shows it, and JSON readers keep no more.
uint64_t random_seed() {
  std::random_device device;
  return ((uint64_t{device()} << 32) | device()) >> 11;
}

/// Header names of fields are as clients wrote them: only plain characters go back, and not too
/// many.
std::string ignored_header(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (text.size() > 1024) return text + ", ...";
    if (!text.empty()) text += ", ";
    for (const char c : name.substr(0, 64)) text += c > 0x20 && c < 0x7f && c != ',' ? c : '?';
  }
  return text;
}

struct Setup {
  std::shared_ptr<ApiContext> context;
  std::shared_ptr<http::Exchange> exchange;
  std::string request_id;
  TimePoint arrived;
  OpenAiRequest request;
};

/// One request's sequences. Shared by their sinks (the engine's) and by the pool task that starts
/// them; the exchange knows it weakly. Sinks call on the engine's thread, the client's leaving on
/// the HTTP thread: one mutex guards all state, and the engine is never called while it is held.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(Setup setup, std::vector<BuiltPrompt> prompts);

  void start();
  void abandon();

  void on_prompt(size_t index, std::vector<control::TokenLogprob> scored);
  void on_token(size_t index, const control::TokenLogprob& token,
                std::vector<control::SelectionTrace> trace);
  void on_finish(size_t index, FinishReason reason, const Usage& usage);
  void on_error(const Error& error);

 private:
  struct Sequence {
    Sequence(const models::Tokenizer& tokenizer, ChoiceSetup setup)
        : prompt(setup.prompt), choice(tokenizer, std::move(setup)) {}
    std::shared_ptr<const std::vector<TokenId>> prompt;
    Choice choice;
    std::optional<SeqId> seq;
    bool cancel_wanted = false;  ///< a stop string matched before submit() had returned
    bool finished = false;
    bool any_chunk = false;
    TimePoint last_token{};
    Piece collected;                                   ///< of a whole answer
    std::vector<control::TokenLogprob> prompt_scores;  ///< for prompt_logprobs
    FinishReason reason = FinishReason::kStop;
  };
  struct Cancel {
    SeqId seq;
    FinishReason reason;
  };
  using Cancels = std::vector<Cancel>;

  void add_sequences(const std::vector<BuiltPrompt>& prompts);
  bool scores_prompt(size_t index) const;
  void submit(size_t index, uint64_t seed);
  void keep_prompt_scores(Sequence& sequence, std::vector<control::TokenLogprob>& scored) const;
  void record_token(Sequence& sequence);
  void bound_trace(std::vector<control::SelectionTrace>& trace);
  void deliver(size_t index, Result<Piece> piece, std::optional<FinishReason> reason,
               Cancels& cancels);
  void stream_piece(size_t index, Piece piece, std::optional<FinishReason> reason,
                    Cancels& cancels);
  void fail(const ApiError& error, Cancels& cancels);
  void give_up(FinishReason reason, Cancels& cancels);
  void complete();
  void send_answer();
  void run(const Cancels& cancels);

  Setup setup_;
  AnswerShape shape_;
  std::vector<BuiltPrompt> prompts_;  ///< one for each sequence's request; freed after submitting

  std::mutex mutex_;
  EventStream events_;
  std::vector<Sequence> sequences_;
  size_t unfinished_ = 0;
  bool answered_ = false;  ///< nothing more goes to the client
  UsageTotals usage_;
  uint64_t trace_positions_ = 0;
};

class SequenceSink final : public TokenSink {
 public:
  SequenceSink(std::shared_ptr<Generation> generation, size_t index)
      : generation_(std::move(generation)), index_(index) {}
  void on_prompt(std::vector<control::TokenLogprob> scored) override {
    generation_->on_prompt(index_, std::move(scored));
  }
  void on_token(const control::TokenLogprob& token,
                std::vector<control::SelectionTrace> trace) override {
    generation_->on_token(index_, token, std::move(trace));
  }
  void on_finish(FinishReason reason, const Usage& usage) override {
    generation_->on_finish(index_, reason, usage);
  }
  void on_error(const Error& error) override { generation_->on_error(error); }

 private:
  std::shared_ptr<Generation> generation_;
  size_t index_;
};

std::map<std::string, std::string> answer_headers(const Setup& setup) {
  std::map<std::string, std::string> headers;
  headers["X-Request-Id"] = setup.request_id;
  if (!setup.request.ignored.empty()) {
    headers["X-Ebb-Ignored"] = ignored_header(setup.request.ignored);
  }
  return headers;
}

AnswerShape answer_shape(const Setup& setup) {
  const OpenAiRequest& request = setup.request;
  AnswerShape shape;
  shape.endpoint = request.endpoint;
  shape.id = (request.endpoint == Endpoint::kChat ? "chatcmpl-" : "cmpl-") + random_hex();
  shape.created = std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  shape.model = setup.context->model;
  shape.fingerprint = setup.context->fingerprint;
  shape.logprobs = request.sampling.logprobs >= 0;
  shape.token_ids = request.return_token_ids;
  shape.trace = request.ebb.trace_selection;
  shape.stream_usage = request.include_usage;
  shape.tokenizer = &setup.context->tokenizer;
  return shape;
}

Generation::Generation(Setup setup, std::vector<BuiltPrompt> prompts)
    : setup_(std::move(setup)),
      shape_(answer_shape(setup_)),
      prompts_(std::move(prompts)),
      events_(setup_.exchange, answer_headers(setup_)) {
  add_sequences(prompts_);
}

void Generation::add_sequences(const std::vector<BuiltPrompt>& prompts) {
  const OpenAiRequest& request = setup_.request;
  for (const BuiltPrompt& prompt : prompts) {
    const auto tokens = std::make_shared<const std::vector<TokenId>>(prompt.tokens);
    const auto size = static_cast<uint32_t>(tokens->size());
    ChoiceSetup choice;
    choice.prompt = tokens;
    choice.added_bos = prompt.added_bos;
    choice.echo = request.echo;
    choice.show_prompt =
        request.ebb.decode_from.has_value() || (request.echo && request.sampling.logprobs >= 0);
    choice.scored_from =
        request.sampling.prompt_logprobs ? 1 : request.ebb.decode_from.value_or(size);
    choice.logprobs = request.sampling.logprobs >= 0;
    choice.stop = request.stop;
    choice.include_stop = request.include_stop;
    choice.min_tokens = request.sampling.min_tokens;
    usage_.prompt_tokens += size;
    for (uint32_t i = 0; i < request.n; ++i) {
      if (!scores_prompt(i)) choice.scored_from = request.ebb.decode_from.value_or(size);
      sequences_.emplace_back(setup_.context->tokenizer, choice);
    }
  }
  unfinished_ = sequences_.size();
}

/// One choice of each prompt is enough for prompt_logprobs; with echo, each shows the prompt.
bool Generation::scores_prompt(size_t index) const {
  const OpenAiRequest& request = setup_.request;
  const bool needed = index % request.n == 0 || request.echo || request.max_tokens == 0u;
  return request.sampling.prompt_logprobs && needed;
}

void Generation::start() {
  // Weakly: the exchange would otherwise keep what keeps it.
  setup_.exchange->on_disconnect([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->abandon();
  });
  const OpenAiRequest& request = setup_.request;
  const uint64_t seed = request.seeded ? request.sampling.seed : random_seed();
  usage_.seed = seed;
  for (size_t i = 0; i < sequences_.size(); ++i) submit(i, seed + i % request.n);
  prompts_.clear();
}

void Generation::submit(size_t index, uint64_t seed) {
  {
    std::lock_guard lock(mutex_);
    if (answered_) return;
  }
  const ApiContext& context = *setup_.context;
  GenerateRequest request =
      engine_request(context.stop_tokens, setup_.request, prompts_[index / setup_.request.n], seed);
  request.request_id = setup_.request_id;
  request.sampling.prompt_logprobs = scores_prompt(index);
  auto submitted = context.engine.submit(std::move(request),
                                         std::make_shared<SequenceSink>(shared_from_this(), index));
  Cancels cancels;
  {
    std::lock_guard lock(mutex_);
    Sequence& sequence = sequences_[index];
    if (!submitted) {
      sequence.finished = true;
      fail(from_engine(submitted.error()), cancels);
    } else {
      sequence.seq = *submitted;
      if (index % setup_.request.n == 0) {
        setup_.context->metrics.prompt_tokens(static_cast<uint32_t>(sequence.prompt->size()));
      }
      const bool live = !sequence.finished;
      if (live && sequence.cancel_wanted) cancels.push_back({*submitted, FinishReason::kStop});
      if (live && answered_) cancels.push_back({*submitted, FinishReason::kAbort});
    }
  }
  run(cancels);
}

void Generation::abandon() {
  Cancels cancels;
  {
    std::lock_guard lock(mutex_);
    if (answered_) return;
    log_info("api", "client went away", {{"request_id", setup_.request_id}});
    give_up(FinishReason::kAbort, cancels);
  }
  run(cancels);
}

void Generation::on_prompt(size_t index, std::vector<control::TokenLogprob> scored) {
  Cancels cancels;
  {
    std::lock_guard lock(mutex_);
    if (answered_) return;
    keep_prompt_scores(sequences_[index], scored);
    deliver(index, sequences_[index].choice.scored(std::move(scored)), {}, cancels);
  }
  run(cancels);
}

/// The engine gives as many best tokens as the greedier of logprobs and prompt_logprobs wants.
void Generation::keep_prompt_scores(Sequence& sequence,
                                    std::vector<control::TokenLogprob>& scored) const {
  if (!setup_.request.prompt_logprobs) return;
  const auto cut = [](control::TokenLogprob& token, size_t top) {
    if (token.top.size() > top) token.top.resize(top);
  };
  for (control::TokenLogprob& token : scored) {
    sequence.prompt_scores.push_back(token);
    cut(sequence.prompt_scores.back(), *setup_.request.prompt_logprobs);
    cut(token, static_cast<size_t>(std::max(setup_.request.sampling.logprobs, 0)));
  }
}

void Generation::on_token(size_t index, const control::TokenLogprob& token,
                          std::vector<control::SelectionTrace> trace) {
  Cancels cancels;
  {
    std::lock_guard lock(mutex_);
    Sequence& sequence = sequences_[index];
    if (answered_ || sequence.finished || sequence.choice.stopped()) return;
    record_token(sequence);
    bound_trace(trace);
    deliver(index, sequence.choice.token(token, std::move(trace)), {}, cancels);
    if (sequence.choice.stopped()) {
      sequence.cancel_wanted = true;
      if (sequence.seq && !answered_) cancels.push_back({*sequence.seq, FinishReason::kStop});
    }
  }
  run(cancels);
}

void Generation::on_finish(size_t index, FinishReason reason, const Usage& usage) {
  Cancels cancels;
  bool complete_now = false;
  {
    std::lock_guard lock(mutex_);
    Sequence& sequence = sequences_[index];
    if (sequence.finished) return;
    sequence.finished = true;
    const bool stopped = sequence.choice.stopped();
    sequence.reason = stopped ? FinishReason::kStop : reason;
    setup_.context->metrics.finished(sequence.reason, seconds_since(setup_.arrived),
                                     usage.queue_seconds);
    if (answered_) return;
    usage_.add(usage);
    usage_.completion_tokens += stopped ? sequence.choice.generated() : usage.completion_tokens;
    deliver(index, sequence.choice.finish(), sequence.reason, cancels);
    complete_now = --unfinished_ == 0 && !answered_;
    if (complete_now) answered_ = true;
  }
  run(cancels);
  if (complete_now) complete();
}

void Generation::on_error(const Error& error) {
  Cancels cancels;
  setup_.context->metrics.failed(seconds_since(setup_.arrived));
  {
    std::lock_guard lock(mutex_);
    if (answered_) return;
    ApiError api = from_engine(error);
    // The queue had room; what ran out later is the server's.
    if (error.code == Code::kExhausted) {
      api.status = 503;
      api.type = "server_error";
      api.code = "exhausted";
    }
    fail(api, cancels);
  }
  run(cancels);
}

void Generation::record_token(Sequence& sequence) {
  HttpMetrics& metrics = setup_.context->metrics;
  const TimePoint now = Clock::now();
  metrics.generated_token();
  if (sequence.last_token == TimePoint{}) {
    metrics.first_token(seconds_since(setup_.arrived));
  } else {
    metrics.next_token(std::chrono::duration<double>(now - sequence.last_token).count());
  }
  sequence.last_token = now;
}

/// Steps beyond the bound are shown empty.
void Generation::bound_trace(std::vector<control::SelectionTrace>& trace) {
  for (const auto& anchor : trace) trace_positions_ += anchor.positions.size();
  if (trace_positions_ > kTracePositionsMax) trace.clear();
}

void Generation::deliver(size_t index, Result<Piece> piece, std::optional<FinishReason> reason,
                         Cancels& cancels) {
  if (!piece) return fail(from_engine(piece.error()), cancels);
  if (setup_.request.stream) return stream_piece(index, std::move(*piece), reason, cancels);
  sequences_[index].collected.append(std::move(*piece));
}

void Generation::stream_piece(size_t index, Piece piece, std::optional<FinishReason> reason,
                              Cancels& cancels) {
  if (piece.empty() && !reason) return;
  Sequence& sequence = sequences_[index];
  const bool first = !sequence.any_chunk;
  sequence.any_chunk = true;
  ChoiceAnswer answer;
  answer.index = static_cast<uint32_t>(index);
  answer.piece = std::move(piece);
  if (first) answer.prompt = sequence.prompt.get();
  const std::string chunk =
      answer_chunk(shape_, answer, first ? ChunkPlace::kFirst : ChunkPlace::kMiddle, reason);
  if (!events_.event(chunk)) give_up(FinishReason::kAbort, cancels);
}

/// The first error ends the whole request: a part of n choices is no answer.
void Generation::fail(const ApiError& error, Cancels& cancels) {
  if (answered_) return;
  if (events_.begun()) {
    events_.fail(error_json(error));
  } else {
    http::Response response = error_response(error);
    response.headers.merge(answer_headers(setup_));
    setup_.exchange->send(std::move(response));
  }
  give_up(FinishReason::kAbort, cancels);
}

void Generation::give_up(FinishReason reason, Cancels& cancels) {
  answered_ = true;
  for (const Sequence& sequence : sequences_) {
    if (sequence.seq && !sequence.finished) cancels.push_back({*sequence.seq, reason});
  }
}

/// All sequences have finished; nobody else touches the state any more.
void Generation::complete() {
  if (setup_.request.stream) {
    if (setup_.request.include_usage) events_.event(usage_chunk(shape_, usage_));
    events_.done();
    return;
  }
  // A long answer's JSON takes longer than the engine's thread should be away.
  const auto self = shared_from_this();
  if (!setup_.context->pool.post([self] { self->send_answer(); })) send_answer();
}

void Generation::send_answer() {
  std::vector<ChoiceAnswer> choices;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    ChoiceAnswer answer;
    answer.index = static_cast<uint32_t>(i);
    answer.piece = std::move(sequences_[i].collected);
    answer.reason = sequences_[i].reason;
    answer.prompt = sequences_[i].prompt.get();
    if (setup_.request.prompt_logprobs) {
      answer.prompt_scores = &sequences_[i - i % setup_.request.n].prompt_scores;
    }
    choices.push_back(std::move(answer));
  }
  http::Response response;
  response.headers = answer_headers(setup_);
  response.body = whole_answer(shape_, choices, usage_);
  setup_.exchange->send(std::move(response));
}

void Generation::run(const Cancels& cancels) {
  for (const Cancel& cancel : cancels) setup_.context->engine.cancel(cancel.seq, cancel.reason);
}

void refuse(const Setup& setup, const ApiError& error) {
  http::Response response = error_response(error);
  response.headers["X-Request-Id"] = setup.request_id;
  setup.exchange->send(std::move(response));
}

/// On a pool thread.
void generate(Setup setup, Endpoint endpoint, const std::string& body) {
  const ApiContext& context = *setup.context;
  ApiLimits limits;
  limits.max_model_len = context.max_model_len;
  limits.vocabulary = context.tokenizer.vocabulary();
  limits.defaults = &context.defaults;
  if (auto error = parse_openai_request(body, endpoint, limits, setup.request)) {
    return refuse(setup, *error);
  }
  take_policy_defaults(context.policy_defaults, setup.request.ebb);
  const std::string& model = setup.request.model;
  if (!model.empty() && model != context.model) {
    return refuse(setup, unknown_model(model, context.model));
  }
  std::vector<BuiltPrompt> prompts;
  if (auto error = build_prompts(context, setup.request, prompts)) return refuse(setup, *error);
  std::make_shared<Generation>(std::move(setup), std::move(prompts))->start();
}

}  // namespace

std::string request_id_of(const http::Request& request) {
  const auto found = request.headers.find("x-request-id");
  const auto plain = [](char c) { return c > 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  if (found != request.headers.end() && !found->second.empty() && found->second.size() <= 128 &&
      std::all_of(found->second.begin(), found->second.end(), plain)) {
    return found->second;
  }
  return "req-" + random_hex();
}

void serve_generation(std::shared_ptr<ApiContext> context, Endpoint endpoint, http::Request request,
                      std::shared_ptr<http::Exchange> exchange) {
  Setup setup;
  setup.context = context;
  setup.exchange = std::move(exchange);
  setup.request_id = request_id_of(request);
  setup.arrived = Clock::now();
  const uint64_t size = request.body.size();
  const uint64_t waiting = context->pending_bytes.fetch_add(size) + size;
  const auto body = std::make_shared<std::string>(std::move(request.body));
  const bool posted = waiting <= context->pending_bytes_max + size &&
                      context->pool.post([setup, endpoint, body, size] {
                        generate(setup, endpoint, *body);
                        setup.context->pending_bytes.fetch_sub(size);
                      });
  if (posted) return;
  context->pending_bytes.fetch_sub(size);
  refuse(setup, from_engine(exhausted("too many requests wait to be read")));
}

}  // namespace ebb::coordinator
