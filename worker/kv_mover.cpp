#include "worker/kv_mover.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <future>

#include "base/log.h"
#include "base/wait.h"

namespace ebb::worker {

using kvstore::GetItem;
using kvstore::GetReply;
using kvstore::GranuleInfo;
using kvstore::GranuleKey;
using kvstore::PutItem;
using kvstore::PutReply;

namespace {
// A put carries a few MiB: enough to amortise a round trip, small beside the store's bounds.
constexpr uint64_t kPutBytes = 4ull << 20;
// A map is for people: it must not hold up decoding when a store is silent.
constexpr Millis kStatDeadline{1000};
}  // namespace

struct PutInFlight {
  enum State : int { kWaiting, kAccepted, kFailed };
  std::vector<std::byte> body;
  uint32_t band = 0;
  Position begin = 0;
  Position end = 0;
  std::atomic<int> state{kWaiting};
};

KvMover::KvMover(const models::KvLayout& layout, const kernels::KvShape& shape,
                 kernels::Backend& backend, Options options)
    : layout_(layout),
      shape_(shape),
      backend_(backend),
      options_(options),
      layout_digest_(layout.name(options.rank)) {}

KvMover::~KvMover() = default;

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

Result<std::vector<std::byte>> KvMover::seal_granules(Sequence& sequence, uint32_t band,
                                                      Position begin, Position end,
                                                      std::vector<GranuleInfo>& infos) {
  const uint32_t g = layout_.granule_tokens;
  const LayerRange layers = layout_.bands[band];
  const uint32_t payload = layout_.record_bytes(options_.rank, band);
  const uint64_t frame = kvstore::framed_bytes(payload);
  std::vector<Position> positions(end - begin);
  for (uint32_t i = 0; i < positions.size(); ++i) positions[i] = begin + i;
  const std::vector<uint32_t> slots = sequence.kv->slots(band, positions);
  std::vector<std::byte> body(positions.size() * frame);
  for (uint32_t layer = layers.begin; layer < layers.end; ++layer) {
    std::byte* column = body.data() + sizeof(kvstore::RecordHead) +
                        uint64_t{layer - layers.begin} * shape_.row_bytes();
    backend_.ops->gather_rows(shape_, sequence.kv->rows(layer), slots, column, frame);
  }
  EBB_TRY_VOID(backend_.device->synchronize());
  for (Position first = begin; first < end; first += g) {
    const GranuleKey name = key(sequence, band, first);
    infos.push_back({name, first, static_cast<uint16_t>(g), payload});
    for (Position p = first; p < first + g; ++p) {
      kvstore::seal_record(std::span(body).subspan((p - begin) * frame, frame), name, p);
    }
  }
  return body;
}

namespace {

std::vector<PutItem> items_of(const std::vector<GranuleInfo>& infos,
                              std::span<const std::byte> body) {
  std::vector<PutItem> items;
  uint64_t offset = 0;
  for (const GranuleInfo& info : infos) {
    items.push_back({info, body.subspan(offset, info.body_bytes())});
    offset += info.body_bytes();
  }
  return items;
}

}  // namespace

Result<void> KvMover::put_range(Sequence& sequence, uint32_t band, Position begin, Position end) {
  std::vector<GranuleInfo> infos;
  const std::vector<std::byte> body = EBB_TRY(seal_granules(sequence, band, begin, end, infos));
  const auto reply = EBB_TRY(wait_for<PutReply>([&](auto done) {
    client_->put(sequence.id(), items_of(infos, body), Deadline::after(options_.deadline), done);
  }));
  if (reply.accepted != infos.size()) {
    return exhausted("the store accepted " + std::to_string(reply.accepted) + " of " +
                     std::to_string(infos.size()) + " granules");
  }
  return {};
}

Result<void> KvMover::seal_all(Sequence& sequence, uint32_t band) {
  BandResidency& residency = sequence.kv->residency(band);
  const uint32_t g = layout_.granule_tokens;
  // Not the row of a step that was given up: it is made again.
  const Position whole = std::min(residency.length(), sequence.exactness.length()) / g * g;
  const uint64_t granule_bytes =
      g * kvstore::framed_bytes(layout_.record_bytes(options_.rank, band));
  const auto step = static_cast<uint32_t>(std::max<uint64_t>(1, kPutBytes / granule_bytes) * g);
  if (residency.sealed_to() < whole && client_ == nullptr) {
    return no_store();
  }
  while (residency.sealed_to() < whole) {
    const Position begin = residency.sealed_to();
    const Position end = std::min(whole, begin + step);
    Result<void> put = put_range(sequence, band, begin, end);
    if (!put) {
      return with_context("release of sequence " + std::to_string(sequence.id().value) + ", band " +
                              std::to_string(band),
                          std::move(put).error());
    }
    residency.set_sealed_to(end);
  }
  return {};
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
  const Position begin = sequence.length - g;
  for (uint32_t band = 0; band < sequence.kv->band_count(); ++band) {
    if (!sequence.kv->residency(band).hot()) continue;
    auto put = std::make_shared<PutInFlight>();
    std::vector<GranuleInfo> infos;
    put->band = band;
    put->begin = begin;
    put->end = begin + g;
    auto sealed = seal_granules(sequence, band, begin, put->end, infos);
    if (!sealed) return;  // the end of the unit says why
    put->body = std::move(*sealed);
    sequence.puts.push_back(put);
    client_->put(sequence.id(), items_of(infos, put->body), Deadline::after(options_.deadline),
                 [put, wanted = infos.size()](Result<PutReply> reply) {
                   const bool accepted = reply && reply->accepted == wanted;
                   put->state = accepted ? PutInFlight::kAccepted : PutInFlight::kFailed;
                 });
  }
}

void KvMover::collect_puts(Sequence& sequence) {
  std::erase_if(sequence.puts, [&](const std::shared_ptr<PutInFlight>& put) {
    if (put->state == PutInFlight::kWaiting) return false;
    BandResidency& residency = sequence.kv->residency(put->band);
    // In order only: sealed_to says that everything below it is in the store. After a failure the
    // rows stay pinned.
    if (put->state == PutInFlight::kAccepted && residency.sealed_to() == put->begin) {
      residency.set_sealed_to(put->end);
      return true;
    }
    return put->state == PutInFlight::kFailed;
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
  if (client_ == nullptr) {
    promise->set_value(no_store());
    return restore;
  }
  restore->bytes.resize(kvstore::get_destination_bytes(restore->items));
  client_->get(restore->items, restore->bytes, Deadline::after(options_.deadline),
               [promise](Result<GetReply> reply) { promise->set_value(std::move(reply)); });
  return restore;
}

std::vector<std::pair<Sequence*, Error>> KvMover::finish(Restore& restore) {
  std::vector<std::pair<Sequence*, Error>> failed;
  Result<GetReply> reply = restore.reply.get();
  const auto fail = [&](const RestoreWant& want, const Error& why) {
    want.sequence->kv->residency(want.band).forget(want.positions);
    if (failed.empty() || failed.back().first != want.sequence) {
      failed.emplace_back(want.sequence,
                          with_context("restore of " + std::to_string(want.positions.size()) +
                                           " records of band " + std::to_string(want.band),
                                       why));
    }
  };
  if (!reply) {
    for (const RestoreWant& want : restore.wants) fail(want, reply.error());
    return failed;
  }
  size_t item = 0;
  uint64_t offset = 0;
  for (const RestoreWant& want : restore.wants) {
    const uint32_t payload = layout_.record_bytes(options_.rank, want.band);
    const uint64_t frame = kvstore::framed_bytes(payload);
    uint64_t missing = 0, from_host = 0, from_ssd = 0;
    for (size_t done = 0; done < want.positions.size(); ++item) {
      const auto& got = reply->items[item];
      const uint32_t asked = restore.items[item].bitmap;
      missing += static_cast<uint64_t>(std::popcount(asked & ~got.present));
      const auto count = static_cast<uint64_t>(std::popcount(asked));
      (got.from == kvstore::TierKind::kSsd ? from_ssd : from_host) += count;
      done += count;
    }
    const std::byte* frames = restore.bytes.data() + offset;
    offset += want.positions.size() * frame;
    if (missing > 0) {
      fail(want,
           not_found(std::to_string(missing) +
                     " records are in no tier (lost or evicted); rebuilding is not available"));
      continue;
    }
    const std::vector<uint32_t> slots = want.sequence->kv->slots(want.band, want.positions);
    const LayerRange layers = layout_.bands[want.band];
    for (uint32_t layer = layers.begin; layer < layers.end; ++layer) {
      backend_.ops->scatter_rows(shape_, want.sequence->kv->rows(layer), slots,
                                 frames + sizeof(kvstore::RecordHead) +
                                     uint64_t{layer - layers.begin} * shape_.row_bytes(),
                                 frame);
    }
    control::SequenceCounters& counters = want.sequence->counters;
    counters.restored_host_records += from_host;
    counters.restored_ssd_records += from_ssd;
    counters.restored_bytes += want.positions.size() * payload;
  }
  return failed;
}

namespace {

/// The pieces of `runs`, each wholly exact in the band's layers or not at all.
std::vector<control::PlaceRun> split_by_exactness(const std::vector<control::PlaceRun>& runs,
                                                  const Exactness& exactness, uint32_t layers_end) {
  std::vector<control::PlaceRun> pieces;
  for (const control::PlaceRun& run : runs) {
    const Position end = run.begin + run.count;
    for (Position at = run.begin; at < end;) {
      const TokenRange same = exactness.run_at(at);
      const bool exact = exactness.layers_of(at) >= layers_end;
      const Position stop = std::min(end, same.end);
      const bool goes_on = !pieces.empty() && at > run.begin && pieces.back().exact == exact;
      if (goes_on) {
        pieces.back().count += stop - at;
      } else {
        pieces.push_back({at, stop - at, run.place, exact});
      }
      at = stop;
    }
  }
  return pieces;
}

/// A ring holds its first tokens and its last ones; what was between is gone for good.
std::vector<control::PlaceRun> ring_runs(const BandResidency& residency, Position length) {
  const auto [kept_end, ring_begin] = residency.ring_gap();
  if (ring_begin <= kept_end) return {{0, length, control::Place::kDevice}};
  std::vector<control::PlaceRun> runs;
  if (kept_end > 0) runs.push_back({0, kept_end, control::Place::kDevice});
  runs.push_back({kept_end, ring_begin - kept_end, control::Place::kForgotten});
  runs.push_back({ring_begin, length - ring_begin, control::Place::kDevice});
  return runs;
}

/// What a pool of chosen rows does not hold is gone; its token ids are there.
std::vector<control::PlaceRun> chosen_runs(const BandResidency& residency, Position length) {
  std::vector<control::PlaceRun> runs;
  for (Position p = 0; p < length; ++p) {
    const bool here = residency.slot(p) != kNoSlot;
    const auto place = here ? control::Place::kDevice : control::Place::kForgotten;
    if (runs.empty() || runs.back().place != place) runs.push_back({p, 0, place});
    ++runs.back().count;
  }
  return runs;
}

}  // namespace

/// Places of released rows, as far as the store answers.
void KvMover::find_released(Sequence& sequence, Places& places) const {
  const uint32_t g = layout_.granule_tokens;
  std::vector<GranuleKey> keys;
  std::vector<std::pair<uint32_t, Position>> asked;  // band, first position
  for (uint32_t band = 0; band < places.size(); ++band) {
    const BandResidency& residency = sequence.kv->residency(band);
    if (!residency.hot()) continue;
    places[band].assign(sequence.length, control::Place::kDevice);
    for (Position p = 0; p < sequence.length; ++p) {
      if (residency.slot(p) != kNoSlot) continue;
      places[band][p] = control::Place::kMissing;
      const std::pair<uint32_t, Position> granule{band, p / g * g};
      if (!asked.empty() && asked.back() == granule) continue;
      asked.push_back(granule);
      keys.push_back(key(sequence, band, granule.second));
    }
  }
  if (keys.empty() || client_ == nullptr || !client_->connected()) return;
  const auto stats = wait_for<std::vector<kvstore::StatItem>>(
      [&](auto done) { client_->stat(keys, Deadline::after(kStatDeadline), done); });
  for (size_t i = 0; stats && i < stats->size(); ++i) {
    const auto tier = (*stats)[i].tier;
    if (tier == kvstore::TierKind::kNone) continue;
    const auto [band, first] = asked[i];
    for (Position p = first; p < std::min(first + g, sequence.length); ++p) {
      if (places[band][p] != control::Place::kMissing) continue;
      places[band][p] =
          tier == kvstore::TierKind::kHost ? control::Place::kHost : control::Place::kSsd;
    }
  }
}

std::vector<control::BandMap> KvMover::describe(Sequence& sequence) {
  Places places(layout_.bands.size());
  find_released(sequence, places);
  std::vector<control::BandMap> maps(places.size());
  for (uint32_t band = 0; band < maps.size(); ++band) {
    const BandResidency& residency = sequence.kv->residency(band);
    control::BandMap& map = maps[band];
    map.band = static_cast<uint16_t>(band);
    map.layers = layout_.bands[band];
    map.record_bytes = map.layers.size() * layout_.row_bytes_all();
    map.hot = residency.hot();
    if (sequence.length == 0) continue;
    std::vector<control::PlaceRun> runs;
    if (residency.ring()) runs = ring_runs(residency, sequence.length);
    if (residency.chosen()) runs = chosen_runs(residency, sequence.length);
    if (!map.hot && !residency.ring() && !residency.chosen())
      runs = {{0, sequence.length, control::Place::kDevice}};
    for (Position p = 0; p < places[band].size(); ++p) {
      if (runs.empty() || runs.back().place != places[band][p]) {
        runs.push_back({p, 0, places[band][p]});
      }
      ++runs.back().count;
    }
    map.runs = split_by_exactness(runs, sequence.exactness, map.layers.end);
  }
  return maps;
}

void KvMover::drop(const Sequence& sequence) {
  if (client_ == nullptr) return;
  const uint64_t id = sequence.id().value;
  client_->drop(sequence.id(), Deadline::after(options_.deadline), [id](Result<void> dropped) {
    if (!dropped)
      log_debug("worker", "drop failed", {{"seq", id}, {"why", dropped.error().text()}});
  });
}

}  // namespace ebb::worker
