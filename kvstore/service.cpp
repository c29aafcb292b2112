#include "kvstore/service.h"

#include <unistd.h>

#include <algorithm>

#include "base/fault.h"
#include "base/log.h"
#include "kvstore/listing.h"

namespace ebb::kvstore {
namespace {

constexpr uint32_t kDeadlineMillisMax = 600'000;

data::OutgoingReply header_only(std::vector<std::byte> header) {
  data::OutgoingReply reply;
  reply.header = std::move(header);
  return reply;
}

Result<ListQuery> list_query(const control::GranuleQuery& asked) {
  ListQuery query;
  query.sequence = asked.seq;
  query.limit = asked.limit;
  if (!asked.cursor.empty()) query.after = EBB_TRY(parse_cursor(asked.cursor));
  EBB_TRY_VOID(check_query(query));
  return query;
}

control::GranulePage granule_page(const ListPage& page) {
  control::GranulePage out;
  for (const ListItem& item : page.items) {
    const GranuleInfo& info = item.info;
    out.granules.push_back({to_hex(info.key.digest), info.key.band, info.key.head_begin,
                            info.key.head_end, info.key.kind != 0, info.first, info.records,
                            info.body_bytes(), item.on_host, item.on_ssd, item.durable,
                            item.holders});
  }
  if (page.next) out.next = to_text(*page.next);
  return out;
}

/// A granule's frames lie in memory that the reply keeps.
data::OutgoingReply gathered_reply(Gathered gathered) {
  data::OutgoingReply reply = header_only(wire::encode_get_reply(gathered.reply));
  reply.payload.assign(gathered.frames.begin(), gathered.frames.end());
  reply.keep_alive = std::move(gathered.memory);
  return reply;
}

}  // namespace

Service::Service(Store& store, std::string name, Metrics& metrics)
    : store_(store), name_(std::move(name)), gauges_(metrics) {}

data::ServerHandlers Service::handlers() {
  data::ServerHandlers handlers;
  handlers.on_hello = [this](uint64_t connection, const data::PeerIdentity& peer) {
    auto admitted = hello(connection, peer);
    if (!admitted) {
      log_warn("kvstore", "hello refused",
               {{"node", peer.node}, {"why", admitted.error().message}});
    }
    return admitted;
  };
  handlers.on_request = [this](data::IncomingRequest incoming, data::Responder respond) {
    request(std::move(incoming), std::move(respond));
  };
  handlers.on_disconnect = [this](uint64_t connection) {
    const std::lock_guard lock(mutex_);
    sessions_.disconnect(connection);
  };
  return handlers;
}

Result<void> Service::hello(uint64_t connection, const data::PeerIdentity& peer) {
  const wire::Hello hello = EBB_TRY(wire::decode_hello(peer.hello));
  std::vector<uint64_t> ended;
  {
    const std::lock_guard lock(mutex_);
    ended = EBB_TRY(sessions_.hello(connection, peer.node, peer.epoch, hello));
  }
  // Told to the store before any request of the new epoch can be.
  for (uint64_t session : ended) store_.end_session(session);
  log_info("kvstore", "client connected",
           {{"node", peer.node}, {"epoch", peer.epoch.value}, {"layout", to_hex(hello.layout)}});
  return {};
}

void Service::request(data::IncomingRequest incoming, data::Responder respond) {
  if (requests_.fetch_add(1) >= kRequestsMax) {
    requests_.fetch_sub(1);
    return respond(
        exhausted("the store works on " + std::to_string(kRequestsMax) + " requests already"));
  }
  const data::Responder answer = [this, respond](Result<data::OutgoingReply> reply) {
    requests_.fetch_sub(1);
    respond(std::move(reply));
  };
  if (auto begun = dispatch(incoming, answer); !begun) answer(begun.error());
}

/// An error is the answer; otherwise `respond` runs later.
Result<void> Service::dispatch(data::IncomingRequest& incoming, const data::Responder& respond) {
  const auto head = EBB_TRY(wire::decode_request(incoming.operation, incoming.header));
  std::shared_ptr<const Session> session;
  {
    const std::lock_guard lock(mutex_);
    session = EBB_TRY(sessions_.session_of(incoming.connection, head.epoch));
  }
  const Deadline by = Deadline::after(Millis(std::min(head.deadline_ms, kDeadlineMillisMax)));
  const auto empty = [respond, operation = head.operation](Result<void> result) {
    if (!result) return respond(result.error());
    respond(header_only(wire::encode_empty_reply(operation)));
  };
  switch (head.operation) {
    case wire::Operation::kPut:
      return dispatch_put(incoming, head, *session, by, respond);
    case wire::Operation::kGet:
      store_.get(EBB_TRY(wire::decode_get(head.items, incoming.payload)), by,
                 [respond](Result<Gathered> gathered) {
                   if (!gathered) return respond(std::move(gathered).error());
                   respond(gathered_reply(std::move(*gathered)));
                 });
      return {};
    case wire::Operation::kStat:
      store_.stat(EBB_TRY(wire::decode_keys(head.items, incoming.payload)),
                  [respond](Result<std::vector<StatItem>> items) {
                    if (!items) return respond(std::move(items).error());
                    respond(header_only(wire::encode_stat_reply(*items)));
                  });
      return {};
    case wire::Operation::kList:
      store_.list(EBB_TRY(wire::decode_list_query(head, incoming.payload)),
                  [respond](Result<ListPage> page) {
                    if (!page) return respond(std::move(page).error());
                    respond(header_only(wire::encode_list_reply(*page)));
                  });
      return {};
    case wire::Operation::kDrop:
      store_.drop({session->id, head.holder}, empty);
      return {};
    case wire::Operation::kFlush:
      store_.flush(by, empty);
      return {};
  }
  return internal_error("an operation that decoding let through");
}

Result<void> Service::dispatch_put(data::IncomingRequest& incoming, const wire::RequestHead& head,
                                   const Session& session, Deadline by,
                                   const data::Responder& respond) {
  // The bodies point into the payload: it lives until the store has them.
  const auto payload = std::make_shared<std::vector<std::byte>>(std::move(incoming.payload));
  if (EBB_FAULT("kvstore.wire.put") && !payload->empty()) payload->back() ^= std::byte{1};
  auto items = EBB_TRY(wire::decode_put(head.items, *payload));
  EBB_TRY_VOID(check_bands(session, items));
  store_.put({session.id, head.holder}, std::move(items), payload, by,
             [respond](Result<PutReply> reply) {
               if (!reply) return respond(std::move(reply).error());
               respond(header_only(wire::encode_put_reply(*reply)));
             });
  return {};
}

control::StoreStatus Service::status() const {
  const StoreSnapshot now = store_.snapshot();
  control::StoreStatus status;
  status.name = name_;
  status.pid = static_cast<uint64_t>(getpid());
  const auto add = [&](const char* tier, const TierUsage& usage, uint64_t held,
                       uint64_t evictions) {
    status.tiers.push_back({tier, usage.capacity_bytes, usage.used_bytes, usage.granules, held,
                            evictions, usage.writable, usage.note});
  };
  add("host", now.host, now.host_held, now.host_evictions);
  if (now.has_ssd) add("ssd", now.ssd, now.ssd_held, now.ssd_evictions);
  status.puts = now.puts;
  status.gets = now.gets;
  status.misses = now.misses;
  status.corrupt = now.corrupt;
  return status;
}

void Service::list(const control::GranuleQuery& query,
                   std::function<void(Result<control::GranulePage>)> answer) {
  const auto checked = list_query(query);
  if (!checked) return answer(checked.error());
  store_.list(*checked, [answer = std::move(answer)](Result<ListPage> page) {
    if (!page) return answer(std::move(page).error());
    answer(granule_page(*page));
  });
}

void Service::refresh_metrics() { gauges_.show(store_.snapshot()); }

}  // namespace ebb::kvstore
