// See streams.h.
#include "kernels/cuda/emulation/streams.h"

#include <cstdlib>
#include <random>
#include <set>
#include <utility>

#include "kernels/cuda/emulation/cuda_emulation.h"

namespace ebb::emulation {
namespace {

uint64_t seed_of_process() {
  const char* text = std::getenv("EBB_EMULATION_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

std::atomic<uint64_t> g_seed{seed_of_process()};
std::atomic<uint64_t> g_shuffles{1};
std::atomic<uint64_t> g_threads{0};

/// Streams know of each other what events tell, so each thread can have an order of its own.
std::mt19937_64& dice() {
  thread_local std::mt19937_64 mine;
  thread_local uint64_t shuffles = 0;
  if (shuffles != g_shuffles) {
    shuffles = g_shuffles;
    mine.seed(g_seed + 977 * g_threads++);  // a test may have a new thread for every step
  }
  return mine;
}

struct Streams {
  std::mutex mutex;
  std::set<CUstream_st*> open;
};
Streams& streams() {
  static auto* const all = new Streams;  // never freed: streams are given back at any time
  return *all;
}

std::atomic<bool> g_ignores_waits{false};

void forget_what_was_lost(CUstream_st& stream) {
  if (stream.losses == losses()) return;
  stream.losses = losses();
  for (const CUstream_st::Item& item : stream.queue) {
    if (item.sets) item.sets->done = true;
  }
  stream.queue.clear();
}

/// False: it waits for a mark that has not come.
bool step(CUstream_st& stream) {
  const auto needs = stream.queue.front().needs;
  if (needs && !needs->done) return false;
  const CUstream_st::Item item = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (item.work) item.work();
  if (item.sets) item.sets->done = true;
  return true;
}

void step_with_others(CUstream_st& stream) {
  const auto needs = stream.queue.front().needs;
  if (needs) reach(*needs);
  (void)step(stream);
}

}  // namespace

void ignore_waits(bool ignored) { g_ignores_waits = ignored; }
bool waits_are_ignored() { return g_ignores_waits; }
void shuffle_streams(uint64_t seed) {
  g_seed = seed;
  g_threads = 0;
  ++g_shuffles;
}

CUstream_st* open_stream() {
  auto* const stream = new CUstream_st;
  stream->losses = losses();
  const std::lock_guard lock(streams().mutex);
  streams().open.insert(stream);
  return stream;
}

void close_stream(CUstream_st* stream) {
  finish(*stream);
  {
    const std::lock_guard lock(streams().mutex);
    streams().open.erase(stream);
  }
  delete stream;
}

void add(CUstream_st& stream, CUstream_st::Item item) {
  const std::lock_guard lock(stream.mutex);
  stream.user = std::this_thread::get_id();
  forget_what_was_lost(stream);
  stream.queue.push_back(std::move(item));
  // One in four does all, one in four nothing, the others some.
  const uint64_t thrown = dice()();
  size_t steps = 0;
  if (thrown % 4 == 0) steps = stream.queue.size();
  if (thrown % 4 >= 2) steps = thrown / 4 % (stream.queue.size() + 1);
  for (size_t i = 0; i < steps && !stream.queue.empty(); ++i) {
    if (!step(stream)) return;
  }
}

void reach(Mark& mark) {
  if (mark.done) return;
  CUstream_st& stream = *mark.stream;
  const std::lock_guard lock(stream.mutex);
  forget_what_was_lost(stream);
  while (!mark.done && !stream.queue.empty()) step_with_others(stream);
}

void finish(CUstream_st& stream) {
  const std::lock_guard lock(stream.mutex);
  forget_what_was_lost(stream);
  while (!stream.queue.empty()) step_with_others(stream);
}

void finish_all() {
  std::vector<CUstream_st*> mine;
  {
    const std::lock_guard lock(streams().mutex);
    for (CUstream_st* stream : streams().open) {
      if (stream->user == std::this_thread::get_id()) mine.push_back(stream);
    }
  }
  for (CUstream_st* stream : mine) finish(*stream);
}

bool has_come(Mark& mark) {
  if (!mark.done && dice()() % 2 == 0) reach(mark);
  return mark.done;
}

}  // namespace ebb::emulation
