// Gets: what memory has is gathered at once; what the SSD has is read on the reader's thread, and
// promoted where that pays.
#include <cstring>

#include "base/log.h"
#include "kvstore/store_impl.h"

namespace ebb::kvstore {

void StoreImpl::get(std::vector<GetItem> items, Deadline by,
                    std::function<void(Result<Gathered>)> done) {
  auto job = std::make_shared<GetJob>();  // shared by the tasks of two threads, one after the other
  job->items = std::move(items);
  job->by = by;
  job->done = std::move(done);
  if (!run([this, job] { start_get(job); }))
    job->done(exhausted("get: too many requests wait in the store"));
}

void StoreImpl::start_get(const std::shared_ptr<GetJob>& job) {
  uint64_t bytes = 0;
  for (const GetItem& item : job->items) {
    job->offsets.push_back(bytes);
    bytes += item.asked_bytes();
  }
  job->memory = gather_memory(bytes);
  if (!job->memory)
    return reply(job->done, exhausted("get: answers that were not yet sent hold " +
                                      format_bytes(kGatherBytesMax)));
  job->reply.items.resize(job->items.size());
  uint64_t promoted = 0;
  for (size_t i = 0; i < job->items.size(); ++i) {
    ++gets_;
    IndexEntry* entry = index_.find(job->items[i].key);
    if (entry == nullptr) continue;
    const uint64_t previous_use = entry->last_use;
    index_.touch(*entry);
    if (entry->on_host && get_from_host(*job, i, *entry)) continue;
    entry = index_.find(
        job->items[i].key);  // a corrupt copy in memory has gone, perhaps with its entry
    if (entry == nullptr || !entry->on_ssd) continue;
    SsdRead read;
    read.item = i;
    read.generation = entry->generation;
    read.previous_use = previous_use;
    read.info = entry->info;
    const uint64_t body = entry->info.body_bytes();
    if (promoted + body <= kPromoteBytesMax && worth_promoting(read)) {
      read.whole_body.resize(body);
      promoted += body;
    }
    job->reads.push_back(std::move(read));
  }
  if (job->reads.empty() || closing_) return finish_get(*job);
  const bool posted = reader_.post([this, job] {
    read_ssd(*job);
    run([this, job] { finish_get(*job); });
  });
  if (!posted) reply(job->done, exhausted("get: too many reads wait for the ssd tier"));
}

/// Null when too much waits to be sent.
std::shared_ptr<std::byte[]> StoreImpl::gather_memory(uint64_t bytes) {
  if (*gathered_ + bytes > kGatherBytesMax) return nullptr;
  *gathered_ += bytes;
  return {new std::byte[bytes], [bytes, gathered = gathered_](const std::byte* memory) {
            *gathered -= bytes;
            delete[] memory;
          }};
}

/// There is room, or memory holds something that can go at once and was used longer ago than this
/// granule was before now. A scan over more than fits therefore promotes nothing and pushes nothing
/// out.
bool StoreImpl::worth_promoting(const SsdRead& read) const {
  if (!waiting_puts_.empty()) return false;
  if (host_->has_room(read.info.body_bytes())) return true;
  const auto oldest = index_.oldest(TierKind::kHost, 1);
  return !oldest.empty() && oldest[0].on_ssd && oldest[0].last_use < read.previous_use;
}

void StoreImpl::promote(IndexEntry& entry, const SsdRead& read) {
  while (!host_->has_room(read.info.body_bytes())) {
    if (!worth_promoting(read)) return;
    IndexEntry* oldest = index_.find(index_.oldest(TierKind::kHost, 1).front().key);
    ++host_evictions_;
    metrics_.host_demoted.add();
    forget_on_host(*oldest);
  }
  const TierItem promoted{read.info, read.whole_body};
  if (!host_->put({&promoted, 1})) return;
  index_.set_on_host(entry, true);
  metrics_.promoted_bytes.add(static_cast<double>(read.whole_body.size()));
}

/// False when the copy in memory is no good: it has then been dropped.
bool StoreImpl::get_from_host(GetJob& job, size_t i, IndexEntry& entry) {
  const GetItem& item = job.items[i];
  const auto outcome = host_->read(item, job.place_of(i));
  if (!outcome) return true;  // another shape than is asked for: a miss
  job.reply.items[i] = {outcome->present, TierKind::kHost};
  if (outcome->corrupt == 0) {
    metrics_.get_host_bytes.add(
        static_cast<double>(std::popcount(outcome->present) * framed_bytes(item.payload_bytes)));
    return true;
  }
  metrics_.host_corrupt_get.add(outcome->corrupt);
  corrupt_ += outcome->corrupt;
  job.reply.corrupt += outcome->corrupt;
  log_error("kvstore", "corrupt records dropped from memory",
            {{"granule", to_text(item.key)}, {"records", outcome->corrupt}});
  forget_on_host(entry);
  erase_if_nowhere(entry);
  return false;
}

/// On the reader's thread.
void StoreImpl::read_ssd(GetJob& job) {
  for (SsdRead& read : job.reads) {
    if (job.by.passed()) {
      job.too_late = true;
      return;
    }
    const GetItem& item = job.items[read.item];
    const auto place = job.place_of(read.item);
    if (read.whole_body.empty() || read.info.first != item.first ||
        read.info.payload_bytes != item.payload_bytes) {
      read.whole_body.clear();
      read.outcome = ssd_->read(item, place);
      continue;
    }
    read.outcome = ssd_->read(whole(read.info), read.whole_body);
    if (!read.outcome) continue;
    GetItem there = item;
    there.bitmap &= whole(read.info).bitmap;
    copy_frames(there, read.whole_body, place);
  }
}

void StoreImpl::finish_read(GetJob& job, SsdRead& read) {
  const GetItem& item = job.items[read.item];
  IndexEntry* entry = index_.find(item.key);
  const bool same = entry != nullptr && entry->generation == read.generation;
  const uint32_t corrupt_records =
      read.outcome ? read.outcome->corrupt
                   : (read.outcome.error().code == Code::kCorrupt ? item.asked() : 0);
  if (corrupt_records > 0) {
    metrics_.ssd_corrupt_get.add(corrupt_records);
    corrupt_ += corrupt_records;
    job.reply.corrupt += corrupt_records;
    log_error("kvstore", "corrupt records dropped from ssd",
              {{"granule", to_text(item.key)}, {"records", corrupt_records}});
  }
  const bool lost =
      corrupt_records > 0 ||
      (!read.outcome && read.outcome.error().code == Code::kNotFound &&
       read.info.first == item.first && read.info.payload_bytes == item.payload_bytes);
  if (lost && same && entry->on_ssd) {
    remove_from_ssd(*entry);
    erase_if_nowhere(*entry);
  }
  if (!read.outcome) return;
  const uint32_t present = read.outcome->present & item.bitmap;
  job.reply.items[read.item] = {present, TierKind::kSsd};
  metrics_.get_ssd_bytes.add(
      static_cast<double>(std::popcount(present) * framed_bytes(item.payload_bytes)));
  if (read.whole_body.empty() || lost || !same || entry->on_host) return;
  promote(*entry, read);
}

void StoreImpl::finish_get(GetJob& job) {
  if (job.too_late) return reply(job.done, timed_out("get: the ssd tier was too slow"));
  for (SsdRead& read : job.reads) finish_read(job, read);
  Gathered gathered;
  for (size_t i = 0; i < job.items.size(); ++i) {
    const GetItem& item = job.items[i];
    const uint32_t present = job.reply.items[i].present;
    const auto missed = static_cast<uint32_t>(std::popcount(item.bitmap & ~present));
    misses_ += missed;
    if (missed > 0) {
      metrics_.miss.add();
    } else {
      (job.reply.items[i].from == TierKind::kSsd ? metrics_.ssd_hit : metrics_.host_hit).add();
    }
    const uint64_t frame = framed_bytes(item.payload_bytes);
    const std::byte* at = job.memory.get() + job.offsets[i];
    for (uint32_t rest = item.bitmap; rest != 0; rest &= rest - 1, at += frame) {
      if ((present >> std::countr_zero(rest) & 1) == 0) continue;
      auto& frames = gathered.frames;
      if (!frames.empty() && frames.back().data() + frames.back().size() == at) {
        frames.back() = {frames.back().data(), frames.back().size() + frame};
      } else {
        frames.emplace_back(at, frame);
      }
    }
  }
  gathered.reply = std::move(job.reply);
  gathered.memory = job.memory;
  reply(job.done, std::move(gathered));
}

}  // namespace ebb::kvstore
