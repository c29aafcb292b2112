// A whole group in one process: an engine per rank, each on its own thread, with the real
// collective between them and an exchange that merges as the coordinator's board does. Tests speak
// to it in units, as the coordinator would.
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/task_loop.h"
#include "models/grammar/token_table.h"
#include "models/model_files.h"
#include "worker/engine.h"

namespace ebb::worker::testing {

/// Candidates of all ranks in, the same sets out to every rank.
class LocalBoard : public SelectionExchange {
 public:
  explicit LocalBoard(uint32_t ranks) : ranks_(ranks) {}
  Result<control::PublishReply> publish(control::PublishRequest request, Deadline by) override {
    std::unique_lock lock(mutex_);
    Round& round = rounds_[{request.unit.value, request.anchor}];
    for (size_t i = 0; i < request.sequences.size(); ++i) {
      const control::Candidates& from = request.sequences[i];
      auto& best = round.best[i];
      for (size_t c = 0; c < from.positions.size(); ++c) {
        auto [at, fresh] = best.try_emplace(from.positions[c], from.scores[c]);
        if (!fresh) at->second = std::max(at->second, from.scores[c]);
      }
    }
    if (fail_next_ > 0 && request.rank == fail_rank_) {
      --fail_next_;
      return unavailable("exchange failed on purpose");
    }
    if (++round.arrived == ranks_) {
      round.reply = merge(round, request);
      changed_.notify_all();
    }
    if (!changed_.wait_until(lock, by.at, [&] { return round.reply.has_value(); })) {
      return timed_out("exchange: not every rank published");
    }
    return *round.reply;
  }
  /// The merged candidates of one round, best first, forced tokens not included.
  std::vector<std::pair<float, Position>> scores(uint64_t unit, uint32_t anchor) {
    std::lock_guard lock(mutex_);
    std::vector<std::pair<float, Position>> order;
    for (auto [position, score] : rounds_.at({unit, anchor}).best.at(0))
      order.emplace_back(-score, position);
    std::sort(order.begin(), order.end());
    for (auto& entry : order) entry.first = -entry.first;
    return order;
  }
  void fail(uint32_t rank, int count) {
    std::lock_guard lock(mutex_);
    fail_rank_ = rank;
    fail_next_ = count;
  }

 private:
  struct Round {
    uint32_t arrived = 0;
    std::map<size_t, std::map<Position, float>> best;
    std::optional<control::PublishReply> reply;
  };
  static control::PublishReply merge(Round& round, const control::PublishRequest& request) {
    control::PublishReply reply;
    for (size_t i = 0; i < request.sequences.size(); ++i) {
      std::vector<std::pair<float, Position>> order;
      for (auto [position, score] : round.best[i]) order.emplace_back(-score, position);
      std::sort(order.begin(), order.end());
      if (order.size() > request.sequences[i].take) order.resize(request.sequences[i].take);
      control::MergedSet set{request.sequences[i].seq, {}};
      for (auto [score, position] : order) set.positions.push_back(position);
      std::sort(set.positions.begin(), set.positions.end());
      reply.sequences.push_back(std::move(set));
    }
    return reply;
  }
  uint32_t ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<uint64_t, uint32_t>, Round> rounds_;
  uint32_t fail_rank_ = 0;
  int fail_next_ = 0;
};

/// Ranks leave addresses for each other in a map.
class LocalRendezvous {
 public:
  collective::Rendezvous functions() {
    collective::Rendezvous out;
    out.put = [this](const std::string& key, const std::string& value) {
      std::lock_guard lock(mutex_);
      values_[key] = value;
      changed_.notify_all();
      return Result<void>();
    };
    out.get = [this](const std::string& key, Deadline by) -> Result<std::string> {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_until(lock, by.at, [&] { return values_.contains(key); })) {
        return timed_out("no " + key);
      }
      return values_[key];
    };
    return out;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> values_;
};

struct GroupSetup {
  std::string model_path;
  uint32_t ranks = 1;
  uint64_t device_kv_bytes = 0;
  models::SelectionProfile profile;
  uint32_t granule_tokens = 16;
  uint32_t rows_max = 512;
  std::string isa;                                    ///< cap of the CPU backend
  std::function<Result<kernels::Backend>()> backend;  ///< instead of the CPU's
  const kernels::CudaPlugin* plugin = nullptr;        ///< whose backend it is
  uint32_t threads = 1;
  std::optional<HostPort> store;
  Millis restore_deadline{3000};
  std::vector<uint32_t> windows;  ///< instead of the model's, by layer
  std::string kv_type = "bf16";
  std::string vocabulary;  ///< packed token table, for constraints
  std::shared_ptr<const TokenScorer> scorer;
  std::shared_ptr<const models::AdoreController> controller;     ///< where there is no scorer
  data::DeviceMemory device_memory = data::DeviceMemory::kNone;  ///< as UCX is given it
  uint64_t epochs_before = 0;  ///< a store remembers one layout per group and epoch
};

class RankGroup {
 public:
  explicit RankGroup(GroupSetup setup)
      : setup_(std::move(setup)), board_(setup_.ranks), epoch_(setup_.epochs_before) {
    auto files = models::ModelFiles::open(setup_.model_path);
    EBB_CHECK(files.has_value());
    files_ = std::move(*files);
    shape_ = files_->shape();
    if (!setup_.windows.empty()) shape_.windows = setup_.windows;
    auto shape = models::shape_with_kv_type(shape_, setup_.kv_type);
    EBB_CHECK(shape.has_value());
    shape_ = *std::move(shape);
    if (setup_.store) {
      data::MessengerOptions data;
      data.name = "data";
      data.cluster_token = "test-token";
      data.device_memory = setup_.device_memory;
      auto messenger = data::Messenger::start(data);
      EBB_CHECK(messenger.has_value());
      messenger_ = std::move(*messenger);
    }
    for (uint32_t rank = 0; rank < setup_.ranks; ++rank) {
      ranks_.push_back(std::make_unique<Rank>("engine-" + std::to_string(rank)));
    }
    on_every_rank([&](uint32_t rank) {
      auto backend = make_backend();
      EBB_CHECK(backend.has_value());
      EngineOptions options;
      options.cluster_token = "test-token";
      options.group = "g0";
      options.rank = rank;
      options.ranks = setup_.ranks;
      options.rows_max = setup_.rows_max;
      options.restore_deadline = setup_.restore_deadline;
      options.scorer = setup_.scorer;
      options.controller = setup_.controller;
      options.plugin = setup_.plugin;
      auto engine = Engine::make(options, std::move(*backend), *files_, shape_, messenger_.get(),
                                 ranks_[rank]->metrics);
      EBB_CHECK(engine.has_value());
      ranks_[rank]->engine = std::move(*engine);
    });
    form();
  }
  ~RankGroup() {
    on_every_rank([&](uint32_t rank) { ranks_[rank]->engine.reset(); });
  }

  /// A new incarnation under the next epoch.
  void form() {
    ++epoch_;
    on_every_rank([&](uint32_t rank) {
      control::FormGroup group;
      group.epoch = Epoch{epoch_};
      group.rank = rank;
      group.ranks = setup_.ranks;
      group.profile_yaml = models::print_selection_profile(setup_.profile);
      group.granule_tokens = setup_.granule_tokens;
      group.device_kv_bytes = setup_.device_kv_bytes;
      if (!setup_.vocabulary.empty()) {
        group.vocabulary_digest = models::grammar::token_table_digest(setup_.vocabulary);
        if (rank == 0) group.vocabulary = setup_.vocabulary;
      }
      if (setup_.store) group.stores.push_back({"s0", *setup_.store});
      auto reply = ranks_[rank]->engine->form(group, rendezvous_.functions(), board_);
      if (!reply) fprintf(stderr, "form: %s\n", reply.error().text().c_str());
      EBB_CHECK(reply.has_value());
      ranks_[rank]->reply = *reply;
    });
  }

  Result<kernels::Backend> make_backend() const {
    if (setup_.backend) return setup_.backend();
    kernels::CpuOptions cpu;
    cpu.decode_threads = cpu.bulk_threads = setup_.threads;
    cpu.isa_max = setup_.isa;
    return kernels::make_cpu_backend(cpu);
  }

  void observe(uint32_t rank, StepObserver* observer) {
    on_every_rank([&](uint32_t each) {
      if (each == rank) ranks_[each]->engine->observe(observer);
    });
  }

  /// Runs the unit on all ranks; one result a rank, rank order.
  std::vector<control::UnitResult> run(control::Unit unit) {
    std::vector<control::UnitResult> results;
    for (auto& result : try_run(std::move(unit))) {
      EBB_CHECK(result.has_value());
      results.push_back(std::move(*result));
    }
    return results;
  }
  /// The same, where a rank may answer with an error.
  std::vector<Result<control::UnitResult>> try_run(control::Unit unit) {
    unit.epoch = Epoch{epoch_};
    unit.id = UnitId{++unit_};
    std::vector<Result<control::UnitResult>> results(setup_.ranks, internal_error("not run"));
    on_every_rank([&](uint32_t rank) { results[rank] = ranks_[rank]->engine->run(unit); });
    return results;
  }

  std::vector<control::UnitResult> open(control::OpenUnit open) {
    if (open.decode_from == 0) open.decode_from = static_cast<uint32_t>(open.prompt.size());
    control::Unit unit;
    unit.kind = control::UnitKind::kOpen;
    unit.open = std::move(open);
    return run(std::move(unit));
  }
  std::vector<control::UnitResult> bulk(SeqId seq, TokenRange tokens, LayerRange layers) {
    control::Unit unit;
    unit.kind = control::UnitKind::kBulk;
    unit.bulk = {seq, tokens, layers};
    return run(std::move(unit));
  }
  std::vector<control::UnitResult> decode(std::vector<SeqId> seqs) {
    control::Unit unit;
    unit.kind = control::UnitKind::kDecode;
    unit.decode.seqs = std::move(seqs);
    return run(std::move(unit));
  }
  std::vector<control::UnitResult> release(SeqId seq, std::vector<uint16_t> bands,
                                           uint32_t hot_tokens) {
    control::Unit unit;
    unit.kind = control::UnitKind::kRelease;
    unit.release = {seq, std::move(bands), hot_tokens};
    return run(std::move(unit));
  }
  std::vector<control::UnitResult> close(SeqId seq) {
    control::Unit unit;
    unit.kind = control::UnitKind::kClose;
    unit.close.seq = seq;
    return run(std::move(unit));
  }

  /// Chunk by chunk through all layers; the last chunk's results.
  std::vector<control::UnitResult> prefill(SeqId seq, uint32_t tokens, uint32_t chunk) {
    std::vector<control::UnitResult> last;
    prompt_scores.clear();
    for (uint32_t at = 0; at < tokens; at += chunk) {
      last =
          bulk(seq, {at, std::min(at + chunk, tokens)}, {0, static_cast<uint16_t>(shape_.layers)});
      for (const auto& s : last[0].sequences) {
        prompt_scores.insert(prompt_scores.end(), s.prompt.begin(), s.prompt.end());
      }
      if (!last[0].failures.empty()) break;
    }
    return last;
  }
  /// Band by band, releasing each follower band (or each band from layer `hot_from` on) to
  /// `hot_tokens` rows as soon as it is done.
  std::vector<control::UnitResult> prefill_by_band(SeqId seq, uint32_t tokens, uint32_t chunk,
                                                   uint32_t hot_tokens, uint32_t hot_from = 0) {
    std::vector<control::UnitResult> last;
    const auto bands = setup_.profile.bands();
    for (uint16_t band = 0; band < bands.size(); ++band) {
      for (uint32_t at = 0; at < tokens; at += chunk) {
        last = bulk(seq, {at, std::min(at + chunk, tokens)}, bands[band]);
        if (!last[0].failures.empty()) return last;
      }
      const bool follower =
          setup_.profile.layer_class(bands[band].begin) == models::LayerClass::kFollower;
      if (hot_from > 0 ? bands[band].begin < hot_from : !follower) continue;
      auto released = release(seq, {band}, hot_tokens);
      for (const auto& r : released) {
        if (!r.failures.empty()) return released;
      }
    }
    return last;
  }

  const models::ModelShape& shape() const { return shape_; }
  const models::ModelFiles& files() const { return *files_; }
  LocalBoard& board() { return board_; }
  uint64_t last_unit() const { return unit_; }
  Engine& engine(uint32_t rank) { return *ranks_[rank]->engine; }
  /// What the rank's process would show at /metrics.
  std::string metrics(uint32_t rank) const { return ranks_[rank]->metrics.text(); }
  const control::FormReply& reply(uint32_t rank) const { return ranks_[rank]->reply; }
  std::vector<control::TokenLogprob> prompt_scores;  ///< of the last prefill()

 private:
  struct Rank {
    explicit Rank(std::string name) : loop(std::move(name)) {}
    Metrics metrics;
    TaskLoop loop;
    std::unique_ptr<Engine> engine;
    control::FormReply reply;
  };
  template <class Work>
  void on_every_rank(Work work) {
    std::vector<std::future<void>> done;
    for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      auto promise = std::make_shared<std::promise<void>>();
      done.push_back(promise->get_future());
      EBB_CHECK(ranks_[rank]->loop.post([&work, rank, promise] {
        work(rank);
        promise->set_value();
      }));
    }
    for (auto& d : done) d.wait();
  }

  GroupSetup setup_;
  LocalBoard board_;
  LocalRendezvous rendezvous_;
  std::unique_ptr<models::ModelFiles> files_;
  models::ModelShape shape_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  /// Ends before the ranks: what it still completes counts in their metrics.
  std::unique_ptr<data::Messenger> messenger_;
  uint64_t epoch_;
  uint64_t unit_ = 0;
};

}  // namespace ebb::worker::testing
