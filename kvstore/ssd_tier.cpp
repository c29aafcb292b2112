#include "kvstore/ssd_tier.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>

#include "base/fault.h"
#include "base/log.h"
#include "base/units.h"
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
constexpr int kFilesBeforeMerge = 8;

/// Body of an index entry.
struct IndexValue {
  uint64_t segment = 0;
  Position first = 0;
  uint32_t payload_bytes = 0;
  uint16_t records = 0;
  uint16_t version = 1;
  uint32_t crc = 0;  ///< over key and the fields before this one
};
static_assert(sizeof(IndexValue) == 24);

uint32_t index_crc(const GranuleKey& key, const IndexValue& value) {
  const auto bytes = std::as_bytes(std::span<const IndexValue, 1>(&value, 1));
  return crc32c(bytes.first(offsetof(IndexValue, crc)),
                crc32c(std::as_bytes(std::span<const GranuleKey, 1>(&key, 1))));
}

rocksdb::Slice slice_of(const GranuleKey& key) {
  return {reinterpret_cast<const char*>(&key), sizeof key};
}
rocksdb::Slice slice_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> bytes_of(const rocksdb::Slice& slice) {
  return {reinterpret_cast<const std::byte*>(slice.data()), slice.size()};
}

std::string segment_prefix(uint64_t segment) {
  std::string text(8, '\0');
  for (int i = 0; i < 8; ++i) text[i] = static_cast<char>(segment >> (56 - 8 * i));
  return text;
}
std::string data_key(uint64_t segment, const GranuleKey& key) {
  return segment_prefix(segment).append(slice_of(key).data(), sizeof key);
}
uint64_t segment_of(const std::string& data_key) {
  uint64_t segment = 0;
  for (int i = 0; i < 8 && i < static_cast<int>(data_key.size()); ++i) {
    segment = segment << 8 | static_cast<uint8_t>(data_key[i]);
  }
  return segment;
}

rocksdb::DBOptions engine_options() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.atomic_flush = true;
  options.max_background_jobs = 2;
  options.allow_fallocate =
      false;  // blocks that are reserved and not used would count against the quota
  options.manifest_preallocation_size = 16 * kKiB;
  options.max_manifest_file_size = 256 * kKiB;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = 64 * kKiB;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

rocksdb::ColumnFamilyOptions family_options(uint64_t segment_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.no_block_cache =
      true;  // memory is bounded elsewhere; the page cache serves what is read again
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  options.num_levels = 2;
  options.level_compaction_dynamic_level_bytes = false;
  // Only we flush and compact, after looking at the free space.
  options.disable_auto_compactions = true;
  options.level0_file_num_compaction_trigger = 1 << 30;
  options.level0_slowdown_writes_trigger = 1 << 30;
  options.level0_stop_writes_trigger = 1 << 30;
  options.soft_pending_compaction_bytes_limit = 0;
  options.hard_pending_compaction_bytes_limit = 0;
  options.write_buffer_size = 16 * segment_bytes + 64 * kMiB;
  options.arena_block_size = 256 * kKiB;
  options.target_file_size_base = 8 * segment_bytes + 64 * kMiB;
  return options;
}

Error engine_error(const std::string& what, const rocksdb::Status& status) {
  return unavailable("ssd tier: " + what + ": " + status.ToString());
}

bool says_locked(const rocksdb::Status& status) {
  return status.IsIOError() && status.ToString().find("LOCK") != std::string::npos;
}
bool says_broken(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsInvalidArgument() || status.IsNotSupported() ||
         (status.IsIOError() && status.ToString().find("No such file") != std::string::npos);
}

}  // namespace

struct SsdTier::Impl {
  std::string path;
  DiskLimits limits;
  uint64_t segment_size = 0;
  uint64_t headroom = 0;  ///< of the quota: what a flush, a merge or a move may take for a while
  uint64_t live_capacity = 0;
  RestartReport report;

  std::unique_ptr<rocksdb::DB> db;
  rocksdb::ColumnFamilyHandle* index = nullptr;
  rocksdb::ColumnFamilyHandle* data = nullptr;

  std::mutex write_mutex;  ///< one writer; held during disk work
  uint64_t current = 1;    ///< segment being written (under write_mutex)
  std::vector<GranuleKey> unflushed;
  bool moves_unflushed =
      false;  ///< survivors whose only flushed copy is in a segment that looks dead

  mutable std::mutex mutex;  ///< the members below; never held during disk work
  SegmentTable table;
  uint64_t disk_bytes = 0;
  uint64_t pending_bytes = 0;
  std::string note;

  ~Impl();
  Result<void> open_engine();
  Result<void> set_aside(const std::string& why);
  void scan();
  void adopt_segments();
  void trim_to_quota();

  Result<void> put(std::span<const TierItem> items);
  Result<void> make_space(uint64_t bytes);
  Result<void> write(std::span<const TierItem> items);
  Result<void> flush();
  Result<void> close_segment();
  void merge(rocksdb::ColumnFamilyHandle* family, const std::string* begin, const std::string* end);
  bool reclaim_one();
  Result<void> move_survivors(uint64_t segment);
  void drop_segment(uint64_t segment);
  bool has_upper_files(uint64_t segment) const;
  void remove(std::span<const GranuleKey> keys);
  void measure();
  bool has_free(uint64_t bytes) const;
  void set_note(const std::string& text);
};

SsdTier::Impl::~Impl() {
  if (!db) return;
  if (data != nullptr) db->DestroyColumnFamilyHandle(data);
  if (index != nullptr) db->DestroyColumnFamilyHandle(index);
  db->Close();
}

// ---- opening

Result<void> SsdTier::Impl::open_engine() {
  const auto family = family_options(segment_size);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families{
      {rocksdb::kDefaultColumnFamilyName, family}, {"data", family}};
  for (int attempt = 0;; ++attempt) {
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* opened = nullptr;
    const auto status = rocksdb::DB::Open(engine_options(), path, families, &handles, &opened);
    if (status.ok()) {
      db.reset(opened);
      index = handles[0];
      data = handles[1];
      return {};
    }
    if (says_locked(status)) {
      return unavailable("ssd tier: " + path + " is in use by another process (" +
                         status.ToString() + ")");
    }
    if (!says_broken(status) || attempt > 0) return engine_error("open " + path, status);
    EBB_TRY_VOID(set_aside(status.ToString()));
  }
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
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  std::map<uint64_t, uint64_t> bytes;
  std::map<uint64_t, bool> unmerged;
  for (const auto& file : files) {
    if (file.column_family_name != "data") continue;
    const uint64_t segment = segment_of(file.smallestkey);
    bytes[segment] += file.size;
    if (file.level == 0) unmerged[segment] = true;
    current = std::max(current, segment + 1);
  }
  for (const auto& [segment, size] : bytes) table.close(segment, size);
  for (const auto& [segment, yes] : unmerged) {
    const std::string begin = segment_prefix(segment), end = segment_prefix(segment + 1);
    if (has_free(segment_size + kFreeMin)) merge(data, &begin, &end);
  }
}

void SsdTier::Impl::scan() {
  const auto began = Clock::now();
  adopt_segments();
  rocksdb::WriteBatch bad;
  std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(rocksdb::ReadOptions(), index));
  uint64_t entries = 0;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    SegmentTable::Entry entry;
    IndexValue value;
    const bool sized = it->key().size() == sizeof(GranuleKey) && it->value().size() == sizeof value;
    if (sized) {
      std::memcpy(&entry.info.key, it->key().data(), sizeof entry.info.key);
      std::memcpy(&value, it->value().data(), sizeof value);
    }
    entry.info.first = value.first;
    entry.info.records = value.records;
    entry.info.payload_bytes = value.payload_bytes;
    entry.segment = value.segment;
    entry.bytes = entry.info.body_bytes() + kGranuleOverhead;
    entry.durable = true;
    if (++entries > kScanEntriesMax) {
      ++report.left_out;
      bad.Delete(index, it->key());
    } else if (!sized || value.version != 1 || value.crc != index_crc(entry.info.key, value) ||
               !table.has_segment(value.segment)) {
      ++report.corrupt;
      bad.Delete(index, it->key());
    } else {
      ++report.granules;
      report.bytes += entry.info.body_bytes();
      table.adopt(entry);
    }
  }
  if (!it->status().ok())
    ++report.corrupt;  // an index block that cannot be read: its granules are lost
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  if (bad.Count() > 0) db->Write(options, &bad);
  measure();
  report.seconds = std::chrono::duration<double>(Clock::now() - began).count();
}

/// After a restart with a smaller quota: the oldest segments go until the rest fits.
void SsdTier::Impl::trim_to_quota() {
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (disk_bytes + headroom <= limits.quota_bytes && table.live_bytes() <= live_capacity)
        return;
    }
    const auto oldest = table.oldest_closed();
    if (!oldest) return;
    drop_segment(*oldest);
  }
}

// ---- writing

Result<void> SsdTier::Impl::put(std::span<const TierItem> offered) {
  std::vector<TierItem> items;
  {
    const std::lock_guard lock(mutex);
    for (const TierItem& item : offered) {
      if (table.find(item.info.key) == nullptr) items.push_back(item);
    }
  }
  uint64_t bytes = 0;
  for (const TierItem& item : items) {
    bytes += item.body.size() + kGranuleOverhead;
    if (item.body.size() > live_capacity / 4) {
      return invalid(to_text(item.info.key) + ": body of " + format_bytes(item.body.size()) +
                     ", this ssd tier takes at most " + format_bytes(live_capacity / 4) +
                     " (ssd_size)");
    }
  }
  {
    const std::lock_guard lock(mutex);
    if (table.live_bytes() + bytes > live_capacity) {
      return exhausted("ssd tier: quota: " + format_bytes(table.live_bytes()) + " of " +
                       format_bytes(live_capacity) + " in use");
    }
  }
  EBB_TRY_VOID(make_space(bytes));
  EBB_TRY_VOID(write(items));
  uint64_t waiting;
  {
    const std::lock_guard lock(mutex);
    waiting = pending_bytes;
  }
  // A flush that fails here leaves the granules readable; the next put or flush reports it.
  if (waiting >= segment_size) (void)flush();
  return {};
}

/// Quota and reserve, before anything is written.
Result<void> SsdTier::Impl::make_space(uint64_t bytes) {
  for (int tries = 0; tries < 4096; ++tries) {
    uint64_t taken, waiting;
    {
      const std::lock_guard lock(mutex);
      waiting = pending_bytes;
      taken = disk_bytes + pending_bytes;
    }
    auto room = file_system_room(path);
    if (!room) return std::move(room).error();
    const auto reserve = check_reserve(limits, *room, bytes + waiting + segment_size);
    const bool in_quota = taken + bytes + headroom <= limits.quota_bytes;
    if (in_quota && reserve && waiting < 2 * segment_size) {
      set_note("");
      return {};
    }
    if (waiting >= segment_size) EBB_TRY_VOID(flush());
    if (in_quota && reserve) continue;
    if (reclaim_one()) continue;
    const Error error = in_quota ? with_context("ssd tier", reserve.error())
                                 : exhausted("ssd tier: quota: " + format_bytes(taken) + " of " +
                                             format_bytes(limits.quota_bytes) + " on disk");
    set_note(error.message);
    return error;
  }
  return exhausted("ssd tier: no space could be reclaimed");
}

Result<void> SsdTier::Impl::write(std::span<const TierItem> items) {
  rocksdb::WriteBatch batch;
  uint64_t bytes = 0;
  for (const TierItem& item : items) {
    IndexValue value{current, item.info.first, item.info.payload_bytes, item.info.records, 1, 0};
    value.crc = index_crc(item.info.key, value);
    batch.Put(data, data_key(current, item.info.key), slice_of(item.body));
    batch.Put(index, slice_of(item.info.key),
              {reinterpret_cast<const char*>(&value), sizeof value});
    bytes += item.body.size() + kGranuleOverhead;
  }
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  if (EBB_FAULT("kvstore.ssd.write")) return unavailable("ssd tier: write: fault injected");
  const auto status = db->Write(options, &batch);
  if (!status.ok()) {
    db->Resume();  // after an I/O error the engine stays read-only until told otherwise
    const Error error = engine_error("write", status);
    set_note(error.message);
    return error;
  }
  const std::lock_guard lock(mutex);
  for (const TierItem& item : items) {
    table.insert({item.info, current, item.body.size() + kGranuleOverhead, false});
    unflushed.push_back(item.info.key);
  }
  pending_bytes += bytes;
  return {};
}

Result<void> SsdTier::Impl::flush() {
  uint64_t waiting;
  {
    const std::lock_guard lock(mutex);
    waiting = pending_bytes;
  }
  // Others may have filled the disk since these bytes were admitted. The engine must not find out.
  if (!has_free(waiting + waiting / 16 + kFreeMin)) {
    const Error error =
        exhausted("ssd tier: flush of " + format_bytes(waiting) + ": the file system is full");
    set_note(error.message);
    return error;
  }
  if (EBB_FAULT("kvstore.ssd.flush")) return unavailable("ssd tier: flush: fault injected");
  rocksdb::FlushOptions options;
  options.wait = true;
  const auto status = db->Flush(options, {index, data});
  if (!status.ok()) {
    db->Resume();
    const Error error = engine_error("flush", status);
    set_note(error.message);
    return error;
  }
  {
    const std::lock_guard lock(mutex);
    table.mark_durable(unflushed);
    pending_bytes = 0;
  }
  unflushed.clear();
  moves_unflushed = false;
  (void)close_segment();  // a segment that cannot be closed now is closed after a later flush
  measure();
  return {};
}

/// Ends the current segment when it is full; keeps the number of its files and of the index's
/// small.
Result<void> SsdTier::Impl::close_segment() {
  const std::string begin = segment_prefix(current), end = segment_prefix(current + 1);
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  uint64_t bytes = 0;
  int data_files = 0, index_files = 0;
  for (const auto& file : files) {
    if (file.column_family_name != "data") {
      if (file.level == 0) ++index_files;
    } else if (segment_of(file.smallestkey) == current) {
      bytes += file.size;
      if (file.level == 0) ++data_files;
    }
  }
  if (!has_free(bytes + kFreeMin)) return exhausted("ssd tier: no room to merge a segment");
  if (index_files >= kFilesBeforeMerge) merge(index, nullptr, nullptr);
  const bool full = bytes >= segment_size;
  if (data_files > 0 && (full || data_files >= kFilesBeforeMerge)) merge(data, &begin, &end);
  if (!full) return {};
  const std::lock_guard lock(mutex);
  table.close(current, bytes);
  ++current;
  return {};
}

void SsdTier::Impl::merge(rocksdb::ColumnFamilyHandle* family, const std::string* begin,
                          const std::string* end) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  const rocksdb::Slice from(begin ? *begin : std::string_view()),
      to(end ? *end : std::string_view());
  const auto status =
      db->CompactRange(options, family, begin ? &from : nullptr, end ? &to : nullptr);
  if (!status.ok()) log_warn("kvstore", "ssd tier: merge failed", {{"why", status.ToString()}});
}

// ---- giving space back

/// One step towards more space; false when there is none to gain.
bool SsdTier::Impl::reclaim_one() {
  if (moves_unflushed && !flush()) return false;
  std::optional<uint64_t> dead, sparse;
  {
    const std::lock_guard lock(mutex);
    dead = table.dead();
    if (!dead) sparse = table.sparsest(kMoveShareMax);
  }
  if (dead) {
    drop_segment(*dead);
    return true;
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
  const std::string begin = segment_prefix(segment), end = segment_prefix(segment + 1);
  rocksdb::ReadOptions options;
  const rocksdb::Slice upper(end);
  options.iterate_upper_bound = &upper;
  std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(options, data));
  for (it->Seek(begin); it->Valid(); it->Next()) {
    if (it->key().size() != 8 + sizeof(GranuleKey)) continue;
    GranuleKey key;
    std::memcpy(&key, it->key().data() + 8, sizeof key);
    TierItem item;
    {
      const std::lock_guard lock(mutex);
      const SegmentTable::Entry* entry = table.find(key);
      if (entry == nullptr || entry->segment != segment) continue;
      item.info = entry->info;
    }
    item.body = bytes_of(it->value());
    // What fails its checks stays behind and goes with the segment: a miss, found out when it is
    // asked for.
    if (item.body.size() != item.info.body_bytes()) continue;
    if (verify_frames(whole(item.info), item.body).corrupt > 0) continue;
    EBB_TRY_VOID(write({&item, 1}));
    moves_unflushed = true;
  }
  if (!it->status().ok())
    log_warn("kvstore", "ssd tier: segment partly unreadable", {{"why", it->status().ToString()}});
  return flush();
}

bool SsdTier::Impl::has_upper_files(uint64_t segment) const {
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  return std::any_of(files.begin(), files.end(), [&](const auto& file) {
    return file.column_family_name == "data" && file.level == 0 &&
           segment_of(file.smallestkey) == segment;
  });
}

void SsdTier::Impl::drop_segment(uint64_t segment) {
  const std::string begin = segment_prefix(segment), end = segment_prefix(segment + 1);
  const rocksdb::Slice from(begin), to(end);
  std::vector<GranuleKey> lost;
  {
    const std::lock_guard lock(mutex);
    lost = table.forget(segment);
  }
  if (!lost.empty()) {
    rocksdb::WriteBatch batch;
    for (const GranuleKey& key : lost) batch.Delete(index, slice_of(key));
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    db->Write(options, &batch);
  }
  // Files in the upper level cannot be deleted by range: they are merged down first. There are some
  // only when an earlier merge found no room.
  if (has_upper_files(segment)) merge(data, &begin, &end);
  const auto status = rocksdb::DeleteFilesInRange(db.get(), data, &from, &to, false);
  if (!status.ok()) {
    log_warn("kvstore", "ssd tier: segment not deleted", {{"why", status.ToString()}});
  }
  measure();
}

void SsdTier::Impl::remove(std::span<const GranuleKey> keys) {
  rocksdb::WriteBatch batch;
  {
    const std::lock_guard lock(mutex);
    for (const GranuleKey& key : keys) {
      if (table.erase(key)) batch.Delete(index, slice_of(key));
    }
  }
  if (batch.Count() == 0) return;
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  db->Write(options, &batch);
  if (moves_unflushed) return;  // what looks dead may hold the only flushed copy
  for (;;) {
    std::optional<uint64_t> dead;
    {
      const std::lock_guard lock(mutex);
      dead = table.dead();
    }
    if (!dead) return;
    drop_segment(*dead);
  }
}

void SsdTier::Impl::measure() {
  const uint64_t bytes = blocks_in(path);
  const std::lock_guard lock(mutex);
  disk_bytes = bytes;
}

bool SsdTier::Impl::has_free(uint64_t bytes) const {
  const auto room = file_system_room(path);
  return room && room->free_bytes >= bytes;
}

void SsdTier::Impl::set_note(const std::string& text) {
  const std::lock_guard lock(mutex);
  if (note == text) return;
  if (!text.empty() && note.empty())
    log_warn("kvstore", "ssd tier stopped admitting", {{"why", text}});
  note = text;
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
    rocksdb::PinnableSlice value;
    const auto status = impl_->db->Get(rocksdb::ReadOptions(), impl_->data,
                                       data_key(entry.segment, item.key), &value);
    if (status.IsNotFound()) continue;  // it moved to another segment in between
    if (!status.ok()) return corrupt("ssd tier: " + to_text(item.key) + ": " + status.ToString());
    if (value.size() != entry.info.body_bytes())
      return corrupt("ssd tier: " + to_text(item.key) + ": wrong size");
    GetItem there = item;
    there.bitmap &= whole(entry.info).bitmap;
    const uint64_t frame = framed_bytes(item.payload_bytes);
    uint64_t place = 0;
    for (uint32_t rest = there.bitmap; rest != 0; rest &= rest - 1) {
      std::memcpy(out.data() + place, value.data() + std::countr_zero(rest) * frame, frame);
      place += frame;
    }
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
