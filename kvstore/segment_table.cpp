#include "kvstore/segment_table.h"

#include <algorithm>

namespace ebb::kvstore {

void SegmentTable::insert(const Entry& entry) {
  Entry stored = entry;
  if (const auto old = entries_.find(entry.info.key); old != entries_.end()) {
    leave(old->second);
    // The old copy is on disk until its segment goes, and that waits for the new one to be flushed.
    stored.durable = stored.durable || old->second.durable;
  }
  Segment& segment = segments_[entry.segment];
  segment.written += entry.bytes;
  segment.live += entry.bytes;
  live_bytes_ += entry.bytes;
  entries_[entry.info.key] = stored;
}

void SegmentTable::leave(const Entry& entry) {
  segments_[entry.segment].live -= entry.bytes;
  live_bytes_ -= entry.bytes;
}

bool SegmentTable::erase(const GranuleKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  leave(found->second);
  entries_.erase(found);
  return true;
}

const SegmentTable::Entry* SegmentTable::find(const GranuleKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void SegmentTable::mark_durable(const std::vector<GranuleKey>& keys) {
  for (const GranuleKey& key : keys) {
    if (const auto found = entries_.find(key); found != entries_.end())
      found->second.durable = true;
  }
}

uint64_t SegmentTable::live_in(uint64_t segment) const {
  const auto found = segments_.find(segment);
  return found == segments_.end() ? 0 : found->second.live;
}

void SegmentTable::close(uint64_t segment, uint64_t on_disk) {
  Segment& closed = segments_[segment];
  closed.closed = true;
  closed.written = std::max(closed.written, on_disk);
}

std::optional<uint64_t> SegmentTable::dead() const {
  for (const auto& [id, segment] : segments_) {
    if (segment.closed && segment.live == 0) return id;
  }
  return std::nullopt;
}

std::optional<uint64_t> SegmentTable::sparsest(double share) const {
  std::optional<uint64_t> best;
  double best_share = share;
  for (const auto& [id, segment] : segments_) {
    if (!segment.closed) continue;
    const double live = segment.written == 0 ? 0
                                             : static_cast<double>(segment.live) /
                                                   static_cast<double>(segment.written);
    if (live > best_share || (best && live == best_share)) continue;
    best = id;
    best_share = live;
  }
  return best;
}

std::optional<uint64_t> SegmentTable::oldest_closed() const {
  for (const auto& [id, segment] : segments_) {
    if (segment.closed) return id;
  }
  return std::nullopt;
}

std::vector<GranuleKey> SegmentTable::forget(uint64_t segment) {
  std::vector<GranuleKey> lost;
  std::erase_if(entries_, [&](const auto& item) {
    if (item.second.segment != segment) return false;
    leave(item.second);
    lost.push_back(item.first);
    return true;
  });
  segments_.erase(segment);
  return lost;
}

void SegmentTable::adopt(const Entry& entry) {
  segments_[entry.segment].live += entry.bytes;
  live_bytes_ += entry.bytes;
  entries_[entry.info.key] = entry;
}

std::vector<GranuleInfo> SegmentTable::oldest_first() const {
  std::vector<const Entry*> entries;
  entries.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(), [](const Entry* a, const Entry* b) {
    return a->segment != b->segment ? a->segment < b->segment : a->info.first < b->info.first;
  });
  std::vector<GranuleInfo> infos;
  infos.reserve(entries.size());
  for (const Entry* entry : entries) infos.push_back(entry->info);
  return infos;
}

}  // namespace ebb::kvstore
