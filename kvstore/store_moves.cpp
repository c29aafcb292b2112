// Making room, copies to the SSD, flush: carries out what placement decides.
#include <algorithm>

#include "base/log.h"
#include "kvstore/store_impl.h"

namespace ebb::kvstore {

// ---- small acts

void StoreImpl::forget_on_host(IndexEntry& entry) {
  host_->remove({&entry.info.key, 1});
  index_.set_on_host(entry, false);
}

void StoreImpl::remove_from_ssd(IndexEntry& entry) {
  index_.set_on_ssd(entry, false);
  writer_.post([this, key = entry.info.key] { ssd_->remove({&key, 1}); });
}

void StoreImpl::erase_if_nowhere(IndexEntry& entry) {
  if (!entry.on_host && !entry.on_ssd) index_.erase(GranuleKey(entry.info.key));
}

Error StoreImpl::no_room(const std::string& what) const {
  std::string text = what + ": memory is full of granules that are held (" +
                     format_bytes(host_->usage().used_bytes) + " of " +
                     format_bytes(host_->usage().capacity_bytes) + ")";
  if (!ssd_)
    return exhausted(
        text + (ssd_note_.empty() ? " and there is no ssd tier" : "; ssd tier: " + ssd_note_));
  if (ssd_blocked_) return exhausted(text + "; " + ssd_refusal_);
  return exhausted(text + " and so is the ssd tier (" + format_bytes(index_.ssd_bytes()) + " of " +
                   format_bytes(ssd_->usage().capacity_bytes) + ")");
}

// ---- room in memory

PlacementState StoreImpl::look(std::vector<Candidate> (&lists)[3]) const {
  lists[0] = index_.oldest(TierKind::kHost, kCandidates);
  lists[1] = index_.oldest_unheld(TierKind::kHost, kCandidates);
  lists[2] = index_.oldest_unheld(TierKind::kSsd, kCandidates);
  PlacementState state;
  state.ssd_usable = ssd_usable();
  if (ssd_) {
    const uint64_t taken = index_.ssd_bytes() + batch_bytes_;
    const uint64_t capacity = ssd_->usage().capacity_bytes;
    state.ssd_free = taken >= capacity ? 0 : capacity - taken;
  }
  state.host_oldest = lists[0];
  state.host_unheld = lists[1];
  state.ssd_unheld = lists[2];
  return state;
}

/// Serves waiting puts for as long as room can be made at once; what takes time continues in
/// batch_done().
void StoreImpl::make_room() {
  if (making_room_) return;  // a completion of a put asked for more: the outer call sees it
  making_room_ = true;
  while (!closing_ && !waiting_puts_.empty()) {
    const std::shared_ptr<PutJob> job = waiting_puts_.front();
    if (advance(*job)) {
      waiting_puts_.pop_front();
      continue;
    }
    if (batches_ >= kBatchesUnderWay) break;
    if (make_room_for(job->items[job->next])) continue;
    if (batches_ > 0) break;
    waiting_puts_.pop_front();
    reply(job->done, no_room("put: " + to_text(job->items[job->next].info.key)));
  }
  making_room_ = false;
  copy_ahead();
}

/// False when nothing can go.
bool StoreImpl::make_room_for(const PutItem& item) {
  std::vector<Candidate> lists[3];
  const PlacementState state = look(lists);
  const uint64_t some = std::min(host_->usage().capacity_bytes / 16, kCopyBatchBytes);
  const Decision decision =
      make_host_room(state, std::max(host_->charge(item.body.size()), some), kCopyBatchBytes);
  if (decision.moves.empty()) return false;
  apply(decision);
  return true;
}

/// Copies old granules to the SSD before memory is full, so that room can then be made at once.
void StoreImpl::copy_ahead() {
  if (!ssd_usable() || closing_ || batches_ > 0 || flush_running_) return;
  const TierUsage usage = host_->usage();
  if (usage.used_bytes < usage.capacity_bytes / 2) return;
  const uint64_t ready = usage.capacity_bytes - usage.used_bytes + index_.clean_host_bytes();
  if (ready >= usage.capacity_bytes / 4) return;
  std::vector<Candidate> lists[3];
  const PlacementState state = look(lists);
  const auto candidates = index_.oldest_without_copy(kCandidates);
  apply(copy_to_ssd(state, candidates, kCopyBatchBytes));
}

void StoreImpl::apply(const Decision& decision) {
  auto batch = std::make_shared<CopyBatch>();
  for (const Move& move : decision.moves) {
    IndexEntry* entry = index_.find(move.key);
    if (entry == nullptr) continue;  // corrupt, and gone since the decision
    switch (move.kind) {
      case MoveKind::kForgetHost:
        ++host_evictions_;
        metrics_.host_demoted.add();
        forget_on_host(*entry);
        break;
      case MoveKind::kDropHost:
        ++host_evictions_;
        metrics_.host_dropped.add();
        forget_on_host(*entry);
        break;
      case MoveKind::kDropSsd:
        ++ssd_evictions_;
        metrics_.ssd_dropped.add();
        remove_from_ssd(*entry);
        break;
      case MoveKind::kDemote:
        add_to_batch(*batch, *entry, true);
        break;
      case MoveKind::kCopy:
        add_to_batch(*batch, *entry, false);
        break;
    }
    if (IndexEntry* left = index_.find(move.key)) erase_if_nowhere(*left);
  }
  if (!batch->parts.empty()) send(std::move(batch));
}

/// Verifies on the way out of memory: a bad record must not reach the SSD with a good name.
bool StoreImpl::add_to_batch(CopyBatch& batch, IndexEntry& entry, bool forget) {
  CopyBatch::Part part{entry.info, entry.generation, forget,
                       std::vector<std::byte>(entry.info.body_bytes())};
  const auto outcome = host_->read(whole(entry.info), part.body);
  EBB_CHECK(outcome);
  if (outcome->corrupt > 0) {
    corrupt_ += outcome->corrupt;
    metrics_.host_corrupt_move.add(outcome->corrupt);
    log_error("kvstore", "corrupt records dropped from memory",
              {{"granule", to_text(entry.info.key)}, {"records", outcome->corrupt}});
    forget_on_host(entry);
    return false;
  }
  index_.set_moving(entry, true);
  batch.charge += entry.ssd_charge;
  batch.parts.push_back(std::move(part));
  return true;
}

void StoreImpl::send(std::shared_ptr<CopyBatch> batch) {
  ++batches_;
  batch_bytes_ += batch->charge;
  const bool posted = writer_.post([this, batch] {
    std::vector<TierItem> items;
    for (const CopyBatch::Part& part : batch->parts) items.push_back({part.info, part.body});
    const auto result = ssd_->put(items);
    run([this, batch, result] { batch_done(*batch, result); });
  });
  if (!posted) run([this, batch] { batch_done(*batch, cancelled("the store stops")); });
}

void StoreImpl::batch_done(const CopyBatch& batch, const Result<void>& result) {
  --batches_;
  batch_bytes_ -= batch.charge;
  for (const CopyBatch::Part& part : batch.parts) {
    IndexEntry* entry = index_.find(part.info.key);
    if (entry == nullptr || entry->generation != part.generation) {
      // Dropped while it was under way. The writer keeps order: a later copy of the key comes after
      // this removal.
      if (result) writer_.post([this, key = part.info.key] { ssd_->remove({&key, 1}); });
      continue;
    }
    index_.set_moving(*entry, false);
    if (!result) continue;
    index_.set_on_ssd(*entry, true);
    metrics_.demoted_bytes.add(static_cast<double>(part.body.size()));
    if (!part.forget || !entry->on_host) continue;
    ++host_evictions_;
    metrics_.host_demoted.add();
    forget_on_host(*entry);
  }
  if (!result && !closing_) ssd_refused(batch, result.error());
  if (flush_running_) step_flush();
  make_room();
}

/// Its quota counts real blocks, so it can be full before its capacity is. Cache goes first; when
/// there is none left, the tier counts as full for a while.
void StoreImpl::ssd_refused(const CopyBatch& batch, const Error& error) {
  std::vector<Candidate> lists[3];
  const Decision decision = make_ssd_room(look(lists), batch.charge);
  if (error.code == Code::kExhausted && !decision.moves.empty()) return apply(decision);
  if (!ssd_blocked_) log_warn("kvstore", "ssd tier refuses", {{"why", error.message}});
  ssd_blocked_ = true;
  ssd_refusal_ = error.message;
  run_after(kSsdRetry, [this] {
    ssd_blocked_ = false;
    make_room();
  });
}

// ---- flush

void StoreImpl::flush(Deadline by, std::function<void(Result<void>)> done) {
  const bool posted = run([this, by, done] {
    if (closing_) return reply(done, cancelled("flush: the store stops"));
    if (!ssd_) {
      return reply(
          done,
          unsupported(ssd_note_.empty() ? "flush: no ssd tier is configured: nothing can be durable"
                                        : "flush: no ssd tier: " + ssd_note_));
    }
    if (flush_next_.size() >= kFlushesWaitingMax)
      return reply(done, exhausted("flush: too many flushes wait"));
    flush_next_.push_back({by, done});
    sweep_later();
    if (!flush_running_) start_flush();
  });
  if (!posted) done(exhausted("flush: too many requests wait in the store"));
}

/// One run at a time; whoever asks meanwhile joins the next, which then covers what was accepted
/// before it asked.
void StoreImpl::start_flush() {
  flush_running_ = true;
  flush_syncing_ = false;
  flush_now_ = std::exchange(flush_next_, {});
  flush_misfits_ = 0;
  const auto keys = index_.keys_without_copy();
  flush_keys_.assign(keys.begin(), keys.end());
  step_flush();
}

void StoreImpl::step_flush() {
  if (flush_syncing_ || closing_) return;
  // 1. What has a copy by now, or is gone, needs nothing more.
  std::vector<Candidate> next;
  uint64_t left = 0;
  std::erase_if(flush_keys_, [&](const GranuleKey& key) {
    const IndexEntry* entry = index_.find(key);
    if (entry == nullptr || !entry->on_host || entry->on_ssd) return true;
    if (entry->info.body_bytes() > ssd_->body_max()) {
      flush_misfits_ += entry->info.body_bytes();
      return true;
    }
    left += entry->info.body_bytes();
    if (!entry->moving && next.size() < kCandidates) {
      next.push_back({key, entry->last_use, entry->host_charge, entry->ssd_charge, true, false,
                      entry->held()});
    }
    return false;
  });
  // 2. Copy the next ones.
  if (!next.empty() && batches_ < kBatchesUnderWay) {
    std::vector<Candidate> lists[3];
    const Decision decision = copy_to_ssd(look(lists), next, kCopyBatchBytes);
    if (!decision.moves.empty()) {
      apply(decision);
      if (batches_ > 0) return;
      return step_flush();  // all of them were corrupt
    }
    if (batches_ == 0) {
      return end_flush(exhausted("flush: " + format_bytes(left + flush_misfits_) +
                                 " do not fit the ssd tier" +
                                 (ssd_blocked_ ? ": " + ssd_refusal_ : "")));
    }
  }
  if (!flush_keys_.empty()) return;
  // 3. Everything is with the tier: now onto the disk.
  flush_syncing_ = true;
  const bool posted = writer_.post([this] {
    const auto result = ssd_->flush();
    run([this, result] { end_flush(result); });
  });
  if (!posted) end_flush(cancelled("the store stops"));
}

void StoreImpl::end_flush(const Result<void>& result) {
  flush_keys_.clear();
  flush_running_ = false;
  flush_syncing_ = false;
  Result<void> answer = result;
  if (answer && flush_misfits_ > 0) {
    answer = exhausted("flush: " + format_bytes(flush_misfits_) +
                       " in granules too large for the ssd tier");
  }
  for (FlushWait& wait : std::exchange(flush_now_, {})) reply(wait.done, answer);
  if (!flush_next_.empty() && !closing_) start_flush();
}

}  // namespace ebb::kvstore
