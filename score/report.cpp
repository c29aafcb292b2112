#include "score/report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "score/calibrate.h"
#include "score/hits.h"
#include "score/longgen.h"
#include "score/needle.h"
#include "score/perplexity.h"
#include "score/recall.h"
#include "score/ruler.h"

namespace ebb::score {
namespace {

using Json = nlohmann::ordered_json;

Json summary_json(const ResultDir& dir, const Report& report) {
  Json settings = Json::object();
  for (const auto& [name, value] : dir.settings()) settings[name] = value;
  Json failures = Json::array();
  for (const auto& [key, why] : dir.failures())
    failures.push_back(Json{{"key", key}, {"error", why}});
  return Json{{"apiVersion", "ebb/v1"},
              {"kind", "ScoreSummary"},
              {"command_line", dir.command_line()},
              {"settings", std::move(settings)},
              {"cells", {{"done", dir.records().size()}, {"failed", dir.failures().size()}}},
              {"results", Json::parse(report.results)},
              {"notes", report.notes},
              {"failures", std::move(failures)}};
}

}  // namespace

Result<Report> report_of(const ResultDir& dir) {
  const std::string command = setting(dir.settings(), "command");
  try {
    if (command == "perplexity") return report_perplexity(dir);
    if (command == "needle") return report_needle(dir);
    if (command == "ruler") return report_ruler(dir);
    if (command == "longgen") return report_longgen(dir);
    if (command == "hits") return report_hits(dir);
    if (command == "calibrate") return report_calibrate(dir);
    if (command == "recall") return report_recall(dir);
  } catch (const nlohmann::json::exception& error) {
    return corrupt(dir.path() + ": a record is not what this version writes: " + error.what());
  }
  return unsupported(dir.path() + " is a run of \"" + command +
                     "\", which this version does not know");
}

Result<void> publish(const cli::Terminal& terminal, const ResultDir& dir) {
  const Report report = EBB_TRY(report_of(dir));
  EBB_TRY_VOID(dir.write("summary.json", summary_json(dir, report).dump(2) + "\n"));
  EBB_TRY_VOID(dir.write("picture.svg", report.picture));
  terminal.out << cli::format_table(report.table);
  for (const std::string& note : report.notes) terminal.out << note << "\n";
  if (!dir.failures().empty())
    terminal.out << dir.failures().size() << " cells failed; the table is of the others\n";
  terminal.out << "command: " << cli::printable(dir.command_line()) << "\n"
               << "files: " << dir.path() << "/summary.json, picture.svg, results.jsonl"
               << std::endl;
  return {};
}

cli::Exit run_report(const cli::Terminal& terminal, const std::vector<std::string>& dirs) {
  cli::Exit worst = cli::kOk;
  for (const std::string& path : dirs) {
    auto dir = ResultDir::open_for_report(path);
    auto done = dir ? publish(terminal, *dir) : Result<void>(dir.error());
    if (!done) worst = cli::report(terminal, done.error());
  }
  return worst;
}

std::string fixed(double value, int digits) {
  char text[400];  // the largest double has 309 digits before the point
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace ebb::score
