#include "transport/data/ucx_worker.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <ucp/api/ucp.h>

#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "transport/data/ucx_raw.h"

namespace ebb::data {
namespace {

Error ucx_error(const std::string& what, ucs_status_t status) {
  return unavailable(what + ": " + ucs_status_string(status));
}

}  // namespace

Result<SocketAddress> resolve(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int status =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (status != 0) return unavailable(address.text() + ": " + gai_strerror(status));
  const auto* bytes = reinterpret_cast<const std::byte*>(found->ai_addr);
  SocketAddress resolved{{bytes, bytes + found->ai_addrlen}};
  freeaddrinfo(found);
  return resolved;
}

Result<std::unique_ptr<UcxWorker>> UcxWorker::open(EventLoop& loop, Reach reach,
                                                   DeviceMemory device) {
  std::unique_ptr<UcxWorker> worker(new UcxWorker(loop, device));
  EBB_TRY_VOID(worker->start(reach));
  return worker;
}

UcxWorker::~UcxWorker() {
  *alive_ = false;
  EBB_CHECK(endpoints_.empty());
  stop_listening();
  readable_.reset();
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
}

Result<void> UcxWorker::start(Reach reach) {
  const bool cuda = device_ == DeviceMemory::kAsCuda;
  context_ = EBB_TRY(open_ucx_context(reach, cuda ? Transports::kCuda : Transports::kHost));
  // For whoever wonders which way records go to a GPU (docs/cuda.md).
  log_info("data", "UCX opened",
           {{"version", ucp_get_version_string()}, {"memory", memory_of(context_.get()).text()}});
  return start_worker();
}

Result<void> UcxWorker::start_worker() {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucs_status_t status = ucp_worker_create(context_.get(), &params, &worker_);
  if (status != UCS_OK) return ucx_error("UCX worker", status);

  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                       UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kActiveMessageId;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.arg = this;
  handler.cb = [](void* arg, const void* header, size_t header_bytes, void* data, size_t bytes,
                  const ucp_am_recv_param_t* param) -> ucs_status_t {
    auto* self = static_cast<UcxWorker*>(arg);
    if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
    const auto found = self->endpoints_.find(param->reply_ep);
    if (found == self->endpoints_.end()) return UCS_OK;  // closed meanwhile: the message is dropped
    UcxEndpoint::RawMessage message;
    message.frame = {static_cast<const std::byte*>(header), header_bytes};
    message.body = data;
    message.body_bytes = bytes;
    message.is_rendezvous = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
    return found->second->deliver(message) ? UCS_INPROGRESS : UCS_OK;
  };
  status = ucp_worker_set_am_recv_handler(worker_, &handler);
  if (status != UCS_OK) return ucx_error("UCX message handler", status);

  int descriptor = -1;
  status = ucp_worker_get_efd(worker_, &descriptor);
  if (status != UCS_OK) return ucx_error("UCX event descriptor", status);
  readable_ = std::make_unique<EventLoop::Readable>(loop_, descriptor);
  pump();
  return {};
}

/// Progress while there is any, giving way to the loop's other tasks in between; then sleep until
/// UCX has an event. Arming fails when something came in meanwhile: then it is not safe to sleep.
void UcxWorker::pump() {
  constexpr unsigned kTurnMax = 64;
  unsigned turns = 0;
  while (turns < kTurnMax && ucp_worker_progress(worker_) != 0) ++turns;
  if (turns == 0 && ucp_worker_arm(worker_) == UCS_OK) return sleep();
  loop_.post([this, alive = alive_] {
    if (*alive) pump();
  });
}

void UcxWorker::sleep() {
  is_asleep_ = true;
  if (is_waiting_) return;
  is_waiting_ = true;
  readable_->wait([this] {
    is_waiting_ = false;
    wake();
  });
}

void UcxWorker::wake() {
  if (std::exchange(is_asleep_, false)) pump();
}

/// Not at once: progress runs callbacks, and whoever sends is not ready for them before it returns.
void UcxWorker::wake_soon() {
  if (!is_asleep_ || std::exchange(is_waking_, true)) return;
  loop_.post([this, alive = alive_] {
    if (!*alive) return;
    is_waking_ = false;
    wake();
  });
}

/// The last callbacks of an endpoint that is closed by force come out of later progress calls,
/// without an event.
void UcxWorker::drain_closing() {
  constexpr Millis kInterval{1};
  wake();
  if (closing_endpoints_ == 0) return;
  drain_timer_.start(Clock::now() + kInterval, [this] { drain_closing(); });
}

Result<std::shared_ptr<UcxEndpoint>> UcxWorker::make_endpoint(void* ucp_ep_params) {
  std::shared_ptr<UcxEndpoint> endpoint(new UcxEndpoint(*this));
  auto* params = static_cast<ucp_ep_params_t*>(ucp_ep_params);
  params->field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params->err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params->err_handler.arg = endpoint.get();  // not called any more once the endpoint is closed
  params->err_handler.cb = [](void* arg, ucp_ep*, ucs_status_t status) {
    static_cast<UcxEndpoint*>(arg)->report_broken(status);
  };
  const ucs_status_t status = ucp_ep_create(worker_, params, &endpoint->handle_);
  if (status != UCS_OK) return ucx_error("UCX endpoint", status);
  endpoints_[endpoint->handle_] = endpoint.get();
  return endpoint;
}

Result<std::shared_ptr<UcxEndpoint>> UcxWorker::connect(const SocketAddress& address,
                                                        EndpointOwner* owner) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr.addr = reinterpret_cast<const sockaddr*>(address.bytes.data());
  params.sockaddr.addrlen = static_cast<socklen_t>(address.bytes.size());
  auto endpoint = EBB_TRY(make_endpoint(&params));
  endpoint->set_owner(owner);
  return endpoint;
}

Result<uint16_t> UcxWorker::listen(const SocketAddress& address, Accept accept) {
  accept_ = std::move(accept);
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr.addr = reinterpret_cast<const sockaddr*>(address.bytes.data());
  params.sockaddr.addrlen = static_cast<socklen_t>(address.bytes.size());
  params.conn_handler.arg = this;
  params.conn_handler.cb = [](ucp_conn_request* request, void* arg) {
    auto* self = static_cast<UcxWorker*>(arg);
    self->loop_.post([self, alive = self->alive_, request] {
      if (*alive) self->accept(request);
    });
  };
  ucs_status_t status = ucp_listener_create(worker_, &params, &listener_);
  if (status == UCS_ERR_BUSY) return unavailable("address already in use");
  if (status != UCS_OK) return ucx_error("cannot listen", status);
  ucp_listener_attr_t bound{};
  bound.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(listener_, &bound);
  if (status != UCS_OK) return ucx_error("cannot tell the port", status);
  return ntohs(bound.sockaddr.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&bound.sockaddr)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&bound.sockaddr)->sin_port);
}

void UcxWorker::accept(ucp_conn_request* request) {
  if (listener_ == nullptr) return;  // a destroyed listener has already refused it
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
  params.conn_request = request;
  auto endpoint = make_endpoint(&params);
  if (endpoint) accept_(std::move(*endpoint));
}

void UcxWorker::stop_listening() {
  if (listener_ != nullptr) ucp_listener_destroy(std::exchange(listener_, nullptr));
}

}  // namespace ebb::data
