// How fast the kernels are, as a share of the copy bandwidth measured in the same run. Speaks to
// the backend as a worker does, through kernels/ops.h: what is timed is a run of calls and one
// wait, so launches and the upload of lists count. One JSON object a line on stdout.
//
//   ebb_gpu_bench [--quick] [--only PART]     --quick: tiny shapes, to see that it runs
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/plugin.h"

extern "C" const ebb::kernels::CudaPlugin* ebb_cuda_backend_v1();

namespace {

using namespace ebb::kernels;  // NOLINT: a program of one file
using ebb::Result;

constexpr double kSecondsEach = 0.25;  ///< at least, of each measurement
constexpr uint32_t kBlockTokens = 16;

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "ebb_gpu_bench: %s\n", result.error().message.c_str());
  std::exit(1);
}
void must(const Result<void>& result) {
  if (result) return;
  std::fprintf(stderr, "ebb_gpu_bench: %s\n", result.error().message.c_str());
  std::exit(1);
}

struct Shape {
  uint32_t heads_q = 32, heads_kv = 8, head_size = 128;
  KvShape kv() const { return {heads_q, heads_kv, head_size, kBlockTokens, KvElement::kBF16}; }
};

/// What one call moves, or computes; 0: not counted.
struct Work {
  double bytes = 0;
  double flops = 0;
};

class Bench {
 public:
  Bench(bool quick, std::string only) : quick_(quick), only_(std::move(only)) {
    backend_ = must(ebb_cuda_backend_v1()->make_backend({}));
    const CudaFound found = ebb_cuda_backend_v1()->probe();
    std::printf(
        "{\"name\": \"machine\", \"device\": \"%s\", \"driver\": \"%s\", \"runtime\": "
        "\"%s\", \"architectures\": \"%s\"}\n",
        backend_.device->info().name.c_str(), found.driver.c_str(), found.runtime.c_str(),
        found.architectures.c_str());
  }

  void run() {
    copy();
    dense("dense decode", 16, 32 << 10);
    for (const uint32_t tokens : {8u << 10, 32u << 10, 128u << 10})
      dense("dense decode", 1, tokens);
    for (const uint32_t batch : {16u, 64u}) gather("gather decode", batch, ListScope::kLayer);
    gather("gather decode, sets of KV heads", 16, ListScope::kKvHead);
    gather("gather decode, sets of query heads", 16, ListScope::kQueryHead);
    top_k();
    scan(DigestFormat::kInt4, "int4");
    scan(DigestFormat::kH3, "h3");
    scan(DigestFormat::kH2, "h2");
    prefill();
    weights();
    for (const uint32_t batch : {1u, 16u}) decode_layers(batch);
  }

 private:
  uint32_t cut(uint32_t tokens) const { return quick_ ? std::min(tokens, 256u) : tokens; }
  bool wanted(const std::string& name) const { return name.find(only_) != std::string::npos; }

  Buffer room(uint64_t bytes) {
    return must(backend_.device->allocate(bytes, MemoryKind::kDevice));
  }

  /// Random small numbers, as bf16 pairs or as f32: a pattern of 4 MiB, repeated.
  void fill(std::byte* d_to, uint64_t bytes, bool bf16) {
    std::vector<uint32_t> pattern(quick_ ? 1 << 12 : 1 << 20);
    std::normal_distribution<float> normal;
    const auto bits = [&] {
      const float value = normal(random_);
      uint32_t word = 0;
      std::memcpy(&word, &value, sizeof word);
      return word;
    };
    for (uint32_t& word : pattern) word = bf16 ? (bits() & 0xffff0000u) | bits() >> 16 : bits();
    const uint64_t first = std::min<uint64_t>(bytes, pattern.size() * sizeof(uint32_t));
    backend_.device->copy_to_device(d_to, pattern.data(), first);
    for (uint64_t done = first; done < bytes;) {
      const uint64_t piece = std::min(done, bytes - done);
      backend_.device->copy_on_device(d_to + done, d_to, piece);
      done += piece;
    }
  }
  Buffer filled(uint64_t bytes, bool bf16 = false) {
    Buffer buffer = room(bytes);
    fill(buffer.bytes_ptr(), bytes, bf16);
    return buffer;
  }

  /// Runs `call` until enough time has gone, waits once per round, and prints the best round.
  void measure(const std::string& name, const std::string& shape, Work work,
               const std::function<void()>& call) {
    using Clock = std::chrono::steady_clock;
    call();
    must(backend_.device->synchronize());
    double best = 1e30, spent = 0;
    uint32_t calls = 1;
    for (int round = 0; round < 100 && (round < 3 || spent < kSecondsEach); ++round) {
      const auto begin = Clock::now();
      for (uint32_t i = 0; i < calls; ++i) call();
      must(backend_.device->synchronize());
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      spent += seconds;
      best = std::min(best, seconds / calls);
      if (quick_) break;
      if (seconds < 0.02) calls *= 2;
    }
    const double gbps = work.bytes / best / 1e9;
    if (name == "copy") copy_gbps_ = gbps;
    std::printf("{\"name\": \"%s\", \"shape\": \"%s\", \"us\": %.2f", name.c_str(), shape.c_str(),
                best * 1e6);
    if (work.bytes > 0) std::printf(", \"gb_per_s\": %.1f", gbps);
    if (work.bytes > 0 && copy_gbps_ > 0) {
      std::printf(", \"share_of_copy\": %.3f", gbps / copy_gbps_);
    }
    if (work.flops > 0) std::printf(", \"tflop_per_s\": %.2f", work.flops / best / 1e12);
    std::printf("}\n");
    std::fflush(stdout);
  }

  /// Always: everything else is a share of it. Bytes read and written both count.
  void copy() {
    const uint64_t bytes = quick_ ? 1 << 20 : uint64_t{1} << 30;
    const Buffer from = filled(bytes), to = room(bytes);
    measure("copy", std::to_string(bytes >> 20) + " MiB, device to device",
            {2.0 * static_cast<double>(bytes), 0},
            [&] { backend_.device->copy_on_device(to.data(), from.data(), bytes); });
  }

  /// `batch` sequences of `tokens` rows, in blocks that lie in any order.
  struct Sequences {
    Buffer arena;
    std::vector<std::vector<uint32_t>> blocks;
  };
  Sequences sequences(const KvShape& kv, uint32_t batch, uint32_t tokens) {
    const uint32_t each = (tokens + kBlockTokens - 1) / kBlockTokens;
    std::vector<uint32_t> all(uint64_t{each} * batch);
    std::iota(all.begin(), all.end(), 0u);
    std::shuffle(all.begin(), all.end(), random_);
    Sequences made;
    made.arena = filled(kv.block_bytes() * all.size(), true);
    for (uint32_t b = 0; b < batch; ++b) {
      made.blocks.emplace_back(all.begin() + uint64_t{b} * each,
                               all.begin() + (uint64_t{b} + 1) * each);
    }
    return made;
  }

  static std::string text(const Shape& shape) {
    return std::to_string(shape.heads_q) + "/" + std::to_string(shape.heads_kv) + " heads of " +
           std::to_string(shape.head_size);
  }

  std::vector<AttendArgs> items_of(const Sequences& made, const Shape& shape, const Buffer& q,
                                   const Buffer& out, uint32_t tokens) {
    const uint64_t row = uint64_t{shape.heads_q} * shape.head_size;
    std::vector<AttendArgs> items;
    for (size_t b = 0; b < made.blocks.size(); ++b) {
      AttendArgs args;
      args.kv = {made.arena.bytes_ptr(), made.blocks[b]};
      args.d_q = q.floats() + b * row;
      args.d_out = out.floats() + b * row;
      args.count = tokens;
      items.push_back(args);
    }
    return items;
  }

  void dense(const std::string& name, uint32_t batch, uint32_t tokens) {
    if (!wanted(name)) return;
    tokens = cut(tokens);
    const Shape shape;
    const KvShape kv = shape.kv();
    const Sequences made = sequences(kv, batch, tokens);
    const uint64_t floats = uint64_t{batch} * shape.heads_q * shape.head_size;
    const Buffer q = filled(floats * sizeof(float)), out = room(floats * sizeof(float));
    const auto items = items_of(made, shape, q, out, tokens);
    const double bytes = static_cast<double>(batch) * tokens * kv.row_bytes();
    measure(
        name,
        "B=" + std::to_string(batch) + ", " + std::to_string(tokens) + " tokens, " + text(shape),
        {bytes, 0}, [&] { backend_.ops->attend(kv, items); });
  }

  void gather(const std::string& name, uint32_t batch, ListScope scope) {
    if (!wanted(name)) return;
    const uint32_t tokens = cut(128 << 10), chosen = quick_ ? 64 : 2048;
    const Shape shape;
    const KvShape kv = shape.kv();
    const Sequences made = sequences(kv, batch, tokens);
    const uint64_t floats = uint64_t{batch} * shape.heads_q * shape.head_size;
    const Buffer q = filled(floats * sizeof(float)), out = room(floats * sizeof(float));
    const uint32_t lists = scope == ListScope::kLayer    ? 1
                           : scope == ListScope::kKvHead ? shape.heads_kv
                                                         : shape.heads_q;
    std::vector<std::vector<uint32_t>> list(batch);
    auto items = items_of(made, shape, q, out, chosen);
    std::vector<uint32_t> all(tokens);
    std::iota(all.begin(), all.end(), 0u);
    for (uint32_t b = 0; b < batch; ++b) {
      for (uint32_t l = 0; l < lists; ++l) {
        std::vector<uint32_t> some;
        std::sample(all.begin(), all.end(), std::back_inserter(some), chosen, random_);
        list[b].insert(list[b].end(), some.begin(), some.end());
      }
      items[b].list = list[b];
      items[b].scope = scope;
    }
    const double of_head = 2.0 * kv.vector_bytes();
    const double rows = static_cast<double>(batch) * chosen;
    const double heads = scope == ListScope::kQueryHead ? shape.heads_q : shape.heads_kv;
    measure(name,
            "B=" + std::to_string(batch) + ", " + std::to_string(chosen) + " of " +
                std::to_string(tokens) + ", " + text(shape),
            {rows * heads * of_head, 0}, [&] { backend_.ops->attend(kv, items); });
  }

  void top_k() {
    if (!wanted("top-k")) return;
    const uint32_t rows = 8, tokens = cut(128 << 10), chosen = quick_ ? 64 : 2048;
    const Buffer scores = filled(uint64_t{rows} * tokens * sizeof(float));
    const double bytes = static_cast<double>(rows) * tokens * sizeof(float);
    std::vector<TopKArgs> items;
    for (uint32_t row = 0; row < rows; ++row) {
      items.push_back({scores.floats() + uint64_t{row} * tokens, 0, tokens, chosen});
    }
    measure("top-k",
            std::to_string(rows) + " rows of " + std::to_string(tokens) + ", best " +
                std::to_string(chosen),
            {bytes, 0}, [&] { (void)backend_.ops->top_k(items); });
  }

  void scan(DigestFormat format, const char* format_name) {
    const std::string name = std::string("digest scan ") + format_name;
    if (!wanted(name)) return;
    const uint32_t batch = quick_ ? 1 : 16, tokens = cut(128 << 10);
    const Shape shape;
    const KvShape kv = shape.kv();
    const DigestShape digest{format, shape.heads_kv, shape.head_size};
    const uint32_t page = digest.page_tokens(kv.block_bytes());
    const Sequences made = sequences(kv, batch, (tokens + page - 1) / page * kBlockTokens);
    const uint64_t floats = uint64_t{batch} * shape.heads_q * shape.head_size;
    const Buffer q = filled(floats * sizeof(float));
    const Buffer logits = room(uint64_t{batch} * shape.heads_q * tokens * sizeof(float));
    const Buffer lse = room(uint64_t{batch} * shape.heads_q * sizeof(float));
    std::vector<ScanArgs> items(batch);
    for (uint32_t b = 0; b < batch; ++b) {
      items[b].d_q = q.floats() + uint64_t{b} * shape.heads_q * shape.head_size;
      items[b].digests = {made.arena.bytes_ptr(), made.blocks[b]};
      items[b].count = tokens;
      items[b].d_logits = logits.floats() + uint64_t{b} * shape.heads_q * tokens;
      items[b].d_lse = lse.floats() + uint64_t{b} * shape.heads_q;
    }
    // The logits that are written are more than the digests that are read.
    const double bytes = static_cast<double>(batch) * tokens *
                         (digest.token_bytes() + shape.heads_q * double{sizeof(float)});
    measure(
        name,
        "B=" + std::to_string(batch) + ", " + std::to_string(tokens) + " tokens, " + text(shape),
        {bytes, 0}, [&] { backend_.ops->scan_digests(kv, digest, items); });
  }

  /// The last chunk of a prompt: the one that reads most.
  void prefill() {
    if (!wanted("prefill")) return;
    const uint32_t rows = quick_ ? 32 : 2048, tokens = cut(8 << 10);
    const Shape shape;
    const KvShape kv = shape.kv();
    const Sequences made = sequences(kv, 1, tokens);
    const uint64_t floats = uint64_t{rows} * shape.heads_q * shape.head_size;
    const Buffer q = filled(floats * sizeof(float)), out = room(floats * sizeof(float));
    auto items = items_of(made, shape, q, out, tokens);
    items[0].rows = rows;
    const double pairs = static_cast<double>(rows) * (tokens - rows) + 0.5 * rows * (rows + 1.0);
    backend_.ops->set_phase(Phase::kBulk);
    measure(
        "prefill attention",
        std::to_string(rows) + " rows that end at " + std::to_string(tokens) + ", " + text(shape),
        {0, 4.0 * pairs * shape.heads_q * shape.head_size},
        [&] { backend_.ops->attend(kv, items); });
    backend_.ops->set_phase(Phase::kDecode);
  }

  void weights() {
    if (!wanted("matmul")) return;
    const uint64_t width = quick_ ? 256 : 4096, outputs = quick_ ? 512 : 14336;
    for (const auto& [format, name] :
         {std::pair{WeightFormat::kBF16, "bf16"}, std::pair{WeightFormat::kQ8_0, "q8_0"},
          std::pair{WeightFormat::kQ4_K, "q4_k"}}) {
      const auto block = weight_block(format);
      WeightSource source;
      source.format = format;
      source.rows = outputs;
      source.columns = width;
      source.row_stride = width / block.elements * block.bytes;
      const std::vector<std::byte> bytes(source.row_stride * outputs);
      source.data = bytes.data();
      const auto weight = must(backend_.ops->load_weight(source));
      for (const uint32_t rows : {1u, 8u, 512u}) {
        const Buffer x = filled(rows * width * sizeof(float)),
                     out = room(rows * outputs * sizeof(float));
        const double flops = 2.0 * rows * static_cast<double>(width) * static_cast<double>(outputs);
        measure(
            std::string("matmul ") + name,
            std::to_string(rows) + " x " + std::to_string(width) + " -> " + std::to_string(outputs),
            {rows <= 8 ? static_cast<double>(bytes.size()) : 0, flops},
            [&] { backend_.ops->matmul(x.floats(), rows, *weight, out.floats(), outputs); });
      }
    }
  }

  /// One layer's weights, of Llama-3-8B's shape.
  struct LayerWeights {
    std::unique_ptr<Weight> norm, q, k, v, out, gate, up, down;
  };
  struct LayerShape {
    uint32_t width, ffn;
    Shape heads;
    uint32_t q_columns() const { return heads.heads_q * heads.head_size; }
    uint32_t kv_columns() const { return heads.heads_kv * heads.head_size; }
  };
  std::unique_ptr<Weight> random_weight(uint64_t rows, uint64_t columns) {
    std::vector<uint16_t> values(rows * columns);
    std::normal_distribution<float> normal(0, 0.02f);
    for (size_t i = 0; i < values.size(); ++i) {
      const float value = i < 4096 ? normal(random_) : 0;
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      values[i] = i < 4096 ? static_cast<uint16_t>(bits >> 16) : values[i % 4096];
    }
    WeightSource source;
    source.format = WeightFormat::kBF16;
    source.data = reinterpret_cast<const std::byte*>(values.data());
    source.rows = rows;
    source.columns = columns;
    source.row_stride = columns * sizeof(uint16_t);
    return must(backend_.ops->load_weight(source));
  }
  LayerWeights layer_weights(const LayerShape& s) {
    return {random_weight(1, s.width),
            random_weight(s.q_columns(), s.width),
            random_weight(s.kv_columns(), s.width),
            random_weight(s.kv_columns(), s.width),
            random_weight(s.width, s.q_columns()),
            random_weight(s.ffn, s.width),
            random_weight(s.ffn, s.width),
            random_weight(s.width, s.ffn)};
  }

  /// Activations of a step, and what its rows attend to.
  struct StepState {
    Buffer x, normed, q, k, v, attended, part, gate_up, act;
    Sequences kv;
    uint32_t tokens = 0;  ///< the newest one's position, and what is before it
  };

  /// What a worker enqueues for one layer of a decode step without a choice of the host.
  void decode_layer(const LayerShape& s, const LayerWeights& w, StepState& state, uint32_t batch) {
    Ops& ops = *backend_.ops;
    const KvShape kv = s.heads.kv();
    const uint32_t size = s.heads.head_size, q = s.q_columns(), own = s.kv_columns();
    ops.rms_norm(state.x.floats(), batch, *w.norm, 1e-5f, state.normed.floats());
    ops.matmul(state.normed.floats(), batch, *w.q, state.q.floats(), q);
    ops.matmul(state.normed.floats(), batch, *w.k, state.k.floats(), own);
    ops.matmul(state.normed.floats(), batch, *w.v, state.v.floats(), own);
    const std::vector<ebb::Position> positions(batch, state.tokens);
    ops.rope(state.q.floats(), q, s.heads.heads_q, size, positions);
    ops.rope(state.k.floats(), own, s.heads.heads_kv, size, positions);
    std::vector<AppendArgs> fresh;
    for (uint32_t b = 0; b < batch; ++b) {
      fresh.push_back({{state.kv.arena.bytes_ptr(), state.kv.blocks[b]},
                       state.k.floats() + uint64_t{b} * own,
                       own,
                       state.v.floats() + uint64_t{b} * own,
                       own,
                       std::span(&state.tokens, 1)});
    }
    ops.append_kv(kv, fresh);
    ops.attend(kv, items_of(state.kv, s.heads, state.q, state.attended, state.tokens + 1));
    ops.matmul(state.attended.floats(), batch, *w.out, state.part.floats(), s.width);
    ops.add(state.x.floats(), state.part.floats(), uint64_t{batch} * s.width);
    ops.rms_norm(state.x.floats(), batch, *w.norm, 1e-5f, state.normed.floats());
    ops.matmul(state.normed.floats(), batch, *w.gate, state.gate_up.floats(), 2 * uint64_t{s.ffn});
    ops.matmul(state.normed.floats(), batch, *w.up, state.gate_up.floats() + s.ffn,
               2 * uint64_t{s.ffn});
    ops.silu_mul(state.gate_up.floats(), batch, s.ffn, state.act.floats());
    ops.matmul(state.act.floats(), batch, *w.down, state.part.floats(), s.width);
    ops.add(state.x.floats(), state.part.floats(), uint64_t{batch} * s.width);
  }

  /// Layers of a decode step one after the other, started kernel by kernel and as graphs: what is
  /// between the two are the gaps in which the device waits for the host. The sequences grow by a
  /// token a step. All layers have one arena's rows: reading them twice is not from cache.
  void decode_layers(uint32_t batch) {
    if (!wanted("decode layers")) return;
    if (quick_) batch = std::min(batch, 2u);
    const LayerShape s{quick_ ? 128u : 4096u, quick_ ? 256u : 14336u,
                       quick_ ? Shape{4, 2, 32} : Shape{}};
    const uint32_t layers = quick_ ? 2 : 8, first = cut(8 << 10),
                   most = first + (quick_ ? 64 : 8192);
    RopeArgs rope;
    for (uint32_t i = 0; i < s.heads.head_size / 2; ++i) {
      rope.frequencies.push_back(std::pow(500000.0, -2.0 * i / s.heads.head_size));
    }
    rope.positions_max = most;
    must(backend_.ops->prepare_rope(rope));
    std::vector<LayerWeights> weights;
    for (uint32_t l = 0; l < layers; ++l) weights.push_back(layer_weights(s));
    const auto floats = [&](uint64_t columns) { return filled(batch * columns * sizeof(float)); };
    StepState state{floats(s.width),
                    floats(s.width),
                    floats(s.q_columns()),
                    floats(s.kv_columns()),
                    floats(s.kv_columns()),
                    floats(s.q_columns()),
                    floats(s.width),
                    floats(2 * uint64_t{s.ffn}),
                    floats(s.ffn),
                    sequences(s.heads.kv(), batch, most),
                    first};
    double bytes = static_cast<double>(batch) * first * s.heads.kv().row_bytes();
    const auto& w = weights[0];
    for (const auto* weight : {&w.q, &w.k, &w.v, &w.out, &w.gate, &w.up, &w.down}) {
      bytes += static_cast<double>((*weight)->rows() * (*weight)->columns() * sizeof(uint16_t));
    }
    const std::string shape = std::to_string(layers) + " layers of width " +
                              std::to_string(s.width) + ", B=" + std::to_string(batch) + ", from " +
                              std::to_string(first) + " tokens";
    const auto step = [&](const std::function<void(uint32_t)>& layer) {
      for (uint32_t l = 0; l < layers; ++l) layer(l);
      state.tokens = state.tokens + 1 < most ? state.tokens + 1 : first;
    };
    const auto layer = [&](uint32_t l) { decode_layer(s, weights[l], state, batch); };
    Ops& ops = *backend_.ops;
    measure("decode layers, plain", shape, {bytes * layers, 0}, [&] { step(layer); });
    state.tokens = first;
    const uint64_t key = uint64_t{batch} << 8;
    measure("decode layers, graphs", shape, {bytes * layers, 0}, [&] {
      ops.replayable(key | 0xff, [&] {
        step([&](uint32_t l) { ops.replayable(key | l, [&] { layer(l); }); });
      });
    });
  }

  const bool quick_;
  const std::string only_;
  Backend backend_;
  std::mt19937_64 random_{20240607};
  double copy_gbps_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) quick = true;
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
  }
  Bench(quick, only).run();
  return 0;
}
