// ebb-bench: tokens per second of one rank, in process, without HTTP, coordinator or store: what
// the compute path does. Prints one JSON line per case. Compare only within one run
// (bench/against_llama.py alternates with a peer).
#include <cstdio>

#include <CLI/CLI.hpp>

#include "kernels/cpu/process_environment.h"
#include "models/model_files.h"
#include "worker/engine.h"

namespace {

using namespace ebb;
using Seconds = std::chrono::duration<double>;

struct Flags {
  std::string model;
  uint32_t threads = 2;
  uint32_t chunk = 512;
  uint32_t prefill = 0;
  std::vector<uint32_t> depths;
  uint32_t decode = 32;
  uint32_t repeat = 3;
  bool load = false;
};

class NoExchange : public worker::SelectionExchange {
 public:
  Result<control::PublishReply> publish(control::PublishRequest, Deadline) override {
    return unsupported("the bench runs dense only");
  }
};

class Bench {
 public:
  static Result<std::unique_ptr<Bench>> make(const Flags& flags) {
    auto bench = std::make_unique<Bench>();
    bench->flags_ = flags;
    bench->files_ = EBB_TRY(models::ModelFiles::open(flags.model));
    bench->shape_ = bench->files_->shape();
    kernels::CpuOptions cpu;
    cpu.decode_threads = cpu.bulk_threads = flags.threads;
    auto backend = EBB_TRY(kernels::make_cpu_backend(cpu));
    worker::EngineOptions options;
    options.group = "g0";
    options.rows_max = flags.chunk;
    bench->engine_ = EBB_TRY(worker::Engine::make(options, std::move(backend), *bench->files_,
                                                  bench->shape_, nullptr, bench->metrics_));
    control::FormGroup form;
    form.epoch = Epoch{1};
    form.profile_yaml = models::print_selection_profile(
        models::dense_profile(bench->shape_.layers, bench->shape_.name));
    const uint64_t row = uint64_t{bench->shape_.heads_kv} * bench->shape_.head_size * 4;
    form.device_kv_bytes = row * bench->shape_.layers * (bench->shape_.context_length + 64);
    EBB_TRY(bench->engine_->form(form, {}, bench->exchange_));
    return bench;
  }

  /// Seconds of a prefill of `tokens`, leaving the sequence open as `seq`.
  Result<double> prefill(uint64_t seq, uint32_t tokens) {
    control::Unit unit;
    unit.kind = control::UnitKind::kOpen;
    unit.open.seq = SeqId{seq};
    unit.open.max_tokens = shape_.context_length - tokens;
    unit.open.decode_from = tokens;
    unit.open.sampling.temperature = 0;
    for (uint32_t i = 0; i < tokens; ++i) {
      unit.open.prompt.push_back(static_cast<TokenId>((1000 + i * 7919) % shape_.vocabulary));
    }
    EBB_TRY(run(std::move(unit)));
    const auto begin = Clock::now();
    for (uint32_t at = 0; at < tokens; at += flags_.chunk) {
      control::Unit bulk;
      bulk.kind = control::UnitKind::kBulk;
      bulk.bulk = {SeqId{seq},
                   {at, std::min(at + flags_.chunk, tokens)},
                   {0, static_cast<uint16_t>(shape_.layers)}};
      EBB_TRY(run(std::move(bulk)));
    }
    return Seconds(Clock::now() - begin).count();
  }

  Result<double> decode(uint64_t seq, uint32_t steps) {
    const auto begin = Clock::now();
    for (uint32_t i = 0; i < steps; ++i) {
      control::Unit unit;
      unit.kind = control::UnitKind::kDecode;
      unit.decode.seqs = {SeqId{seq}};
      EBB_TRY(run(std::move(unit)));
    }
    return Seconds(Clock::now() - begin).count();
  }

  Result<void> close(uint64_t seq) {
    control::Unit unit;
    unit.kind = control::UnitKind::kClose;
    unit.close.seq = SeqId{seq};
    EBB_TRY(run(std::move(unit)));
    return {};
  }

 private:
  Result<control::UnitResult> run(control::Unit unit) {
    unit.epoch = Epoch{1};
    unit.id = UnitId{++units_};
    auto result = EBB_TRY(engine_->run(unit));
    if (!result.failures.empty()) return result.failures[0].error;
    return result;
  }
  Flags flags_;
  Metrics metrics_;
  NoExchange exchange_;
  std::unique_ptr<models::ModelFiles> files_;
  models::ModelShape shape_;
  std::unique_ptr<worker::Engine> engine_;
  uint64_t units_ = 0;
};

void print_case(const char* test, uint32_t depth, uint32_t tokens, double seconds) {
  std::printf("{\"test\": \"%s\", \"depth\": %u, \"tokens\": %u, \"tokens_per_second\": %.2f}\n",
              test, depth, tokens, tokens / seconds);
  std::fflush(stdout);
}

/// Everything until the model can decode, and its first token, in seconds: of files that are in the
/// page cache. The tokenizer is built as the coordinator does it.
Result<void> time_loading(const Flags& flags) {
  const auto begin = Clock::now();
  auto bench = EBB_TRY(Bench::make(flags));
  const auto ready = Clock::now();
  EBB_TRY(bench->prefill(1, 1));
  const auto first = Clock::now();
  const auto files = EBB_TRY(models::ModelFiles::open(flags.model));
  EBB_TRY(files->tokenizer());
  const auto end = Clock::now();
  const auto seconds = [](auto from, auto to) { return Seconds(to - from).count(); };
  std::printf(
      "{\"test\": \"load\", \"engine\": %.4f, \"first_token\": %.4f, \"tokenizer\": %.4f}\n",
      seconds(begin, ready), seconds(ready, first), seconds(first, end));
  return {};
}

Result<void> run_all(const Flags& flags) {
  if (flags.load) return time_loading(flags);
  auto bench = EBB_TRY(Bench::make(flags));
  uint64_t seq = 0;
  for (uint32_t i = 0; flags.prefill > 0 && i < flags.repeat; ++i) {
    print_case("prefill", 0, flags.prefill, EBB_TRY(bench->prefill(++seq, flags.prefill)));
    EBB_TRY_VOID(bench->close(seq));
  }
  for (uint32_t depth : flags.depths) {
    EBB_TRY(bench->prefill(++seq, std::max(1u, depth)));
    EBB_TRY(bench->decode(seq, 4));
    for (uint32_t i = 0; i < flags.repeat; ++i) {
      print_case("decode", depth, flags.decode, EBB_TRY(bench->decode(seq, flags.decode)));
    }
    EBB_TRY_VOID(bench->close(seq));
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  kernels::prepare_process_environment(argv);
  Flags flags;
  CLI::App app("ebb-bench: tokens per second of one rank, in process");
  app.add_option("--model", flags.model, "GGUF file")->required();
  app.add_option("--threads", flags.threads, "Compute threads");
  app.add_option("--chunk", flags.chunk, "Tokens of one bulk unit");
  app.add_option("--prefill", flags.prefill, "Time a prefill of this many tokens");
  app.add_option("--depth", flags.depths, "Time decoding at this depth (repeatable)");
  app.add_option("--decode", flags.decode, "Tokens decoded in each repetition");
  app.add_option("--repeat", flags.repeat, "Repetitions of each case");
  app.add_flag("--load", flags.load, "Time loading, the first token and the tokenizer; no more");
  CLI11_PARSE(app, argc, argv);
  auto done = run_all(flags);
  if (!done) std::fprintf(stderr, "ebb-bench: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
