// See cuda_runtime_api.h. Device memory is ordinary memory, filled with NaN.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/cuda/emulation/cuda_emulation.h"
#include "kernels/cuda/emulation/environment.h"
#include "kernels/cuda/emulation/graphs.h"
#include "kernels/cuda/emulation/streams.h"

using ebb::emulation::Work;

using Nodes = std::vector<std::unique_ptr<CUgraphNode_st>>;
struct CUgraph_st {
  Nodes nodes;
};
struct CUgraphExec_st {
  std::vector<std::pair<cudaGraphNode_t, Work>> works;
};

namespace ebb::emulation {
namespace {

struct World {
  std::mutex mutex;
  Machine machine;
  std::map<std::string, std::pair<unsigned, int>> failures;
  int lost = 0;
  uint64_t losses = 0;
  std::map<void*, size_t> allocations;
  size_t used = 0;
  uint64_t launches = 0;
  Calls calls;
};
World& world() {
  static World* const w = [] {
    auto* fresh = new World;  // never freed: devices are given back after static objects are gone
    fresh->machine = machine_of_environment();
    for (const PlannedFailure& f : failures_of_environment()) {
      fresh->failures[f.function] = {f.calls, f.error};
    }
    return fresh;
  }();
  return *w;
}
thread_local int g_last_error = 0;
constexpr int kRuntimeVersion = 13000;

/// Counts down what was planned for `function`; its error when its time has come.
int due(World& w, const char* function) {
  const auto found = w.failures.find(function);
  if (found == w.failures.end()) return 0;
  if (found->second.first > 0) {
    --found->second.first;
    return 0;
  }
  const int error = found->second.second;
  w.failures.erase(found);
  return error;
}

cudaError_t remember(int error) {
  if (error != 0) g_last_error = error;
  return static_cast<cudaError_t>(error);
}

/// What this call must answer before it does anything: 0, or the error that a test asked for.
int planned(const char* function) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (w.lost != 0) return w.lost;
  if (w.machine.driver_version < kRuntimeVersion) return cudaErrorInsufficientDriver;
  if (w.machine.devices == 0) return cudaErrorNoDevice;
  if (std::strcmp(function, "launch") == 0) {
    w.lost = due(w, "lost");
    if (w.lost != 0) {
      ++w.losses;
      return w.lost;
    }
  }
  return due(w, function);
}

void count_call(const std::string& function) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (function == "launch") ++w.calls.kernels;
  if (function == "cudaGraphLaunch") ++w.calls.graphs;
  if (function == "copy to the device") ++w.calls.copies;
  if (function == "cudaGraphExecKernelNodeSetParams") ++w.calls.nodes;
}

/// What a launch does when its turn comes.
Work kernel_work(dim3 grid, unsigned threads, size_t shared_bytes, std::function<void()> thread) {
  return [=, body = std::move(thread)] {
    {
      const std::lock_guard lock(world().mutex);
      ++world().launches;
    }
    run_grid(grid, threads, shared_bytes, body);
  };
}

cudaError_t enqueue(const char* function, cudaStream_t stream, Work work) {
  if (const int error = planned(function); error != 0) return remember(error);
  if (stream != nullptr && stream->capturing) {
    stream->captured.push_back(std::make_unique<CUgraphNode_st>(CUgraphNode_st{std::move(work)}));
    stream->last = stream->captured.back().get();
    return cudaSuccess;
  }
  count_call(function);
  if (stream != nullptr) {
    add(*stream, {std::move(work), nullptr, nullptr});
  } else {
    work();
  }
  return cudaSuccess;
}

cudaError_t allocate(const char* function, void** data, size_t bytes, bool counts) {
  if (const int error = planned(function); error != 0) return remember(error);
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (counts && bytes > w.machine.memory - std::min(w.machine.memory, w.used)) {
    return remember(cudaErrorMemoryAllocation);
  }
  const size_t rounded = (std::max<size_t>(bytes, 1) + 255) / 256 * 256;
  *data = std::aligned_alloc(256, rounded);
  if (*data == nullptr) return remember(cudaErrorMemoryAllocation);
  std::memset(*data, 0xff, std::min(rounded, size_t{1} << 20));
  if (counts) {
    w.used += bytes;
    w.allocations[*data] = bytes;
  }
  return cudaSuccess;
}

cudaError_t release(void* data) {
  finish_all();  // as CUDA does before memory goes
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (const auto found = w.allocations.find(data); found != w.allocations.end()) {
    w.used -= found->second;
    w.allocations.erase(found);
  }
  std::free(data);
  return cudaSuccess;
}

}  // namespace

void run(dim3 grid, unsigned threads, size_t shared_bytes, void* stream,
         std::function<void()> thread) {
  (void)enqueue("launch", static_cast<cudaStream_t>(stream),
                kernel_work(grid, threads, shared_bytes, std::move(thread)));
}

cudaError_t set_kernel_node(cudaGraphExec_t graph, cudaGraphNode_t node, dim3 grid,
                            unsigned threads, size_t shared_bytes, std::function<void()> thread) {
  const char* const function = "cudaGraphExecKernelNodeSetParams";
  if (const int error = planned(function); error != 0) return remember(error);
  for (auto& [at, work] : graph->works) {
    if (at != node) continue;
    work = kernel_work(grid, threads, shared_bytes, std::move(thread));
    count_call(function);
    return cudaSuccess;
  }
  return remember(cudaErrorInvalidValue);
}

void fail_call(const std::string& function, unsigned calls, int error) {
  const std::lock_guard lock(world().mutex);
  world().failures[function] = {calls, error};
}
void lose_device(int error) {
  const std::lock_guard lock(world().mutex);
  world().lost = error;
  ++world().losses;
}
void heal() {
  const std::lock_guard lock(world().mutex);
  world().lost = 0;
  world().failures.clear();
  world().machine = Machine();
  g_last_error = 0;
}
void set_machine(const Machine& machine) {
  const std::lock_guard lock(world().mutex);
  world().machine = machine;
}
uint64_t losses() {
  const std::lock_guard lock(world().mutex);
  return world().losses;
}
uint64_t launches() {
  finish_all();
  const std::lock_guard lock(world().mutex);
  return world().launches;
}
Calls calls() {
  const std::lock_guard lock(world().mutex);
  return world().calls;
}

}  // namespace ebb::emulation

using ebb::emulation::enqueue;
using ebb::emulation::planned;
using ebb::emulation::remember;
using ebb::emulation::world;

cudaError_t cudaGetDeviceCount(int* count) {
  if (const int error = planned("cudaGetDeviceCount"); error != 0) return remember(error);
  *count = world().machine.devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (const int error = planned("cudaSetDevice"); error != 0) return remember(error);
  return device < world().machine.devices ? cudaSuccess : remember(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (const int error = planned("cudaGetDeviceProperties"); error != 0) return remember(error);
  if (device >= world().machine.devices) return remember(cudaErrorInvalidDevice);
  *p = {};
  std::snprintf(p->name, sizeof p->name, "emulated");
  p->uuid.bytes[0] = static_cast<char>(device + 1);
  p->totalGlobalMem = world().machine.memory;
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = 227 << 10;
  p->major = world().machine.capability / 10;
  p->minor = world().machine.capability % 10;
  p->multiProcessorCount = 4;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (const int error = planned("cudaDeviceGetAttribute"); error != 0) return remember(error);
  *value = attribute == cudaDevAttrMultiProcessorCount ? 4 : 227 << 10;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = world().machine.driver_version;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = ebb::emulation::kRuntimeVersion;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  if (const int error = planned("cudaMemGetInfo"); error != 0) return remember(error);
  const std::lock_guard lock(world().mutex);
  *total = world().machine.memory;
  *free_bytes = *total - std::min(*total, world().used);
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** data, size_t bytes) {
  return ebb::emulation::allocate("cudaMalloc", data, bytes, true);
}
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  return ebb::emulation::allocate("cudaHostAlloc", data, bytes, false);
}
cudaError_t cudaFree(void* data) { return ebb::emulation::release(data); }
cudaError_t cudaFreeHost(void* data) { return ebb::emulation::release(data); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (kind == cudaMemcpyHostToDevice) ebb::emulation::count_call("copy to the device");
  if (kind == cudaMemcpyDeviceToHost) {
    const std::lock_guard lock(world().mutex);
    world().calls.fetched_bytes += bytes;
  }
  return enqueue("cudaMemcpyAsync", stream, [=] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
  if (width > to_pitch || width > from_pitch) return remember(cudaErrorInvalidValue);
  return enqueue("cudaMemcpy2DAsync", stream, [=] {
    for (size_t r = 0; r < height; ++r) {
      std::memcpy(static_cast<char*>(to) + r * to_pitch,
                  static_cast<const char*>(from) + r * from_pitch, width);
    }
  });
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  return enqueue("cudaMemsetAsync", stream, [=] { std::memset(data, value, bytes); });
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const int error = planned("cudaStreamCreateWithFlags"); error != 0) return remember(error);
  *stream = ebb::emulation::open_stream();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  ebb::emulation::close_stream(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const int error = planned("cudaStreamSynchronize"); error != 0) return remember(error);
  if (stream == nullptr) return cudaSuccess;
  if (stream->capturing) return remember(cudaErrorStreamCaptureUnsupported);
  ebb::emulation::finish(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const int error = planned("cudaStreamWaitEvent"); error != 0) return remember(error);
  const bool waits = event->mark != nullptr && !ebb::emulation::waits_are_ignored();
  if (waits) ebb::emulation::add(*stream, {nullptr, event->mark, nullptr});
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  if (const int error = planned("cudaDeviceSynchronize"); error != 0) return remember(error);
  ebb::emulation::finish_all();
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const int error = planned("cudaEventCreateWithFlags"); error != 0) return remember(error);
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const int error = planned("cudaEventRecord"); error != 0) return remember(error);
  event->mark = nullptr;
  if (stream == nullptr) return cudaSuccess;
  event->mark = std::make_shared<ebb::emulation::Mark>();
  event->mark->stream = stream;
  ebb::emulation::add(*stream, {nullptr, nullptr, event->mark});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const int error = planned("cudaEventSynchronize"); error != 0) return remember(error);
  if (event->mark) ebb::emulation::reach(*event->mark);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const int error = planned("cudaEventQuery"); error != 0) return remember(error);
  const bool came = !event->mark || ebb::emulation::has_come(*event->mark);
  return came ? cudaSuccess : remember(cudaErrorNotReady);
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 1;
  return remember(planned("cudaEventElapsedTime"));
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const int error = planned("cudaStreamBeginCapture"); error != 0) return remember(error);
  stream->capturing = true;
  stream->last = nullptr;
  return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long*, cudaGraph_t*,
                                     const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, size_t* count) {
  if (const int error = planned("cudaStreamGetCaptureInfo"); error != 0) return remember(error);
  *status = stream->capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  if (dependencies != nullptr) *dependencies = &stream->last;
  if (edges != nullptr) *edges = nullptr;
  if (count != nullptr) *count = stream->last == nullptr ? 0 : 1;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  stream->capturing = false;
  Nodes captured = std::move(stream->captured);
  stream->captured.clear();
  stream->last = nullptr;
  if (const int error = planned("cudaStreamEndCapture"); error != 0) return remember(error);
  *graph = new CUgraph_st{std::move(captured)};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (const int error = planned("cudaGraphInstantiate"); error != 0) return remember(error);
  *exec = new CUgraphExec_st;
  for (const auto& node : graph->nodes) (*exec)->works.emplace_back(node.get(), node->work);
  return cudaSuccess;
}
/// As the recording is now: it may be changed, or go, before the launch's turn comes.
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return enqueue("cudaGraphLaunch", stream, [works = exec->works] {
    for (const auto& [node, work] : works) work();
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  const int error = ebb::emulation::g_last_error;
  ebb::emulation::g_last_error = 0;
  return static_cast<cudaError_t>(error);
}
cudaError_t cudaPeekAtLastError() { return static_cast<cudaError_t>(ebb::emulation::g_last_error); }
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorNoKernelImageForDevice:
      return "cudaErrorNoKernelImageForDevice";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "cudaError";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
