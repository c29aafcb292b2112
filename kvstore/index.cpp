#include "kvstore/index.h"

#include <algorithm>

#include "base/check.h"

namespace ebb::kvstore {

IndexEntry* Index::find(const GranuleKey& key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second.get();
}

IndexEntry& Index::add(const GranuleInfo& info, uint64_t host_charge, uint64_t ssd_charge) {
  auto entry = std::make_unique<IndexEntry>();
  entry->info = info;
  entry->host_charge = host_charge;
  entry->ssd_charge = ssd_charge;
  entry->generation = ++generations_;
  entry->last_use = ++uses_;
  const auto [at, added] = entries_.emplace(info.key, std::move(entry));
  EBB_CHECK(added);
  by_key_.insert(at->second.get());
  return *at->second;
}

void Index::erase(const GranuleKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  IndexEntry& entry = *found->second;
  delist(entry);
  for (const Holder& holder : entry.holders) {
    const auto held = holds_.find(holder);
    held->second.erase(&entry);
    if (held->second.empty()) holds_.erase(held);
    --holds_count_;
  }
  by_key_.erase(&entry);
  entries_.erase(found);
}

/// An entry is in the lists that its state names; every change takes it out and puts it back.
void Index::enlist(IndexEntry& entry) {
  const uint64_t use = entry.last_use;
  if (entry.on_host) {
    lists_[kHost][use] = &entry;
    if (!entry.held()) lists_[kHostUnheld][use] = &entry;
    if (!entry.on_ssd) lists_[kHostNoCopy][use] = &entry;
    if (entry.on_ssd) clean_host_bytes_ += entry.host_charge;
    if (entry.held()) ++held_[0];
  }
  if (entry.on_ssd) {
    lists_[kSsd][use] = &entry;
    if (!entry.held()) lists_[kSsdUnheld][use] = &entry;
    if (entry.held()) ++held_[1];
    ssd_bytes_ += entry.ssd_charge;
  }
}

void Index::delist(IndexEntry& entry) {
  for (Uses& uses : lists_) uses.erase(entry.last_use);
  if (entry.on_host && entry.on_ssd) clean_host_bytes_ -= entry.host_charge;
  if (entry.on_ssd) ssd_bytes_ -= entry.ssd_charge;
  if (entry.held() && entry.on_host) --held_[0];
  if (entry.held() && entry.on_ssd) --held_[1];
}

void Index::touch(IndexEntry& entry) {
  delist(entry);
  entry.last_use = ++uses_;
  enlist(entry);
}

void Index::set_on_host(IndexEntry& entry, bool there) {
  delist(entry);
  entry.on_host = there;
  enlist(entry);
}

void Index::set_on_ssd(IndexEntry& entry, bool there) {
  delist(entry);
  entry.on_ssd = there;
  enlist(entry);
}

bool Index::hold(IndexEntry& entry, const Holder& holder) {
  if (std::find(entry.holders.begin(), entry.holders.end(), holder) != entry.holders.end())
    return true;
  if (holds_count_ >= kHoldsMax) return false;
  delist(entry);
  entry.holders.push_back(holder);
  enlist(entry);
  holds_[holder].insert(&entry);
  ++holds_count_;
  return true;
}

std::vector<GranuleKey> Index::release(const Holder& holder) {
  std::vector<GranuleKey> unheld;
  const auto held = holds_.find(holder);
  if (held == holds_.end()) return unheld;
  const ByKey entries = std::move(held->second);
  holds_.erase(held);
  for (IndexEntry* entry : entries) release_one(*entry, holder, unheld);
  return unheld;
}

void Index::release_one(IndexEntry& entry, const Holder& holder, std::vector<GranuleKey>& unheld) {
  delist(entry);
  std::erase(entry.holders, holder);
  enlist(entry);
  --holds_count_;
  if (!entry.held()) unheld.push_back(entry.info.key);
}

std::vector<GranuleKey> Index::release_session(uint64_t session) {
  std::vector<Holder> holders;
  for (const auto& [holder, keys] : holds_) {
    if (holder.session == session) holders.push_back(holder);
  }
  std::vector<GranuleKey> unheld;
  for (const Holder& holder : holders) {
    const auto keys = release(holder);
    unheld.insert(unheld.end(), keys.begin(), keys.end());
  }
  return unheld;
}

void Index::take_after(const ByKey& all, const GranuleKey* after, size_t limit,
                       std::vector<const IndexEntry*>& taken) {
  auto at = after == nullptr ? all.begin() : all.upper_bound(*after);
  for (size_t i = 0; i < limit && at != all.end(); ++i, ++at) taken.push_back(*at);
}

std::vector<const IndexEntry*> Index::by_key(const GranuleKey* after, size_t limit) const {
  std::vector<const IndexEntry*> taken;
  take_after(by_key_, after, limit, taken);
  return taken;
}

std::vector<const IndexEntry*> Index::held_by_key(SeqId sequence, const GranuleKey* after,
                                                  size_t limit) const {
  std::vector<const IndexEntry*> taken;
  for (const auto& [holder, entries] : holds_) {
    if (holder.sequence == sequence) take_after(entries, after, limit, taken);
  }
  // Two ranks may hold the same granule.
  std::sort(taken.begin(), taken.end(), KeyLess());
  taken.erase(std::unique(taken.begin(), taken.end()), taken.end());
  if (taken.size() > limit) taken.resize(limit);
  return taken;
}

std::vector<Candidate> Index::take(const Uses& uses, size_t limit) {
  std::vector<Candidate> candidates;
  // Moving entries are few (one batch): skipping them costs little.
  for (const auto& [use, entry] : uses) {
    if (candidates.size() >= limit) break;
    if (entry->moving) continue;
    candidates.push_back({entry->info.key, use, entry->host_charge, entry->ssd_charge,
                          entry->on_host, entry->on_ssd, entry->held()});
  }
  return candidates;
}

std::vector<GranuleKey> Index::keys_without_copy() const {
  std::vector<GranuleKey> keys;
  keys.reserve(lists_[kHostNoCopy].size());
  for (const auto& [use, entry] : lists_[kHostNoCopy]) keys.push_back(entry->info.key);
  return keys;
}

std::vector<Candidate> Index::oldest(TierKind tier, size_t limit) const {
  return take(lists_[tier == TierKind::kSsd ? kSsd : kHost], limit);
}

std::vector<Candidate> Index::oldest_unheld(TierKind tier, size_t limit) const {
  return take(lists_[tier == TierKind::kSsd ? kSsdUnheld : kHostUnheld], limit);
}

std::vector<Candidate> Index::oldest_without_copy(size_t limit) const {
  return take(lists_[kHostNoCopy], limit);
}

}  // namespace ebb::kvstore
