// Stand-ins for what lies below the HTTP side: a tokenizer of single bytes, and an engine that
// answers from a script on a thread of its own, as the real one does.
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/task_loop.h"
#include "coordinator/engine.h"
#include "models/tokenizer.h"

namespace ebb::coordinator::testing {

constexpr TokenId kEndOfText = 256;    ///< "<|im_end|>"
constexpr TokenId kStartOfTurn = 257;  ///< "<|im_start|>"
constexpr TokenId kBeginOfText = 258;  ///< "<s>"
constexpr TokenId kHello = 259;        ///< "hello"
constexpr TokenId kEuroWorld = 260;    ///< the last two bytes of "€", then "world"
constexpr uint32_t kVocabulary = 261;

/// One token a byte, and a few longer ones.
class FakeTokenizer final : public models::Tokenizer {
 public:
  explicit FakeTokenizer(bool bos = false) : bos_(bos) {
    for (int i = 0; i < 256; ++i) tokens_.push_back(std::string(1, static_cast<char>(i)));
    for (const char* text : {"<|im_end|>", "<|im_start|>", "<s>", "hello", "\x82\xACworld"}) {
      tokens_.push_back(text);
    }
  }
  Result<std::vector<TokenId>> encode(std::string_view text,
                                      models::SpecialTokens special) const override {
    std::vector<TokenId> ids;
    while (!text.empty()) {
      TokenId best = static_cast<uint8_t>(text[0]);
      for (TokenId id = kEndOfText; id <= kHello; ++id) {
        const bool allowed = !is_special(id) || special == models::SpecialTokens::kParse;
        if (allowed && text.starts_with(tokens_[static_cast<size_t>(id)])) best = id;
      }
      ids.push_back(best);
      text.remove_prefix(tokens_[static_cast<size_t>(best)].size());
    }
    return ids;
  }
  std::string_view token_bytes(TokenId id) const override {
    return tokens_.at(static_cast<size_t>(id));
  }
  bool is_special(TokenId id) const override { return id >= kEndOfText && id <= kBeginOfText; }
  uint32_t vocabulary() const override { return kVocabulary; }
  TokenId end_of_text() const override { return kEndOfText; }
  bool adds_bos() const override { return bos_; }
  TokenId begin_of_text() const override { return kBeginOfText; }

 private:
  bool bos_;
  std::vector<std::string> tokens_;
};

/// One accepted sequence; its sink is called on the engine's thread only.
struct FakeJob {
  SeqId seq;
  GenerateRequest request;
  std::shared_ptr<TokenSink> sink;
  bool ended = false;

  void token(TokenId id, float logprob = -0.5f) {
    if (ended) return;
    control::TokenLogprob scored;
    scored.token = id;
    scored.logprob = logprob;
    for (int32_t i = 0; i < request.sampling.logprobs; ++i) {
      scored.top.emplace_back('a' + i, -1.0f - static_cast<float>(i));
    }
    std::vector<control::SelectionTrace> trace;
    if (request.trace_selection) trace.push_back({2, {0, 1, 7}});
    ++generated;
    sink->on_token(scored, std::move(trace));
  }
  void say(const std::string& bytes) {
    for (const char c : bytes) token(static_cast<uint8_t>(c));
  }
  void score_prompt() {
    const size_t from =
        request.sampling.prompt_logprobs ? 1 : request.decode_from.value_or(request.prompt.size());
    std::vector<control::TokenLogprob> scored;
    for (size_t i = from; i < request.prompt.size(); ++i) {
      control::TokenLogprob one;
      one.token = request.prompt[i];
      one.logprob = -static_cast<float>(i);
      one.rank = 3;
      if (request.sampling.prompt_top > 0) one.top.emplace_back('x', -0.25f);
      scored.push_back(one);
    }
    if (!scored.empty()) sink->on_prompt(std::move(scored));
  }
  void finish(FinishReason reason) {
    if (ended) return;
    ended = true;
    Usage usage;
    usage.prompt_tokens = static_cast<uint32_t>(request.prompt.size());
    usage.completion_tokens = generated;
    usage.policy.kind = request.policy.value_or(control::PolicyKind::kDense);
    usage.policy.budget = request.budget.value_or(0);
    usage.counters.restored_host_records = 3;
    usage.counters.restored_ssd_records = 4;
    usage.queue_seconds = 0.25;
    sink->on_finish(reason, usage);
  }
  void fail(Error error) {
    if (ended) return;
    ended = true;
    sink->on_error(error);
  }
  uint32_t generated = 0;
};

class FakeEngine final : public Engine {
 public:
  using Script = std::function<void(FakeJob&)>;
  FakeEngine() : loop_("fake-engine") {
    status_.ready = true;
    answer("ok");
  }

  /// Every later sequence says `text`, cut at max_tokens, and ends.
  void answer(const std::string& text) {
    script([text](FakeJob& job) {
      job.score_prompt();
      const bool cut = text.size() > job.request.max_tokens;
      job.say(text.substr(0, job.request.max_tokens));
      job.finish(cut ? FinishReason::kLength : FinishReason::kStop);
    });
  }
  void script(Script script) {
    std::lock_guard lock(mutex_);
    script_ = std::move(script);
  }
  void refuse(std::optional<Error> error) {
    std::lock_guard lock(mutex_);
    refusal_ = std::move(error);
  }
  void set_status(EngineStatus status) {
    std::lock_guard lock(mutex_);
    status_ = std::move(status);
  }
  void set_map(control::SequenceMap map) {
    std::lock_guard lock(mutex_);
    map_ = std::move(map);
  }

  Result<SeqId> submit(GenerateRequest request, std::shared_ptr<TokenSink> sink) override {
    std::unique_lock lock(mutex_);
    if (refusal_) return *refusal_;
    auto job = std::make_shared<FakeJob>();
    job->seq = SeqId{++last_};
    job->request = request;
    job->sink = std::move(sink);
    jobs_[job->seq] = job;
    requests_.push_back(std::move(request));
    const Script run = script_;
    lock.unlock();
    loop_.post([job, run] { run(*job); });
    return job->seq;
  }
  void cancel(SeqId seq, FinishReason reason) override {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(seq);
    changed_.notify_all();
    const auto found = jobs_.find(seq);
    if (found == jobs_.end()) return;
    loop_.post([job = found->second, reason] { job->finish(reason); });
  }
  EngineStatus status() override {
    std::lock_guard lock(mutex_);
    return status_;
  }
  std::vector<SequenceInfo> sequences() override {
    SequenceInfo info;
    info.seq = SeqId{7};
    info.request_id = "r7";
    info.state = "decode";
    info.policy = "tidal";
    return {info};
  }
  void describe(std::optional<SeqId> seq,
                std::function<void(Result<control::SequenceMap>)> answer) override {
    std::lock_guard lock(mutex_);
    if (seq && *seq != map_.seq) {
      answer(not_found("no sequence " + std::to_string(seq->value)));
      return;
    }
    answer(map_);
  }
  /// One granule, whose digest says what was asked; refuses a limit of 5000.
  void granules(const std::string& store, control::GranuleQuery query,
                std::function<void(Result<control::GranulePage>)> answer) override {
    if (query.limit == 5000) return answer(invalid("limit 5000, allowed 1 to 1024"));
    control::GranuleState granule;
    granule.digest = store + "/" + std::to_string(query.seq.value_or(SeqId{}).value) + "/" +
                     std::to_string(query.limit) + "/" + query.cursor;
    granule.head_end = 2;
    granule.on_ssd = true;
    answer(control::GranulePage{{granule}, query.cursor.empty() ? "abc" : ""});
  }
  void drain(Deadline) override {}

  std::vector<GenerateRequest> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  GenerateRequest last_request() {
    std::lock_guard lock(mutex_);
    return requests_.empty() ? GenerateRequest{} : requests_.back();
  }
  /// Waits until `count` sequences were cancelled.
  bool wait_cancelled(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, Millis(10000), [&] { return cancelled_.size() >= count; });
  }
  /// Waits until all scripts so far have run.
  void settle() {
    std::promise<void> done;
    loop_.post([&done] { done.set_value(); });
    done.get_future().wait();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Script script_;
  std::optional<Error> refusal_;
  EngineStatus status_;
  control::SequenceMap map_;
  uint64_t last_ = 0;
  std::map<SeqId, std::shared_ptr<FakeJob>> jobs_;
  std::vector<GenerateRequest> requests_;
  std::vector<SeqId> cancelled_;
  TaskLoop loop_;  ///< last: its thread uses what stands above
};

}  // namespace ebb::coordinator::testing
