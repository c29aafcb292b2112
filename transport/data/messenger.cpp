// The messenger: one loop, its UCX workers, a server if it listens, and its connections.
#include "transport/data/messenger.h"

#include <array>
#include <future>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/wait.h"
#include "transport/data/client_connection.h"
#include "transport/data/event_loop.h"
#include "transport/data/server.h"
#include "transport/data/ucx_context.h"
#include "transport/data/ucx_worker.h"

namespace ebb::data {
namespace {

/// What lives on the loop's thread; reached from connection handles that may outlive the messenger.
struct Inner {
  explicit Inner(MessengerOptions the_options)
      : options(std::move(the_options)), loop(std::make_shared<EventLoop>(options.name)) {}

  Result<UcxWorker*> worker_for(const HostPort& address) {
    const Reach reach = is_loopback(address.host) ? Reach::kThisHost : Reach::kEverywhere;
    auto& worker = workers[reach == Reach::kThisHost ? 0 : 1];
    if (!worker) worker = EBB_TRY(UcxWorker::open(*loop, reach, device));
    return worker.get();
  }

  /// Once, first of all that runs here: whether UCX is given memory of a device.
  void settle_device();
  /// Ends everything; `ended` runs when nothing is under way.
  void end(std::function<void()> ended);

  const MessengerOptions options;
  const std::shared_ptr<EventLoop> loop;
  DeviceMemory device = DeviceMemory::kNone;
  UcxMemory reached;
  std::array<std::unique_ptr<UcxWorker>, 2> workers;  ///< for this host, and for everywhere
  std::unique_ptr<Server> server;
  std::unordered_map<ClientConnection*, std::shared_ptr<ClientConnection>> connections;
};

void Inner::settle_device() {
  if (options.device_memory != DeviceMemory::kAsCuda) {
    device = options.device_memory;
    return;
  }
  if (!options.attach_device) return;
  const auto attached = options.attach_device();
  if (!attached) {
    return log_warn("data", "UCX is given no device's memory", {{"why", attached.error().text()}});
  }
  // Asked of a context of its own: to name transports that UCX has not got is a warning each time.
  const auto found = find_ucx();
  if (found) reached = found->memory;
  if (reached.cuda()) device = DeviceMemory::kAsCuda;
}

void Inner::end(std::function<void()> ended) {
  for (auto& worker : workers) {
    if (worker) worker->stop_listening();
  }
  auto left = std::make_shared<size_t>(connections.size() + (server ? 1 : 0) + 1);
  auto one_less = [this, left, ended = std::move(ended)] {
    if (--*left > 0) return;
    server.reset();
    for (auto& worker : workers) worker.reset();
    ended();
  };
  for (auto& [key, connection] : std::exchange(connections, {})) {
    connection->shut_down([keep = connection, one_less] { one_less(); });
  }
  if (server) server->close(one_less);
  loop->post(one_less);  // so that the last one is never a call from inside this function
}

class MessengerImpl final : public Messenger {
 public:
  explicit MessengerImpl(MessengerOptions options)
      : inner_(std::make_shared<Inner>(std::move(options))) {
    std::promise<void> settled;
    inner_->loop->post([&] {
      inner_->settle_device();
      settled.set_value();
    });
    settled.get_future().wait();
  }

  ~MessengerImpl() override {
    EBB_CHECK(!inner_->loop->on_this_thread());
    std::promise<void> ended;
    inner_->loop->post([&] { inner_->end([&] { ended.set_value(); }); });
    ended.get_future().wait();
    inner_->loop->stop();
  }

  Result<void> listen(const HostPort& address, ServerHandlers handlers) override;
  uint16_t port() const override { return port_; }
  Result<std::shared_ptr<Connection>> connect(const HostPort& address, PeerIdentity identity,
                                              Deadline by) override;
  bool takes_device_memory() const override { return inner_->device != DeviceMemory::kNone; }
  UcxMemory reached_memory() const override { return inner_->reached; }

 private:
  /// Runs `body` on the loop's thread and waits for what it returns.
  template <class Body>
  auto on_loop(Body body) {
    std::promise<decltype(body())> promise;
    inner_->loop->post([&] { promise.set_value(body()); });
    return promise.get_future().get();
  }

  const std::shared_ptr<Inner> inner_;
  uint16_t port_ = 0;
};

Result<void> MessengerImpl::listen(const HostPort& address, ServerHandlers handlers) {
  EBB_CHECK(handlers.on_request != nullptr);
  const SocketAddress resolved = EBB_TRY(resolve(address));
  auto port = on_loop([&]() -> Result<uint16_t> {
    if (inner_->server) return unavailable("this messenger listens already");
    UcxWorker* worker = EBB_TRY(inner_->worker_for(address));
    auto server = std::make_unique<Server>(inner_->loop, inner_->options, std::move(handlers));
    const uint16_t bound = EBB_TRY(worker->listen(
        resolved, [raw = server.get()](auto endpoint) { raw->accept(std::move(endpoint)); }));
    inner_->server = std::move(server);
    return bound;
  });
  if (!port) return unavailable(port.error().message + ": " + address.text());
  port_ = *port;
  return {};
}

Result<std::shared_ptr<Connection>> MessengerImpl::connect(const HostPort& address,
                                                           PeerIdentity identity, Deadline by) {
  EBB_CHECK(!inner_->loop->on_this_thread());
  const auto too_long = [](const char* what, size_t max) {
    return invalid(std::string(what) + " is over the limit of " + std::to_string(max) + " bytes");
  };
  if (identity.cluster_token.size() > wire::kNameMax)
    return too_long("cluster_token", wire::kNameMax);
  if (identity.node.size() > wire::kNameMax) return too_long("node name", wire::kNameMax);
  if (identity.hello.size() > wire::kHelloMax) return too_long("hello", wire::kHelloMax);
  ServerPlace place{address, EBB_TRY(resolve(address))};

  std::shared_ptr<ClientConnection> connection;
  std::promise<Result<void>> promise;
  inner_->loop->post([&] {
    auto worker = inner_->worker_for(address);
    if (!worker) return promise.set_value(worker.error());
    connection = std::make_shared<ClientConnection>(inner_->loop, **worker, inner_->options,
                                                    std::move(place), std::move(identity));
    inner_->connections[connection.get()] = connection;
    connection->start(by, [&](Result<void> first) { promise.set_value(std::move(first)); });
  });
  Result<void> first = promise.get_future().get();
  if (!connection) return first.error();
  // A refused connection ends with its handle, too: on return nothing of it is left.
  auto handle = make_handle(connection, [inner = std::weak_ptr(inner_)](ClientConnection* ended) {
    if (const auto alive = inner.lock()) alive->connections.erase(ended);
  });
  if (!first) return first.error();
  return handle;
}

}  // namespace

Result<std::unique_ptr<Messenger>> Messenger::start(MessengerOptions options) {
  prepare_ucx_environment();
  return std::unique_ptr<Messenger>(std::make_unique<MessengerImpl>(std::move(options)));
}

}  // namespace ebb::data
