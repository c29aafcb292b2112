// What every API handler needs, wired once by HttpFront. Shared, because an answer on its way may
// outlive the front's servers: the engine's last callback comes when it comes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/task_loop.h"
#include "coordinator/engine.h"
#include "coordinator/http_metrics.h"
#include "coordinator/openai_request.h"
#include "models/chat_template.h"
#include "models/generation_defaults.h"
#include "models/selection_profile.h"
#include "models/tokenizer.h"

namespace ebb::coordinator {

/// A few threads for JSON and tokenisation: a long prompt takes longer than the HTTP thread may be
/// away.
class WorkPool {
 public:
  explicit WorkPool(uint32_t threads);
  /// Any thread. False when all queues are full, or after stop().
  bool post(std::function<void()> task);
  void stop();

 private:
  std::vector<std::unique_ptr<TaskLoop>> loops_;
  std::atomic<uint32_t> next_{0};
};

struct ApiContext {
  ApiContext(Engine& e, const models::Tokenizer& t, const models::ChatTemplate* c, Metrics& m)
      : engine(e), tokenizer(t), chat_template(c), metrics(m) {}

  Engine& engine;  ///< outlives the front; so do the next two
  const models::Tokenizer& tokenizer;
  const models::ChatTemplate* chat_template;  ///< null: the model has none
  HttpMetrics metrics;
  WorkPool pool{2};

  std::string model;                    ///< served name
  std::string fingerprint;              ///< of the model file
  uint32_t max_model_len = 0;           ///< tokens
  EbbOptions policy_defaults;           ///< of requests that name no policy; its own is set
  int64_t started = 0;                  ///< Unix seconds
  std::vector<TokenId> stop_tokens;     ///< of the model: EOS and the ends of turns
  models::GenerationDefaults defaults;  ///< of the model, when they are in force

  uint64_t pending_bytes_max = 64ull << 20;  ///< bodies that wait for the pool
  std::atomic<uint64_t> pending_bytes{0};

  models::SelectionProfile profile;  ///< in force
};

/// The tokens at which a model ends its answer: EOS, those that its generation defaults name, and
/// those of the usual end-of-turn marks that are one special token in this vocabulary (some files
/// name only one of them as EOS).
std::vector<TokenId> model_stop_tokens(const models::Tokenizer& tokenizer,
                                       const models::GenerationDefaults& defaults);

}  // namespace ebb::coordinator
