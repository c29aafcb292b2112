// kernels/token_gru.h on a CUDA device: who owns the memory that gru.h works on, and the scores'
// way to the host.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/gru.h"
#include "kernels/token_gru.h"

namespace ebb::kernels::cuda {

class CudaTokenGru final : public TokenGru {
 public:
  /// `device` outlives it. Errors: kUnsupported (a state wider than kGruWidthMax), kExhausted.
  static Result<std::unique_ptr<TokenGru>> make(std::shared_ptr<CudaContext> context,
                                                Device& device, const TokenGruWeights& weights);
  ~CudaTokenGru() override;
  CudaTokenGru(const CudaTokenGru&) = delete;
  CudaTokenGru& operator=(const CudaTokenGru&) = delete;

  std::unique_ptr<TokenGruSequence> begin() override;
  void append(std::span<const Rows> rows) override;
  void score(std::span<const At> wanted) override;
  uint64_t device_bytes() const override { return bytes_; }

 private:
  class Sequence;
  /// Scores that are on the way: `count` floats.
  struct Reading {
    const float* d_from = nullptr;
    size_t count = 0;
  };
  CudaTokenGru(std::shared_ptr<CudaContext> context, Device& device)
      : context_(std::move(context)), device_(device) {}
  Result<void> load(const TokenGruWeights& weights);
  Result<Buffer> allocate(uint64_t floats);
  std::span<const float> read(std::span<const Reading> readings);

  std::shared_ptr<CudaContext> context_;
  Device& device_;
  uint64_t bytes_ = 0;  ///< on the device
  uint32_t sequences_ = 0;
  Buffer memory_;  ///< of everything that weights_ and head_ point to
  Buffer begins_;
  GruWeights weights_;
  GruHead head_;
  std::vector<uint32_t> bucket_begin_;
};

}  // namespace ebb::kernels::cuda
