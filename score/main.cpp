// ebb-score: the command line. Options become structs here; what they do is elsewhere. The only
// file that includes CLI11.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>

#include "cli/service.h"
#include "score/calibrate.h"
#include "score/hits.h"
#include "score/http_backend.h"
#include "score/local_backend.h"
#include "score/longgen.h"
#include "score/needle.h"
#include "score/perplexity.h"
#include "score/recall.h"
#include "score/ruler.h"

namespace ebb::score {
namespace {

/// One argument as a shell takes it.
std::string quoted(const std::string& argument) {
  const bool plain =
      !argument.empty() && argument.find_first_not_of(
                               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "-_./,:=+@%") == std::string::npos;
  if (plain) return argument;
  std::string out = "'";
  for (const char c : argument) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// The command line's shape; `chosen` is what main runs after parsing.
class CommandLine {
 public:
  explicit CommandLine(const cli::Terminal& terminal) : terminal_(terminal) {
    app_.description("Measures how far attention policies keep a model's quality.");
    app_.require_subcommand(1);
    perplexity();
    needle();
    ruler();
    longgen();
    hits();
    recall();
    calibrate();
    report();
  }

  int run(int argc, char** argv) {
    command_line_ = "ebb-score";
    for (int i = 1; i < argc; ++i) command_line_ += " " + quoted(argv[i]);
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app_.exit(error, terminal_.out, terminal_.err) == 0 ? cli::kOk : cli::kUsage;
    }
    return chosen_();
  }

 private:
  using Measure = std::function<Result<cli::Exit>(const Workplace&)>;

  /// Options that all measures have, and what they do.
  void measure(CLI::App* command, Measure act) {
    auto* url =
        command->add_option("--url", url_, "the API (default http://127.0.0.1:8000; EBB_URL)");
    command->add_option("--model", local_.model, "instead of a service: a model's file or folder")
        ->excludes(url);
    command->add_option("--profile", local_.profile, "with --model: selection profile");
    command->add_option("--controller", local_.controller, "with --model: policy adore's");
    command->add_option("--max-model-len", local_.max_model_len, "with --model: tokens");
    command->add_option("--threads", local_.threads, "with --model (default: all CPUs)");
    command->add_option("--device", local_.device, "with --model: cpu (default), cuda, or auto")
        ->check(CLI::IsMember({"cpu", "cuda", "auto"}));
    in_folder(command);
    command->callback([this, act = std::move(act)] { chosen_ = [this, act] { return go(act); }; });
  }

  void in_folder(CLI::App* command) {
    command->add_option("--out", out_, "folder of the run; a second run goes on in it")->required();
    command->add_option("--progress", progress_, "auto, plain, none or json")
        ->check(CLI::IsMember({"auto", "plain", "none", "json"}));
  }

  Result<std::unique_ptr<Backend>> make_backend() {
    if (!local_.model.empty()) return make_local_backend(local_);
    if (!local_.profile.empty() || !local_.controller.empty() || local_.max_model_len != 0 ||
        local_.threads != 0 || local_.device != "cpu")
      return invalid(
          "--profile, --controller, --max-model-len, --threads and --device go with --model");
    const char* environment = std::getenv("EBB_URL");
    if (url_.empty()) url_ = environment != nullptr ? environment : cli::Service{}.api.text();
    return make_http_backend(EBB_TRY(cli::parse_url(url_)));
  }

  int go(const Measure& act) {
    auto backend = make_backend();
    if (!backend) return cli::report(terminal_, backend.error());
    return in_place(*std::move(backend), act);
  }

  int in_place(std::shared_ptr<Backend> backend, const Measure& act) {
    const cli::StopFlag stop = cli::stop_on_signals();
    const Workplace place{terminal_, std::move(backend), stop, *cli::parse_progress_mode(progress_),
                          out_,      command_line_};
    auto exit = act(place);
    if (!exit) exit = cli::report(terminal_, exit.error());
    terminal_.out.flush();
    terminal_.err.flush();
    // Threads may still wait for an answer, or for a signal: they end with the process.
    _exit(*exit);
  }

  void perplexity() {
    auto* command = app_.add_subcommand(
        "perplexity", "teacher-forced through each policy's decode path, paired with dense");
    PerplexityOptions& o = perplexity_;
    command->add_option("--text", o.texts, "files")->required();
    with_policies(command, o.policies);
    command->add_option("--context", o.context, "tokens prefilled")->capture_default_str();
    command->add_option("--decode", o.decode, "tokens decoded of each text")->capture_default_str();
    command->add_option("--window", o.window, "tokens decoded in one piece, 0: all")
        ->capture_default_str();
    command->add_option("--skip", o.skip, "tokens left out at a text's begin")
        ->capture_default_str();
    command->add_option("--baseline", o.baseline, "what others are compared with, or none")
        ->capture_default_str();
    measure(command, [this](const Workplace& place) { return run_perplexity(place, perplexity_); });
  }

  void needle() {
    auto* command = app_.add_subcommand("needle", "a planted number: length x depth x policy");
    NeedleOptions& o = needle_;
    command->add_option("--text", o.text, "file of the haystack")->required();
    with_policies(command, o.policies);
    command->add_option("--lengths", o.lengths, "tokens of prompts")->delimiter(',');
    command->add_option("--depths", o.depths, "0 to 1")->delimiter(',');
    with_samples(command, o.samples, o.seed, "prompts of each length and depth");
    measure(command, [this](const Workplace& place) { return run_needle(place, needle_); });
  }

  void ruler() {
    auto* command = app_.add_subcommand("ruler", "RULER-style tasks, free and teacher-forced");
    RulerOptions& o = ruler_;
    with_policies(command, o.policies);
    command->add_option("--tasks", o.tasks, "names (default: all)")->delimiter(',');
    command->add_option("--lengths", o.lengths, "tokens of prompts")->delimiter(',');
    with_samples(command, o.samples, o.seed, "prompts of each task and length");
    without_generation(command, o.generate);
    measure(command, [this](const Workplace& place) { return run_ruler(place, ruler_); });
  }

  void longgen() {
    auto* command = app_.add_subcommand("longgen", "a table copied in another form");
    LonggenOptions& o = longgen_;
    with_policies(command, o.policies);
    command->add_option("--length", o.length, "tokens of the prompt")->capture_default_str();
    with_samples(command, o.samples, o.seed, "tables");
    without_generation(command, o.generate);
    measure(command, [this](const Workplace& place) { return run_longgen(place, longgen_); });
  }

  void hits() {
    auto* command = app_.add_subcommand("hits", "hot-buffer hit rate by capacity");
    HitsOptions& o = hits_;
    command->add_option("--text", o.texts, "files")->required();
    with_policies(command, o.policies);
    command->add_option("--capacities", o.capacities, "rows of a buffer")->delimiter(',');
    command->add_option("--context", o.context, "tokens prefilled")->capture_default_str();
    command->add_option("--decode", o.decode, "tokens generated, at most 256")
        ->capture_default_str();
    measure(command, [this](const Workplace& place) { return run_hits(place, hits_); });
  }

  void calibrate() {
    auto* command = app_.add_subcommand(
        "calibrate", "where a model's anchors go; in process, no service is asked");
    CalibrateOptions& o = calibrate_;
    command->add_option("--model", o.model, "GGUF file or Hugging Face directory")->required();
    command->add_option("--text", o.texts, "files to calibrate on")->required();
    command->add_option("--held-out", o.held_out, "files that decide nothing, judged at the end");
    command->add_option("-o,--output", o.profile,
                        "selection profile to write (default: profile.yaml in --out)");
    command->add_option("--name", o.name, "of the profile (default: its file's)");
    command->add_option("--compare", o.compare, "other anchors to judge, such as 0,2,7");
    const auto number = [&](const char* name, auto& value, const char* what) {
      command->add_option(name, value, what)->capture_default_str();
    };
    number("--context", o.context, "tokens prefilled of each text, or what it has");
    number("--decode", o.decode, "tokens decoded behind them");
    number("--every", o.every, "errors are measured at every so many steps");
    number("--anchors", o.anchors, "how many; 0: a quarter of the layers");
    number("--budget-fraction", o.budget_fraction, "tokens that a layer reads, of the context");
    number("--budget-min", o.budget_min, "goes into the profile as it is");
    number("--sinks", o.sinks, "first tokens, always read");
    number("--window", o.window, "last tokens, always read; here at most half of a budget");
    number("--target-kl", o.target_kl, "nats: the least budget within it is taken; 0: none");
    command->add_flag("--even-budgets", o.even_budgets, "budgets are not dealt by layer");
    number("--rounds", o.rounds, "of the local search");
    number("--swaps", o.swaps, "neighbours of a round in which an anchor moves far");
    number("--time-limit", o.time_limit, "seconds after which the search ends; 0: none");
    number("--batch", o.batch, "sequences decoded at a time: memory");
    number("--threads", o.threads, "of computing; 0: all");
    in_folder(command);
    command->callback([this] {
      chosen_ = [this] {
        return in_place(
            nullptr, [this](const Workplace& place) { return run_calibrate(place, calibrate_); });
      };
    });
  }

  void recall() {
    auto* command =
        app_.add_subcommand("recall", "attention mass in what is read, by layer; needs --model");
    RecallOptions& o = recall_;
    command->add_option("--text", o.texts, "files")->required();
    with_policies(command, o.policies);
    command->add_option("--context", o.context, "tokens prefilled")->capture_default_str();
    command->add_option("--decode", o.decode, "tokens decoded of each text")->capture_default_str();
    measure(command, [this](const Workplace& place) { return run_recall(place, recall_); });
  }

  static void with_policies(CLI::App* command, std::string& policies) {
    command->add_option("--policies", policies, "policies, parted by ;")->capture_default_str();
  }
  static void with_samples(CLI::App* command, uint64_t& samples, uint64_t& seed, const char* what) {
    command->add_option("--samples", samples, what)->capture_default_str();
    command->add_option("--seed", seed, "of what is made up")->capture_default_str();
  }
  static void without_generation(CLI::App* command, bool& generate) {
    command->add_flag_callback(
        "--no-generate", [&generate] { generate = false; }, "teacher-forced only");
  }

  void report() {
    auto* command = app_.add_subcommand("report", "table and picture again, from records");
    command->add_option("DIR", dirs_, "folders of runs")->required();
    command->callback(
        [this] { chosen_ = [this] { return static_cast<int>(run_report(terminal_, dirs_)); }; });
  }

  const cli::Terminal& terminal_;
  CLI::App app_;
  std::string command_line_;
  std::string url_;
  LocalBackendOptions local_;
  std::string out_;
  std::string progress_ = "auto";
  std::vector<std::string> dirs_;
  PerplexityOptions perplexity_;
  NeedleOptions needle_;
  RulerOptions ruler_;
  LonggenOptions longgen_;
  HitsOptions hits_;
  CalibrateOptions calibrate_;
  RecallOptions recall_;
  std::function<int()> chosen_;
};

}  // namespace
}  // namespace ebb::score

int main(int argc, char** argv) {
  ebb::score::prepare_local_process(argv);
  signal(SIGPIPE, SIG_IGN);
  const ebb::cli::Terminal terminal = ebb::cli::real_terminal("ebb-score");
  return ebb::score::CommandLine(terminal).run(argc, argv);
}
