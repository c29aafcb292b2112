// See replay.h.
#include "kernels/cuda/replay.h"

#include <algorithm>
#include <vector>

namespace ebb::kernels::cuda {

void Replay::run(uint64_t key, const std::function<void()>& body) {
  if (recording_ || context_.failed()) return body();  // within another: part of that one
  if (generation_ != context_.generation()) clear();   // memory that recordings name is gone
  auto found = recordings_.find(key);
  if (found == recordings_.end()) {
    body();
    // Scratch that grew meanwhile is what the recording will name.
    if (generation_ != context_.generation()) clear();
    make_room();
    recordings_[key].used = ++clock_;
    return;
  }
  Recording& recording = found->second;
  recording.used = ++clock_;
  if (recording.graph == nullptr && !recording.hopeless) {
    recording.graph = record(body);
    recording.hopeless = recording.graph == nullptr;
  }
  if (recording.hopeless) return body();
  context_.check(cudaGraphLaunch(recording.graph, context_.stream()), "replaying operations");
}

cudaGraphExec_t Replay::record(const std::function<void()>& body) {
  if (!context_.begin_capture()) return nullptr;
  recording_ = true;
  body();
  recording_ = false;
  cudaGraph_t graph = context_.end_capture();
  if (graph == nullptr) return nullptr;
  cudaGraphExec_t executable = nullptr;
  if (cudaGraphInstantiate(&executable, graph, 0) != cudaSuccess) {
    (void)cudaGetLastError();
    executable = nullptr;
  }
  (void)cudaGraphDestroy(graph);
  return executable;
}

void Replay::clear() {
  for (const auto& [key, recording] : recordings_) {
    if (recording.graph != nullptr) (void)cudaGraphExecDestroy(recording.graph);
  }
  recordings_.clear();
  generation_ = context_.generation();
}

/// Half of them go, the longest unused: so that a pattern of use that is slightly too large for the
/// cache does not record anew at every call.
void Replay::make_room() {
  if (recordings_.size() < kRecordings) return;
  std::vector<uint64_t> used;
  for (const auto& [key, recording] : recordings_) used.push_back(recording.used);
  const auto middle = used.begin() + static_cast<ptrdiff_t>(used.size() / 2);
  std::nth_element(used.begin(), middle, used.end());
  const uint64_t oldest = *middle;
  std::erase_if(recordings_, [&](const auto& entry) {
    if (entry.second.used >= oldest) return false;
    if (entry.second.graph != nullptr) (void)cudaGraphExecDestroy(entry.second.graph);
    return true;
  });
}

}  // namespace ebb::kernels::cuda
