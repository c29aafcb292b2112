// UCX's context: what it is opened with, and what it then says of itself. Knows nothing of workers,
// endpoints or messages.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "transport/data/ucx_memory.h"

struct ucp_context;

namespace ebb::data {

/// Sets UCX's environment defaults without overriding the user's. Call before other threads read
/// the environment.
void prepare_ucx_environment();

/// Which network devices may be used.
enum class Reach { kThisHost, kEverywhere };

/// Which of UCX's transports, where UCX_TLS does not say it.
enum class Transports {
  kHost,  ///< tcp
  kCuda,  ///< tcp, and what copies to and from a GPU's memory; only where UCX has that
  kAll,   ///< whatever UCX finds: to ask what it reaches, not to work with
};

struct UcxContextEnd {
  void operator()(ucp_context* context) const;
};
using UcxContext = std::unique_ptr<ucp_context, UcxContextEnd>;

/// For active messages and an event descriptor. Errors: kUnavailable with what UCX says.
Result<UcxContext> open_ucx_context(Reach reach, Transports transports);
/// The host's alone where UCX does not answer.
UcxMemory memory_of(ucp_context* context);

/// The UCX library of this process.
struct UcxFound {
  std::string version;
  UcxMemory memory;  ///< that it reaches on this machine, by the transports that may be used
};
/// Opens a context for a moment. Any thread, at start: some tens of milliseconds. UCX that knows
/// CUDA wants the device's context current in the thread. Errors: kUnavailable.
Result<UcxFound> find_ucx();

}  // namespace ebb::data
