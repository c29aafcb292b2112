// A store behind a real messenger on the loopback, in this process, and clients of it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/units.h"
#include "kvstore/client.h"
#include "kvstore/service.h"
#include "tests/kvstore/support.h"

namespace ebb::kvstore {

inline constexpr Millis kLong(15000);

inline Digest layout_of(uint8_t fill) {
  Digest layout;
  layout.bytes.fill(fill);
  return layout;
}

/// A store with its messenger, as the process wires them.
struct Server {
  Metrics metrics;
  std::unique_ptr<Service> service;
  std::unique_ptr<Store> store;
  std::unique_ptr<data::Messenger> messenger;

  void start(const StoreOptions& options, uint16_t port = 0) {
    auto opened = Store::open(options, metrics);
    ASSERT_OK(opened);
    store = std::move(*opened);
    service = std::make_unique<Service>(*store, "s0", metrics);
    data::MessengerOptions messaging;
    messaging.name = "data";
    messaging.cluster_token = "token";
    auto started = data::Messenger::start(messaging);
    ASSERT_OK(started);
    messenger = std::move(*started);
    ASSERT_OK(messenger->listen({"127.0.0.1", port}, service->handlers()));
  }
  void stop() {
    messenger.reset();
    store.reset();
    service.reset();
  }
  ~Server() { stop(); }
};

class ServiceFixture : public testing::Test {
 protected:
  void SetUp() override {
    data::MessengerOptions messaging;
    messaging.name = "client";
    messaging.device_memory = data::DeviceMemory::kAsHost;
    auto started = data::Messenger::start(messaging);
    ASSERT_OK(started);
    messenger_ = std::move(*started);
  }
  void start(uint64_t host_bytes = 64 * kMiB, uint64_t ssd_bytes = 0) {
    options_.host_bytes = host_bytes;
    options_.ssd.quota_bytes = ssd_bytes;
    options_.ssd_path = directory_.path("ssd");
    server_.start(options_);
  }
  ClientIdentity identity(uint64_t epoch = 1, uint8_t layout = 1,
                          const std::string& node = "g0/rank0") {
    return {"token", node, "g0", Epoch{epoch}, layout_of(layout), {3072, 4096}};
  }
  Result<std::unique_ptr<Client>> connect(const ClientIdentity& who) {
    return Client::connect(*messenger_, {"127.0.0.1", server_.messenger->port()}, who, metrics_,
                           Deadline::after(kLong));
  }
  Result<PutReply> put(Client& client, SeqId holder, const std::vector<Granule>& granules) {
    std::vector<PutItem> items;
    for (const Granule& granule : granules) items.push_back(granule.put_item());
    return wait_for<PutReply>(
        [&](auto done) { client.put(holder, items, Deadline::after(kLong), done); });
  }
  Result<GetReply> get(Client& client, const std::vector<GetItem>& items,
                       Arrival arrival = Arrival::kChecked) {
    frames_.assign(get_destination_bytes(items), std::byte{0xee});
    return wait_for<GetReply>(
        [&](auto done) { client.get(items, frames_, arrival, Deadline::after(kLong), done); });
  }

  TempDir directory_;
  Metrics metrics_;
  StoreOptions options_;
  Server server_;
  std::unique_ptr<data::Messenger> messenger_;
  std::vector<std::byte> frames_;
};

}  // namespace ebb::kvstore
