// The frame of the store, and put, drop, stat, list. Gets are in store_get.cpp, moves between the
// tiers in store_moves.cpp.
#include "kvstore/store.h"

#include <algorithm>

#include "base/log.h"
#include "kvstore/listing.h"
#include "kvstore/store_impl.h"

namespace ebb::kvstore {
namespace {

/// Requests that wait are bounded by who sends them; this bounds what the store itself still adds
/// to them.
constexpr size_t kTasksMax = 1 << 20;

int64_t steady_millis() {
  return std::chrono::duration_cast<Millis>(Clock::now().time_since_epoch()).count();
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const StoreOptions& options, Metrics& metrics) {
  auto host = EBB_TRY(HostTier::make(options.host_bytes));
  std::unique_ptr<SsdTier> ssd;
  std::string note;
  if (options.ssd.quota_bytes > 0) {
    auto opened = SsdTier::open(options.ssd_path, options.ssd);
    if (opened) {
      ssd = std::move(*opened);
    } else if (opened.error().code == Code::kExhausted) {
      note = opened.error().message;
      log_error("kvstore", "running without an ssd tier", {{"why", note}});
    } else {
      return std::move(opened).error();
    }
  }
  return std::unique_ptr<Store>(
      std::make_unique<StoreImpl>(std::move(host), std::move(ssd), std::move(note), metrics));
}

StoreImpl::StoreImpl(std::unique_ptr<HostTier> host, std::unique_ptr<SsdTier> ssd,
                     std::string ssd_note, Metrics& metrics)
    : host_(std::move(host)),
      ssd_(std::move(ssd)),
      ssd_note_(std::move(ssd_note)),
      metrics_(metrics),
      loop_("kv-store", kTasksMax),
      reader_("kv-ssd-read"),
      writer_("kv-ssd-write") {
  if (ssd_) {
    restart_ = ssd_->restart();
    metrics
        .gauge("ebb_kv_restart_granules", "Granules that the last start found on the SSD.",
               {{"result", "kept"}})
        .set(static_cast<double>(restart_.granules));
    metrics
        .gauge("ebb_kv_restart_granules", "Granules that the last start found on the SSD.",
               {{"result", "corrupt"}})
        .set(static_cast<double>(restart_.corrupt));
    metrics.gauge("ebb_kv_restart_seconds", "Duration of the last restart scan.")
        .set(restart_.seconds);
    metrics.gauge("ebb_kv_restart_rebuilt", "1 when the SSD tier was unreadable and begun anew.")
        .set(restart_.rebuilt ? 1 : 0);
  }
  beat_ = steady_millis();
  run([this] {
    adopt_ssd();
    beat();
  });
}

StoreImpl::~StoreImpl() {
  run([this] {
    closing_ = true;
    for (auto& job : std::exchange(waiting_puts_, {}))
      reply(job->done, cancelled("put: the store stops"));
    for (auto& wait : std::exchange(flush_next_, {}))
      reply(wait.done, cancelled("flush: the store stops"));
    for (auto& wait : std::exchange(flush_now_, {}))
      reply(wait.done, cancelled("flush: the store stops"));
  });
  reader_.stop();  // runs what it has; the results find a running loop
  writer_.stop();
  loop_.stop();
}

bool StoreImpl::run(std::function<void()> task) {
  return loop_.post([this, task = std::move(task)] { turn(task); });
}

void StoreImpl::run_after(Millis delay, std::function<void()> task) {
  loop_.post_after(delay, [this, task = std::move(task)] { turn(task); });
}

void StoreImpl::turn(const std::function<void()>& task) {
  task();
  publish();
  for (const auto& answer : std::exchange(answers_, {})) answer();
}

void StoreImpl::adopt_ssd() {
  if (!ssd_) return;
  // Nobody holds them now. Private ones can only be asked for by a sequence that outlived the
  // restart: they go first.
  auto infos = ssd_->oldest_first();
  std::stable_partition(infos.begin(), infos.end(),
                        [](const GranuleInfo& info) { return info.key.kind != 0; });
  for (const GranuleInfo& info : infos) {
    IndexEntry& entry =
        index_.add(info, host_->charge(info.body_bytes()), ssd_->charge(info.body_bytes()));
    index_.set_on_ssd(entry, true);
  }
}

void StoreImpl::beat() {
  beat_ = steady_millis();
  loop_.post_after(kBeatEvery, [this] { beat(); });
}

bool StoreImpl::alive(Millis within) const {
  return steady_millis() - beat_.load() <= within.count();
}

void StoreImpl::publish() {
  StoreSnapshot now;
  now.host = host_->usage();
  now.has_ssd = ssd_ != nullptr || !ssd_note_.empty();
  if (ssd_) now.ssd = ssd_->usage();
  if (!ssd_note_.empty()) {
    now.ssd.writable = false;
    now.ssd.note = ssd_note_;
  }
  now.host_held = index_.held_in(TierKind::kHost);
  now.ssd_held = index_.held_in(TierKind::kSsd);
  now.host_evictions = host_evictions_;
  now.ssd_evictions = ssd_evictions_;
  now.puts = puts_;
  now.gets = gets_;
  now.misses = misses_;
  now.corrupt = corrupt_;
  const std::lock_guard lock(snapshot_mutex_);
  snapshot_ = std::move(now);
}

StoreSnapshot StoreImpl::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return snapshot_;
}

// ---- put

void StoreImpl::put(Holder holder, std::vector<PutItem> items, std::shared_ptr<void> keep_alive,
                    Deadline by, std::function<void(Result<PutReply>)> done) {
  auto job = std::make_shared<PutJob>();  // shared by the queue of the loop and that of the waiting
  job->holder = holder;
  job->items = std::move(items);
  job->keep_alive = std::move(keep_alive);
  job->by = by;
  job->done = std::move(done);
  if (!run([this, job] { start_put(job); }))
    job->done(exhausted("put: too many requests wait in the store"));
}

/// On arrival: nothing unverified enters a tier.
Result<void> StoreImpl::check_put(const PutJob& job) {
  for (const PutItem& item : job.items) {
    const ReadOutcome outcome = verify_frames(whole(item.info), item.body);
    if (outcome.corrupt > 0) {
      corrupt_ += outcome.corrupt;
      metrics_.wire_corrupt_put.add(outcome.corrupt);
      return corrupt("put: " + to_text(item.info.key) + ": " + std::to_string(outcome.corrupt) +
                     " of " + std::to_string(item.info.records) + " records fail their check");
    }
    if (item.body.size() > host_->body_max()) {
      return invalid("put: " + to_text(item.info.key) + ": body of " +
                     format_bytes(item.body.size()) + ", this store takes at most " +
                     format_bytes(host_->body_max()) + " (host_size / 64)");
    }
  }
  return {};
}

void StoreImpl::start_put(const std::shared_ptr<PutJob>& job) {
  if (closing_) return reply(job->done, cancelled("put: the store stops"));
  if (auto checked = check_put(*job); !checked) return reply(job->done, checked.error());
  if (waiting_puts_.empty() && advance(*job)) return copy_ahead();
  if (waiting_puts_.size() >= kPutsWaitingMax)
    return reply(job->done, exhausted("put: too many puts wait for room"));
  waiting_puts_.push_back(job);
  sweep_later();
  make_room();
}

/// Stores as many as find room. True when the job has been answered.
bool StoreImpl::advance(PutJob& job) {
  for (; job.next < job.items.size(); ++job.next) {
    const PutItem& item = job.items[job.next];
    const bool known = index_.find(item.info.key) != nullptr;
    if (!known && !host_->has_room(item.body.size())) return false;
    if (auto stored = store_one(job, item); !stored) {
      reply(job.done, with_context("put", stored.error()));
      return true;
    }
  }
  reply(job.done, job.reply);
  return true;
}

Result<void> StoreImpl::store_one(PutJob& job, const PutItem& item) {
  IndexEntry* entry = index_.find(item.info.key);
  if (entry != nullptr) {
    const GranuleInfo& there = entry->info;
    if (there.first != item.info.first || there.records != item.info.records ||
        there.payload_bytes != item.info.payload_bytes) {
      return invalid(to_text(item.info.key) +
                     " is there with another shape: " + std::to_string(there.records) +
                     " records of " + std::to_string(there.payload_bytes) +
                     " bytes from position " + std::to_string(there.first));
    }
    index_.touch(*entry);
    ++job.reply.already_there;
  } else {
    const TierItem stored{item.info, item.body};
    EBB_TRY_VOID(host_->put({&stored, 1}));
    const uint64_t ssd_charge = ssd_ ? ssd_->charge(item.body.size()) : item.body.size();
    entry = &index_.add(item.info, host_->charge(item.body.size()), ssd_charge);
    index_.set_on_host(*entry, true);
    metrics_.put_bytes.add(static_cast<double>(item.body.size()));
  }
  ++puts_;
  if (!index_.hold(*entry, job.holder))
    return exhausted("more than " + std::to_string(Index::kHoldsMax) + " holds");
  ++job.reply.accepted;
  return {};
}

void StoreImpl::sweep_later() {
  if (std::exchange(sweeping_, true)) return;
  run_after(kSweepEvery, [this] { sweep(); });
}

/// Ends waits whose deadline has passed; runs again while there are waits.
void StoreImpl::sweep() {
  sweeping_ = false;
  std::erase_if(waiting_puts_, [this](const auto& job) {
    if (!job->by.passed()) return false;
    reply(job->done, timed_out("put: no room was made in time for " +
                               std::to_string(job->items.size() - job->next) + " of " +
                               std::to_string(job->items.size()) + " granules"));
    return true;
  });
  for (auto* waits : {&flush_now_, &flush_next_}) {
    std::erase_if(*waits, [this](FlushWait& wait) {
      if (!wait.by.passed()) return false;
      reply(wait.done, timed_out("flush: not everything was durable in time"));
      return true;
    });
  }
  if (waiting_puts_.empty() && flush_now_.empty() && flush_next_.empty()) return;
  sweep_later();
}

// ---- drop, stat, list

void StoreImpl::drop(Holder holder, std::function<void(Result<void>)> done) {
  const bool posted = run([this, holder, done] {
    cancel_waiting([&](const Holder& waiting) { return waiting == holder; });
    let_go(index_.release(holder));
    reply<void>(done, {});
  });
  if (!posted) done(exhausted("drop: too many requests wait in the store"));
}

void StoreImpl::end_session(uint64_t session) {
  run([this, session] {
    cancel_waiting([&](const Holder& waiting) { return waiting.session == session; });
    let_go(index_.release_session(session));
  });
}

/// A put that still waits must not begin holds after their end: nobody would end them again.
void StoreImpl::cancel_waiting(const std::function<bool(const Holder&)>& is_theirs) {
  std::erase_if(waiting_puts_, [&](const auto& job) {
    if (!is_theirs(job->holder)) return false;
    reply(job->done, cancelled("put: its holder was dropped"));
    return true;
  });
}

/// Nobody holds these any more: private ones go, the others stay as cache.
void StoreImpl::let_go(const std::vector<GranuleKey>& unheld) {
  for (const GranuleKey& key : unheld) {
    IndexEntry* entry = index_.find(key);
    if (entry == nullptr || !entry->is_private()) continue;
    if (entry->on_host) forget_on_host(*entry);
    if (entry->on_ssd) remove_from_ssd(*entry);
    index_.erase(key);
  }
  if (!unheld.empty()) make_room();
}

void StoreImpl::stat(std::vector<GranuleKey> keys,
                     std::function<void(Result<std::vector<StatItem>>)> done) {
  const bool posted = run([this, keys = std::move(keys), done] {
    std::vector<StatItem> items;
    items.reserve(keys.size());
    for (const GranuleKey& key : keys) {
      const IndexEntry* entry = index_.find(key);
      StatItem item;
      if (entry != nullptr) {
        item.tier = entry->on_host ? TierKind::kHost : TierKind::kSsd;
        item.durable = entry->on_ssd && ssd_->durable(key);
      }
      items.push_back(item);
    }
    reply<std::vector<StatItem>>(done, std::move(items));
  });
  if (!posted) done(exhausted("stat: too many requests wait in the store"));
}

ListPage StoreImpl::page_of(const ListQuery& query) const {
  const GranuleKey* after = query.after ? &query.after->last : nullptr;
  // One more than asked for says whether there is another page.
  const size_t wanted = size_t{query.limit} + 1;
  auto entries = query.sequence ? index_.held_by_key(*query.sequence, after, wanted)
                                : index_.by_key(after, wanted);
  const bool more = entries.size() == wanted;
  if (more) entries.pop_back();
  ListPage page;
  page.items.reserve(entries.size());
  for (const IndexEntry* entry : entries) {
    const bool durable = entry->on_ssd && ssd_->durable(entry->info.key);
    page.items.push_back({entry->info, entry->on_host, entry->on_ssd, durable,
                          static_cast<uint32_t>(entry->holders.size())});
  }
  if (more) page.next = cursor_after(query, page.items.back().info.key);
  return page;
}

void StoreImpl::list(ListQuery query, std::function<void(Result<ListPage>)> done) {
  const bool posted = run([this, query, done] { reply<ListPage>(done, page_of(query)); });
  if (!posted) done(exhausted("list: too many requests wait in the store"));
}

}  // namespace ebb::kvstore
