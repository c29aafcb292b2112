// How near the CPU kernels come to what the machine can do: each line stands beside a plain read
// loop or a plain oneDNN product measured in the same run. Shapes of SmolLM2-135M (width 576, 9
// query and 3 KV heads of 64; formats with blocks of 256 take 768 columns in place of 576). Usage:
// ebb-kernels-bench [THREADS] [PART], PART one of read, gemv, expand, gemm, decode, prefill, digest
// (default: all).
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/ops.h"

namespace {

using namespace ebb::kernels;

constexpr uint32_t kWindows = 9;
constexpr uint64_t kColdBytes = 160u << 20;  // rotate through more than the caches hold

/// Seconds of one call. `cpu` is what all threads together used: on a shared machine it still says
/// how fast the code is when the clock on the wall no longer does.
struct Timing {
  double best = 1e30;
  double median = 0;
  double cpu = 1e30;
};

double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Windows of at least 20 ms each.
Timing measure(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  Timing timing;
  for (uint32_t w = 0; w < kWindows; ++w) {
    const auto start = Clock::now();
    const double cpu_start = cpu_seconds();
    uint32_t calls = 0;
    double passed = 0;
    while (passed < 0.02) {
      work();
      ++calls;
      passed = std::chrono::duration<double>(Clock::now() - start).count();
    }
    timing.cpu = std::min(timing.cpu, (cpu_seconds() - cpu_start) / calls);
    seconds.push_back(passed / calls);
  }
  std::sort(seconds.begin(), seconds.end());
  timing.best = seconds.front();
  timing.median = seconds[seconds.size() / 2];
  return timing;
}

void print_rate(const std::string& what, double amount, const char* unit, const Timing& timing) {
  std::printf("  %-36s best %7.1f, median %7.1f, per CPU second %7.1f %s\n", what.c_str(),
              amount / timing.best * 1e-9, amount / timing.median * 1e-9,
              amount / timing.cpu * 1e-9, unit);
  std::fflush(stdout);
}

/// Something that looks like weights or rows: no zeros, no denormals, no NaN in f16, bf16 and f32.
Buffer random_buffer(Device& device, uint64_t bytes) {
  std::mt19937_64 random(3);
  Buffer data = *device.allocate(bytes, MemoryKind::kDevice);
  for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t bits = (random() & 0xb3ffb3ffb3ffb3ffu) | 0x3000300030003000u;
    std::memcpy(data.bytes_ptr() + i, &bits, 8);
  }
  return data;
}

volatile double g_sink;

void bench_read(Device& device, int threads) {
  const Buffer data = random_buffer(device, kColdBytes * 2);
  const Timing timing = measure([&] {
    double total = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : total) schedule(static)
    for (uint64_t part = 0; part < 64; ++part) {
      typedef uint64_t Words __attribute__((vector_size(16)));
      const auto* from =
          reinterpret_cast<const Words*>(data.bytes_ptr() + part * (data.size() / 64));
      Words sums[8] = {};
      for (uint64_t i = 0; i < data.size() / 64 / sizeof(Words); i += 8) {
        for (int lane = 0; lane < 8; ++lane) sums[lane] ^= from[i + lane];
      }
      for (const Words& sum : sums) total += static_cast<double>(sum[0] ^ sum[1]);
    }
    g_sink = total;
  });
  print_rate("plain read", static_cast<double>(data.size()), "GB/s", timing);
}

/// Copies of one weight, more bytes than the caches hold.
struct ColdWeights {
  ColdWeights(Device& device, Ops& ops, WeightFormat format, uint64_t rows, uint64_t columns)
      : row_bytes(weight_row_bytes(format, columns)), copies(kColdBytes / (rows * row_bytes) + 1) {
    data = random_buffer(device, copies * rows * row_bytes);
    for (uint64_t i = 0; i < copies; ++i) {
      weights.push_back(*ops.load_weight(
          {format, data.bytes_ptr() + i * rows * row_bytes, rows, columns, row_bytes}));
    }
  }
  uint64_t row_bytes;
  uint64_t copies;
  Buffer data;
  std::vector<std::unique_ptr<Weight>> weights;
};

/// GB/s are of stored bytes: how near a decode step comes to the plain read loop.
void bench_gemv(Device& device, Ops& ops) {
  ops.set_phase(Phase::kDecode);
  for (uint32_t i = 0; i < kWeightFormats; ++i) {
    const auto format = static_cast<WeightFormat>(i);
    const uint64_t narrow = weight_block(format).elements == 256 ? 768 : 576;
    for (const auto& [rows, columns] : {std::pair{uint64_t{3072}, narrow}, {576, 1536}}) {
      const ColdWeights cold(device, ops, format, rows, columns);
      for (const uint32_t batch : {1u, 4u, 8u}) {
        const std::vector<float> x(batch * columns, 0.5f);
        std::vector<float> out(batch * rows);
        const Timing timing = measure([&] {
          for (const auto& w : cold.weights) ops.matmul(x.data(), batch, *w, out.data(), rows);
        });
        const std::string what = std::string(weight_block(format).name) + " " +
                                 std::to_string(rows) + " x " + std::to_string(columns) +
                                 ", rows " + std::to_string(batch);
        print_rate(what, static_cast<double>(cold.data.size()), "GB/s", timing);
      }
    }
  }
}

/// One row after the other, as an embedding table is read.
void bench_expand(Device& device, Ops& ops) {
  ops.set_phase(Phase::kDecode);
  for (uint32_t i = 0; i < kWeightFormats; ++i) {
    const auto format = static_cast<WeightFormat>(i);
    const ColdWeights cold(device, ops, format, 1024, 1536);
    std::vector<ebb::TokenId> ids(64);
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> out(ids.size() * 1536);
    const Timing timing = measure([&] { ops.embed(*cold.weights[0], ids, out.data()); });
    print_rate(std::string("rows of ") + weight_block(format).name,
               static_cast<double>(ids.size() * cold.row_bytes), "GB/s", timing);
  }
}

void bench_gemm(Device& device, Ops& ops, int threads) {
  ops.set_phase(Phase::kBulk);
  constexpr uint32_t kRows = 512;
  for (const auto& [outputs, columns] : {std::pair{960u, 576u}, {3072u, 576u}, {576u, 1536u}}) {
    const double flops = 2.0 * kRows * outputs * columns;
    const std::string shape = std::to_string(outputs) + " x " + std::to_string(columns);
    std::vector<float> x(uint64_t{kRows} * columns, 0.5f), out(uint64_t{kRows} * outputs);
    const std::vector<float> plain(uint64_t{outputs} * columns, 0.25f);
    omp_set_num_threads(threads);
    print_rate("oneDNN sgemm " + shape, flops, "GFLOP/s", measure([&] {
                 dnnl_sgemm('N', 'T', kRows, outputs, columns, 1.0f, x.data(), columns,
                            plain.data(), columns, 0.0f, out.data(), outputs);
               }));
    const Buffer data = random_buffer(device, uint64_t{outputs} * columns * 4);
    for (const auto format : {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kQ4_1,
                              WeightFormat::kQ8_0, WeightFormat::kQ6_K}) {
      if (columns % weight_block(format).elements != 0) continue;
      const auto w = *ops.load_weight(
          {format, data.bytes_ptr(), outputs, columns, weight_row_bytes(format, columns)});
      print_rate(std::string("matmul ") + weight_block(format).name + " " + shape, flops, "GFLOP/s",
                 measure([&] { ops.matmul(x.data(), kRows, *w, out.data(), outputs); }));
    }
  }
}

/// KV rows of 30 layers, so that one layer's do not stay in a cache.
struct Layers {
  Layers(Device& device, uint32_t tokens) : blocks(tokens / 16) {
    std::iota(blocks.begin(), blocks.end(), 0u);
    for (int i = 0; i < 30; ++i)
      arenas.push_back(random_buffer(device, uint64_t{tokens} * shape.row_bytes()));
  }
  KvShape shape{9, 3, 64, 16};
  std::vector<uint32_t> blocks;
  std::vector<Buffer> arenas;
};

void bench_decode(Device& device, Ops& ops) {
  ops.set_phase(Phase::kDecode);
  Layers layers(device, 8192);
  const std::vector<float> q(576, 0.01f);
  std::vector<float> out(576);
  std::vector<uint32_t> all(8192);
  std::iota(all.begin(), all.end(), 0u);
  std::shuffle(all.begin(), all.end(), std::mt19937(1));
  struct Load {
    const char* name;
    uint32_t count;
    bool listed;
  };
  for (const Load load :
       {Load{"dense 512", 512, false}, Load{"dense 4096", 4096, false},
        Load{"dense 8192", 8192, false}, Load{"listed 1024 of 8192", 1024, true}}) {
    std::vector<uint32_t> list(all.begin(), all.begin() + load.count);
    std::sort(list.begin(), list.end());
    if (!load.listed) list.clear();
    const Timing timing = measure([&] {
      for (auto& arena : layers.arenas) {
        AttendArgs args;
        args.d_q = q.data();
        args.kv = {arena.bytes_ptr(), layers.blocks};
        args.count = load.count;
        args.list = list;
        args.d_out = out.data();
        ops.attend(layers.shape, {&args, 1});
      }
    });
    std::printf("  %-36s %.3f ms a token (30 layers)\n", load.name, timing.best * 1e3);
    print_rate(load.name, 30.0 * load.count * layers.shape.row_bytes(), "GB/s", timing);
  }
}

void bench_prefill(Device& device, Ops& ops) {
  ops.set_phase(Phase::kBulk);
  Layers layers(device, 8192);
  constexpr uint32_t kRows = 512;
  const std::vector<float> q(kRows * 576, 0.01f);
  std::vector<float> out(kRows * 576);
  for (const uint32_t count : {512u, 4096u, 7680u}) {
    AttendArgs args;
    args.d_q = q.data();
    args.rows = kRows;
    args.kv = {layers.arenas[0].bytes_ptr(), layers.blocks};
    args.count = count;
    args.d_out = out.data();
    const double seen = static_cast<double>(kRows) * count - kRows * (kRows - 1.0) / 2;
    print_rate("chunk of 512 ending at " + std::to_string(count), seen * 9 * 64 * 4, "GFLOP/s",
               measure([&] {
                 ops.attend(layers.shape, {&args, 1});
               }));
  }
}

/// One layer's share of a time over all layers and tokens.
void print_each(const std::string& what, uint32_t count, const Timing& timing) {
  const double each = 1e9 / (30.0 * count);
  std::printf("  %-36s best %7.2f, median %7.2f, CPU %7.2f ns a token and layer\n", what.c_str(),
              timing.best * each, timing.median * each, timing.cpu * each);
  std::fflush(stdout);
}

/// Rows of every layer with plausible values (random bits have no span), by the way of the worker.
void fill_rows(Ops& ops, Layers& layers, uint32_t tokens) {
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(uint64_t{tokens} * 192 + 192);
  for (float& value : values) value = normal(random);
  std::vector<uint32_t> slots(tokens);
  std::iota(slots.begin(), slots.end(), 0u);
  for (auto& arena : layers.arenas) {
    const AppendArgs fresh{
        {arena.bytes_ptr(), layers.blocks}, values.data(), 192, values.data() + 192, 192, slots};
    ops.append_kv(layers.shape, std::span(&fresh, 1));
  }
}

void bench_scan(Ops& ops, Layers& layers, const DigestShape& digest, std::vector<Buffer>& pages,
                uint32_t count, const char* name) {
  const std::vector<float> q(576, 0.01f);
  std::vector<float> logits(9 * uint64_t{count}), lse(9);
  print_each(std::string("scan ") + name, count, measure([&] {
               for (auto& page : pages) {
                 ScanArgs args{
                     q.data(), {page.bytes_ptr(), layers.blocks}, count, logits.data(), lse.data()};
                 ops.scan_digests(layers.shape, digest, {&args, 1});
               }
             }));
}

/// With 1 of 16 tokens listed: attention over the list, and the estimate of the others.
void bench_left_out(Device& device, Ops& ops, Layers& layers, const std::vector<uint32_t>& slots) {
  const auto count = static_cast<uint32_t>(slots.size());
  std::vector<Buffer> sums;
  for (auto& arena : layers.arenas) {
    sums.push_back(*device.allocate(arena.size(), MemoryKind::kDevice));
  }
  print_each("add sums", count, measure([&] {
               for (size_t i = 0; i < sums.size(); ++i) {
                 const SumArgs all{{layers.arenas[i].bytes_ptr(), layers.blocks},
                                   slots,
                                   0,
                                   {sums[i].bytes_ptr(), layers.blocks}};
                 ops.add_sums(layers.shape, {&all, 1});
               }
             }));
  std::vector<uint32_t> listed(slots);
  std::shuffle(listed.begin(), listed.end(), std::mt19937(1));
  listed.resize(count / 16);
  std::sort(listed.begin(), listed.end());
  const std::vector<float> q(576, 0.01f);
  std::vector<float> out(576), lse(9);
  for (const bool estimate : {false, true}) {
    print_each(estimate ? "listed 1/16 and left out" : "listed 1/16", count, measure([&] {
                 for (size_t i = 0; i < sums.size(); ++i) {
                   const KvRows kv{layers.arenas[i].bytes_ptr(), layers.blocks};
                   AttendArgs args;
                   args.d_q = q.data();
                   args.kv = kv;
                   args.count = count / 16;
                   args.list = listed;
                   args.d_out = out.data();
                   args.d_lse = lse.data();
                   ops.attend(layers.shape, {&args, 1});
                   LeftOutArgs rest;
                   rest.d_q = q.data();
                   rest.kv = kv;
                   rest.slots = listed;
                   rest.positions = listed;
                   rest.length = count;
                   rest.sums = {sums[i].bytes_ptr(), layers.blocks};
                   rest.d_out = out.data();
                   rest.d_lse = lse.data();
                   if (estimate) ops.attend_left_out(layers.shape, {&rest, 1});
                 }
               }));
  }
}

/// Selection by digests beside selection by dense attention, and what else a layer then costs.
void bench_digest(Device& device, Ops& ops) {
  ops.set_phase(Phase::kDecode);
  constexpr uint32_t kTokens = 8192;
  Layers layers(device, kTokens);
  fill_rows(ops, layers, kTokens);
  const std::vector<float> q(576, 0.01f);
  std::vector<float> out(576), lse(9), logits(9 * kTokens);
  print_each("attend, dense, with logits", kTokens, measure([&] {
               for (auto& arena : layers.arenas) {
                 AttendArgs args;
                 args.d_q = q.data();
                 args.kv = {arena.bytes_ptr(), layers.blocks};
                 args.count = kTokens;
                 args.d_out = out.data();
                 args.d_lse = lse.data();
                 args.d_logits = logits.data();
                 ops.attend(layers.shape, {&args, 1});
               }
             }));
  std::vector<uint32_t> slots(kTokens);
  std::iota(slots.begin(), slots.end(), 0u);
  std::vector<float> center(192);
  for (const auto& [format, name] : {std::pair{DigestFormat::kInt4, "int4"},
                                     {DigestFormat::kH3, "h3"},
                                     {DigestFormat::kH2, "h2"}}) {
    const DigestShape digest{format, 3, 64};
    std::vector<Buffer> pages;
    for (int i = 0; i < 30; ++i) {
      pages.push_back(*device.allocate(layers.arenas[0].size(), MemoryKind::kDevice));
    }
    print_each(std::string("write ") + name, kTokens, measure([&] {
                 for (size_t i = 0; i < pages.size(); ++i) {
                   const DigestArgs all{{layers.arenas[i].bytes_ptr(), layers.blocks},
                                        slots,
                                        0,
                                        {pages[i].bytes_ptr(), layers.blocks},
                                        center.data()};
                   ops.write_digest(layers.shape, digest, {&all, 1});
                 }
               }));
    bench_scan(ops, layers, digest, pages, kTokens, name);
  }
  bench_left_out(device, ops, layers, slots);
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : omp_get_num_procs();
  const std::string part = argc > 2 ? argv[2] : "all";
  const auto count = static_cast<uint32_t>(threads);
  auto backend = make_cpu_backend({count, count, ""});
  if (!backend) {
    std::fprintf(stderr, "%s\n", backend.error().text().c_str());
    return 1;
  }
  Device& device = *backend->device;
  const auto wanted = [&](const char* name) {
    if (part != "all" && part != name) return false;
    std::printf("%s\n", name);
    return true;
  };
  std::printf("%s, %d threads\n", backend->device->info().name.c_str(), threads);
  if (wanted("read")) bench_read(device, threads);
  if (wanted("gemv")) bench_gemv(device, *backend->ops);
  if (wanted("expand")) bench_expand(device, *backend->ops);
  if (wanted("gemm")) bench_gemm(device, *backend->ops, threads);
  if (wanted("decode")) bench_decode(device, *backend->ops);
  if (wanted("prefill")) bench_prefill(device, *backend->ops);
  if (wanted("digest")) bench_digest(device, *backend->ops);
  return 0;
}
