// What our collective asks of NCCL, in words that need no header of NCCL's: so that its deadlines
// are tested without a GPU, and that only nccl_library.cu knows the library.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "kernels/cuda/runtime.h"

namespace ebb::kernels::cuda {

/// Made by rank 0, needed by all.
struct NcclId {
  unsigned char bytes[128] = {};
};

/// A call that is not done is asked about by state() until it is.
struct NcclAnswer {
  enum State { kDone, kInProgress, kFailed } state = kDone;
  std::string why;  ///< kFailed
};

/// Communicators are non-blocking: no call waits for a peer. Memory is on the device; work is
/// enqueued on the stream.
class NcclCalls {
 public:
  virtual ~NcclCalls() = default;
  virtual NcclAnswer make_id(NcclId& id) = 0;
  virtual NcclAnswer begin(const NcclId& id, uint32_t size, uint32_t rank) = 0;
  virtual NcclAnswer sum(float* d_inout, uint64_t count, cudaStream_t stream) = 0;
  virtual NcclAnswer broadcast(void* d_inout, uint64_t bytes, uint32_t root,
                               cudaStream_t stream) = 0;
  /// d_all [size * bytes], in rank order, on every rank.
  virtual NcclAnswer gather(const void* d_mine, void* d_all, uint64_t bytes,
                            cudaStream_t stream) = 0;
  virtual NcclAnswer state() = 0;
  /// Ends kernels that wait for peers. Nothing but the destructor may follow.
  virtual void abort() = 0;
};

/// Errors: kUnsupported (libnccl.so.2 is not on this machine, or lacks a function; this build was
/// made without NCCL's header).
Result<std::unique_ptr<NcclCalls>> load_nccl();

}  // namespace ebb::kernels::cuda
