#include "transport/collective/gloo_mesh.h"

#include <fcntl.h>
#include <gloo/context.h>
#include <gloo/transport/context.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/address.h>
#include <gloo/transport/tcp/device.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "transport/collective/socket_text.h"

namespace ebb::collective {
namespace tcp = gloo::transport::tcp;
namespace {

constexpr int kHelloSlot = 0;
constexpr uint32_t kHelloMagic = 0x4f4c4545;

std::string address_of(const gloo::transport::Pair& pair) {
  const auto& address = dynamic_cast<const tcp::Address&>(pair.address());
  auto text = address_to_text(address.getSockaddr());
  return text ? *text : std::string();
}

/// A duplicate of the connected socket whose own end is `address`, or -1. A synchronous pair holds
/// its lock while it blocks in a read, so that its close() cannot end that read; shutting the
/// socket down can, but Gloo does not show its sockets. The local address of a connection is this
/// process's own, and no two of its sockets share it.
int duplicate_socket_at(const std::string& address) {
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", failed)) {
    const int duplicate = fcntl(std::atoi(entry.path().filename().c_str()), F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0) continue;
    sockaddr_storage local{};
    sockaddr_storage peer{};
    socklen_t local_size = sizeof local;
    socklen_t peer_size = sizeof peer;
    if (getsockname(duplicate, reinterpret_cast<sockaddr*>(&local), &local_size) == 0 &&
        (local.ss_family == AF_INET || local.ss_family == AF_INET6) &&
        getpeername(duplicate, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0) {
      const auto text = address_to_text(local);
      if (text && *text == address) return duplicate;
    }
    close(duplicate);
  }
  return -1;
}

/// A write to a dead peer must be an error, not the end of the process; Gloo writes without
/// MSG_NOSIGNAL.
void ignore_broken_pipes() {
  struct sigaction now {};
  if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
    std::signal(SIGPIPE, SIG_IGN);
  }
}

/// Bytes that a connection's send buffer takes without a reader. Gloo asks for a buffer of each
/// message's size, and the kernel grants up to net.core.wmem_max (and doubles that, for its own
/// overhead).
uint32_t send_buffer_max() {
  constexpr int kWanted = 1 << 20;
  const int probe = socket(AF_INET, SOCK_STREAM, 0);
  int granted = 0;
  socklen_t size = sizeof granted;
  const bool ok = probe >= 0 &&
                  setsockopt(probe, SOL_SOCKET, SO_SNDBUF, &kWanted, sizeof kWanted) == 0 &&
                  getsockopt(probe, SOL_SOCKET, SO_SNDBUF, &granted, &size) == 0;
  if (probe >= 0) close(probe);
  return ok ? static_cast<uint32_t>(granted) / 2 : 0;
}

}  // namespace

/// Lets us hand a finished mesh to Gloo's context.
class GlooMesh::OpenContext : public gloo::Context {
 public:
  OpenContext(int our_rank, int ranks) : gloo::Context(our_rank, ranks) {}
  void adopt(std::shared_ptr<gloo::transport::Device> device) {
    device_ = std::move(device);
    transportContext_ = device_->createContext(rank, size);
  }
  gloo::transport::Context& transport() { return *transportContext_; }
};

struct GlooMesh::Hello {
  uint32_t magic = kHelloMagic;
  uint32_t rank = 0;
  uint32_t size = 0;
  uint32_t message_max = 0;
  uint64_t epoch = 0;
};

GlooMesh::GlooMesh(const CollectiveOptions& options)
    : options_(options), pairs_(options.size, nullptr), sockets_(options.size, -1) {}

GlooMesh::~GlooMesh() {
  break_up();
  context_.reset();
  open_.reset();
  for (int socket : sockets_) {
    if (socket >= 0) close(socket);
  }
}

const std::shared_ptr<gloo::Context>& GlooMesh::context() const { return context_; }
gloo::transport::Pair& GlooMesh::pair(uint32_t rank) { return *pairs_[rank]; }

std::string GlooMesh::key(uint32_t rank) const {
  return "epoch" + std::to_string(options_.epoch.value) + "/collective/" + std::to_string(rank);
}

Result<void> GlooMesh::form(const Rendezvous& rendezvous) {
  ignore_broken_pipes();
  EBB_TRY_VOID(open_pairs());
  EBB_TRY_VOID(rendezvous.put(key(options_.rank), own_addresses()));
  // All addresses first: once they are all there every rank is alive and about to connect.
  std::vector<std::string> addresses(options_.size);
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank != options_.rank) {
      addresses[rank] = EBB_TRY(rendezvous.get(key(rank), options_.form_by));
    }
  }
  EBB_TRY_VOID(connect_pairs(addresses));
  return greet();
}

Result<void> GlooMesh::open_pairs() {
  tcp::attr attributes(EBB_TRY(resolve_host(options_.listen_host)).c_str());
  open_ = std::make_shared<OpenContext>(options_.rank, options_.size);
  context_ = open_;
  open_->adopt(tcp::CreateDevice(attributes));
  // The second line of defence: whoever guards a call breaks the mesh up before a read has waited
  // that long.
  open_->transport().setTimeout(options_.call_deadline + Millis(1000));
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank == options_.rank) continue;
    auto* pair = open_->transport().createPair(static_cast<int>(rank)).get();
    std::lock_guard lock(mutex_);
    if (broken_) return timed_out("the mesh was broken up while it formed");
    pairs_[rank] = pair;
  }
  return {};
}

/// Each pair listens on a port of its own: "1=127.0.0.1:40001 2=127.0.0.1:40002".
std::string GlooMesh::own_addresses() {
  std::string text;
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank == options_.rank) continue;
    text += (text.empty() ? "" : " ") + std::to_string(rank) + "=" + address_of(*pairs_[rank]);
  }
  return text;
}

namespace {
/// The address that the writer of `text` keeps for `rank`.
Result<sockaddr_storage> address_for(uint32_t rank, const std::string& text) {
  const std::string name = std::to_string(rank) + "=";
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (text.compare(at, name.size(), name) == 0) {
      return address_from_text(text.substr(at + name.size(), end - at - name.size()));
    }
    at = end + 1;
  }
  return unavailable("rank " + std::to_string(rank) + " is not among the addresses of its peer");
}
}  // namespace

Result<void> GlooMesh::connect_pairs(const std::vector<std::string>& addresses) {
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank == options_.rank) continue;
    const sockaddr_storage address = EBB_TRY(address_for(options_.rank, addresses[rank]));
    pairs_[rank]->connect(tcp::Address(address).bytes());
  }
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank == options_.rank) continue;
    pairs_[rank]->setSync(true, false);
    const int socket = duplicate_socket_at(address_of(*pairs_[rank]));
    if (socket < 0) return unavailable("rank " + std::to_string(rank) + " left while connecting");
    std::lock_guard lock(mutex_);
    sockets_[rank] = socket;
  }
  std::lock_guard lock(mutex_);
  if (broken_) return timed_out("the mesh was broken up while it formed");
  connected_ = true;
  return {};
}

/// Ports are used again: without this a late rank of an earlier incarnation could be taken for a
/// peer.
Result<void> GlooMesh::greet() {
  Hello mine;
  mine.rank = options_.rank;
  mine.size = options_.size;
  mine.epoch = options_.epoch.value;
  mine.message_max = send_buffer_max();
  message_max_ = mine.message_max;
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank == options_.rank) continue;
    pairs_[rank]->createSendBuffer(kHelloSlot, &mine, sizeof mine)->send(0, sizeof mine);
  }
  for (uint32_t rank = 0; rank < options_.size; ++rank) {
    if (rank == options_.rank) continue;
    Hello theirs;
    pairs_[rank]->createRecvBuffer(kHelloSlot, &theirs, sizeof theirs)->waitRecv();
    if (theirs.magic != kHelloMagic || theirs.rank != rank || theirs.size != options_.size ||
        theirs.epoch != options_.epoch.value) {
      return unavailable("rank " + std::to_string(rank) + " of epoch " +
                         std::to_string(options_.epoch.value) + " is not who answered there");
    }
    message_max_ = std::min<uint64_t>(message_max_, theirs.message_max);
  }
  context_->nextSlot();  // ours is taken
  return {};
}

void GlooMesh::break_up() {
  std::lock_guard lock(mutex_);
  broken_ = true;
  for (int socket : sockets_) {
    if (socket >= 0) shutdown(socket, SHUT_RDWR);
  }
  if (connected_) return;
  for (auto* pair : pairs_) {
    if (pair != nullptr) pair->close();
  }
}

}  // namespace ebb::collective
