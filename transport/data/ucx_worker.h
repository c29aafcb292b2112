// UCX's context and worker, pumped by the event loop: the sleeping kind, which costs no processor
// when idle. Makes endpoints; knows nothing of frames or requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "transport/data/event_loop.h"
#include "transport/data/ucx_context.h"
#include "transport/data/ucx_endpoint.h"

struct sockaddr_storage;
struct ucp_worker;
struct ucp_listener;
struct ucp_conn_request;

namespace ebb::data {

/// A resolved address, kept as bytes so that no socket header is needed here.
struct SocketAddress {
  std::vector<std::byte> bytes;
};
/// Any thread; may ask the name service and wait for it. Errors: kUnavailable.
Result<SocketAddress> resolve(const HostPort& address);

/// All methods on the loop's thread.
class UcxWorker {
 public:
  /// Errors: kUnavailable with what UCX says.
  /// `device` is settled: kAsCuda only where UCX reaches a GPU's memory.
  static Result<std::unique_ptr<UcxWorker>> open(EventLoop& loop, Reach reach,
                                                 DeviceMemory device = DeviceMemory::kNone);
  /// All endpoints must be closed before.
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  /// Errors: kUnavailable. That nobody answers is told later, through the owner.
  Result<std::shared_ptr<UcxEndpoint>> connect(const SocketAddress& address, EndpointOwner* owner);

  using Accept = std::function<void(std::shared_ptr<UcxEndpoint>)>;
  /// `accept` must set the endpoint's owner. Returns the bound port. Errors: kUnavailable.
  Result<uint16_t> listen(const SocketAddress& address, Accept accept);
  void stop_listening();
  bool takes_device_memory() const { return device_ != DeviceMemory::kNone; }

 private:
  friend class UcxEndpoint;
  static constexpr unsigned kActiveMessageId = 1;

  UcxWorker(EventLoop& loop, DeviceMemory device)
      : loop_(loop), device_(device), drain_timer_(loop) {}
  Result<void> start(Reach reach);
  Result<void> start_worker();
  void pump();
  void sleep();
  void wake();
  void wake_soon();
  void drain_closing();
  Result<std::shared_ptr<UcxEndpoint>> make_endpoint(void* ucp_ep_params);
  void accept(ucp_conn_request* request);

  EventLoop& loop_;
  const DeviceMemory device_;
  UcxContext context_;
  ucp_worker* worker_ = nullptr;
  ucp_listener* listener_ = nullptr;
  Accept accept_;
  std::unique_ptr<EventLoop::Readable> readable_;
  bool is_asleep_ = false;   ///< the pump waits for an event
  bool is_waiting_ = false;  ///< readable_ has a task of ours
  bool is_waking_ = false;   ///< wake_soon() has posted
  uint32_t closing_endpoints_ = 0;
  EventLoop::Timer drain_timer_;
  /// posted tasks look before they touch us
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unordered_map<ucp_ep*, UcxEndpoint*> endpoints_;  ///< those that are not closing
};

}  // namespace ebb::data
