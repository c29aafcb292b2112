// Collectives over Gloo. The only file that knows both our interface and Gloo's algorithms; knows
// nothing of epochs, workers or models. Every exception of Gloo's ends here.
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/transport/buffer.h>
#include <gloo/transport/pair.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "transport/collective/call_guard.h"
#include "transport/collective/collective.h"
#include "transport/collective/gloo_mesh.h"

namespace ebb::collective {
namespace {

/// Floats of one piece of a reduction. In the algorithm two ranks write half a piece to each other
/// before either reads, so half a piece must fit in a send buffer, or both block for ever. Larger
/// pieces are not faster: the piece no longer fits in the second-level cache.
constexpr uint64_t kPieceFloatsMax = 96 << 10;
constexpr uint64_t kPieceFloatsMin = 1 << 10;
/// An algorithm object is built for one count and keeps a receive buffer of that size. Counts are
/// rounded up to 1024 * {1, 1.5, 2, 3, 4, 6, ... 96} and padded with zeros, so that there are 14
/// objects and not one for every batch size, and all ranks always have the same ones.
constexpr size_t kSizesMax = 14;

constexpr uint64_t rounded_size(size_t index) {
  const uint64_t power = kPieceFloatsMin << (index / 2);
  return index % 2 == 0 ? power : power + power / 2;
}
static_assert(rounded_size(kSizesMax - 1) == kPieceFloatsMax);

/// "[file:line] what" -> "what": the file is Gloo's, and helps nobody.
std::string plain_text(const char* what) {
  std::string text = what;
  if (text.starts_with('[')) {
    const size_t end = text.find("] ");
    if (end != std::string::npos) text.erase(0, end + 2);
  }
  return text;
}

class LoneCollective final : public Collective {
 public:
  uint32_t rank() const override { return 0; }
  uint32_t size() const override { return 1; }
  Result<void> all_reduce_sum(float*, uint64_t) override { return state(); }
  Result<void> broadcast(std::span<std::byte>, uint32_t root) override {
    EBB_CHECK(root == 0);
    return state();
  }
  Result<void> gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    EBB_CHECK(all.size() == mine.size());
    EBB_TRY_VOID(state());
    if (!mine.empty()) std::memmove(all.data(), mine.data(), mine.size());
    return {};
  }
  void abort(const std::string& why) override {
    std::lock_guard lock(mutex_);
    if (!dead_) dead_ = cancelled(why);
  }

 private:
  Result<void> state() {
    std::lock_guard lock(mutex_);
    if (dead_) return *dead_;
    return {};
  }
  std::mutex mutex_;
  std::optional<Error> dead_;
};

class GlooCollective final : public Collective {
 public:
  explicit GlooCollective(const CollectiveOptions& options)
      : options_(options),
        mesh_(options),
        guard_(options.form_by, options.call_deadline, [this] { mesh_.break_up(); }) {}

  Result<void> form(const Rendezvous& rendezvous);

  uint32_t rank() const override { return options_.rank; }
  uint32_t size() const override { return options_.size; }
  Result<void> all_reduce_sum(float* inout, uint64_t count) override;
  Result<void> broadcast(std::span<std::byte> inout, uint32_t root) override;
  Result<void> gather(std::span<const std::byte> mine, std::span<std::byte> all) override;
  void abort(const std::string& why) override;

 private:
  using Reduction = gloo::AllreduceHalvingDoubling<float>;

  template <class Body>
  Result<void> call(const char* name, Body&& body);
  Result<void> fail(const char* name, const std::string& what);
  void reduce_piece(float* inout, uint64_t count);
  void send(uint32_t to, std::span<const std::byte> bytes);
  void receive(uint32_t from, std::span<std::byte> bytes);

  const CollectiveOptions options_;
  std::mutex mutex_;           ///< guards dead_
  std::optional<Error> dead_;  ///< why every further call fails
  GlooMesh mesh_;
  CallGuard guard_;     ///< after mesh_: its thread uses it
  int bytes_slot_ = 0;  ///< for broadcast and gather
  uint64_t piece_floats_ = 0;
  std::vector<float> piece_;  ///< what all reductions_ work on
  std::array<std::unique_ptr<Reduction>, kSizesMax> reductions_;
};

/// Runs `body` under the deadline; turns whatever goes wrong into the one Error that this
/// collective dies of.
template <class Body>
Result<void> GlooCollective::call(const char* name, Body&& body) {
  {
    std::lock_guard lock(mutex_);
    if (dead_) return *dead_;
  }
  guard_.begin();
  try {
    body();
  } catch (const std::exception& error) {
    return fail(name, error.what());
  }
  guard_.end();
  return {};
}

Result<void> GlooCollective::fail(const char* name, const std::string& what) {
  guard_.end();
  {
    std::lock_guard lock(mutex_);
    if (!dead_ && guard_.expired()) {
      dead_ = timed_out(std::string(name) + ": not all ranks took part before the deadline");
    }
    if (!dead_) dead_ = unavailable(std::string(name) + ": " + plain_text(what.c_str()));
  }
  mesh_.break_up();  // so that the others do not wait for us
  std::lock_guard lock(mutex_);
  return *dead_;
}

void GlooCollective::abort(const std::string& why) {
  {
    std::lock_guard lock(mutex_);
    if (!dead_) dead_ = cancelled(why);
  }
  mesh_.break_up();
}

Result<void> GlooCollective::form(const Rendezvous& rendezvous) {
  constexpr const char* kName = "forming the group";  // the guard's first call
  try {
    auto formed = mesh_.form(rendezvous);
    if (!formed && guard_.expired()) return fail(kName, "");
    if (!formed) return with_context(kName, formed.error());
  } catch (const std::exception& error) {
    return fail(kName, error.what());
  }
  guard_.end();
  bytes_slot_ = mesh_.context()->nextSlot();
  piece_floats_ = kPieceFloatsMax;
  size_t index = kSizesMax - 1;
  while (index > 0 && rounded_size(index) * sizeof(float) / 2 > mesh_.message_max()) --index;
  piece_floats_ = rounded_size(index);
  piece_.resize(piece_floats_);
  return {};
}

Result<void> GlooCollective::all_reduce_sum(float* inout, uint64_t count) {
  return call("all_reduce_sum", [&] {
    for (uint64_t done = 0; done < count; done += piece_floats_) {
      reduce_piece(inout + done, std::min(count - done, piece_floats_));
    }
  });
}

void GlooCollective::reduce_piece(float* inout, uint64_t count) {
  size_t index = 0;
  while (rounded_size(index) < count) ++index;
  const uint64_t padded = rounded_size(index);
  auto& reduction = reductions_[index];
  if (!reduction) {
    reduction = std::make_unique<Reduction>(mesh_.context(), std::vector<float*>{piece_.data()},
                                            static_cast<int>(padded));
  }
  std::copy_n(inout, count, piece_.data());
  std::fill(piece_.begin() + static_cast<ptrdiff_t>(count),
            piece_.begin() + static_cast<ptrdiff_t>(padded), 0.0f);
  reduction->run();
  std::copy_n(piece_.data(), count, inout);
}

/// Blocks until the bytes are in the kernel's hands.
void GlooCollective::send(uint32_t to, std::span<const std::byte> bytes) {
  void* data = const_cast<std::byte*>(bytes.data());  // Gloo has one buffer type for both ways
  mesh_.pair(to).createSendBuffer(bytes_slot_, data, bytes.size())->send(0, bytes.size());
}

void GlooCollective::receive(uint32_t from, std::span<std::byte> bytes) {
  mesh_.pair(from).createRecvBuffer(bytes_slot_, bytes.data(), bytes.size())->waitRecv();
}

Result<void> GlooCollective::broadcast(std::span<std::byte> inout, uint32_t root) {
  EBB_CHECK(root < options_.size);
  if (inout.empty()) return call("broadcast", [] {});
  return call("broadcast", [&] {
    if (root != options_.rank) return receive(root, inout);
    for (uint32_t to = 0; to < options_.size; ++to) {
      if (to != root) send(to, inout);
    }
  });
}

Result<void> GlooCollective::gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  const size_t bytes = mine.size();
  EBB_CHECK(options_.rank != 0 || all.size() == bytes * options_.size);
  if (mine.empty()) return call("gather", [] {});
  return call("gather", [&] {
    if (options_.rank != 0) return send(0, mine);
    std::memmove(all.data(), mine.data(), bytes);
    for (uint32_t from = 1; from < options_.size; ++from) {
      receive(from, all.subspan(from * bytes, bytes));
    }
  });
}

}  // namespace

Result<std::unique_ptr<Collective>> make_collective(const CollectiveOptions& options,
                                                    Rendezvous rendezvous) {
  if (options.size == 0 || options.rank >= options.size) {
    return invalid("rank " + std::to_string(options.rank) + " is not below the group's size " +
                   std::to_string(options.size));
  }
  if (options.size == 1) return std::unique_ptr<Collective>(new LoneCollective);
  auto collective = std::make_unique<GlooCollective>(options);
  EBB_TRY_VOID(collective->form(rendezvous));
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace ebb::collective
