#include "kvstore/rocks_engine.h"

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/fault.h"
#include "base/log.h"
#include "base/units.h"

namespace ebb::kvstore {
namespace {

constexpr uint16_t kIndexVersion = 1;
constexpr const char* kDataFamily = "data";

/// Value of an index entry.
struct IndexValue {
  uint64_t segment = 0;
  Position first = 0;
  uint32_t payload_bytes = 0;
  uint16_t records = 0;
  uint16_t version = kIndexVersion;
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
  for (size_t i = 0; i < std::min<size_t>(8, data_key.size()); ++i) {
    segment = segment << 8 | static_cast<uint8_t>(data_key[i]);
  }
  return segment;
}

/// Keys of one segment, [begin, end).
struct SegmentRange {
  explicit SegmentRange(uint64_t segment)
      : begin(segment_prefix(segment)), end(segment_prefix(segment + 1)), from(begin), to(end) {}
  SegmentRange(const SegmentRange&) = delete;
  std::string begin, end;
  rocksdb::Slice from, to;
};

rocksdb::DBOptions engine_options() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.atomic_flush = true;
  options.max_background_jobs = 2;
  // Blocks that are reserved and not used would count against the quota.
  options.allow_fallocate = false;
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
  // Nothing is flushed or compacted behind our back: the tier looks at the free space first.
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

rocksdb::WriteOptions without_log() {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
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

/// Nothing when the entry is not one of ours, whole and unchanged.
std::optional<std::pair<GranuleInfo, uint64_t>> parse_index(const rocksdb::Slice& key,
                                                            const rocksdb::Slice& value) {
  IndexValue parsed;
  GranuleInfo info;
  if (key.size() != sizeof info.key || value.size() != sizeof parsed) return std::nullopt;
  std::memcpy(&info.key, key.data(), sizeof info.key);
  std::memcpy(&parsed, value.data(), sizeof parsed);
  if (parsed.version != kIndexVersion || parsed.crc != index_crc(info.key, parsed))
    return std::nullopt;
  info.first = parsed.first;
  info.records = parsed.records;
  info.payload_bytes = parsed.payload_bytes;
  return std::pair(info, parsed.segment);
}

}  // namespace

struct RocksEngine::Impl {
  std::unique_ptr<rocksdb::DB> db;
  rocksdb::ColumnFamilyHandle* index = nullptr;
  rocksdb::ColumnFamilyHandle* data = nullptr;

  ~Impl() {
    db->DestroyColumnFamilyHandle(data);
    db->DestroyColumnFamilyHandle(index);
    db->Close();
  }
  void merge(rocksdb::ColumnFamilyHandle* family, const rocksdb::Slice* from,
             const rocksdb::Slice* to) {
    rocksdb::CompactRangeOptions options;
    options.exclusive_manual_compaction = false;
    const auto status = db->CompactRange(options, family, from, to);
    if (!status.ok()) log_warn("kvstore", "ssd tier: merge failed", {{"why", status.ToString()}});
  }
  /// After an I/O error the engine stays read-only until told otherwise.
  Error failed(const std::string& what, const rocksdb::Status& status) {
    db->Resume();
    return engine_error(what, status);
  }
};

RocksEngine::RocksEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksEngine::~RocksEngine() = default;

Result<std::unique_ptr<RocksEngine>> RocksEngine::open(const std::string& path,
                                                       uint64_t segment_bytes) {
  const auto family = family_options(segment_bytes);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families{
      {rocksdb::kDefaultColumnFamilyName, family}, {kDataFamily, family}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* opened = nullptr;
  const auto status = rocksdb::DB::Open(engine_options(), path, families, &handles, &opened);
  if (says_locked(status)) {
    return unavailable("ssd tier: " + path + " is in use by another process (" + status.ToString() +
                       ")");
  }
  if (says_broken(status)) return corrupt(status.ToString());
  if (!status.ok()) return engine_error("open " + path, status);
  auto impl = std::make_unique<Impl>();
  impl->db.reset(opened);
  impl->index = handles[0];
  impl->data = handles[1];
  return std::unique_ptr<RocksEngine>(new RocksEngine(std::move(impl)));
}

Result<void> RocksEngine::write(uint64_t segment, std::span<const TierItem> items) {
  rocksdb::WriteBatch batch;
  for (const TierItem& item : items) {
    IndexValue value;
    value.segment = segment;
    value.first = item.info.first;
    value.payload_bytes = item.info.payload_bytes;
    value.records = item.info.records;
    value.crc = index_crc(item.info.key, value);
    batch.Put(impl_->data, data_key(segment, item.info.key), slice_of(item.body));
    batch.Put(impl_->index, slice_of(item.info.key),
              {reinterpret_cast<const char*>(&value), sizeof value});
  }
  if (EBB_FAULT("kvstore.ssd.write")) return unavailable("ssd tier: write: fault injected");
  const auto status = impl_->db->Write(without_log(), &batch);
  if (!status.ok()) return impl_->failed("write", status);
  return {};
}

void RocksEngine::forget(std::span<const GranuleKey> keys) {
  rocksdb::WriteBatch batch;
  for (const GranuleKey& key : keys) batch.Delete(impl_->index, slice_of(key));
  const auto status = impl_->db->Write(without_log(), &batch);
  // What stays in the index is found out at the next restart: its segment is gone, or it is cache.
  if (!status.ok())
    log_warn("kvstore", "ssd tier: index entries stay", {{"why", status.ToString()}});
}

Result<void> RocksEngine::flush() {
  if (EBB_FAULT("kvstore.ssd.flush")) return unavailable("ssd tier: flush: fault injected");
  rocksdb::FlushOptions options;
  options.wait = true;
  const auto status = impl_->db->Flush(options, {impl_->index, impl_->data});
  if (!status.ok()) return impl_->failed("flush", status);
  return {};
}

Result<void> RocksEngine::read(uint64_t segment, const GranuleKey& key,
                               const std::function<void(std::span<const std::byte>)>& use) {
  rocksdb::PinnableSlice value;
  const auto status =
      impl_->db->Get(rocksdb::ReadOptions(), impl_->data, data_key(segment, key), &value);
  if (status.IsNotFound()) return not_found(to_text(key));
  if (!status.ok()) return corrupt("ssd tier: " + to_text(key) + ": " + status.ToString());
  use(bytes_of(value));
  return {};
}

bool RocksEngine::scan_index(
    const std::function<bool(std::optional<GranuleInfo> info, uint64_t segment)>& visit) {
  rocksdb::WriteBatch bad;
  std::unique_ptr<rocksdb::Iterator> it(
      impl_->db->NewIterator(rocksdb::ReadOptions(), impl_->index));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const auto entry = parse_index(it->key(), it->value());
    const bool keep = entry ? visit(entry->first, entry->second) : visit(std::nullopt, 0);
    if (!keep) bad.Delete(impl_->index, it->key());
  }
  if (bad.Count() > 0) impl_->db->Write(without_log(), &bad);
  return it->status().ok();
}

Result<void> RocksEngine::scan_segment(
    uint64_t segment,
    const std::function<Result<void>(const GranuleKey&, std::span<const std::byte> body)>& visit) {
  const SegmentRange range(segment);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &range.to;
  std::unique_ptr<rocksdb::Iterator> it(impl_->db->NewIterator(options, impl_->data));
  for (it->Seek(range.from); it->Valid(); it->Next()) {
    if (it->key().size() != 8 + sizeof(GranuleKey)) continue;
    GranuleKey key;
    std::memcpy(&key, it->key().data() + 8, sizeof key);
    EBB_TRY_VOID(visit(key, bytes_of(it->value())));
  }
  if (!it->status().ok()) {
    log_warn("kvstore", "ssd tier: segment partly unreadable", {{"why", it->status().ToString()}});
  }
  return {};
}

SegmentFiles EngineFiles::of(uint64_t segment) const {
  const auto found = std::find_if(segments.begin(), segments.end(), [&](const SegmentFiles& files) {
    return files.segment == segment;
  });
  return found == segments.end() ? SegmentFiles{segment, 0, 0} : *found;
}

EngineFiles RocksEngine::files() const {
  std::vector<rocksdb::LiveFileMetaData> live;
  impl_->db->GetLiveFilesMetaData(&live);
  EngineFiles files;
  std::map<uint64_t, SegmentFiles> segments;
  for (const auto& file : live) {
    if (file.column_family_name != kDataFamily) {
      if (file.level == 0) ++files.index_upper_files;
      continue;
    }
    // A file never spans segments: the tier flushes before it begins a new one.
    SegmentFiles& segment = segments[segment_of(file.smallestkey)];
    segment.segment = segment_of(file.smallestkey);
    segment.bytes += file.size;
    if (file.level == 0) ++segment.upper_files;
  }
  for (const auto& [number, segment] : segments) files.segments.push_back(segment);
  return files;
}

void RocksEngine::merge_segment(uint64_t segment) {
  const SegmentRange range(segment);
  impl_->merge(impl_->data, &range.from, &range.to);
}

void RocksEngine::merge_index() { impl_->merge(impl_->index, nullptr, nullptr); }

void RocksEngine::delete_segment(uint64_t segment) {
  const SegmentRange range(segment);
  const auto status =
      rocksdb::DeleteFilesInRange(impl_->db.get(), impl_->data, &range.from, &range.to, false);
  if (!status.ok()) {
    log_warn("kvstore", "ssd tier: segment not deleted", {{"why", status.ToString()}});
  }
}

}  // namespace ebb::kvstore
