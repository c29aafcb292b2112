// See cuda_context.h.
#include "kernels/cuda/cuda_context.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/cuda/probe.h"

namespace ebb::kernels::cuda {
namespace {

/// What the calls of some decode steps upload fits in.
constexpr size_t kStageBytes = size_t{16} << 20;
constexpr size_t kAlign = 256;

size_t rounded(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

std::string describe(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ", " +
         std::to_string(static_cast<int>(error)) + ")";
}

Result<std::shared_ptr<CudaContext>> CudaContext::make(int device) {
  EBB_TRY_VOID(check_usable(device));
  std::shared_ptr<CudaContext> context(new CudaContext(device));
  EBB_TRY_VOID(context->start());
  return context;
}

Result<void> CudaContext::start() {
  check(cudaSetDevice(device_), "taking the device");
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device_),
        "reading the device");
  multiprocessors_ = static_cast<uint32_t>(std::max(count, 1));
  int bytes = 48 << 10;
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_),
        "reading the device");
  shared_bytes_max_ = static_cast<uint32_t>(bytes);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  (void)resize_stage(kStageBytes);
  if (failed()) return error();
  return {};
}

CudaContext::~CudaContext() {
  // Errors here have nobody to tell: the first one was kept and reported.
  if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
  for (const Room& room : scratch_) {
    if (room.data != nullptr) (void)cudaFree(room.data);
  }
  if (pinned_.data != nullptr) (void)cudaFreeHost(pinned_.data);
  retired_.push_back({stage_, d_stage_});
  for (const auto& [host, device] : retired_) {
    if (host != nullptr) (void)cudaFreeHost(host);
    if (device != nullptr) (void)cudaFree(device);
  }
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

void CudaContext::check(cudaError_t error, const char* what) {
  if (error == cudaSuccess || failed()) return;
  if (capturing_) {
    spoilt_ = true;
    return (void)cudaGetLastError();  // the operations run again, uncaptured
  }
  error_ = error;
  doing_ = what;
}

void CudaContext::check_room(cudaError_t error, const char* what, size_t bytes) {
  const bool first = error != cudaSuccess && !failed();
  check(error, what);
  if (!first || !failed()) return;
  size_t free_bytes = 0, total = 0;
  (void)cudaMemGetInfo(&free_bytes, &total);
  doing_ += " (" + std::to_string(bytes) + " bytes asked, " + std::to_string(free_bytes) + " of " +
            std::to_string(total) + " on the device are free)";
}

Error CudaContext::error() const {
  const std::string what =
      "cuda device " + std::to_string(device_) + ", " + doing_ + ": " + describe(error_);
  if (error_ == cudaErrorMemoryAllocation) return exhausted(what);
  return internal_error("the device is lost: " + what);
}

void CudaContext::wait(const char* what) {
  enqueue_taken();
  check(cudaStreamSynchronize(stream_), what);
}

bool CudaContext::begin_capture() {
  if (failed() || capturing_) return false;
  // Other threads may use CUDA as they like: only this one's calls are watched.
  if (cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    (void)cudaGetLastError();
    return false;
  }
  capturing_ = true;
  spoilt_ = false;
  return true;
}

cudaGraph_t CudaContext::end_capture() {
  capturing_ = false;
  cudaGraph_t graph = nullptr;
  const bool ended = cudaStreamEndCapture(stream_, &graph) == cudaSuccess;
  if (ended && !spoilt_) return graph;
  (void)cudaGetLastError();
  if (graph != nullptr) (void)cudaGraphDestroy(graph);
  return nullptr;
}

cudaGraphNode_t CudaContext::captured_node() {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaGraphNode_t* nodes = nullptr;
  size_t count = 0;
  // What would be captured next follows the last one, and nothing else.
  if (cudaStreamGetCaptureInfo(stream_, &status, nullptr, nullptr, &nodes, nullptr, &count) !=
      cudaSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return status == cudaStreamCaptureStatusActive && count == 1 ? nodes[0] : nullptr;
}

/// A larger ring. The one before stays until the end: the operation that asks may have uploaded
/// into it, and as each is more than twice as large as the last, all of those together are smaller.
bool CudaContext::resize_stage(size_t bytes) {
  if (stage_ != nullptr) retired_.push_back({stage_, d_stage_});
  stage_ = d_stage_ = nullptr;
  stage_bytes_ = stage_used_ = 0;
  void *host = nullptr, *device = nullptr;
  check_room(cudaHostAlloc(&host, bytes, cudaHostAllocDefault), "taking pinned memory", bytes);
  if (failed()) return false;
  stage_ = static_cast<std::byte*>(host);
  check_room(cudaMalloc(&device, bytes), "taking staging memory", bytes);
  if (failed()) return false;
  d_stage_ = static_cast<std::byte*>(device);
  stage_bytes_ = bytes;
  return true;
}

/// The values in the pinned half of the ring; null after an error.
std::byte* CudaContext::stage_room(size_t bytes) {
  if (failed()) return nullptr;
  const size_t need = rounded(std::max<size_t>(bytes, 1));
  // What is waited for below has been launched. What has not must not be overwritten, on whichever
  // side of the ring's end it lies: the ring is twice as large as all of that.
  const size_t least = std::max(need * 8, 2 * (uploaded_ + need));
  if (least > stage_bytes_ && !resize_stage(rounded(least * 2))) return nullptr;
  if (stage_used_ + need > stage_bytes_) {
    // Everything in the ring was enqueued before; once it has run, the ring is free.
    wait("waiting for the staging memory");
    stage_used_ = 0;
  }
  std::byte* at = stage_ + stage_used_;
  stage_used_ += need;
  return at;
}

std::byte* CudaContext::stage(const void* values, size_t bytes) {
  std::byte* at = stage_room(bytes);
  if (at != nullptr && bytes > 0) std::memcpy(at, values, bytes);
  return at;
}

const void* CudaContext::upload_bytes(const void* values, size_t bytes) {
  if (recorder_ != nullptr) {
    const void* taken = recorder_->take_values(values, bytes);
    if (taken != nullptr) return taken;
  }
  const std::byte* from = stage(values, bytes);
  if (from == nullptr) return nullptr;
  uploaded_ += rounded(std::max<size_t>(bytes, 1));
  std::byte* to = d_stage_ + (from - stage_);
  if (bytes > 0) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_),
          "uploading a call's values");
  }
  return to;
}

void CudaContext::copy_in(void* device, const void* values, size_t bytes) {
  if (bytes == 0 || failed()) return;
  enqueue_taken();
  if (bytes <= kStageBytes / 16) return copy_values(device, values, bytes);
  check(cudaMemcpyAsync(device, values, bytes, cudaMemcpyHostToDevice, stream_),
        "copying to the device");
  // The host's memory may be pageable and may change when this returns.
  wait("copying to the device");
}

void CudaContext::copy_values(void* device, const void* values, size_t bytes) {
  const std::byte* from = bytes == 0 ? nullptr : stage(values, bytes);
  if (from == nullptr) return;
  check(cudaMemcpyAsync(device, from, bytes, cudaMemcpyHostToDevice, stream_),
        "copying to the device");
}

void CudaContext::enqueue(std::span<const uint64_t> what,
                          const std::function<void(cudaStream_t)>& work) {
  if (failed()) return;
  if (recorder_ == nullptr || !recorder_->take_work(what, work)) work(stream_);
}

void CudaContext::copy_on_device(void* to, const void* from, size_t bytes) {
  const uint64_t what[] = {0xc0b1, reinterpret_cast<uintptr_t>(to),
                           reinterpret_cast<uintptr_t>(from), bytes};
  enqueue(what, [this, to, from, bytes](cudaStream_t stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream),
          "copying on the device");
  });
}

void CudaContext::clear(void* device, size_t bytes) {
  const uint64_t what[] = {0xc1ea, reinterpret_cast<uintptr_t>(device), bytes};
  enqueue(what, [this, device, bytes](cudaStream_t stream) {
    check(cudaMemsetAsync(device, 0, bytes, stream), "clearing memory");
  });
}

void* CudaContext::scratch(Use use, size_t bytes) {
  Room& room = scratch_[use];
  if (failed()) return nullptr;
  if (bytes <= room.bytes) return room.data;
  wait("waiting to grow scratch memory");
  if (room.data != nullptr) check(cudaFree(room.data), "freeing scratch memory");
  room = {};
  const size_t size = rounded(std::max(bytes, room.bytes * 2));
  check_room(cudaMalloc(&room.data, size), "taking scratch memory", size);
  if (failed()) return nullptr;
  room.bytes = size;
  return room.data;
}

void* CudaContext::pinned(size_t bytes) {
  if (failed()) return nullptr;
  if (bytes <= pinned_.bytes) return pinned_.data;
  enqueue_taken();
  if (pinned_.data != nullptr) check(cudaFreeHost(pinned_.data), "freeing pinned memory");
  pinned_ = {};
  check_room(cudaHostAlloc(&pinned_.data, rounded(bytes), cudaHostAllocDefault),
             "taking pinned memory", rounded(bytes));
  if (failed()) return nullptr;
  pinned_.bytes = rounded(bytes);
  return pinned_.data;
}

}  // namespace ebb::kernels::cuda
