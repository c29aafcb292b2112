// Renders many templates, for comparisons with jinja2: reads lines of JSON
// {"template", "input": as in tests/golden/templates.json, "special": {name: text}, "now": [...]}
// from standard input and writes a line {"text"} or {"error"} for each.
#include <iostream>
#include <string>

#include "tests/models/template_values.h"

namespace ebb::models {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> render(const Json& line) {
  SpecialTexts special;
  for (const auto& [name, text] : line["special"].items()) special.emplace_back(name, text);
  const auto parsed =
      EBB_TRY(ChatTemplate::parse({{"default", line["template"]}}, std::move(special), {}));
  ChatInput input = testing::chat_input(line["input"]);
  input.local_time = testing::local_time(line["now"]);
  return parsed->render(input);
}

int run() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto text = render(Json::parse(line));
    const Json answer = text ? Json{{"text", *text}} : Json{{"error", text.error().text()}};
    std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace ebb::models

int main() { return ebb::models::run(); }
