// Stretches of operations between two moments at which the host wants to see something
// (kernels/ops.h, replayable), started in one piece. The host's side of every operation runs each
// time; what it would enqueue is taken down instead: launches, and in one block the values that it
// uploads. A stretch that was met before under its name is a CUDA graph: what differs from the last
// time is put into its nodes, the block is copied to the device, and one call starts all of it. So
// nothing is assumed about a stretch: whatever it holds is compared.
//
// A stretch ends where the host asks (CudaContext::stream(), wait(), scratch that grows, memory
// that is given back) and, so that the device does not wait for a long one to be taken down, at the
// end of an inner replayable() once there is enough: soon at first, later each twice as long.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/cuda_context.h"

namespace ebb::kernels::cuda {

/// What a stretch does, in order.
struct Calls {
  struct Call {
    Kernel kernel;  ///< function null: other work
    Launch launch;
    size_t at = 0;     ///< in `arguments`
    size_t bytes = 0;  ///< of its arguments, or of what says which other work it is
    size_t work = 0;   ///< in `works`
    const char* name = "running operations";
  };
  std::vector<Call> calls;
  std::vector<std::byte> arguments;
  std::vector<std::function<void(cudaStream_t)>> works;

  std::byte* add(Call call);  ///< zeroed memory of the call's arguments
  const std::byte* arguments_of(const Call& call) const { return arguments.data() + call.at; }
  bool same_arguments(size_t i, const Calls& other) const;
  /// The same kernels and the same other work, in the same order, whatever the kernels' shapes and
  /// arguments.
  bool same_kernels(const Calls& other) const;
  void clear();
};

class Replay final : public Recorder {
 public:
  explicit Replay(CudaContext& context) : context_(context) { context_.set_recorder(this); }
  ~Replay();
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  /// Ops::replayable. A stretch is known by the key of the innermost body in which it begins, and
  /// by how many began there before it.
  void run(uint64_t key, const std::function<void()>& body);
  void* take(const Launch& launch, const Kernel& kernel, size_t argument_bytes) override;
  const void* take_values(const void* values, size_t bytes) override;
  bool take_work(std::span<const uint64_t> what,
                 const std::function<void(cudaStream_t)>& work) override;
  bool name_taken(const char* name) override;
  void enqueue_taken() override;

  /// Stretches that are remembered.
  static constexpr size_t kStretches = 4096;
  size_t stretches() const { return stretches_.size(); }
  /// Since the beginning.
  struct Counts {
    uint64_t replayed = 0;
    uint64_t recorded = 0;
    uint64_t plain = 0;  ///< started call by call
    uint64_t nodes = 0;  ///< of recordings, that were given other arguments
  };
  const Counts& counts() const { return counts_; }

 private:
  /// One sequence of kernels, and the graph that does it.
  struct Recording {
    Calls calls;  ///< as the graph has them
    std::vector<cudaGraphNode_t> nodes;
    cudaGraph_t graph = nullptr;  ///< owns the nodes
    cudaGraphExec_t executable = nullptr;
    bool hopeless = false;
    uint64_t used = 0;
  };
  struct Stretch {
    std::vector<Recording> recordings;  ///< at most kRecordings
    std::byte* d_values = nullptr;
    size_t capacity = 0;   ///< of d_values
    size_t wanted = 0;     ///< the most that was uploaded
    size_t calls = 0;      ///< the last time
    bool no_room = false;  ///< the device had none for d_values
    uint64_t used = 0;     ///< when, on the clock of stretches
  };
  struct Frame {
    uint64_t key = 0;
    uint64_t begun = 0;  ///< stretches
    Frame* outer = nullptr;
  };

  bool taking();
  void begin();
  void make_block(Stretch& stretch);
  void end();
  void start_plainly();
  void copy_block();
  Recording& recording_of(Stretch& stretch);
  bool record(Recording& recording);
  bool refresh(Recording& recording);
  static void drop(Recording& recording);
  static void drop(Stretch& stretch);
  void make_room();

  CudaContext& context_;
  std::unordered_map<uint64_t, Stretch> stretches_;
  uint64_t clock_ = 0;
  Counts counts_;
  Frame* frame_ = nullptr;  ///< innermost
  // The stretch that is open.
  Stretch* open_ = nullptr;
  bool taking_ = false;  ///< false: what is left of it is enqueued as it comes
  bool busy_ = false;    ///< what was taken is being enqueued
  Calls taken_;
  std::vector<std::byte> values_;
  size_t measured_ = 0;  ///< bytes of values, taken or not
  size_t passed_ = 0;    ///< calls that were not taken
  size_t enough_ = 1;    ///< calls that are worth a stretch
};

}  // namespace ebb::kernels::cuda
