// See cuda_context.h.
#include "kernels/cuda/cuda_context.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/cuda/probe.h"

namespace ebb::kernels::cuda {
namespace {

constexpr size_t kStageBytes = size_t{4} << 20;
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
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device_), "reading the device");
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
  if (stage_ != nullptr) (void)cudaFreeHost(stage_);
  if (d_stage_ != nullptr) (void)cudaFree(d_stage_);
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

void CudaContext::check(cudaError_t error, const char* what) {
  if (error == cudaSuccess || failed()) return;
  error_ = error;
  doing_ = what;
}

Error CudaContext::error() const {
  const std::string what = "cuda device " + std::to_string(device_) + ", " + doing_ + ": " +
                           describe(error_);
  if (error_ == cudaErrorMemoryAllocation) return exhausted(what);
  return internal_error("the device is lost: " + what);
}

void CudaContext::wait(const char* what) { check(cudaStreamSynchronize(stream_), what); }

bool CudaContext::resize_stage(size_t bytes) {
  if (stream_ != nullptr) wait("waiting to grow the staging memory");
  if (stage_ != nullptr) check(cudaFreeHost(stage_), "freeing staging memory");
  if (d_stage_ != nullptr) check(cudaFree(d_stage_), "freeing staging memory");
  stage_ = d_stage_ = nullptr;
  stage_bytes_ = stage_used_ = 0;
  void *host = nullptr, *device = nullptr;
  check(cudaHostAlloc(&host, bytes, cudaHostAllocDefault), "taking pinned memory");
  if (failed()) return false;
  stage_ = static_cast<std::byte*>(host);
  check(cudaMalloc(&device, bytes), "taking staging memory");
  if (failed()) return false;
  d_stage_ = static_cast<std::byte*>(device);
  stage_bytes_ = bytes;
  return true;
}

const void* CudaContext::upload_bytes(const void* values, size_t bytes) {
  if (failed()) return nullptr;
  const size_t need = rounded(std::max<size_t>(bytes, 1));
  // What one operation uploads must not overwrite itself: a ring of at least eight of the largest.
  if (need * 8 > stage_bytes_ && !resize_stage(rounded(need * 16))) return nullptr;
  if (stage_used_ + need > stage_bytes_) {
    // Everything in the ring was enqueued before; once it has run, the ring is free.
    wait("waiting for the staging memory");
    stage_used_ = 0;
  }
  const size_t at = stage_used_;
  stage_used_ += need;
  if (bytes > 0) {
    std::memcpy(stage_ + at, values, bytes);
    check(cudaMemcpyAsync(d_stage_ + at, stage_ + at, bytes, cudaMemcpyHostToDevice, stream_),
          "uploading a call's values");
  }
  return d_stage_ + at;
}

void* CudaContext::scratch(Use use, size_t bytes) {
  Room& room = scratch_[use];
  if (failed()) return nullptr;
  if (bytes <= room.bytes) return room.data;
  wait("waiting to grow scratch memory");
  if (room.data != nullptr) check(cudaFree(room.data), "freeing scratch memory");
  room = {};
  const size_t size = rounded(std::max(bytes, room.bytes * 2));
  check(cudaMalloc(&room.data, size), "taking scratch memory");
  if (failed()) return nullptr;
  room.bytes = size;
  return room.data;
}

void* CudaContext::pinned(size_t bytes) {
  if (failed()) return nullptr;
  if (bytes <= pinned_.bytes) return pinned_.data;
  if (pinned_.data != nullptr) check(cudaFreeHost(pinned_.data), "freeing pinned memory");
  pinned_ = {};
  check(cudaHostAlloc(&pinned_.data, rounded(bytes), cudaHostAllocDefault), "taking pinned memory");
  if (failed()) return nullptr;
  pinned_.bytes = rounded(bytes);
  return pinned_.data;
}

}  // namespace ebb::kernels::cuda
