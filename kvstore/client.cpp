// The client: cuts a request into messages, keeps a few of them under way, joins the answers, and
// verifies every record on arrival. Owns no thread: completions of the messenger drive it.
#include "kvstore/client.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/fault.h"
#include "kvstore/listing.h"
#include "kvstore/wire.h"

namespace ebb::kvstore {
namespace {

static_assert(wire::kMessageBytesMax <= data::kPayloadMax);

/// Bytes of one message: large enough for the wire's full speed, small enough that checking an
/// answer does not hold up the messenger's thread for more than about a millisecond.
constexpr uint64_t kPieceBytes = 8 * kMiB;
constexpr uint32_t kPiecesUnderWay = 4;
constexpr uint32_t kDeadlineMillisMax = 600'000;

using Done = std::function<void(Result<void>)>;

uint32_t millis_left(Deadline by) {
  return static_cast<uint32_t>(std::min<int64_t>(by.left().count(), kDeadlineMillisMax));
}

/// Half-open range of items that go into one message.
struct Piece {
  size_t begin = 0;
  size_t end = 0;
};

template <class Item, class Bytes>
std::vector<Piece> cut(const std::vector<Item>& items, Bytes&& bytes_of) {
  std::vector<Piece> pieces;
  uint64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const uint64_t more = bytes_of(items[i]);
    const bool full = !pieces.empty() &&
                      (bytes + more > kPieceBytes || i - pieces.back().begin >= wire::kItemsMax);
    if (pieces.empty() || full) {
      pieces.push_back({i, i});
      bytes = 0;
    }
    bytes += more;
    pieces.back().end = i + 1;
  }
  return pieces;
}

/// Runs `count` pieces, a few at a time; `done` once, when none is under way any more. After the
/// first error no further piece starts. Shared by its pieces' completions: whichever ends last
/// frees it.
class Join : public std::enable_shared_from_this<Join> {
 public:
  using Start = std::function<void(size_t piece, Done done)>;
  Join(size_t count, Start start, Done done)
      : count_(count), start_(std::move(start)), done_(std::move(done)) {}

  void pump() {
    std::unique_lock lock(mutex_);
    if (pumping_) return;  // a completion inside start_: the outer call goes on
    pumping_ = true;
    while (!error_ && next_ < count_ && running_ < kPiecesUnderWay) {
      const size_t piece = next_++;
      ++running_;
      lock.unlock();
      start_(piece, [self = shared_from_this()](Result<void> result) {
        self->finished(std::move(result));
      });
      lock.lock();
    }
    pumping_ = false;
    if (running_ > 0 || (!error_ && next_ < count_) || !done_) return;
    const Done done = std::exchange(done_, nullptr);
    const Result<void> result = error_ ? Result<void>(*error_) : Result<void>();
    start_ = nullptr;
    lock.unlock();
    done(result);
  }

 private:
  void finished(Result<void> result) {
    {
      const std::lock_guard lock(mutex_);
      --running_;
      if (!result && !error_) error_ = result.error();
    }
    pump();
  }

  const size_t count_;
  std::mutex mutex_;
  Start start_;
  Done done_;
  size_t next_ = 0;
  size_t running_ = 0;
  bool pumping_ = false;
  std::optional<Error> error_;
};

/// Frames arrive without gaps; moves them to their places, from the back so that none is
/// overwritten before it moved.
void spread(std::span<const GetItem> asked, const GetReply& reply, uint64_t arrived,
            std::span<std::byte> destination) {
  uint64_t place = destination.size();
  for (size_t i = asked.size(); i-- > 0;) {
    const uint64_t frame = framed_bytes(asked[i].payload_bytes);
    for (int bit = 31; bit >= 0; --bit) {
      if ((asked[i].bitmap >> bit & 1) == 0) continue;
      place -= frame;
      if ((reply.items[i].present >> bit & 1) == 0) continue;
      arrived -= frame;
      if (arrived == place) return;  // nothing before this one has moved either
      std::memmove(destination.data() + place, destination.data() + arrived, frame);
    }
  }
}

/// Takes from `reply` what does not verify.
void verify_arrival(std::span<const GetItem> asked, std::span<const std::byte> destination,
                    GetReply& reply) {
  uint64_t place = 0;
  for (size_t i = 0; i < asked.size(); ++i) {
    const uint64_t frame = framed_bytes(asked[i].payload_bytes);
    for (uint32_t bit = 0; bit < 32; ++bit) {
      const uint32_t mask = 1u << bit;
      if ((asked[i].bitmap & mask) == 0) continue;
      const auto bytes = destination.subspan(place, frame);
      place += frame;
      if ((reply.items[i].present & mask) == 0 ||
          verify_record(bytes, asked[i].key, asked[i].first + bit))
        continue;
      reply.items[i].present &= ~mask;
      ++reply.corrupt;
    }
  }
}

/// Says where each item's first record lies, the first item's at `begin`.
void locate(std::span<const GetItem> asked, Arrival arrival, uint64_t begin, GetReply& reply) {
  for (size_t i = 0; i < asked.size(); ++i) {
    reply.items[i].at = begin;
    const uint32_t lie = arrival == Arrival::kChecked ? asked[i].bitmap : reply.items[i].present;
    begin += std::popcount(lie) * framed_bytes(asked[i].payload_bytes);
  }
}

uint64_t present_bytes(std::span<const GetItem> asked, const GetReply& reply) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < asked.size(); ++i) {
    bytes += std::popcount(reply.items[i].present) * framed_bytes(asked[i].payload_bytes);
  }
  return bytes;
}

/// What outlives the client object while requests are under way: shared by them.
struct Core {
  std::shared_ptr<data::Connection> connection;
  Epoch epoch;
  Counter& sent_bytes;
  Counter& received_bytes;
  Counter& device_bytes;
  Counter& corrupt_records;
  Counter& failures;

  data::Connection::Request request(wire::Operation operation, SeqId holder, size_t items,
                                    Deadline by) const {
    data::Connection::Request request;
    request.operation = static_cast<uint16_t>(operation);
    request.header = wire::encode_request(
        {operation, epoch, holder, static_cast<uint32_t>(items), millis_left(by)});
    request.deadline = by;
    return request;
  }
};
using CorePtr = std::shared_ptr<Core>;

/// One put or get or stat while it is under way; shared by the completions of its messages.
struct PutJob {
  SeqId holder;
  std::vector<PutItem> items;
  std::vector<Piece> pieces;
  Deadline by;
  std::mutex mutex;
  PutReply reply;
};
struct GetJob {
  std::vector<GetItem> items;
  std::vector<Piece> pieces;
  std::vector<uint64_t> offsets;  ///< of each piece in the destination
  std::span<std::byte> destination;
  Arrival arrival = Arrival::kChecked;
  Deadline by;
  std::mutex mutex;
  GetReply reply;
};
struct StatJob {
  std::vector<GranuleKey> keys;
  std::vector<Piece> pieces;
  Deadline by;
  std::mutex mutex;
  std::vector<StatItem> reply;
};

void send_put(const CorePtr& core, const std::shared_ptr<PutJob>& job, size_t index, Done done) {
  const Piece piece = job->pieces[index];
  const std::span<const PutItem> items(job->items.data() + piece.begin, piece.end - piece.begin);
  const auto table = std::make_shared<std::vector<std::byte>>(wire::encode_put_table(items));
  auto request = core->request(wire::Operation::kPut, job->holder, items.size(), job->by);
  request.payload.push_back(*table);
  uint64_t bytes = 0;
  for (const PutItem& item : items) {
    bytes += item.body.size();
    data::PayloadPart& last = request.payload.back();
    if (last.data() + last.size() == item.body.data()) {
      last = {last.data(),
              last.size() + item.body.size()};  // bodies that lie side by side travel as one part
    } else {
      request.payload.push_back(item.body);
    }
  }
  core->connection->send(std::move(request),
                         [core, job, table, bytes, done](Result<data::Reply> answer) {
                           if (!answer) return done(with_context("put", std::move(answer).error()));
                           auto reply = wire::decode_put_reply(answer->header);
                           if (!reply) return done(std::move(reply).error());
                           core->sent_bytes.add(static_cast<double>(bytes));
                           {
                             const std::lock_guard lock(job->mutex);
                             job->reply.accepted += reply->accepted;
                             job->reply.already_there += reply->already_there;
                           }
                           done({});
                         });
}

Result<GetReply> take_get_reply(const Core& core, const GetJob& job, size_t index,
                                const data::Reply& answer) {
  const Piece piece = job.pieces[index];
  const std::span<const GetItem> items(job.items.data() + piece.begin, piece.end - piece.begin);
  GetReply reply = EBB_TRY(wire::decode_get_reply(items, answer.header));
  if (answer.payload_bytes != present_bytes(items, reply)) {
    return corrupt("get: the store's payload does not fit its table");
  }
  core.received_bytes.add(static_cast<double>(answer.payload_bytes));
  locate(items, job.arrival, job.offsets[index], reply);
  if (job.arrival == Arrival::kOnDevice) {
    core.device_bytes.add(static_cast<double>(answer.payload_bytes));
  }
  if (job.arrival != Arrival::kChecked) return reply;
  const auto destination =
      job.destination.subspan(job.offsets[index], get_destination_bytes(items));
  spread(items, reply, answer.payload_bytes, destination);
  if (EBB_FAULT("kvstore.client.arrival") && !destination.empty()) destination[0] ^= std::byte{1};
  const uint32_t corrupt_there = reply.corrupt;
  verify_arrival(items, destination, reply);
  core.corrupt_records.add(reply.corrupt - corrupt_there);
  return reply;
}

void send_get(const CorePtr& core, const std::shared_ptr<GetJob>& job, size_t index, Done done) {
  const Piece piece = job->pieces[index];
  const std::span<const GetItem> items(job->items.data() + piece.begin, piece.end - piece.begin);
  const auto table = std::make_shared<std::vector<std::byte>>(wire::encode_get_table(items));
  auto request = core->request(wire::Operation::kGet, {}, items.size(), job->by);
  request.payload.push_back(*table);
  request.destination = job->destination.subspan(job->offsets[index], get_destination_bytes(items));
  if (job->arrival == Arrival::kOnDevice) request.destination_memory = data::Memory::kDevice;
  core->connection->send(
      std::move(request), [core, job, table, index, piece, done](Result<data::Reply> answer) {
        if (!answer) return done(with_context("get", std::move(answer).error()));
        auto reply = take_get_reply(*core, *job, index, *answer);
        if (!reply) return done(std::move(reply).error());
        {
          const std::lock_guard lock(job->mutex);
          std::copy(reply->items.begin(), reply->items.end(),
                    job->reply.items.begin() + static_cast<ptrdiff_t>(piece.begin));
          job->reply.corrupt += reply->corrupt;
        }
        done({});
      });
}

void send_stat(const CorePtr& core, const std::shared_ptr<StatJob>& job, size_t index, Done done) {
  const Piece piece = job->pieces[index];
  const size_t count = piece.end - piece.begin;
  const auto table = std::make_shared<std::vector<std::byte>>(
      wire::encode_keys(std::span<const GranuleKey>(job->keys).subspan(piece.begin, count)));
  auto request = core->request(wire::Operation::kStat, {}, count, job->by);
  request.payload.push_back(*table);
  core->connection->send(
      std::move(request), [core, job, table, piece, count, done](Result<data::Reply> answer) {
        if (!answer) return done(with_context("stat", std::move(answer).error()));
        auto reply = wire::decode_stat_reply(static_cast<uint32_t>(count), answer->header);
        if (!reply) return done(std::move(reply).error());
        {
          const std::lock_guard lock(job->mutex);
          std::copy(reply->begin(), reply->end(), job->reply.begin() + piece.begin);
        }
        done({});
      });
}

template <class Item>
Result<void> check_items(const char* what, const std::vector<Item>& items) {
  for (const Item& item : items) {
    if (auto checked = wire::check_item(item); !checked) return with_context(what, checked.error());
  }
  return {};
}

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(CorePtr core) : core_(std::move(core)) {}

  void put(SeqId holder, std::vector<PutItem> items, Deadline by,
           std::function<void(Result<PutReply>)> done) override {
    if (auto checked = check_items("put", items); !checked) return fail(checked.error(), done);
    const auto job = std::make_shared<PutJob>();
    job->holder = holder;
    job->items = std::move(items);
    job->pieces = cut(job->items, [](const PutItem& item) { return item.body.size() + 64; });
    job->by = by;
    run(
        job->pieces.size(),
        [core = core_, job](size_t i, Done piece) { send_put(core, job, i, std::move(piece)); },
        [core = core_, job, done](Result<void> result) {
          if (!result) return fail(*core, result.error(), done);
          done(job->reply);
        });
  }

  void get(std::vector<GetItem> items, std::span<std::byte> destination, Arrival arrival,
           Deadline by, std::function<void(Result<GetReply>)> done) override {
    if (auto checked = check_items("get", items); !checked) return fail(checked.error(), done);
    if (destination.size() < get_destination_bytes(items)) {
      return fail(
          invalid("get: destination of " + std::to_string(destination.size()) +
                  " bytes, the records need " + std::to_string(get_destination_bytes(items))),
          done);
    }
    const auto job = std::make_shared<GetJob>();
    job->items = std::move(items);
    job->pieces = cut(job->items, [](const GetItem& item) { return item.asked_bytes(); });
    uint64_t offset = 0;
    for (const Piece& piece : job->pieces) {
      job->offsets.push_back(offset);
      for (size_t i = piece.begin; i < piece.end; ++i) offset += job->items[i].asked_bytes();
    }
    job->destination = destination;
    job->arrival = arrival;
    job->by = by;
    job->reply.items.resize(job->items.size());
    run(
        job->pieces.size(),
        [core = core_, job](size_t i, Done piece) { send_get(core, job, i, std::move(piece)); },
        [core = core_, job, done](Result<void> result) {
          if (!result) return fail(*core, result.error(), done);
          done(std::move(job->reply));
        });
  }

  void drop(SeqId holder, Deadline by, Done done) override {
    simple(wire::Operation::kDrop, holder, by, done);
  }
  void flush(Deadline by, Done done) override { simple(wire::Operation::kFlush, {}, by, done); }

  void stat(std::vector<GranuleKey> keys, Deadline by,
            std::function<void(Result<std::vector<StatItem>>)> done) override {
    const auto job = std::make_shared<StatJob>();
    job->keys = std::move(keys);
    job->pieces = cut(job->keys, [](const GranuleKey&) { return sizeof(GranuleKey); });
    job->by = by;
    job->reply.resize(job->keys.size());
    run(
        job->pieces.size(),
        [core = core_, job](size_t i, Done piece) { send_stat(core, job, i, std::move(piece)); },
        [core = core_, job, done](Result<void> result) {
          if (!result) return fail(*core, result.error(), done);
          done(std::move(job->reply));
        });
  }

  void list(ListQuery query, Deadline by, std::function<void(Result<ListPage>)> done) override {
    if (auto checked = check_query(query); !checked)
      return fail(with_context("list", checked.error()), done);
    const auto payload =
        std::make_shared<const std::vector<std::byte>>(wire::encode_list_query(query));
    auto request =
        core_->request(wire::Operation::kList, query.sequence.value_or(SeqId{}), query.limit, by);
    request.payload.push_back(*payload);
    core_->connection->send(std::move(request),
                            [core = core_, payload, query, done](Result<data::Reply> answer) {
                              if (!answer)
                                return fail(*core, with_context("list", answer.error()), done);
                              auto page = wire::decode_list_reply(query, answer->header);
                              if (!page) return fail(*core, page.error(), done);
                              done(std::move(page));
                            });
  }

  bool connected() const override { return core_->connection->connected(); }

 private:
  template <class T>
  static void fail(const Core& core, const Error& error,
                   const std::function<void(Result<T>)>& done) {
    core.failures.add();
    done(error);
  }
  template <class T>
  void fail(const Error& error, const std::function<void(Result<T>)>& done) {
    fail(*core_, error, done);
  }

  static void run(size_t pieces, Join::Start start, Done done) {
    std::make_shared<Join>(pieces, std::move(start), std::move(done))->pump();
  }

  void simple(wire::Operation operation, SeqId holder, Deadline by, const Done& done) {
    core_->connection->send(
        core_->request(operation, holder, 0, by),
        [core = core_, operation, done](Result<data::Reply> answer) {
          if (!answer) {
            return fail(*core, with_context(wire::operation_name(operation), answer.error()), done);
          }
          if (auto reply = wire::decode_empty_reply(operation, answer->header); !reply) {
            return fail(*core, reply.error(), done);
          }
          done({});
        });
  }

  CorePtr core_;
};

}  // namespace

Result<std::unique_ptr<Client>> Client::connect(data::Messenger& messenger, const HostPort& store,
                                                ClientIdentity identity, Metrics& metrics,
                                                Deadline by) {
  const wire::Hello hello{identity.group, identity.layout, identity.record_bytes};
  if (hello.record_bytes.size() > wire::kBandsMax) {
    return invalid("kvstore client: " + std::to_string(hello.record_bytes.size()) +
                   " bands, at most " + std::to_string(wire::kBandsMax));
  }
  data::PeerIdentity peer;
  peer.cluster_token = identity.cluster_token;
  peer.node = identity.node;
  peer.epoch = identity.epoch;
  peer.hello = wire::encode_hello(hello);
  // Reads back what was written: a group name that the store would refuse fails here, before
  // anything is sent.
  EBB_TRY(wire::decode_hello(peer.hello));
  auto connection = messenger.connect(store, std::move(peer), by);
  if (!connection) return with_context("kvstore " + store.text(), connection.error());

  const char* bytes_help = "Bytes of granules and records exchanged with the stores, by direction.";
  return std::unique_ptr<Client>(std::make_unique<ClientImpl>(std::make_shared<Core>(
      Core{std::move(*connection), identity.epoch,
           metrics.counter("ebb_kv_client_bytes_total", bytes_help, {{"direction", "out"}}),
           metrics.counter("ebb_kv_client_bytes_total", bytes_help, {{"direction", "in"}}),
           metrics.counter("ebb_kv_client_device_bytes_total",
                           "Bytes of records that the network wrote to memory of the device."),
           metrics.counter("ebb_kv_checksum_failures_total",
                           "Records that failed a check, by tier and place.",
                           {{"tier", "wire"}, {"where", "client"}}),
           metrics.counter("ebb_kv_client_failures_total",
                           "Requests to a store that ended in an error.")})));
}

}  // namespace ebb::kvstore
