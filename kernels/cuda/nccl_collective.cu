// See nccl_collective.h.
#include "kernels/cuda/nccl_collective.h"

#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/check.h"

namespace ebb::kernels::cuda {
namespace {

using collective::CollectiveOptions;
using collective::Rendezvous;

/// A sum of one decode step takes some 10 us: that long the engine thread asks without pause, then
/// it makes room for others.
constexpr std::chrono::microseconds kSpin{2000}, kPause{50};

std::string id_text(const NcclId& id) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : id.bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Result<NcclId> id_of(const std::string& text) {
  NcclId id;
  const auto digit = [&](size_t i) {
    const char c = text[i];
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (text.size() != 2 * sizeof id.bytes)
    return invalid("NCCL: the id of rank 0 has a wrong length");
  for (size_t i = 0; i < sizeof id.bytes; ++i) {
    const int value =
        digit(2 * i) < 0 || digit(2 * i + 1) < 0 ? -1 : digit(2 * i) * 16 + digit(2 * i + 1);
    if (value < 0) return invalid("NCCL: the id of rank 0 is not hexadecimal");
    id.bytes[i] = static_cast<unsigned char>(value);
  }
  return id;
}

class NcclCollective final : public collective::Collective {
 public:
  NcclCollective(std::shared_ptr<CudaContext> context, std::unique_ptr<NcclCalls> calls,
                 const CollectiveOptions& options)
      : context_(std::move(context)), calls_(std::move(calls)), options_(options) {}
  ~NcclCollective() override {
    if (event_ != nullptr) (void)cudaEventDestroy(event_);
    if (d_room_ != nullptr) (void)cudaFree(d_room_);
  }

  Result<void> form(const Rendezvous& rendezvous);
  uint32_t rank() const override { return options_.rank; }
  uint32_t size() const override { return options_.size; }
  collective::FloatMemory float_memory() const override { return collective::FloatMemory::kDevice; }
  Result<void> all_reduce_sum(float* inout, uint64_t count) override;
  Result<void> broadcast(std::span<std::byte> inout, uint32_t root) override;
  Result<void> gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void abort(const std::string& why) override;

 private:
  using Ask = std::function<NcclAnswer()>;
  Result<void> call(const char* name, const Ask& start);
  Result<void> poll(const char* name, TimePoint by, const Ask& ask);
  Result<void> await_work(const char* name, TimePoint by);
  Result<void> die(Error why);
  Result<std::byte*> room(uint64_t bytes);
  void pause(TimePoint began);

  const std::shared_ptr<CudaContext> context_;
  const std::unique_ptr<NcclCalls> calls_;
  const CollectiveOptions options_;
  std::mutex mutex_;  ///< guards dead_
  std::condition_variable woken_;
  std::optional<Error> dead_;  ///< why every further call fails
  bool ended_ = false;         ///< engine thread: the communicator was aborted
  cudaEvent_t event_ = nullptr;
  std::byte* d_room_ = nullptr;
  uint64_t room_bytes_ = 0;
};

/// The first reason stays. NCCL's own calls are made on the engine thread only.
Result<void> NcclCollective::die(Error why) {
  {
    const std::lock_guard lock(mutex_);
    if (!dead_) dead_ = std::move(why);
  }
  if (!ended_) calls_->abort();
  ended_ = true;
  const std::lock_guard lock(mutex_);
  return *dead_;
}

void NcclCollective::abort(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (!dead_) dead_ = cancelled(why);
  }
  woken_.notify_all();
}

void NcclCollective::pause(TimePoint began) {
  if (Clock::now() - began < kSpin) return;
  std::unique_lock lock(mutex_);
  woken_.wait_for(lock, kPause, [this] { return dead_.has_value(); });
}

/// Asks until the answer is not "in progress", the deadline has passed, or somebody aborts.
Result<void> NcclCollective::poll(const char* name, TimePoint by, const Ask& ask) {
  const TimePoint began = Clock::now();
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (dead_) break;
    }
    const NcclAnswer answer = ask();
    if (answer.state == NcclAnswer::kDone) return {};
    if (answer.state == NcclAnswer::kFailed) {
      return die(unavailable(std::string(name) + ": NCCL: " + answer.why));
    }
    if (Clock::now() >= by) {
      return die(timed_out(std::string(name) + ": not all ranks took part before the deadline"));
    }
    pause(began);
  }
  return die(cancelled(name));
}

/// The call has been enqueued everywhere; now its kernel.
Result<void> NcclCollective::await_work(const char* name, TimePoint by) {
  context_->check(cudaEventRecord(event_, context_->stream()), name);
  return poll(name, by, [&]() -> NcclAnswer {
    if (context_->failed()) return {NcclAnswer::kFailed, context_->error().message};
    const cudaError_t done = cudaEventQuery(event_);
    if (done == cudaSuccess) return {};
    if (done != cudaErrorNotReady) {
      context_->check(done, name);
      return {NcclAnswer::kFailed, context_->error().message};
    }
    (void)cudaGetLastError();  // "not ready" is no error
    const NcclAnswer state = calls_->state();
    return state.state == NcclAnswer::kFailed ? state : NcclAnswer{NcclAnswer::kInProgress, ""};
  });
}

Result<void> NcclCollective::call(const char* name, const Ask& start) {
  {
    const std::lock_guard lock(mutex_);
    if (dead_ && ended_) return *dead_;
  }
  const TimePoint by = Clock::now() + options_.call_deadline;
  bool started = false;
  EBB_TRY_VOID(poll(name, by, [&] {
    NcclAnswer answer = started ? calls_->state() : start();
    started = true;
    return answer;
  }));
  return await_work(name, by);
}

Result<void> NcclCollective::form(const Rendezvous& rendezvous) {
  const std::string key = "epoch" + std::to_string(options_.epoch.value) + "/nccl";
  NcclId id;
  if (options_.rank == 0) {
    const NcclAnswer made = calls_->make_id(id);
    if (made.state != NcclAnswer::kDone) return die(unavailable("NCCL: no id: " + made.why));
    EBB_TRY_VOID(rendezvous.put(key, id_text(id)));
  } else {
    const std::string text = EBB_TRY(rendezvous.get(key, options_.form_by));
    id = EBB_TRY(id_of(text));
  }
  context_->check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
  if (context_->failed()) return context_->error();
  bool started = false;
  return poll("forming the group", options_.form_by.at, [&] {
    NcclAnswer answer = started ? calls_->state() : calls_->begin(id, options_.size, options_.rank);
    started = true;
    return answer;
  });
}

Result<void> NcclCollective::all_reduce_sum(float* inout, uint64_t count) {
  return call("all_reduce_sum", [&] { return calls_->sum(inout, count, context_->stream()); });
}

/// Device memory for bytes of the host.
Result<std::byte*> NcclCollective::room(uint64_t bytes) {
  if (bytes <= room_bytes_) return d_room_;
  if (d_room_ != nullptr) context_->check(cudaFree(d_room_), "freeing a collective's memory");
  d_room_ = nullptr;
  room_bytes_ = 0;
  void* data = nullptr;
  context_->check_room(cudaMalloc(&data, bytes), "taking a collective's memory", bytes);
  if (context_->failed()) return context_->error();
  d_room_ = static_cast<std::byte*>(data);
  room_bytes_ = bytes;
  return d_room_;
}

Result<void> NcclCollective::broadcast(std::span<std::byte> inout, uint32_t root) {
  EBB_CHECK(root < options_.size);
  std::byte* d_bytes = EBB_TRY(room(std::max<uint64_t>(inout.size(), 1)));
  const cudaStream_t stream = context_->stream();
  context_->check(
      cudaMemcpyAsync(d_bytes, inout.data(), inout.size(), cudaMemcpyHostToDevice, stream),
      "broadcast");
  EBB_TRY_VOID(
      call("broadcast", [&] { return calls_->broadcast(d_bytes, inout.size(), root, stream); }));
  context_->check(
      cudaMemcpyAsync(inout.data(), d_bytes, inout.size(), cudaMemcpyDeviceToHost, stream),
      "broadcast");
  context_->wait("broadcast");
  if (context_->failed()) return die(context_->error());
  return {};
}

Result<void> NcclCollective::gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  const uint64_t bytes = mine.size();
  EBB_CHECK(options_.rank != 0 || all.size() == bytes * options_.size);
  if (bytes == 0) return {};
  std::byte* d_mine = EBB_TRY(room(bytes * (uint64_t{options_.size} + 1)));
  std::byte* d_all = d_mine + bytes;
  const cudaStream_t stream = context_->stream();
  context_->check(cudaMemcpyAsync(d_mine, mine.data(), bytes, cudaMemcpyHostToDevice, stream),
                  "gather");
  EBB_TRY_VOID(call("gather", [&] { return calls_->gather(d_mine, d_all, bytes, stream); }));
  if (options_.rank != 0) return {};
  context_->check(cudaMemcpyAsync(all.data(), d_all, all.size(), cudaMemcpyDeviceToHost, stream),
                  "gather");
  context_->wait("gather");
  if (context_->failed()) return die(context_->error());
  return {};
}

}  // namespace

Result<std::unique_ptr<collective::Collective>> make_nccl_collective(
    std::shared_ptr<CudaContext> context, std::unique_ptr<NcclCalls> calls,
    const CollectiveOptions& options, const Rendezvous& rendezvous) {
  auto made = std::make_unique<NcclCollective>(std::move(context), std::move(calls), options);
  EBB_TRY_VOID(made->form(rendezvous));
  return Result<std::unique_ptr<collective::Collective>>(std::move(made));
}

}  // namespace ebb::kernels::cuda
