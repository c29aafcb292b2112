#include "worker/kv_mover.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <numeric>

#include "base/fault.h"
#include "base/log.h"

namespace ebb::worker {

using kernels::MemoryKind;
using kvstore::GetItem;
using kvstore::GetReply;
using kvstore::GranuleInfo;
using kvstore::GranuleKey;
using kvstore::PutItem;
using kvstore::PutReply;

namespace {

// A put carries a few MiB: enough to amortise a round trip, small beside the store's bounds.
constexpr uint64_t kPutBytes = 4ull << 20;
// Of a release: one is packed, one travels, one is answered.
constexpr size_t kPutsUnderWay = 3;
// Enough for a release and the restores of a step.
constexpr uint64_t kStagingKept = 64ull << 20;

std::vector<PutItem> items_of(const std::vector<GranuleInfo>& infos, const kernels::Buffer& body) {
  std::vector<PutItem> items;
  uint64_t offset = 0;
  for (const GranuleInfo& info : infos) {
    items.push_back({info, {body.bytes_ptr() + offset, info.body_bytes()}});
    offset += info.body_bytes();
  }
  return items;
}

kernels::RecordName name_of(const GranuleKey& key) {
  static_assert(sizeof(kernels::RecordName) == sizeof(GranuleKey));
  return std::bit_cast<kernels::RecordName>(key);
}

template <class T>
bool is_there(const std::future<T>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

/// Whole granules of one band: packed into `body`, then on their way to the store.
struct KvMover::Put {
  Sequence* sequence = nullptr;  ///< null: it was closed meanwhile
  SeqId holder;
  uint32_t band = 0;
  Position begin = 0;
  Position end = 0;
  std::vector<GranuleInfo> infos;
  Staging body;
  std::unique_ptr<kernels::Transfer> packing;  ///< null: it travels
  std::future<Result<PutReply>> answer;
};

/// What a call of pack or unpack is told, and the memory of it.
struct KvMover::BandRecords {
  std::vector<kernels::KvRows> layers;
  std::vector<kernels::RecordName> names;  ///< by granule
  std::vector<kernels::Record> records;
};

Restore::~Restore() {
  // The data thread may be writing to `bytes`; its deadline bounds this.
  if (reply.valid()) reply.wait();
}

KvMover::KvMover(const models::KvLayout& layout, const kernels::KvShape& shape,
                 kernels::Backend& backend, Options options)
    : layout_(layout),
      shape_(shape),
      backend_(backend),
      options_(options),
      layout_digest_(layout.name(options.rank)),
      device_checks_(!backend.device->info().host_reachable),
      staging_(*backend.device, kStagingKept) {
  EBB_CHECK(device_checks_ || options_.landing == MemoryKind::kHost);
}

KvMover::~KvMover() {
  // What the device still reads or writes must outlive that; whoever owned the client has ended it.
  for (const auto& put : puts_) {
    if (put->packing) (void)put->packing->wait();
    if (put->answer.valid()) put->answer.wait();
  }
  for (Landing& landing : landings_) {
    for (const auto& part : landing.parts) (void)part.unpacking->wait();
  }
}

Error KvMover::no_store() const { return unavailable("no KV store is connected: " + problem_); }

GranuleKey KvMover::key(Sequence& sequence, uint32_t band, Position first) const {
  const uint32_t g = layout_.granule_tokens;
  const HeadRange heads = layout_.heads(options_.rank);
  GranuleKey key;
  key.band = static_cast<uint16_t>(band);
  key.head_begin = heads.begin;
  key.head_end = heads.end;
  // Never changes once the granule is whole: sequences whose tokens are corrected are never
  // released.
  const bool exact = sequence.exactness.exact({first, first + g}, layout_.bands[band].end);
  if (!exact) {
    key.kind = 1;
    key.digest = kvstore::private_digest(layout_digest_, sequence.id(), first, options_.epoch);
    return key;
  }
  while (sequence.content.size() <= first / g) {
    const Position begin = static_cast<Position>(sequence.content.size()) * g;
    EBB_CHECK(begin + g <= sequence.tokens.size());
    const Digest parent = sequence.content.empty() ? Digest{} : sequence.content.back();
    sequence.content.push_back(
        kvstore::content_digest(layout_digest_, sequence.open.salt, parent,
                                std::span<const TokenId>(sequence.tokens).subspan(begin, g)));
  }
  key.digest = sequence.content[first / g];
  return key;
}

/// `names`: of the granules of `positions`, in their order.
KvMover::BandRecords KvMover::records_of(const Sequence& sequence, uint32_t band,
                                         std::span<const Position> positions,
                                         std::vector<kernels::RecordName> names) const {
  const uint32_t g = layout_.granule_tokens;
  const LayerRange layers = layout_.bands[band];
  BandRecords out;
  for (uint32_t layer = layers.begin; layer < layers.end; ++layer) {
    out.layers.push_back(sequence.kv->rows(layer));
  }
  out.names = std::move(names);
  const std::vector<uint32_t> slots = sequence.kv->slots(band, positions);
  uint32_t name = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    if (i > 0 && positions[i] / g != positions[i - 1] / g) ++name;
    out.records.push_back({slots[i], positions[i], name});
  }
  return out;
}

Result<std::unique_ptr<KvMover::Put>> KvMover::pack(Sequence& sequence, uint32_t band,
                                                    Position begin, Position end) {
  const uint32_t g = layout_.granule_tokens;
  const uint32_t payload = layout_.record_bytes(options_.rank, band);
  auto put = std::make_unique<Put>();
  put->sequence = &sequence;
  put->holder = sequence.id();
  put->band = band;
  put->begin = begin;
  put->end = end;
  std::vector<kernels::RecordName> names;
  for (Position first = begin; first < end; first += g) {
    put->infos.push_back({key(sequence, band, first), first, static_cast<uint16_t>(g), payload});
    names.push_back(name_of(put->infos.back().key));
  }
  std::vector<Position> positions(end - begin);
  std::iota(positions.begin(), positions.end(), begin);
  const BandRecords records = records_of(sequence, band, positions, std::move(names));
  const kernels::RecordBand view{shape_, records.layers, records.names, records.records};
  EBB_CHECK(view.payload_bytes() == payload);
  put->body = EBB_TRY(staging_.take(positions.size() * view.frame_bytes(), MemoryKind::kHost));
  put->packing = backend_.ops->pack_records(view, put->body.buffer.bytes_ptr());
  return put;
}

/// Once packed: rows of a device that is lost must not be sealed as if they were good.
Result<void> KvMover::send(Put& put) {
  const auto packed = put.packing->wait();
  if (!packed) return packed.error();
  put.packing.reset();
  auto promise = std::make_shared<std::promise<Result<PutReply>>>();
  put.answer = promise->get_future();
  client_->put(put.holder, items_of(put.infos, put.body.buffer), Deadline::after(options_.deadline),
               [promise](Result<PutReply> reply) { promise->set_value(std::move(reply)); });
  return {};
}

Result<void> KvMover::accepted(Put& put) {
  const Result<PutReply> reply = put.answer.get();
  staging_.give_back(std::move(put.body));
  if (!reply) return reply.error();
  if (reply->accepted == put.infos.size()) return {};
  return exhausted("the store accepted " + std::to_string(reply->accepted) + " of " +
                   std::to_string(put.infos.size()) + " granules");
}

/// Chunk by chunk: while one travels the next is packed.
Result<void> KvMover::put_all(Sequence& sequence, uint32_t band, Position end) {
  BandResidency& residency = sequence.kv->residency(band);
  const uint32_t g = layout_.granule_tokens;
  const uint64_t granule_bytes =
      g * kvstore::framed_bytes(layout_.record_bytes(options_.rank, band));
  const auto step = static_cast<uint32_t>(std::max<uint64_t>(1, kPutBytes / granule_bytes) * g);
  std::deque<std::unique_ptr<Put>> packing, travelling;
  const auto run = [&]() -> Result<void> {
    Position next = residency.sealed_to();
    while (residency.sealed_to() < end) {
      while (next < end && packing.size() + travelling.size() < kPutsUnderWay) {
        const Position stop = std::min(end, next + step);
        packing.push_back(EBB_TRY(pack(sequence, band, next, stop)));
        next = stop;
      }
      if (!packing.empty()) {
        EBB_TRY_VOID(send(*packing.front()));
        travelling.push_back(std::move(packing.front()));
        packing.pop_front();
        continue;
      }
      EBB_TRY_VOID(accepted(*travelling.front()));
      residency.set_sealed_to(travelling.front()->end);
      travelling.pop_front();
    }
    return {};
  };
  Result<void> result = run();
  for (auto* left : {&packing, &travelling}) {
    for (auto& put : *left) {
      if (!put->packing && !put->answer.valid()) continue;  // the one that failed
      put->sequence = nullptr;
      puts_.push_back(std::move(put));  // until nobody reads it any more
    }
  }
  return result;
}

Result<void> KvMover::seal_all(Sequence& sequence, uint32_t band) {
  const BandResidency& residency = sequence.kv->residency(band);
  const uint32_t g = layout_.granule_tokens;
  // Not the row of a step that was given up: it is made again.
  const Position whole = std::min(residency.length(), sequence.exactness.length()) / g * g;
  if (residency.sealed_to() >= whole) return {};
  if (client_ == nullptr) return no_store();
  Result<void> put = put_all(sequence, band, whole);
  if (put) return {};
  return with_context("release of sequence " + std::to_string(sequence.id().value) + ", band " +
                          std::to_string(band),
                      std::move(put).error());
}

namespace {

/// Which rows a band keeps: the tail that exists nowhere else, the last sets that its layers read,
/// then the most recent.
std::vector<Position> rows_to_keep(const Sequence& sequence, LayerRange layers, Position length,
                                   Position sealed_to, uint32_t capacity) {
  std::vector<bool> keep(length, false);
  uint32_t kept = 0;
  const auto take = [&](Position p) {
    if (p < length && !keep[p] && kept < capacity) {
      keep[p] = true;
      ++kept;
    }
  };
  for (Position p = sealed_to; p < length; ++p) take(p);
  for (const Position p : sequence.history.retained) take(p);
  const auto& sets = sequence.history.sets;
  auto set = sets.upper_bound(layers.begin);  // behind the one that the first layer reads
  if (set != sets.begin()) --set;
  for (; set != sets.end() && set->first < layers.end; ++set) {
    for (const auto& list : set->second.lists) {
      for (Position p : list) take(p);
    }
  }
  for (Position p = length; p > 0 && kept < capacity; --p) take(p - 1);
  std::vector<Position> positions;
  for (Position p = 0; p < length; ++p) {
    if (keep[p]) positions.push_back(p);
  }
  return positions;
}

}  // namespace

Result<void> KvMover::release(Sequence& sequence, uint32_t band, uint32_t hot_tokens,
                              uint64_t step) {
  BandResidency& residency = sequence.kv->residency(band);
  if (residency.hot()) return {};
  EBB_TRY_VOID(seal_all(sequence, band));
  // Two granules more than asked for: the unsealed tail must never crowd out the set.
  const uint32_t g = layout_.granule_tokens;
  const uint32_t capacity = (hot_tokens + 2 * g + g - 1) / g * g;
  const Position length = residency.length();
  const auto keep = rows_to_keep(sequence, layout_.bands[band], length, residency.sealed_to(),
                                 std::min(capacity, (length + g - 1) / g * g));
  sequence.kv->shrink(band, capacity, keep, step);
  sequence.counters.released_records += length - keep.size();
  return {};
}

void KvMover::seal_tail(Sequence& sequence) {
  const uint32_t g = layout_.granule_tokens;
  if (client_ == nullptr || sequence.length % g != 0) return;
  for (uint32_t band = 0; band < sequence.kv->band_count(); ++band) {
    if (!sequence.kv->residency(band).hot()) continue;
    auto put = pack(sequence, band, sequence.length - g, sequence.length);
    if (!put) return;  // the rows stay, and the end of the unit says why
    puts_.push_back(std::move(*put));
  }
  collect_puts(sequence);
}

/// Sends what is packed and takes in what is answered; true: nothing of it is under way any more.
bool KvMover::advance(Put& put) {
  if (put.packing) {
    if (!put.packing->done()) return false;
    // Of a sequence that is closed only what drop() has sent is wanted.
    if (put.sequence == nullptr || !send(put)) return true;
  }
  if (!is_there(put.answer)) return false;
  const bool good = accepted(put).has_value();
  if (put.sequence == nullptr || !good) return true;  // after a failure the rows stay pinned
  BandResidency& residency = put.sequence->kv->residency(put.band);
  // In order only: sealed_to says that everything below it is in the store.
  if (residency.sealed_to() == put.begin) residency.set_sealed_to(put.end);
  return true;
}

void KvMover::collect_puts(Sequence& sequence) {
  std::erase_if(puts_, [&](const std::unique_ptr<Put>& put) {
    const bool ours = put->sequence == &sequence || put->sequence == nullptr;
    return ours && advance(*put);
  });
}

void KvMover::drop(Sequence& sequence) {
  (void)landed(true);  // of a step that ended with an error
  for (const auto& put : puts_) {
    if (put->sequence != &sequence) continue;
    // Its rows are given away now; the granule itself stays useful to others.
    if (put->packing) (void)send(*put);
    put->sequence = nullptr;
  }
  collect_puts(sequence);
  if (client_ == nullptr) return;
  const uint64_t id = sequence.id().value;
  client_->drop(sequence.id(), Deadline::after(options_.deadline), [id](Result<void> dropped) {
    if (!dropped)
      log_debug("worker", "drop failed", {{"seq", id}, {"why", dropped.error().text()}});
  });
}

std::unique_ptr<Restore> KvMover::begin(std::vector<RestoreWant> wants) {
  auto restore = std::make_unique<Restore>();
  restore->wants = std::move(wants);
  const uint32_t g = layout_.granule_tokens;
  for (const RestoreWant& want : restore->wants) {
    Position granule = kNoPosition;
    for (Position p : want.positions) {
      if (p / g * g != granule) {
        granule = p / g * g;
        restore->items.push_back({key(*want.sequence, want.band, granule), granule,
                                  layout_.record_bytes(options_.rank, want.band), 0});
      }
      restore->items.back().bitmap |= 1u << (p - granule);
    }
  }
  auto promise = std::make_shared<std::promise<Result<GetReply>>>();
  restore->reply = promise->get_future();
  const uint64_t bytes = kvstore::get_destination_bytes(restore->items);
  auto room =
      client_ == nullptr ? Result<Staging>(no_store()) : staging_.take(bytes, options_.landing);
  if (!room) {
    promise->set_value(room.error());
    return restore;
  }
  restore->frames = std::move(*room);
  auto arrival = device_checks_ ? kvstore::Arrival::kUnread : kvstore::Arrival::kChecked;
  if (restore->frames.kind == MemoryKind::kDevice) arrival = kvstore::Arrival::kOnDevice;
  client_->get(restore->items, {restore->frames.buffer.bytes_ptr(), bytes}, arrival,
               Deadline::after(options_.deadline),
               [promise](Result<GetReply> reply) { promise->set_value(std::move(reply)); });
  return restore;
}

KvMover::Failure KvMover::failed(const RestoreWant& want, const Error& why) {
  want.sequence->kv->residency(want.band).forget(want.positions);
  return {want.sequence, with_context("restore of " + std::to_string(want.positions.size()) +
                                          " records of band " + std::to_string(want.band),
                                      why)};
}

/// For tests: the first record is not what the store sent.
void KvMover::damage(const Staging& frames) {
  std::byte* at = frames.buffer.bytes_ptr() + sizeof(kvstore::RecordHead);
  std::byte value{};
  backend_.device->copy_to_host(&value, at, 1);
  value ^= std::byte{1};
  backend_.device->copy_to_device(at, &value, 1);
}

std::vector<KvMover::Failure> KvMover::finish(Restore& restore) {
  std::vector<Failure> failures;
  const Result<GetReply> reply = restore.reply.get();
  if (!reply) {
    for (const RestoreWant& want : restore.wants) failures.push_back(failed(want, reply.error()));
    staging_.give_back(std::move(restore.frames));
    return failures;
  }
  if (EBB_FAULT("worker.kv_mover.arrival")) damage(restore.frames);
  Landing landing;
  landing.frames = std::move(restore.frames);
  size_t item = 0;
  for (const RestoreWant& want : restore.wants) {
    const size_t first = item;
    uint64_t missing = 0;
    for (size_t done = 0; done < want.positions.size(); ++item) {
      const GetItem& asked = restore.items[item];
      missing += static_cast<uint64_t>(std::popcount(asked.bitmap & ~reply->items[item].present));
      done += asked.asked();
    }
    if (missing > 0) {
      failures.push_back(
          failed(want, not_found(std::to_string(missing) +
                                 " records are in no tier (lost or evicted); rebuilding is not "
                                 "available")));
      continue;
    }
    land(want, std::span(restore.items).subspan(first, item - first),
         std::span(reply->items).subspan(first, item - first), landing);
  }
  landings_.push_back(std::move(landing));
  auto more = landed(false);
  std::move(more.begin(), more.end(), std::back_inserter(failures));
  return failures;
}

/// A part for each run of frames that lie side by side: nearly always one.
void KvMover::land(const RestoreWant& want, std::span<const GetItem> asked,
                   std::span<const kvstore::GotItem> got, Landing& landing) {
  const uint64_t frame = kvstore::framed_bytes(layout_.record_bytes(options_.rank, want.band));
  auto position = want.positions.begin();
  for (size_t i = 0; i < asked.size();) {
    Landing::Part part;
    part.want.sequence = want.sequence;
    part.want.band = want.band;
    std::vector<kernels::RecordName> names;
    uint64_t end = got[i].at;
    const std::byte* frames = landing.frames.buffer.bytes_ptr() + end;
    for (; i < asked.size() && got[i].at == end; ++i) {
      const uint32_t count = asked[i].asked();
      end += count * frame;
      names.push_back(name_of(asked[i].key));
      part.want.positions.insert(part.want.positions.end(), position, position + count);
      position += count;
      (got[i].from == kvstore::TierKind::kSsd ? part.from_ssd : part.from_host) += count;
    }
    const BandRecords records =
        records_of(*want.sequence, want.band, part.want.positions, std::move(names));
    const kernels::RecordBand view{shape_, records.layers, records.names, records.records,
                                   landing.frames.kind};
    part.unpacking = backend_.ops->unpack_records(
        view, frames, device_checks_ ? kernels::Frames::kUnchecked : kernels::Frames::kChecked);
    landing.parts.push_back(std::move(part));
  }
}

/// What became of a part that is over.
std::optional<KvMover::Failure> KvMover::outcome(Landing::Part& part) {
  const auto refused = part.unpacking->wait();
  if (!refused) return failed(part.want, refused.error());
  if (!refused->empty()) {
    return failed(part.want, corrupt(std::to_string(refused->size()) +
                                     " records failed their check on the device"));
  }
  control::SequenceCounters& counters = part.want.sequence->counters;
  counters.restored_host_records += part.from_host;
  counters.restored_ssd_records += part.from_ssd;
  counters.restored_bytes +=
      part.want.positions.size() * layout_.record_bytes(options_.rank, part.want.band);
  return std::nullopt;
}

std::vector<KvMover::Failure> KvMover::landed(bool wait) {
  std::vector<Failure> failures;
  if (wait && !landings_.empty()) backend_.ops->submit();
  std::erase_if(landings_, [&](Landing& landing) {
    std::erase_if(landing.parts, [&](Landing::Part& part) {
      if (!wait && !part.unpacking->done()) return false;
      if (auto failure = outcome(part)) failures.push_back(std::move(*failure));
      return true;
    });
    if (!landing.parts.empty()) return false;
    staging_.give_back(std::move(landing.frames));
    return true;
  });
  return failures;
}

}  // namespace ebb::worker
