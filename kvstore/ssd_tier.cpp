#include "kvstore/ssd_tier.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "base/log.h"
#include "base/units.h"
#include "kvstore/rocks_engine.h"
#include "kvstore/segment_table.h"

namespace ebb::kvstore {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kQuotaMin = 4 * kMiB;
constexpr uint64_t kSegmentMin = 256 * kKiB;
constexpr uint64_t kSegmentMax = 16 * kMiB;
constexpr uint64_t kGranuleOverhead = 160;     ///< keys, index entry, Bloom bits, block trailer
constexpr uint64_t kEngineBytes = 512 * kKiB;  ///< manifest, options and log files
/// Below this much free space not even the manifest is written.
constexpr uint64_t kFreeMin = 2 * kMiB;
/// Live bytes may take this share of the room: the rest is what makes reclaiming garbage cheap.
constexpr double kLiveShare = 0.85;
/// Moving the survivors of a segment fuller than this gains too little.
constexpr double kMoveShareMax = 0.95;
constexpr uint64_t kScanEntriesMax = 4'000'000;
constexpr uint32_t kFilesBeforeMerge = 8;
constexpr int kReclaimStepsMax = 4096;

}  // namespace

struct SsdTier::Impl {
  std::string path;
  DiskLimits limits;
  uint64_t segment_size = 0;
  uint64_t headroom = 0;  ///< of the quota: what a flush, a merge or a move may take for a while
  uint64_t live_capacity = 0;
  RestartReport report;
  std::unique_ptr<RocksEngine> engine;

  std::mutex write_mutex;  ///< one writer; held during disk work. Guards the next three:
  uint64_t current = 1;    ///< segment being written
  std::vector<GranuleKey> unflushed;
  /// Survivors whose only flushed copy is in a segment that looks dead.
  bool moves_unflushed = false;

  mutable std::mutex mutex;  ///< the members below; never held during disk work
  SegmentTable table;
  uint64_t disk_bytes = 0;
  uint64_t pending_bytes = 0;
  std::string note;

  Result<void> open_engine();
  Result<void> set_aside(const std::string& why);
  void adopt_segments();
  void scan();
  void trim_to_quota();

  Result<void> put(std::span<const TierItem> offered);
  Result<void> check_sizes(std::span<const TierItem> items, uint64_t bytes) const;
  Result<void> make_space(uint64_t bytes);
  Result<void> write(std::span<const TierItem> items);
  Result<void> flush();
  void close_segment();
  bool reclaim_one();
  Result<void> move_survivors(uint64_t segment);
  void drop_segment(uint64_t segment);
  void remove(std::span<const GranuleKey> keys);

  uint64_t pending() const {
    const std::lock_guard lock(mutex);
    return pending_bytes;
  }
  std::optional<uint64_t> dead_segment() const {
    const std::lock_guard lock(mutex);
    return table.dead();
  }
  void measure();
  bool has_free(uint64_t bytes) const;
  Error noted(Error error);
  void clear_note();
};

// ---- opening

Result<void> SsdTier::Impl::open_engine() {
  auto opened = RocksEngine::open(path, segment_size);
  if (!opened && opened.error().code == Code::kCorrupt) {
    EBB_TRY_VOID(set_aside(opened.error().message));
    opened = RocksEngine::open(path, segment_size);
  }
  if (!opened) return std::move(opened).error();
  engine = std::move(*opened);
  return {};
}

/// The tier is a cache: what cannot be opened is given up. Its bodies go, since they count against
/// the quota; the small files stay beside it for whoever wants to know why.
Result<void> SsdTier::Impl::set_aside(const std::string& why) {
  const std::string aside = path + ".broken";
  std::error_code failed;
  fs::remove_all(aside, failed);
  fs::rename(path, aside, failed);
  if (failed) return unavailable("ssd tier: cannot move " + path + " aside: " + failed.message());
  for (const auto& file : fs::directory_iterator(aside, failed)) {
    std::error_code ignored;
    if (file.path().extension() == ".sst") fs::remove(file.path(), ignored);
  }
  fs::create_directories(path, failed);
  if (failed) return unavailable("ssd tier: cannot make " + path + ": " + failed.message());
  log_error("kvstore", "ssd tier unreadable, rebuilt empty",
            {{"path", path}, {"aside", aside}, {"why", why}});
  report.rebuilt = true;
  report.note = why;
  return {};
}

/// Segments that have files, closed: a new process writes a new one.
void SsdTier::Impl::adopt_segments() {
  for (const SegmentFiles& files : engine->files().segments) {
    table.close(files.segment, files.bytes);
    current = std::max(current, files.segment + 1);
    if (files.upper_files > 0 && has_free(files.bytes + kFreeMin))
      engine->merge_segment(files.segment);
  }
}

void SsdTier::Impl::scan() {
  const auto began = Clock::now();
  adopt_segments();
  uint64_t entries = 0;
  const bool complete = engine->scan_index([&](std::optional<GranuleInfo> info, uint64_t segment) {
    if (++entries > kScanEntriesMax) {
      ++report.left_out;
      return false;
    }
    if (!info || !table.has_segment(segment)) {
      ++report.corrupt;
      return false;
    }
    table.adopt({*info, segment, info->body_bytes() + kGranuleOverhead, true});
    ++report.granules;
    report.bytes += info->body_bytes();
    return true;
  });
  if (!complete) ++report.corrupt;  // an index block that cannot be read: its granules are lost
  measure();
  report.seconds = std::chrono::duration<double>(Clock::now() - began).count();
}

/// After a restart with a smaller quota: the oldest segments go until the rest fits.
void SsdTier::Impl::trim_to_quota() {
  while (disk_bytes + headroom > limits.quota_bytes || table.live_bytes() > live_capacity) {
    const auto oldest = table.oldest_closed();
    if (!oldest) return;
    drop_segment(*oldest);
  }
}

// ---- writing

Result<void> SsdTier::Impl::put(std::span<const TierItem> offered) {
  std::vector<TierItem> items;
  uint64_t bytes = 0;
  {
    const std::lock_guard lock(mutex);
    for (const TierItem& item : offered) {
      if (table.find(item.info.key) != nullptr) continue;  // first writer wins
      items.push_back(item);
      bytes += item.body.size() + kGranuleOverhead;
    }
  }
  if (items.empty()) return {};
  EBB_TRY_VOID(check_sizes(items, bytes));
  EBB_TRY_VOID(make_space(bytes));
  EBB_TRY_VOID(write(items));
  // A flush that fails here leaves the granules readable; the next put or flush reports it.
  if (pending() >= segment_size) (void)flush();
  return {};
}

Result<void> SsdTier::Impl::check_sizes(std::span<const TierItem> items, uint64_t bytes) const {
  for (const TierItem& item : items) {
    if (item.body.size() <= live_capacity / 4) continue;
    return invalid(to_text(item.info.key) + ": body of " + format_bytes(item.body.size()) +
                   ", this ssd tier takes at most " + format_bytes(live_capacity / 4) +
                   " (ssd_size)");
  }
  const std::lock_guard lock(mutex);
  if (table.live_bytes() + bytes <= live_capacity) return {};
  return exhausted("ssd tier: quota: " + format_bytes(table.live_bytes()) + " of " +
                   format_bytes(live_capacity) + " in use");
}

/// Quota and reserve, before anything is written. Each step flushes what waits or gives up garbage.
Result<void> SsdTier::Impl::make_space(uint64_t bytes) {
  for (int step = 0; step < kReclaimStepsMax; ++step) {
    uint64_t waiting, taken;
    {
      const std::lock_guard lock(mutex);
      waiting = pending_bytes;
      taken = disk_bytes + pending_bytes;
    }
    const FileSystemRoom room = EBB_TRY(file_system_room(path));
    const auto reserve = check_reserve(limits, room, bytes + waiting + segment_size);
    const bool in_quota = taken + bytes + headroom <= limits.quota_bytes;
    if (in_quota && reserve && waiting < 2 * segment_size) {
      clear_note();
      return {};
    }
    if (waiting >= segment_size) EBB_TRY_VOID(flush());
    if (in_quota && reserve) continue;
    if (reclaim_one()) continue;
    if (in_quota) return noted(with_context("ssd tier", reserve.error()));
    return noted(exhausted("ssd tier: quota: " + format_bytes(taken) + " of " +
                           format_bytes(limits.quota_bytes) + " on disk"));
  }
  return noted(exhausted("ssd tier: no space could be reclaimed"));
}

Result<void> SsdTier::Impl::write(std::span<const TierItem> items) {
  if (auto written = engine->write(current, items); !written) return noted(written.error());
  const std::lock_guard lock(mutex);
  for (const TierItem& item : items) {
    const uint64_t bytes = item.body.size() + kGranuleOverhead;
    table.insert({item.info, current, bytes, false});
    unflushed.push_back(item.info.key);
    pending_bytes += bytes;
  }
  return {};
}

Result<void> SsdTier::Impl::flush() {
  const uint64_t waiting = pending();
  // Others may have filled the disk since these bytes were admitted. The engine must not find out.
  if (!has_free(waiting + waiting / 16 + kFreeMin)) {
    return noted(
        exhausted("ssd tier: flush of " + format_bytes(waiting) + ": the file system is full"));
  }
  if (auto flushed = engine->flush(); !flushed) return noted(flushed.error());
  {
    const std::lock_guard lock(mutex);
    table.mark_durable(unflushed);
    pending_bytes = 0;
  }
  unflushed.clear();
  moves_unflushed = false;
  close_segment();
  measure();
  return {};
}

/// Ends the current segment when it is full; keeps the number of its files and of the index's
/// small.
void SsdTier::Impl::close_segment() {
  const EngineFiles files = engine->files();
  const SegmentFiles segment = files.of(current);
  // Without room for a merge it is tried again after the next flush.
  if (!has_free(segment.bytes + kFreeMin)) return;
  if (files.index_upper_files >= kFilesBeforeMerge) engine->merge_index();
  // A file has a little less than what was admitted for it: that much less must do, or every
  // segment would take two flushes and be merged by rewriting instead of by renaming.
  const bool full = segment.bytes >= segment_size - segment_size / 4;
  if (segment.upper_files > 0 && (full || segment.upper_files >= kFilesBeforeMerge)) {
    engine->merge_segment(current);
  }
  if (!full) return;
  const std::lock_guard lock(mutex);
  table.close(current, segment.bytes);
  ++current;
}

// ---- giving space back

/// One step towards more space; false when there is none to gain.
bool SsdTier::Impl::reclaim_one() {
  if (moves_unflushed && !flush()) return false;
  if (const auto dead = dead_segment()) {
    drop_segment(*dead);
    return true;
  }
  std::optional<uint64_t> sparse;
  {
    const std::lock_guard lock(mutex);
    sparse = table.sparsest(kMoveShareMax);
  }
  if (!sparse) return false;
  if (auto moved = move_survivors(*sparse); !moved) {
    log_warn("kvstore", "ssd tier: survivors not moved", {{"why", moved.error().message}});
    return false;
  }
  drop_segment(*sparse);
  return true;
}

/// Survivors are flushed in their new segment before the old one may go.
Result<void> SsdTier::Impl::move_survivors(uint64_t segment) {
  uint64_t live;
  {
    const std::lock_guard lock(mutex);
    live = table.live_in(segment);
  }
  if (!has_free(live + segment_size + kFreeMin)) return exhausted("the file system is full");
  const auto move = [&](const GranuleKey& key, std::span<const std::byte> body) -> Result<void> {
    TierItem item{{}, body};
    {
      const std::lock_guard lock(mutex);
      const SegmentTable::Entry* entry = table.find(key);
      if (entry == nullptr || entry->segment != segment) return {};
      item.info = entry->info;
    }
    // What fails its checks stays behind and goes with the segment: a miss, found out when it is
    // asked for.
    if (body.size() != item.info.body_bytes()) return {};
    if (verify_frames(whole(item.info), body).corrupt > 0) return {};
    EBB_TRY_VOID(write({&item, 1}));
    moves_unflushed = true;
    return {};
  };
  EBB_TRY_VOID(engine->scan_segment(segment, move));
  return flush();
}

void SsdTier::Impl::drop_segment(uint64_t segment) {
  std::vector<GranuleKey> lost;
  {
    const std::lock_guard lock(mutex);
    lost = table.forget(segment);
  }
  if (!lost.empty()) engine->forget(lost);
  // Files in the upper level cannot be deleted by range: they are merged down first. There are some
  // only when an earlier merge found no room.
  const SegmentFiles files = engine->files().of(segment);
  if (files.upper_files > 0 && has_free(files.bytes + kFreeMin)) engine->merge_segment(segment);
  engine->delete_segment(segment);
  measure();
}

void SsdTier::Impl::remove(std::span<const GranuleKey> keys) {
  std::vector<GranuleKey> gone;
  {
    const std::lock_guard lock(mutex);
    std::copy_if(keys.begin(), keys.end(), std::back_inserter(gone),
                 [&](const GranuleKey& key) { return table.erase(key); });
  }
  if (gone.empty()) return;
  engine->forget(gone);
  if (moves_unflushed) return;  // what looks dead may hold the only flushed copy
  while (const auto dead = dead_segment()) drop_segment(*dead);
}

// ---- space

void SsdTier::Impl::measure() {
  const uint64_t bytes = blocks_in(path);
  const std::lock_guard lock(mutex);
  disk_bytes = bytes;
}

bool SsdTier::Impl::has_free(uint64_t bytes) const {
  const auto room = file_system_room(path);
  return room && room->free_bytes >= bytes;
}

/// Remembers why the tier does not admit, for whoever asks about its state.
Error SsdTier::Impl::noted(Error error) {
  const std::lock_guard lock(mutex);
  if (note.empty()) log_warn("kvstore", "ssd tier stopped admitting", {{"why", error.message}});
  note = error.message;
  return error;
}

void SsdTier::Impl::clear_note() {
  const std::lock_guard lock(mutex);
  if (!note.empty()) log_info("kvstore", "ssd tier admits again");
  note.clear();
}

// ---- the promise

Result<std::unique_ptr<SsdTier>> SsdTier::open(const std::string& path, const DiskLimits& limits) {
  if (limits.quota_bytes < kQuotaMin) {
    return invalid("ssd_size: " + format_bytes(limits.quota_bytes) + ", at least " +
                   format_bytes(kQuotaMin) + " (or 0: no ssd tier)");
  }
  std::error_code failed;
  fs::create_directories(path, failed);
  if (failed) return unavailable("ssd_path: cannot make " + path + ": " + failed.message());

  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->limits = limits;
  impl->segment_size =
      std::clamp(std::bit_floor(limits.quota_bytes / 64), kSegmentMin, kSegmentMax);
  impl->headroom = 2 * impl->segment_size + kEngineBytes + limits.quota_bytes / 128;
  impl->live_capacity =
      static_cast<uint64_t>(kLiveShare * static_cast<double>(limits.quota_bytes - impl->headroom));
  const FileSystemRoom room = EBB_TRY(file_system_room(path));
  if (room.free_bytes < 2 * kFreeMin) {
    return exhausted("ssd_path: the file system of " + path + " has " +
                     format_bytes(room.free_bytes) + " free");
  }
  EBB_TRY_VOID(impl->open_engine());
  impl->scan();
  impl->trim_to_quota();
  return std::unique_ptr<SsdTier>(new SsdTier(std::move(impl)));
}

SsdTier::SsdTier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SsdTier::~SsdTier() = default;

Result<void> SsdTier::put(std::span<const TierItem> items) {
  const std::lock_guard writer(impl_->write_mutex);
  return impl_->put(items);
}

Result<ReadOutcome> SsdTier::read(const GetItem& item, std::span<std::byte> out) {
  EBB_CHECK(out.size() >= item.asked_bytes());
  for (int tries = 0; tries < 3; ++tries) {
    SegmentTable::Entry entry;
    {
      const std::lock_guard lock(impl_->mutex);
      const SegmentTable::Entry* found = impl_->table.find(item.key);
      if (found == nullptr) break;
      entry = *found;
    }
    if (entry.info.first != item.first || entry.info.payload_bytes != item.payload_bytes) break;
    GetItem there = item;
    there.bitmap &= whole(entry.info).bitmap;
    bool sized = false;
    const auto read =
        impl_->engine->read(entry.segment, item.key, [&](std::span<const std::byte> body) {
          sized = body.size() == entry.info.body_bytes();
          if (sized) copy_frames(there, body, out);
        });
    if (!read && read.error().code == Code::kNotFound)
      continue;  // moved to another segment meanwhile
    if (!read) return read.error();
    if (!sized) return corrupt("ssd tier: " + to_text(item.key) + ": wrong size");
    return verify_frames(there, out);
  }
  return not_found(to_text(item.key));
}

bool SsdTier::contains(const GranuleKey& key) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->table.find(key) != nullptr;
}

void SsdTier::remove(std::span<const GranuleKey> keys) {
  const std::lock_guard writer(impl_->write_mutex);
  impl_->remove(keys);
}

uint64_t SsdTier::charge(uint64_t body_bytes) const { return body_bytes + kGranuleOverhead; }

TierUsage SsdTier::usage() const {
  const std::lock_guard lock(impl_->mutex);
  TierUsage usage;
  usage.capacity_bytes = impl_->live_capacity;
  usage.used_bytes = impl_->table.live_bytes();
  usage.disk_bytes = impl_->disk_bytes + impl_->pending_bytes;
  usage.granules = impl_->table.size();
  usage.writable = impl_->note.empty();
  usage.note = impl_->note;
  return usage;
}

Result<void> SsdTier::flush() {
  const std::lock_guard writer(impl_->write_mutex);
  return impl_->flush();
}

bool SsdTier::durable(const GranuleKey& key) const {
  const std::lock_guard lock(impl_->mutex);
  const SegmentTable::Entry* entry = impl_->table.find(key);
  return entry != nullptr && entry->durable;
}

const RestartReport& SsdTier::restart() const { return impl_->report; }
uint64_t SsdTier::body_max() const { return impl_->live_capacity / 4; }

std::vector<GranuleInfo> SsdTier::oldest_first() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->table.oldest_first();
}

}  // namespace ebb::kvstore
