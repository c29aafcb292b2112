// NCCL, where the machine has it: loaded by name, never linked. The only file that includes nccl.h.
#include <dlfcn.h>
#include <nccl.h>

#include <cstring>

#include "kernels/cuda/nccl_calls.h"

namespace ebb::kernels::cuda {
namespace {

static_assert(sizeof(ncclUniqueId) == sizeof(NcclId));

/// The library's functions. Loaded once and never closed: NCCL's threads outlive a communicator.
struct Library {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
};

template <class F>
Result<void> find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function != nullptr) return {};
  return unsupported(std::string("NCCL: libnccl.so.2 has no ") + name +
                     " (2.18 or newer is needed)");
}

Result<Library> load_library() {
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    return unsupported(std::string("NCCL: ") +
                       (why == nullptr ? "libnccl.so.2 does not load" : why));
  }
  Library found;
  EBB_TRY_VOID(find(library, "ncclGetUniqueId", found.get_unique_id));
  EBB_TRY_VOID(find(library, "ncclCommInitRankConfig", found.init));
  EBB_TRY_VOID(find(library, "ncclAllReduce", found.all_reduce));
  EBB_TRY_VOID(find(library, "ncclBroadcast", found.broadcast));
  EBB_TRY_VOID(find(library, "ncclAllGather", found.all_gather));
  EBB_TRY_VOID(find(library, "ncclCommGetAsyncError", found.async_error));
  EBB_TRY_VOID(find(library, "ncclCommAbort", found.abort));
  EBB_TRY_VOID(find(library, "ncclGetErrorString", found.error_string));
  return found;
}

class LoadedNccl final : public NcclCalls {
 public:
  explicit LoadedNccl(const Library& library) : library_(library) {}
  /// A communicator whose peers are gone cannot be ended politely: that would wait for them.
  ~LoadedNccl() override { abort(); }

  NcclAnswer make_id(NcclId& id) override {
    ncclUniqueId made;
    const NcclAnswer answer = answer_of(library_.get_unique_id(&made));
    if (answer.state == NcclAnswer::kDone) std::memcpy(id.bytes, &made, sizeof id.bytes);
    return answer;
  }
  NcclAnswer begin(const NcclId& id, uint32_t size, uint32_t rank) override {
    ncclUniqueId given;
    std::memcpy(&given, id.bytes, sizeof given);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return answer_of(library_.init(&communicator_, static_cast<int>(size), given,
                                   static_cast<int>(rank), &config));
  }
  NcclAnswer sum(float* d_inout, uint64_t count, cudaStream_t stream) override {
    return answer_of(
        library_.all_reduce(d_inout, d_inout, count, ncclFloat32, ncclSum, communicator_, stream));
  }
  NcclAnswer broadcast(void* d_inout, uint64_t bytes, uint32_t root, cudaStream_t stream) override {
    return answer_of(library_.broadcast(d_inout, d_inout, bytes, ncclUint8, static_cast<int>(root),
                                        communicator_, stream));
  }
  NcclAnswer gather(const void* d_mine, void* d_all, uint64_t bytes, cudaStream_t stream) override {
    return answer_of(library_.all_gather(d_mine, d_all, bytes, ncclUint8, communicator_, stream));
  }
  NcclAnswer state() override {
    ncclResult_t result = ncclSuccess;
    const NcclAnswer asked = answer_of(library_.async_error(communicator_, &result));
    return asked.state == NcclAnswer::kDone ? answer_of(result) : asked;
  }
  void abort() override {
    if (communicator_ != nullptr) (void)library_.abort(communicator_);
    communicator_ = nullptr;
  }

 private:
  NcclAnswer answer_of(ncclResult_t result) const {
    if (result == ncclSuccess) return {};
    if (result == ncclInProgress) return {NcclAnswer::kInProgress, ""};
    return {NcclAnswer::kFailed, library_.error_string(result)};
  }

  const Library library_;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<NcclCalls>> load_nccl() {
  static const Result<Library> library = load_library();
  if (!library) return library.error();
  return std::unique_ptr<NcclCalls>(new LoadedNccl(*library));
}

}  // namespace ebb::kernels::cuda
