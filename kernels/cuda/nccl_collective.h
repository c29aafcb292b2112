// Collectives among GPUs: NCCL behind transport/collective's interface. Sums work on device memory,
// in order with the stream of the backend; bytes of the host are staged through it.
#pragma once

#include <memory>

#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/nccl_calls.h"
#include "transport/collective/collective.h"

namespace ebb::kernels::cuda {

/// Rank 0's id goes through the rendezvous; then waits until every rank has joined. Every wait ends
/// by its deadline: then the communicator is aborted and the collective is dead. Errors: kTimeout,
/// kUnavailable (NCCL's own words), those of the rendezvous.
Result<std::unique_ptr<collective::Collective>> make_nccl_collective(
    std::shared_ptr<CudaContext> context, std::unique_ptr<NcclCalls> calls,
    const collective::CollectiveOptions& options, const collective::Rendezvous& rendezvous);

}  // namespace ebb::kernels::cuda
