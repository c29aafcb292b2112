#include "transport/data/ucx_context.h"

#include <dlfcn.h>
#include <ucp/api/ucp.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace ebb::data {
namespace {

Error ucx_error(const std::string& what, ucs_status_t status) {
  return unavailable(what + ": " + ucs_status_string(status));
}

/// UCX takes over SIGSEGV and the like when it is loaded, before main could forbid it; a crash of
/// ours would then print UCX's report and not dump core.
void give_back_crash_signals() {
  for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) != 0) continue;
    const bool has_info = (now.sa_flags & SA_SIGINFO) != 0;
    void* handler = has_info ? reinterpret_cast<void*>(now.sa_sigaction)
                             : reinterpret_cast<void*>(now.sa_handler);
    Dl_info owner{};
    if (handler == nullptr || dladdr(handler, &owner) == 0 || owner.dli_fname == nullptr) continue;
    if (std::strstr(owner.dli_fname, "libucs") != nullptr) std::signal(number, SIG_DFL);
  }
}

/// Shared memory goes on "working" after its peer was killed: so tcp, unless the user knows better.
const char* names_of(Transports transports) {
  switch (transports) {
    case Transports::kHost:
      return "tcp";
    case Transports::kCuda:
      return "tcp,cuda_copy";
    case Transports::kAll:
      break;
  }
  return "all";
}

}  // namespace

void prepare_ucx_environment() {
  static std::once_flag once;
  std::call_once(once, [] {
    constexpr int kKeepUsers = 0;
    const auto set = [](const char* name, const char* value) { setenv(name, value, kKeepUsers); };
    set("UCX_TCP_CM_REUSEADDR", "y");   // else a restarted server must wait for TIME_WAIT
    set("UCX_TCP_CM_SYN_CNT", "2");     // else connecting to nowhere never fails
    set("UCX_TCP_TX_SEG_SIZE", "64K");  // the default 8K makes gathered bodies three times slower
    set("UCX_TCP_RX_SEG_SIZE", "128K");
    set("UCX_TCP_PUT_ENABLE",
        "n");  // else a peer names the addresses that its bytes are written to
    give_back_crash_signals();
  });
}

void UcxContextEnd::operator()(ucp_context* context) const { ucp_cleanup(context); }

Result<UcxContext> open_ucx_context(Reach reach, Transports transports) {
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return ucx_error("UCX configuration", status);
  if (std::getenv("UCX_TLS") == nullptr) ucp_config_modify(config, "TLS", names_of(transports));
  if (reach == Reach::kThisHost && std::getenv("UCX_NET_DEVICES") == nullptr) {
    // Otherwise a part of a large message to a peer on this host takes the outer network device.
    ucp_config_modify(config, "NET_DEVICES", "lo");
  }
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  ucp_context* context = nullptr;
  status = ucp_init(&params, config, &context);
  ucp_config_release(config);
  if (status != UCS_OK) return ucx_error("UCX context", status);
  return UcxContext(context);
}

UcxMemory memory_of(ucp_context* context) {
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  if (ucp_context_query(context, &attributes) != UCS_OK) return {};
  return {attributes.memory_types};
}

Result<UcxFound> find_ucx() {
  prepare_ucx_environment();
  const UcxContext context = EBB_TRY(open_ucx_context(Reach::kEverywhere, Transports::kAll));
  return UcxFound{ucp_get_version_string(), memory_of(context.get())};
}

}  // namespace ebb::data
