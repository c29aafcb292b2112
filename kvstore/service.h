// Stands between the messenger and the store: decodes, admits, answers. Owns no thread and no
// granule.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "kvstore/sessions.h"
#include "kvstore/store.h"
#include "kvstore/store_metrics.h"
#include "transport/control/messages.h"
#include "transport/data/messenger.h"

namespace ebb::kvstore {

class Service {
 public:
  /// Requests that may be in the store at once; more are answered kExhausted.
  static constexpr uint32_t kRequestsMax = 4096;

  /// `store` must outlive the messenger that is given the handlers.
  Service(Store& store, std::string name, Metrics& metrics);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// Run on the messenger's thread. This object must outlive the messenger.
  data::ServerHandlers handlers();
  /// Any thread; does not block.
  control::StoreStatus status() const;
  /// What the coordinator asks for an operator. Any thread; answers once, on the store's.
  void list(const control::GranuleQuery& query,
            std::function<void(Result<control::GranulePage>)> answer);
  /// Sets the gauges to what the store says now. Any thread.
  void refresh_metrics();

 private:
  Result<void> hello(uint64_t connection, const data::PeerIdentity& peer);
  void request(data::IncomingRequest incoming, data::Responder respond);
  Result<void> dispatch(data::IncomingRequest& incoming, const data::Responder& respond);
  Result<void> dispatch_put(data::IncomingRequest& incoming, const wire::RequestHead& head,
                            const Session& session, Deadline by, const data::Responder& respond);

  Store& store_;
  const std::string name_;
  StoreMetrics gauges_;
  /// of sessions_: hello and requests come from one thread, refresh from others
  std::mutex mutex_;
  Sessions sessions_;
  std::atomic<uint32_t> requests_{0};
};

}  // namespace ebb::kvstore
