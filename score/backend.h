// What measures ask of a model. One implementation speaks to a running service
// (score/http_backend.h), one runs the model itself (score/local_backend.h); tests have another.
// Knows tokens and scores, no measure and no policy.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ebb::score {

using Tokens = std::vector<uint32_t>;

struct ModelFacts {
  std::string id;
  uint64_t max_model_len = 0;
  Tokens prefix;  ///< what the model wants before a text (BOS); may be empty
};

/// `usage.ebb` of an answer: what ran and what it cost.
struct Cost {
  uint64_t decoded = 0;  ///< tokens that went through the decode path
  double prefill_seconds = 0;
  double decode_seconds = 0;
  uint64_t selected_tokens = 0;
  uint64_t hot_hits = 0;
  uint64_t restored_records = 0;
  uint64_t released_records = 0;
  uint64_t device_bytes_max = 0;
  uint64_t kv_bytes_read = 0;   ///< by decode steps; only where sees_inside()
  uint64_t kv_bytes_dense = 0;  ///< that dense attention would have read in them
  void add(const Cost& other);
};

/// A prompt whose tokens from `decode_from` on go through the policy's decode path one by one, and
/// up to `max_tokens` greedy ones after it.
struct Task {
  Tokens prompt;
  uint64_t decode_from = 0;  ///< 1 to size - 1
  uint32_t max_tokens = 0;
  std::string ebb;  ///< the policy's members of the `ebb` object, JSON
  bool trace = false;
  bool divergence = false;  ///< only where sees_inside()
  bool recall = false;      ///< the same
};

/// The positions that one layer chose in one step.
struct Selection {
  uint32_t layer = 0;
  std::vector<uint32_t> positions;
};

struct Answer {
  /// Natural-log probabilities of prompt[decode_from .. size), each given all before it. The first
  /// comes from the prefill, the others from decode steps.
  std::vector<double> forced;
  std::string text;  ///< of the generated tokens
  Cost cost;
  std::vector<std::vector<Selection>> trace;  ///< one list for each generated token

  // Only from a backend that sees inside; one entry for each of forced[1 .. ], the decode steps.
  std::vector<std::vector<Selection>> forced_trace;
  /// KL(dense || policy) of the step's distribution, in nats, given the same tokens.
  std::vector<double> divergence;
  /// By layer that read a set: the share of dense attention probability in it, mean over heads.
  std::vector<std::map<uint32_t, double>> recall;
};

/// Text around what a user says, as the model's chat template has it.
struct ChatFrame {
  std::string before;
  std::string after;  ///< up to where the answer begins
};

/// Methods wait for the answer; from any thread, one call at a time. Errors: the service's own
/// words with their code; kUnavailable when nobody answers.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Result<ModelFacts> model() = 0;
  /// Without the model's prefix; special tokens in the text are read as these.
  virtual Result<Tokens> tokenize(const std::string& text) = 0;
  virtual Result<std::string> detokenize(const Tokens& tokens) = 0;
  /// The frame of one user message. Errors: also kUnsupported: the template changes what it frames.
  virtual Result<ChatFrame> chat_frame() = 0;
  virtual Result<Answer> run(const Task& task) = 0;
  /// False: nobody is there, and asking on is in vain.
  virtual bool alive() = 0;
  /// True: it runs the model itself, and can fill every member of an Answer.
  virtual bool sees_inside() const { return false; }
};

}  // namespace ebb::score
