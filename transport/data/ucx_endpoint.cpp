#include "transport/data/ucx_endpoint.h"

#include <ucp/api/ucp.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "transport/data/ucx_raw.h"
#include "transport/data/ucx_worker.h"

namespace ebb::data {
namespace {

/// Up to here a body is sent at once and copied out of the receiver's buffer; above, the receiver
/// is asked for a place first.
constexpr uint64_t kEagerMax = 48 << 10;

}  // namespace

/// One send or one receive while UCX has its memory.
struct UcxEndpoint::Transfer {
  std::shared_ptr<UcxEndpoint> endpoint;  ///< the endpoint outlives its transfers
  bool is_receive = false;
  Memory memory = Memory::kHost;  ///< of all pieces
  wire::FrameBytes frame{};
  Body body;
  std::vector<std::byte> staged;
  std::vector<ucp_dt_iov_t> pieces;
  Done done;

  void add(std::span<const std::byte> piece) {
    if (!piece.empty()) {
      pieces.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
    }
  }
  /// Where the bytes are, as UCX wants to hear it: one piece by address and size, several as a
  /// list.
  std::pair<void*, size_t> describe(ucp_request_param_t& param) {
    if (pieces.empty()) return {nullptr, 0};
    if (pieces.size() == 1) return {pieces[0].buffer, pieces[0].length};
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_DATATYPE;
    param.datatype = UCP_DATATYPE_IOV;
    return {pieces.data(), pieces.size()};
  }
  static void on_sent(void* request, ucs_status_t status, void* user_data) {
    ucp_request_free(request);
    auto* self = static_cast<Transfer*>(user_data);
    self->endpoint->finish(self, status);
  }
  static void on_received(void* request, ucs_status_t status, size_t, void* user_data) {
    on_sent(request, status, user_data);
  }
};

UcxEndpoint::~UcxEndpoint() { EBB_CHECK(handle_ == nullptr || handle_closed_); }

namespace {
uint64_t bytes_of(const std::vector<PayloadPart>& parts) {
  uint64_t bytes = 0;
  for (const PayloadPart& part : parts) bytes += part.size();
  return bytes;
}
}  // namespace

void UcxEndpoint::send(wire::Frame frame, Body body, Done done) {
  frame.header_bytes = static_cast<uint32_t>(body.header.size());
  frame.payload_bytes = bytes_of(body.payload);
  send_raw(wire::encode(frame), std::move(body), std::move(done));
}

void UcxEndpoint::send_raw(const wire::FrameBytes& frame, Body body, Done done) {
  if (closing_ || broken_) {
    body.keep_alive.reset();
    return done(false);
  }
  auto transfer = std::make_unique<Transfer>();
  transfer->endpoint = shared_from_this();
  transfer->frame = frame;
  transfer->body = std::move(body);
  transfer->done = std::move(done);
  const Body& kept = transfer->body;
  const uint64_t bytes = kept.header.size() + bytes_of(kept.payload);
  const bool eager = kept.way == Way::kBySize && bytes <= kEagerMax;
  if (eager) {
    transfer->staged.reserve(bytes);
    transfer->staged = kept.header;
    for (const PayloadPart& part : kept.payload) {
      transfer->staged.insert(transfer->staged.end(), part.begin(), part.end());
    }
    transfer->add(transfer->staged);
  } else {
    transfer->add(kept.header);
    for (const PayloadPart& part : kept.payload) transfer->add(part);
  }
  start_send(std::move(transfer), eager);
}

void UcxEndpoint::start_send(std::unique_ptr<Transfer> transfer, bool eager) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                       UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  param.flags = UCP_AM_SEND_FLAG_REPLY | (eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV);
  param.memory_type = UCS_MEMORY_TYPE_HOST;
  param.user_data = transfer.get();
  param.cb.send = &Transfer::on_sent;
  const auto [data, count] = transfer->describe(param);
  Transfer* raw = transfer.release();
  ++transferring_;
  ucs_status_ptr_t request =
      ucp_am_send_nbx(handle_, UcxWorker::kActiveMessageId, raw->frame.data(), raw->frame.size(),
                      data, count, &param);
  worker_.wake_soon();  // while the pump sleeps nobody would push on what did not go out at once
  if (!UCS_PTR_IS_PTR(request)) finish(raw, UCS_PTR_RAW_STATUS(request));
}

void UcxEndpoint::start_receive(std::unique_ptr<Transfer> transfer, void* descriptor) {
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  const bool cuda = transfer->memory == Memory::kDevice && worker_.device_ == DeviceMemory::kAsCuda;
  param.memory_type = cuda ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
  param.user_data = transfer.get();
  param.cb.recv_am = &Transfer::on_received;
  const auto [data, count] = transfer->describe(param);
  Transfer* raw = transfer.release();
  ++transferring_;
  ++receiving_;
  ucs_status_ptr_t request = ucp_am_recv_data_nbx(worker_.worker_, descriptor, data, count, &param);
  if (!UCS_PTR_IS_PTR(request)) finish(raw, UCS_PTR_RAW_STATUS(request));
}

void UcxEndpoint::finish(Transfer* transfer, int status) {
  std::unique_ptr<Transfer> owned(transfer);
  --transferring_;
  if (owned->is_receive) --receiving_;
  owned->body.keep_alive.reset();
  const auto self = std::move(owned->endpoint);
  owned->done(status == UCS_OK);
  if (closing_ && transferring_ == 0) finish_close();
}

/// What an owner sees of a RawMessage.
class UcxEndpoint::Arrival final : public Incoming {
 public:
  Arrival(UcxEndpoint& endpoint, const RawMessage& raw) : endpoint_(endpoint), raw_(raw) {}
  std::span<const std::byte> frame() const override { return raw_.frame; }
  uint64_t body_bytes() const override { return raw_.body_bytes; }
  bool is_receiving() const { return is_receiving_; }

  void take(std::span<std::byte> header, std::span<std::byte> payload,
            std::function<void(bool whole)> done) override {
    EBB_CHECK(header.size() + payload.size() == raw_.body_bytes);
    if (raw_.body_bytes > 0 && raw_.is_rendezvous) {
      auto transfer = receive(std::move(done));
      transfer->add(header);
      transfer->add(payload);
      return endpoint_.start_receive(std::move(transfer), raw_.body);
    }
    const auto* body = static_cast<const std::byte*>(raw_.body);
    std::copy_n(body, header.size(), header.begin());
    std::copy_n(body + header.size(), payload.size(), payload.begin());
    done(true);
  }

  bool is_rendezvous() const override { return raw_.is_rendezvous; }
  void take_to_device(std::span<std::byte> payload, std::function<void(bool whole)> done) override {
    EBB_CHECK(payload.size() == raw_.body_bytes && raw_.body_bytes > 0 && raw_.is_rendezvous);
    EBB_CHECK(endpoint_.worker_.takes_device_memory());
    auto transfer = receive(std::move(done));
    transfer->memory = Memory::kDevice;
    transfer->add(payload);
    endpoint_.start_receive(std::move(transfer), raw_.body);
  }

 private:
  std::unique_ptr<Transfer> receive(Done done) {
    is_receiving_ = true;
    auto transfer = std::make_unique<Transfer>();
    transfer->endpoint = endpoint_.shared_from_this();
    transfer->is_receive = true;
    transfer->done = std::move(done);
    return transfer;
  }
  UcxEndpoint& endpoint_;
  const RawMessage& raw_;
  bool is_receiving_ = false;
};

bool UcxEndpoint::deliver(const RawMessage& message) {
  if (closing_ || owner_ == nullptr) return false;
  Arrival arrival(*this, message);
  owner_->on_message(arrival);
  return arrival.is_receiving();
}

void UcxEndpoint::close(std::function<void()> closed) {
  EBB_CHECK(!closing_);
  closing_ = true;
  closed_ = std::move(closed);
  worker_.endpoints_.erase(handle_);
  // Not here: we may be inside one of UCX's callbacks, where an endpoint must not be closed.
  worker_.loop_.post([self = shared_from_this()] { self->close_now(); });
}

void UcxEndpoint::close_now() {
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  // The closing itself counts as a transfer, so that the endpoint is not thought drained before it.
  auto* transfer = new Transfer;
  transfer->endpoint = shared_from_this();
  transfer->done = [this](bool) { handle_closed_ = true; };
  param.user_data = transfer;
  param.cb.send = &Transfer::on_sent;
  ++transferring_;
  ++worker_.closing_endpoints_;
  ucs_status_ptr_t request = ucp_ep_close_nbx(handle_, &param);
  if (!UCS_PTR_IS_PTR(request)) finish(transfer, UCS_PTR_RAW_STATUS(request));
  worker_.drain_closing();
}

void UcxEndpoint::finish_close() {
  if (!handle_closed_ || !closed_) return;
  --worker_.closing_endpoints_;
  // A task of its own: whoever is told may destroy what called us.
  worker_.loop_.post(std::exchange(closed_, nullptr));
}

void UcxEndpoint::report_broken(int status) {
  if (broken_ || closing_) return;
  broken_ = true;
  const char* why = ucs_status_string(static_cast<ucs_status_t>(status));
  worker_.loop_.post([self = shared_from_this(), why] {
    if (!self->closing_ && self->owner_ != nullptr) self->owner_->on_broken(why);
  });
}

}  // namespace ebb::data
