// What all backends say alike, whether it goes over the network or not.
#pragma once

#include <string>

#include "score/backend.h"

namespace ebb::score {

/// The body of /v1/completions for a task. Greedy and unpenalised, whatever the model's generation
/// defaults say.
std::string completion_body(const std::string& model, const Task& task);

/// Stand for the user's message and for the answer begun; no template has such words.
constexpr const char* kUserMark = "ebbqzuser";
constexpr const char* kAnswerMark = "ebbqzanswer";

/// The frame in `shown`: the tokens of a chat of both marks. Errors: kUnsupported: the template
/// changes what it frames.
Result<ChatFrame> frame_of(Backend& backend, const Tokens& shown);

}  // namespace ebb::score
