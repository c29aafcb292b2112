#include "score/requests.h"

#include <nlohmann/json.hpp>

#include "base/check.h"

namespace ebb::score {

std::string completion_body(const std::string& model, const Task& task) {
  using Json = nlohmann::ordered_json;
  Json ebb = Json::parse(task.ebb, nullptr, /*allow_exceptions=*/false);
  EBB_CHECK(ebb.is_object());
  ebb["decode_from"] = task.decode_from;
  if (task.trace) ebb["trace"] = "selection";
  return Json{{"model", model},       {"prompt", task.prompt},   {"max_tokens", task.max_tokens},
              {"temperature", 0},     {"repetition_penalty", 1}, {"logprobs", 0},
              {"ebb", std::move(ebb)}}
      .dump();
}

Result<ChatFrame> frame_of(Backend& backend, const Tokens& shown) {
  const std::string text = EBB_TRY(backend.detokenize(shown));
  const size_t user = text.find(kUserMark);
  const size_t begun = text.find(kAnswerMark);
  const Tokens again = EBB_TRY(backend.tokenize(text));
  if (user == std::string::npos || begun == std::string::npos || begun < user || again != shown)
    return unsupported(
        "the model's chat template cannot be used: its text does not show the messages as they "
        "are, or does not become the same tokens again");
  const size_t behind_user = user + std::string(kUserMark).size();
  return ChatFrame{text.substr(0, user), text.substr(behind_user, begun - behind_user)};
}

}  // namespace ebb::score
