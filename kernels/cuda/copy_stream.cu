// See copy_stream.h.
#include "kernels/cuda/copy_stream.h"

#include <algorithm>

namespace ebb::kernels::cuda {

CopyStream::CopyStream(std::shared_ptr<CudaContext> context) : context_(std::move(context)) {}

CopyStream::~CopyStream() {
  // Errors here have nobody to tell: the first one was kept and reported.
  if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
  for (const auto& slot : slots_) {
    if (slot->host != nullptr) (void)cudaFreeHost(slot->host);
    if (slot->device != nullptr) (void)cudaFree(slot->device);
    if (slot->over != nullptr) (void)cudaEventDestroy(slot->over);
  }
  if (scratch_ != nullptr) (void)cudaFree(scratch_);
  if (computed_ != nullptr) (void)cudaEventDestroy(computed_);
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

/// At the first transfer: a worker that releases nothing has no stream for it.
bool CopyStream::start() {
  if (context_->failed()) return false;
  if (stream_ != nullptr) return true;
  context_->check(cudaEventCreateWithFlags(&computed_, cudaEventDisableTiming), "making an event");
  context_->check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                  "making a stream for copies");
  return !context_->failed();
}

bool CopyStream::grow(Slot& slot, size_t bytes) {
  if (slot.over == nullptr) {
    context_->check(cudaEventCreateWithFlags(&slot.over, cudaEventDisableTiming),
                    "making an event");
  }
  if (slot.bytes >= bytes || context_->failed()) return !context_->failed();
  if (slot.host != nullptr) context_->check(cudaFreeHost(slot.host), "freeing pinned memory");
  if (slot.device != nullptr) context_->check(cudaFree(slot.device), "freeing staging memory");
  slot.host = slot.device = nullptr;
  const size_t room = std::max<size_t>(bytes, slot.bytes * 2);
  slot.bytes = 0;
  void *host = nullptr, *device = nullptr;
  context_->check_room(cudaHostAlloc(&host, room, cudaHostAllocDefault), "taking pinned memory",
                       room);
  slot.host = static_cast<std::byte*>(host);
  if (context_->failed()) return false;
  context_->check_room(cudaMalloc(&device, room), "taking staging memory", room);
  slot.device = static_cast<std::byte*>(device);
  if (context_->failed()) return false;
  slot.bytes = room;
  return true;
}

CopyStream::Slot* CopyStream::begin(size_t bytes) {
  if (!start()) return nullptr;
  if (idle_.empty()) {
    slots_.push_back(std::make_unique<Slot>());
    idle_.push_back(slots_.back().get());
  }
  Slot* slot = idle_.back();
  if (!grow(*slot, bytes)) return nullptr;
  idle_.pop_back();
  context_->check(cudaEventRecord(computed_, context_->stream()), "marking what was computed");
  context_->check(cudaStreamWaitEvent(stream_, computed_, 0), "waiting for what was computed");
  return slot;
}

void CopyStream::end(Slot& slot) {
  context_->check(cudaEventRecord(slot.over, stream_), "marking the end of a copy");
}

void CopyStream::before_context(const Slot& slot) {
  context_->check(cudaStreamWaitEvent(context_->stream(), slot.over, 0), "waiting for a copy");
}

bool CopyStream::over(const Slot& slot) {
  if (context_->failed()) return true;
  const cudaError_t state = cudaEventQuery(slot.over);
  if (state == cudaErrorNotReady) {
    (void)cudaGetLastError();  // no error, but kept as if it were one
    return false;
  }
  context_->check(state, "copying records");
  return true;
}

void CopyStream::wait(const Slot& slot) {
  if (!context_->failed()) context_->check(cudaEventSynchronize(slot.over), "copying records");
}

std::byte* CopyStream::scratch(size_t bytes) {
  if (context_->failed()) return nullptr;
  if (bytes <= scratch_bytes_) return scratch_;
  context_->check(cudaStreamSynchronize(stream_), "waiting to grow staging memory");
  if (scratch_ != nullptr) context_->check(cudaFree(scratch_), "freeing staging memory");
  scratch_ = nullptr;
  scratch_bytes_ = 0;
  if (context_->failed()) return nullptr;
  void* fresh = nullptr;
  context_->check_room(cudaMalloc(&fresh, bytes), "taking staging memory", bytes);
  if (context_->failed()) return nullptr;
  scratch_ = static_cast<std::byte*>(fresh);
  scratch_bytes_ = bytes;
  return scratch_;
}

}  // namespace ebb::kernels::cuda
