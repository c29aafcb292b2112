// How fast KV records go out and come back, by each of the ways over the bus: the kernel that reads
// or writes pinned memory itself, the copy engine with a kernel behind it, and, to see what checks
// and packing cost, the rows alone in one batch of copies. For the threshold in
// kernels/cuda/record_shapes.cpp. Prints as ebb_gpu_bench does.
//
//   ebb_gpu_records_bench [--quick]     --quick: tiny shapes, to see that it runs
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/records.h"

namespace {

using namespace ebb::kernels;        // NOLINT: a program of one file
using namespace ebb::kernels::cuda;  // NOLINT

constexpr double kSecondsEach = 0.2;  ///< at least, of each measurement
constexpr uint32_t kBlockTokens = 16;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "ebb_gpu_records_bench: %s\n", why.c_str());
  std::exit(1);
}

/// Each copy from or to pinned memory by itself, but told to the device at once.
cudaError_t copy_batch(std::vector<void*>& to, std::vector<const void*>& from,
                       std::vector<size_t>& sizes, cudaStream_t stream) {
#ifdef EBB_CUDA_EMULATED
  for (size_t i = 0; i < to.size(); ++i) {
    const cudaError_t error = cudaMemcpyAsync(to[i], from[i], sizes[i], cudaMemcpyDefault, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
#else
  cudaMemcpyAttributes how{};
  how.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  size_t first = 0;
  return cudaMemcpyBatchAsync(to.data(), from.data(), sizes.data(), to.size(), &how, &first, 1,
                              stream);
#endif
}

class RecordsBench {
 public:
  explicit RecordsBench(bool quick) : quick_(quick) {
    auto context = CudaContext::make(0);
    if (!context) give_up(context.error().message);
    context_ = std::move(*context);
  }

  void run() {
    for (const uint32_t layers : {1u, 8u}) {
      for (const uint32_t records : {1u, 16u, 64u, 256u, 1024u, 4096u}) {
        if (quick_ && records > 16) continue;
        measure_all(layers, records);
      }
    }
  }

 private:
  struct Setup {
    KvShape shape{32, 8, 128, kBlockTokens, KvElement::kBF16};
    std::vector<std::byte*> arenas;
    std::vector<uint32_t> blocks;
    std::vector<KvRows> layers;
    std::vector<RecordName> names{RecordName{}};
    std::vector<Record> records;
    std::byte* frames = nullptr;
    RecordBand band() const { return {shape, layers, names, records}; }
  };

  void check(cudaError_t error, const char* what) {
    context_->check(error, what);
    if (context_->failed()) give_up(context_->error().message);
  }

  /// Records of slots that lie anywhere, as a selected set's do.
  Setup make(uint32_t layers, uint32_t records) {
    Setup made;
    if (quick_) made.shape.head_size = 16;
    const uint32_t slots = std::max(4 * records, kBlockTokens);
    made.blocks.resize((slots + kBlockTokens - 1) / kBlockTokens);
    std::iota(made.blocks.begin(), made.blocks.end(), 0u);
    std::shuffle(made.blocks.begin(), made.blocks.end(), random_);
    for (uint32_t l = 0; l < layers; ++l) {
      void* arena = nullptr;
      const size_t bytes = made.blocks.size() * made.shape.block_bytes();
      check(cudaMalloc(&arena, bytes), "taking an arena");
      check(cudaMemsetAsync(arena, 0x3c, bytes, context_->stream()), "filling an arena");
      made.arenas.push_back(static_cast<std::byte*>(arena));
    }
    for (std::byte* arena : made.arenas) made.layers.push_back({arena, made.blocks});
    std::vector<uint32_t> all(slots), some;
    std::iota(all.begin(), all.end(), 0u);
    std::sample(all.begin(), all.end(), std::back_inserter(some), records, random_);
    for (const uint32_t slot : some) made.records.push_back({slot, slot, 0});
    void* frames = nullptr;
    check(cudaHostAlloc(&frames, records * made.band().frame_bytes(), cudaHostAllocDefault),
          "taking pinned memory");
    made.frames = static_cast<std::byte*>(frames);
    return made;
  }

  void free(const Setup& made) {
    for (std::byte* arena : made.arenas) check(cudaFree(arena), "freeing an arena");
    check(cudaFreeHost(made.frames), "freeing pinned memory");
  }

  void measure(const std::string& name, const Setup& made, const std::function<void()>& call) {
    using Clock = std::chrono::steady_clock;
    call();
    double best = 1e30, spent = 0;
    for (int round = 0; round < 1000 && (round < 5 || spent < kSecondsEach); ++round) {
      const auto begin = Clock::now();
      call();
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      spent += seconds;
      best = std::min(best, seconds);
      if (quick_) break;
    }
    const auto bytes =
        static_cast<double>(made.records.size()) * static_cast<double>(made.band().frame_bytes());
    std::printf(
        "{\"name\": \"%s\", \"shape\": \"%zu records of %zu layers, %.2f MiB\", \"us\": "
        "%.2f, \"gb_per_s\": %.2f}\n",
        name.c_str(), made.records.size(), made.layers.size(), bytes / (1 << 20), best * 1e6,
        bytes / best / 1e9);
    std::fflush(stdout);
  }

  void end(const std::unique_ptr<Transfer>& transfer) {
    const auto refused = transfer->wait();
    if (!refused) give_up(refused.error().message);
    if (!refused->empty()) give_up(std::to_string(refused->size()) + " records were refused");
  }

  void measure_all(uint32_t layers, uint32_t records) {
    const Setup made = make(layers, records);
    context_->wait("filling arenas");
    for (const auto& [way, name] :
         {std::pair{RecordWay::kDirect, "direct"}, std::pair{RecordWay::kStaged, "staged"}}) {
      RecordMover mover(context_);
      mover.set_way(way);
      measure(std::string("pack records, ") + name, made,
              [&] { end(mover.pack(made.band(), made.frames)); });
      measure(std::string("unpack records, ") + name, made,
              [&] { end(mover.unpack(made.band(), made.frames)); });
    }
    batches(made);
    free(made);
  }

  /// Rows alone, unchecked: a copy for each row of each layer.
  void batches(const Setup& made) {
    const uint64_t row = made.shape.row_bytes();
    std::vector<const void*> in_arena, in_frames;
    std::vector<size_t> sizes;
    for (size_t i = 0; i < made.records.size(); ++i) {
      const uint32_t slot = made.records[i].slot;
      for (size_t l = 0; l < made.layers.size(); ++l) {
        in_arena.push_back(made.arenas[l] +
                           made.blocks[slot / kBlockTokens] * made.shape.block_bytes() +
                           slot % kBlockTokens * row);
        in_frames.push_back(made.frames + i * made.band().frame_bytes() + 8 + l * row);
        sizes.push_back(row);
      }
    }
    const auto all = [&](const char* name, std::vector<const void*> from,
                         const std::vector<const void*>& places) {
      std::vector<void*> to;
      for (const void* place : places) to.push_back(const_cast<void*>(place));
      measure(name, made, [&] {
        check(copy_batch(to, from, sizes, context_->stream()), "copying a batch");
        context_->wait("copying a batch");
      });
    };
    all("rows out in one batch, unchecked", in_arena, in_frames);
    all("rows in in one batch, unchecked", in_frames, in_arena);
  }

  const bool quick_;
  std::shared_ptr<CudaContext> context_;
  std::mt19937_64 random_{20240607};
};

}  // namespace

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  RecordsBench(quick).run();
  return 0;
}
