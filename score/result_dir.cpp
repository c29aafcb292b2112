#include "score/result_dir.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kRunFile = "run.json";
constexpr const char* kRecordFile = "results.jsonl";
constexpr uint64_t kFileMax = 4 * kGiB;

Error cannot(const std::string& path, const char* what) {
  return invalid(path + ": cannot be " + what + ": " + std::strerror(errno));
}

Result<std::string> read_file(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return not_found(path + ": " + error.message());
  if (size > kFileMax) return invalid(path + " is longer than " + format_bytes(kFileMax));
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file) return cannot(path, "read");
  return text;
}

Result<void> replace_file(const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  std::ofstream file(draft, std::ios::binary | std::ios::trunc);
  file << text << std::flush;
  if (!file) return cannot(draft, "written");
  file.close();
  std::error_code error;
  fs::rename(draft, path, error);
  if (error) return invalid(path + ": cannot be written: " + error.message());
  return {};
}

/// The first setting in which two runs differ, as a sentence; empty: they are the same.
std::string difference(const Settings& now, const Settings& there) {
  const auto shown = [](const Settings& settings, const std::string& name) {
    const std::string value = setting(settings, name);
    return value.empty() ? std::string("not set") : "\"" + value + "\"";
  };
  for (const Settings* side : {&now, &there}) {
    for (const auto& [name, value] : *side) {
      if (setting(now, name) == setting(there, name)) continue;
      return name + " is " + shown(there, name) + " there and " + shown(now, name) + " now";
    }
  }
  return "";
}

}  // namespace

std::string setting(const Settings& settings, const std::string& name) {
  const auto at = std::find_if(settings.begin(), settings.end(),
                               [&](const auto& entry) { return entry.first == name; });
  return at == settings.end() ? "" : at->second;
}

Result<ResultDir> ResultDir::open(const std::string& path, const Settings& settings,
                                  const std::string& command_line) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return invalid("--out " + path + ": " + error.message());
  ResultDir dir;
  dir.path_ = path;
  if (fs::exists(path + "/" + kRunFile)) {
    EBB_TRY_VOID(dir.read_run());
    const std::string other = difference(settings, dir.settings_);
    if (!other.empty())
      return invalid("--out " + path + " holds a run with other settings: " + other +
                     "; choose another folder");
    EBB_TRY_VOID(dir.read_records());
  } else if (!fs::is_empty(path, error)) {
    return invalid("--out " + path + " holds files that are no run's; choose another folder");
  }
  dir.settings_ = settings;
  dir.command_line_ = command_line;
  Json run{{"kind", "ScoreRun"}, {"command_line", command_line}, {"settings", Json::object()}};
  for (const auto& [name, value] : settings) run["settings"][name] = value;
  EBB_TRY_VOID(dir.write(kRunFile, run.dump(2) + "\n"));
  dir.out_.open(path + "/" + kRecordFile, std::ios::binary | std::ios::app);
  if (!dir.out_) return cannot(path + "/" + kRecordFile, "written");
  return dir;
}

Result<ResultDir> ResultDir::open_for_report(const std::string& path) {
  ResultDir dir;
  dir.path_ = path;
  if (!fs::exists(path + "/" + kRunFile))
    return not_found(path + " has no " + kRunFile + ": it is not a folder of ebb-score");
  EBB_TRY_VOID(dir.read_run());
  EBB_TRY_VOID(dir.read_records());
  return dir;
}

Result<void> ResultDir::read_run() {
  const std::string file = path_ + "/" + kRunFile;
  const std::string text = EBB_TRY(read_file(file));
  const Json run = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool good = run.is_object() && run.contains("settings") && run["settings"].is_object() &&
                    run.contains("command_line") && run["command_line"].is_string();
  if (!good) return corrupt(file + " is not what ebb-score writes");
  command_line_ = run["command_line"].get<std::string>();
  for (const auto& [name, value] : run["settings"].items())
    settings_.emplace_back(name, value.is_string() ? value.get<std::string>() : value.dump());
  return {};
}

Result<void> ResultDir::read_records() {
  const std::string file = path_ + "/" + kRecordFile;
  if (!fs::exists(file)) return {};
  std::string text = EBB_TRY(read_file(file));
  // What a kill has torn is done again.
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole < text.size()) {
    std::error_code error;
    fs::resize_file(file, whole, error);
    if (error) return invalid(file + ": cannot be cut: " + error.message());
    text.resize(whole);
  }
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    const Json record = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool good = record.is_object() && record.contains("key") && record["key"].is_string() &&
                      record.contains("ok") && record["ok"].is_boolean();
    if (!good)
      return corrupt(file + ", line " + std::to_string(number) + ": not what ebb-score writes");
    const auto key = record["key"].get<std::string>();
    if (record["ok"].get<bool>()) {
      good_[key] = line;
      failed_.erase(key);
    } else if (!good_.contains(key)) {
      failed_[key] = record.value("error", "");
    }
  }
  return {};
}

Result<void> ResultDir::append(const std::string& line) {
  out_ << line << '\n' << std::flush;
  if (!out_) return cannot(path_ + "/" + kRecordFile, "written");
  return {};
}

Result<void> ResultDir::add(const std::string& key, const std::string& fields) {
  Json record{{"key", key}, {"ok", true}};
  record.update(Json::parse(fields));
  const std::string line = record.dump();
  EBB_TRY_VOID(append(line));
  good_[key] = line;
  failed_.erase(key);
  return {};
}

Result<void> ResultDir::add_failure(const std::string& key, const std::string& message) {
  const Json record{{"key", key}, {"ok", false}, {"error", message}};
  EBB_TRY_VOID(append(record.dump(-1, ' ', false, Json::error_handler_t::replace)));
  failed_[key] = message;
  return {};
}

Result<void> ResultDir::write(const std::string& name, const std::string& text) const {
  return replace_file(path_ + "/" + name, text);
}

}  // namespace ebb::score
