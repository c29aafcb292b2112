// See replay.h.
#include "kernels/cuda/replay.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace ebb::kernels::cuda {
namespace {

/// Kernel sequences of one stretch that are kept.
constexpr size_t kRecordings = 4;
/// Calls below which a graph saves nothing.
constexpr size_t kWorthwhile = 3;
/// Calls after which a stretch ends at the next chance: some ten layers. Taking them down costs
/// less than the device needs for the shorter stretch before.
constexpr size_t kEnough = 256;
constexpr size_t kAlign = 256;
constexpr size_t kPage = 4096;

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

uint64_t name_of(uint64_t key, uint64_t begun) {
  uint64_t name = (key ^ begun * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  return name ^ name >> 31;
}

}  // namespace

std::byte* Calls::add(Call call) {
  call.at = rounded(arguments.size(), 16);
  arguments.resize(call.at + call.bytes);  // zeros: gaps between arguments are compared too
  calls.push_back(call);
  return arguments.data() + call.at;
}

bool Calls::same_arguments(size_t i, const Calls& other) const {
  const Call& a = calls[i];
  const Call& b = other.calls[i];
  return a.bytes == b.bytes && std::memcmp(arguments_of(a), other.arguments_of(b), a.bytes) == 0 &&
         a.launch.grid.x == b.launch.grid.x && a.launch.grid.y == b.launch.grid.y &&
         a.launch.grid.z == b.launch.grid.z && a.launch.threads == b.launch.threads &&
         a.launch.shared_bytes == b.launch.shared_bytes;
}

bool Calls::same_kernels(const Calls& other) const {
  if (calls.size() != other.calls.size()) return false;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].kernel.function != other.calls[i].kernel.function) return false;
    if (calls[i].kernel.function == nullptr && !same_arguments(i, other)) return false;
  }
  return true;
}

void Calls::clear() {
  calls.clear();
  arguments.clear();
  works.clear();
}

Replay::~Replay() {
  if (std::getenv("EBB_CUDA_GRAPHS_REPORT") != nullptr) {
    std::fprintf(stderr, "graphs: %llu replayed, %llu recorded, %llu plain, %llu nodes changed\n",
                 static_cast<unsigned long long>(counts_.replayed),
                 static_cast<unsigned long long>(counts_.recorded),
                 static_cast<unsigned long long>(counts_.plain),
                 static_cast<unsigned long long>(counts_.nodes));
  }
  context_.set_recorder(nullptr);
  for (auto& [name, stretch] : stretches_) drop(stretch);
}

void Replay::run(uint64_t key, const std::function<void()>& body) {
  Frame frame{key, 0, frame_};
  frame_ = &frame;
  body();
  if (frame.outer == nullptr) {
    enqueue_taken();
    frame_ = nullptr;
    return;
  }
  if (open_ != nullptr && taken_.calls.size() + passed_ >= enough_) {
    end();
    enough_ = std::min(2 * enough_, kEnough);
  }
  frame_ = frame.outer;
}

/// Whether what comes now is taken; opens a stretch where there is none.
bool Replay::taking() {
  if (frame_ == nullptr || busy_ || context_.failed()) return false;
  if (open_ == nullptr) begin();
  return taking_;
}

void Replay::begin() {
  const uint64_t name = name_of(frame_->key, frame_->begun++);
  auto found = stretches_.find(name);
  if (found == stretches_.end()) {
    make_room();
    found = stretches_.try_emplace(name).first;
  }
  open_ = &found->second;
  open_->used = ++clock_;
  if (open_->calls >= kWorthwhile && open_->wanted > open_->capacity) make_block(*open_);
  taking_ = true;
}

/// A larger block; what is enqueued may still read the one before, so cudaFree waits for it.
void Replay::make_block(Stretch& stretch) {
  if (stretch.no_room) return;
  if (stretch.d_values != nullptr) (void)cudaFree(stretch.d_values);
  stretch.d_values = nullptr;
  stretch.capacity = 0;
  const size_t bytes = rounded(stretch.wanted + stretch.wanted / 4, kPage);
  void* block = nullptr;
  if (cudaMalloc(&block, bytes) != cudaSuccess) {
    // Not an error: the stretch is started call by call. A device that is lost shows at the next.
    (void)cudaGetLastError();
    stretch.no_room = true;
    return;
  }
  stretch.d_values = static_cast<std::byte*>(block);
  stretch.capacity = bytes;
}

void* Replay::take(const Launch& launch, const Kernel& kernel, size_t argument_bytes) {
  if (!context_.owns(launch.stream)) return nullptr;
  if (!taking()) {
    if (open_ != nullptr && !busy_) ++passed_;
    return nullptr;
  }
  Calls::Call call;
  call.kernel = kernel;
  call.launch = launch;
  call.bytes = argument_bytes;
  return taken_.add(call);
}

const void* Replay::take_values(const void* values, size_t bytes) {
  const bool now = taking();
  if (open_ == nullptr || busy_) return nullptr;
  const size_t need = rounded(std::max<size_t>(bytes, 1), kAlign);
  measured_ += need;
  if (!now) return nullptr;
  const size_t at = values_.size();
  if (at + need > open_->capacity) {
    passed_ += taken_.calls.size();
    start_plainly();
    taking_ = false;
    return nullptr;
  }
  values_.resize(at + need);
  if (bytes > 0) std::memcpy(values_.data() + at, values, bytes);
  return open_->d_values + at;
}

bool Replay::take_work(std::span<const uint64_t> what,
                       const std::function<void(cudaStream_t)>& work) {
  if (!taking()) {
    if (open_ != nullptr && !busy_) ++passed_;
    return false;
  }
  Calls::Call call;
  call.bytes = what.size_bytes();
  call.work = taken_.works.size();
  taken_.works.push_back(work);
  std::memcpy(taken_.add(call), what.data(), what.size_bytes());
  return true;
}

bool Replay::name_taken(const char* name) {
  if (open_ == nullptr || !taking_ || busy_ || taken_.calls.empty()) return false;
  taken_.calls.back().name = name;
  return true;
}

void Replay::enqueue_taken() {
  if (busy_) return;
  enough_ = 1;
  if (open_ != nullptr) end();
}

void Replay::end() {
  Stretch& stretch = *open_;
  stretch.wanted = std::max(stretch.wanted, measured_);
  stretch.calls = taken_.calls.size() + passed_;
  if (taking_ && taken_.calls.size() >= kWorthwhile && !context_.failed()) {
    Recording& recording = recording_of(stretch);
    recording.used = clock_;
    const bool fresh = recording.calls.calls.empty();
    if (fresh) recording.calls = taken_;
    const bool ready =
        !fresh && (recording.executable == nullptr ? record(recording) : refresh(recording));
    if (ready && !context_.failed()) {
      copy_block();
      context_.start(recording.executable);
      ++counts_.replayed;
      std::swap(recording.calls, taken_);
      taken_.clear();
    }
  }
  start_plainly();
  measured_ = passed_ = 0;
  taking_ = false;
  open_ = nullptr;
}

/// What was taken, call by call. Values may be wanted by calls that are still to come.
void Replay::start_plainly() {
  if (!values_.empty()) copy_block();
  if (taken_.calls.empty()) return;
  busy_ = true;
  for (const Calls::Call& call : taken_.calls) {
    if (context_.failed()) break;
    if (call.kernel.function == nullptr) {
      taken_.works[call.work](context_.stream());
    } else {
      call.kernel.start(call.launch, call.kernel.function, taken_.arguments_of(call));
      context_.check(cudaGetLastError(), call.name);
    }
  }
  busy_ = false;
  ++counts_.plain;
  taken_.clear();
}

void Replay::copy_block() {
  busy_ = true;
  context_.copy_values(open_->d_values, values_.data(), values_.size());
  busy_ = false;
  values_.clear();
}

/// The recording of these kernels; a new one, in place of the longest unused, where there is none.
Replay::Recording& Replay::recording_of(Stretch& stretch) {
  for (Recording& recording : stretch.recordings) {
    if (recording.calls.same_kernels(taken_)) return recording;
  }
  if (stretch.recordings.size() >= kRecordings) {
    const auto oldest =
        std::min_element(stretch.recordings.begin(), stretch.recordings.end(),
                         [](const Recording& a, const Recording& b) { return a.used < b.used; });
    drop(*oldest);
    stretch.recordings.erase(oldest);
  }
  return stretch.recordings.emplace_back();
}

/// Makes a graph of what was taken. False: not possible, now or ever.
bool Replay::record(Recording& recording) {
  if (recording.hopeless) return false;
  recording.hopeless = true;
  if (!context_.begin_capture()) return false;
  busy_ = true;
  std::vector<cudaGraphNode_t> nodes;
  for (const Calls::Call& call : taken_.calls) {
    if (call.kernel.function == nullptr) {
      taken_.works[call.work](context_.stream());
      nodes.push_back(nullptr);
    } else {
      call.kernel.start(call.launch, call.kernel.function, taken_.arguments_of(call));
      context_.check(cudaGetLastError(), call.name);
      nodes.push_back(context_.captured_node());
    }
  }
  busy_ = false;
  recording.graph = context_.end_capture();
  if (recording.graph == nullptr) return false;
  if (cudaGraphInstantiate(&recording.executable, recording.graph, 0) != cudaSuccess) {
    (void)cudaGetLastError();
    recording.executable = nullptr;
    return false;
  }
  recording.nodes = std::move(nodes);
  recording.hopeless = false;
  ++counts_.recorded;
  return true;
}

/// Brings the graph to what was taken. False: not possible; it is not used again.
bool Replay::refresh(Recording& recording) {
  for (size_t i = 0; i < taken_.calls.size(); ++i) {
    const Calls::Call& call = taken_.calls[i];
    if (recording.calls.same_arguments(i, taken_)) continue;
    const cudaGraphNode_t node = recording.nodes[i];
    if (node == nullptr ||
        call.kernel.set_node(recording.executable, node, call.launch, call.kernel.function,
                             taken_.arguments_of(call)) != cudaSuccess) {
      (void)cudaGetLastError();
      drop(recording);
      recording.hopeless = true;
      return false;
    }
    ++counts_.nodes;
  }
  return true;
}

void Replay::drop(Recording& recording) {
  if (recording.executable != nullptr) (void)cudaGraphExecDestroy(recording.executable);
  if (recording.graph != nullptr) (void)cudaGraphDestroy(recording.graph);
  recording.executable = nullptr;
  recording.graph = nullptr;
}

void Replay::drop(Stretch& stretch) {
  for (Recording& recording : stretch.recordings) drop(recording);
  if (stretch.d_values != nullptr) (void)cudaFree(stretch.d_values);
}

/// Half of them go, the longest unused: so that a pattern of use that is slightly too large does
/// not record anew at every call.
void Replay::make_room() {
  if (stretches_.size() < kStretches) return;
  std::vector<uint64_t> used;
  for (const auto& [name, stretch] : stretches_) used.push_back(stretch.used);
  const auto middle = used.begin() + static_cast<ptrdiff_t>(used.size() / 2);
  std::nth_element(used.begin(), middle, used.end());
  const uint64_t oldest = *middle;
  for (auto it = stretches_.begin(); it != stretches_.end();) {
    if (it->second.used < oldest) drop(it->second);
    it = it->second.used < oldest ? stretches_.erase(it) : std::next(it);
  }
}

}  // namespace ebb::kernels::cuda
