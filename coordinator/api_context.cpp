#include "coordinator/api_context.h"

#include <algorithm>

namespace ebb::coordinator {
namespace {

/// Tasks that may wait for one thread; their bodies' bytes have a bound of their own.
constexpr size_t kQueueMax = 256;

}  // namespace

WorkPool::WorkPool(uint32_t threads) {
  for (uint32_t i = 0; i < threads; ++i) {
    loops_.push_back(std::make_unique<TaskLoop>("api-" + std::to_string(i), kQueueMax));
  }
}

bool WorkPool::post(std::function<void()> task) {
  const uint32_t first = next_.fetch_add(1);
  for (uint32_t i = 0; i < loops_.size(); ++i) {
    if (loops_[(first + i) % loops_.size()]->post(task)) return true;
  }
  return false;
}

void WorkPool::stop() {
  for (const auto& loop : loops_) loop->stop();
}

std::vector<TokenId> model_stop_tokens(const models::Tokenizer& tokenizer,
                                       const models::GenerationDefaults& defaults) {
  std::vector<TokenId> stops;
  const auto add = [&](TokenId id) {
    const bool known = id >= 0 && id < static_cast<TokenId>(tokenizer.vocabulary());
    if (known && std::find(stops.begin(), stops.end(), id) == stops.end()) stops.push_back(id);
  };
  add(tokenizer.end_of_text());
  for (const TokenId id : defaults.end_of_text) add(id);
  for (const char* mark : {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>",
                           "<|end|>", "<end_of_turn>", "</s>"}) {
    const auto ids = tokenizer.encode(mark, models::SpecialTokens::kParse);
    if (ids && ids->size() == 1 && tokenizer.is_special(ids->front())) add(ids->front());
  }
  return stops;
}

}  // namespace ebb::coordinator
