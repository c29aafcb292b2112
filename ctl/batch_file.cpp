#include "ctl/batch_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <variant>

namespace ebb::ctl {
namespace {

using nlohmann::json;

constexpr size_t kChunk = 64 * 1024;
constexpr size_t kCustomIdMax = 512;

/// Text of a file may be anything; output must be UTF-8 whatever it is.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r") == std::string::npos;
}

std::string id_of(uint64_t line) { return "batch_req_" + std::to_string(line); }

/// The custom_id of a good answer; nothing when the line is a failed one.
Result<std::optional<std::string>> good_answer(const std::string& line) {
  const json answer = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer.contains("custom_id") || !answer.contains("response"))
    return invalid("not a line of a batch output");
  const json& id = answer["custom_id"];
  const json& response = answer["response"];
  if (!id.is_string() || !response.is_object() || response.value("status_code", json()) != 200)
    return std::optional<std::string>();
  return std::optional(id.get<std::string>());
}

}  // namespace

LineReader::LineReader(std::istream& in, uint64_t line_max) : in_(in), line_max_(line_max) {}

bool LineReader::fill() {
  buffer_.resize(kChunk);
  in_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  buffer_.resize(static_cast<size_t>(in_.gcount()));
  at_ = 0;
  return !buffer_.empty();
}

std::optional<LineReader::Line> LineReader::next() {
  Line line;
  bool any = false;
  for (;;) {
    if (at_ >= buffer_.size() && !fill()) {
      line.ended = false;
      if (!any) return std::nullopt;
      return line;
    }
    any = true;
    const size_t end = std::min(buffer_.find('\n', at_), buffer_.size());
    line.bytes += end - at_;
    if (line.text.size() + (end - at_) > line_max_) {
      line.too_long = true;
      line.text.clear();
    }
    if (!line.too_long) line.text.append(buffer_, at_, end - at_);
    at_ = end + 1;
    if (end < buffer_.size()) return line;
  }
}

std::variant<BatchRequest, BatchLineError> parse_batch_line(uint64_t number,
                                                            const std::string& text) {
  BatchLineError wrong{number, std::nullopt, "", ""};
  const auto fail = [&](const char* code, std::string message) {
    wrong.code = code;
    wrong.message = std::move(message);
    return wrong;
  };
  json line;
  try {
    line = json::parse(text);
  } catch (const json::exception& error) {
    const std::string what = error.what();
    return fail("invalid_json", "not JSON: " + what.substr(what.find("] ") + 2));
  }
  if (!line.is_object()) return fail("invalid_json", "not a JSON object");
  if (!line.contains("custom_id") || !line["custom_id"].is_string() ||
      line["custom_id"].get_ref<const std::string&>().empty())
    return fail("missing_custom_id", "custom_id must be a text that is not empty");
  const auto custom_id = line["custom_id"].get<std::string>();
  if (custom_id.size() > kCustomIdMax)
    return fail("invalid_custom_id", "custom_id has " + std::to_string(custom_id.size()) +
                                         " bytes, allowed: at most " +
                                         std::to_string(kCustomIdMax));
  wrong.custom_id = custom_id;
  if (line.value("method", json("POST")) != "POST")
    return fail("invalid_method", "method must be POST");
  const json url = line.value("url", json());
  if (url != "/v1/completions" && url != "/v1/chat/completions")
    return fail("invalid_url", "url is " + dump(url).substr(0, 100) +
                                   ", allowed: /v1/completions, /v1/chat/completions");
  if (!line.contains("body") || !line["body"].is_object())
    return fail("missing_body", "body must be a JSON object");
  if (line["body"].value("stream", json(false)) != false)
    return fail("invalid_body", "body.stream is not possible in a batch");
  return BatchRequest{number, custom_id, url.get<std::string>(), dump(line["body"]), text.size()};
}

std::string answer_line(const BatchRequest& request, int status, const std::string& request_id,
                        const std::string& body) {
  json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) parsed = body;
  const json line{
      {"id", id_of(request.line)},
      {"custom_id", request.custom_id},
      {"response", {{"status_code", status}, {"request_id", request_id}, {"body", parsed}}},
      {"error", nullptr}};
  return dump(line);
}

std::string error_line(const BatchLineError& error) {
  const json line{
      {"id", id_of(error.line)},
      {"custom_id", error.custom_id ? json(*error.custom_id) : json(nullptr)},
      {"response", nullptr},
      {"error", {{"code", error.code}, {"message", error.message}, {"line", error.line}}}};
  return dump(line);
}

Result<std::set<std::string>> resume_output(const std::string& path) {
  std::set<std::string> done;
  std::ifstream in(path, std::ios::binary);
  if (!in) return done;
  const std::string fresh = path + ".resume";
  std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
  if (!out) return invalid(fresh + ": " + std::strerror(errno));
  // An answer may be longer than a request; a whole GiB is nothing that a run of ours wrote.
  LineReader reader(in, kGiB);
  uint64_t number = 0;
  while (auto line = reader.next()) {
    ++number;
    // A run that was killed while it wrote leaves half a line, always the last.
    if (!line->ended || is_blank(line->text)) continue;
    auto answer = good_answer(line->text);
    if (!answer) {
      std::remove(fresh.c_str());
      return invalid(path + ":" + std::to_string(number) + ": " + answer.error().message +
                     ": refusing to resume into this file");
    }
    if (answer->has_value() && done.insert(**answer).second) out << line->text << '\n';
  }
  out.close();
  if (!out) return invalid(fresh + ": cannot be written: " + std::strerror(errno));
  std::error_code error;
  std::filesystem::rename(fresh, path, error);
  if (error) return invalid(path + ": cannot be replaced: " + error.message());
  return done;
}

Result<BatchSize> measure_batch(const std::string& path) {
  if (std::filesystem::is_directory(path)) return invalid(path + " is a folder");
  std::ifstream in(path, std::ios::binary);
  if (!in) return not_found(path + ": " + std::strerror(errno));
  LineReader reader(in);
  BatchSize size;
  while (auto line = reader.next()) {
    if (!line->too_long && is_blank(line->text)) continue;
    ++size.lines;
    size.bytes += line->bytes;
  }
  return size;
}

}  // namespace ebb::ctl
