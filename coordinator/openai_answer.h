// Answers and stream chunks as OpenAI's JSON. Knows nothing of HTTP or of the engine's order of
// events.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/choice.h"
#include "coordinator/openai_request.h"

namespace ebb::coordinator {

/// The same for every chunk of one answer.
struct AnswerShape {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string id;
  int64_t created = 0;  ///< Unix seconds
  std::string model;
  std::string fingerprint;
  bool logprobs = false;
  bool token_ids = false;
  bool trace = false;
  bool stream_usage = false;  ///< chunks have "usage": null, the last one has the figures
  const models::Tokenizer* tokenizer = nullptr;
};

/// One choice of a whole answer.
struct ChoiceAnswer {
  uint32_t index = 0;
  Piece piece;
  FinishReason reason = FinishReason::kStop;
  const std::vector<TokenId>* prompt = nullptr;  ///< shown with token_ids
  /// Of all prompt tokens but the first; null: not asked for.
  const std::vector<control::TokenLogprob>* prompt_scores = nullptr;
};

/// Usage of all sequences of one request. Counters and times are sums over sequences;
/// device_bytes_max is the largest of one sequence; queue time the longest.
struct UsageTotals {
  uint64_t prompt_tokens = 0;  ///< of each prompt once, however many choices it has
  uint64_t completion_tokens = 0;
  uint64_t seed = 0;
  Usage ebb;  ///< its token counts are not used
  void add(const Usage& usage);
};

std::string whole_answer(const AnswerShape& shape, const std::vector<ChoiceAnswer>& choices,
                         const UsageTotals& usage);

enum class ChunkPlace { kFirst, kMiddle };
/// One chunk of one choice; the last one has a finish reason. A first chat chunk names the role.
std::string answer_chunk(const AnswerShape& shape, const ChoiceAnswer& choice, ChunkPlace place,
                         std::optional<FinishReason> reason);
/// The chunk without choices that include_usage asks for.
std::string usage_chunk(const AnswerShape& shape, const UsageTotals& usage);

}  // namespace ebb::coordinator
