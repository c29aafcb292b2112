// Which rows a layer reads in a decode step, and bringing back those that are not on the device.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "worker/decode_step.h"

namespace ebb::worker {

const TokenSet& DecodeStep::Member::set_of(uint32_t layer) const {
  const auto fresh = made.sets.find(layer);
  if (fresh != made.sets.end()) return fresh->second;
  const auto kept = sequence->history.sets.find(layer);
  EBB_CHECK(kept != sequence->history.sets.end());
  return kept->second;
}

/// Fills what `args` reads; false when the member failed. Counts the layer as dense when that is
/// everything.
bool DecodeStep::read(Member& member, uint32_t layer, kernels::AttendArgs& args) {
  const bool hot = member.sequence->kv->residency(c_.layout.band_of(layer)).hot();
  const bool all = member.plan.reads == LayerPlan::Reads::kAll;
  if (all && !hot) {
    args.count = member.length();
    args.window = c_.model.shape().window(layer);
  } else if (member.plan.reads == LayerPlan::Reads::kTokens) {
    if (hot) await_rows();
    args.list = token_slots(member, layer, member.length() - 1);
    args.count = static_cast<uint32_t>(args.list.size());
  } else if (hot) {
    args.list = read_released(member, layer);
    args.count = static_cast<uint32_t>(args.list.size());
    const auto& positions = member.readings[c_.layout.band_of(layer)].positions;
    member.read = std::span(positions).last(args.list.size());
  } else if (member.plan.reads == LayerPlan::Reads::kSinksWindow) {
    if (!member.pattern) {
      const BandResidency& ring = member.sequence->kv->residency(0);
      member.pattern =
          read_pattern(*member.sequence->policy->sinks_window(), ring, member.length() - 1);
    }
    const kernels::AttendArgs cut = cut_pattern(*member.pattern, c_.model.shape().window(layer));
    args.list = cut.list;
    args.count = cut.count;
    args.alt_count = cut.alt_count;
  } else {
    read_set(member, layer, args);
  }
  const Position seen = member.length() - c_.first_seen(layer, member.length());
  const bool fixed = member.plan.reads == LayerPlan::Reads::kSinksWindow;
  const bool dense = all || (args.count == seen && !fixed);
  if (dense && member.dense_layers == layer) member.dense_layers = layer + 1;
  count_read(member, layer, args);
  return !member.failed;
}

/// A row is read once for all query heads of its KV head, but in lists of query heads: there each
/// head reads its own.
void DecodeStep::count_read(Member& member, uint32_t layer, const kernels::AttendArgs& args) const {
  const uint64_t row = c_.shape.row_bytes();
  const Position seen = member.length() - c_.first_seen(layer, member.length());
  const uint64_t rows = args.list.empty() ? std::min(args.count, seen) : args.count;
  const bool by_query_head = args.scope == kernels::ListScope::kQueryHead;
  count_bytes(member, rows * row * (by_query_head ? c_.shape.heads_q / c_.shape.heads_kv : 1));
  if (member.plan.left_out && !args.list.empty()) {
    const uint64_t runs = member.length() / kernels::kSumTokens;
    count_bytes(member, runs * kernels::SumRows::run_bytes(c_.shape));
  }
  member.bytes_dense += uint64_t{seen} * row;
}

/// A set of a band that is wholly on the device: slots are positions.
void DecodeStep::read_set(Member& member, uint32_t layer, kernels::AttendArgs& args) {
  const TokenSet& set = member.set_of(member.plan.owner);
  const Position newest = member.length() - 1;
  const bool add = member.plan.adds_self && set.lists[0].back() != newest;
  // make_policy allows sets of heads only where no window cuts a list.
  const Position first = set.scope == SetScope::kLayer ? c_.first_seen(layer, member.length()) : 0;
  if (set.scope == SetScope::kLayer && !add) {
    const auto& list = set.lists[0];
    const auto seen = std::lower_bound(list.begin(), list.end(), first);
    args.list = std::span(list).subspan(static_cast<size_t>(seen - list.begin()));
    args.count = static_cast<uint32_t>(args.list.size());
    member.read = args.list;
    return;
  }
  member.lists.clear();
  for (const auto& list : set.lists) {
    member.lists.insert(member.lists.end(), std::lower_bound(list.begin(), list.end(), first),
                        list.end());
    if (add) member.lists.push_back(newest);
  }
  args.list = member.lists;
  args.count = static_cast<uint32_t>(member.lists.size() / set.lists.size());
  args.scope = set.scope == SetScope::kLayer    ? kernels::ListScope::kLayer
               : set.scope == SetScope::kKvHead ? kernels::ListScope::kKvHead
                                                : kernels::ListScope::kQueryHead;
}

/// Of `set`, what no layer of the band can see is not read, and so not brought back either.
void DecodeStep::want_rows(Member& member, uint32_t band, uint32_t owner, std::vector<Position> set,
                           std::vector<RestoreWant>& wants) {
  const Position first = c_.first_seen_in_band(band, member.length());
  set.erase(set.begin(), std::lower_bound(set.begin(), set.end(), first));
  BandResidency& residency = member.sequence->kv->residency(band);
  std::vector<Position> missing = residency.touch(set, clock_);
  member.sequence->counters.hot_hits += set.size() - missing.size();
  if (!missing.empty()) {
    auto admitted = residency.admit(missing, clock_);
    if (!admitted) return fail(member, std::move(admitted).error());
    wants.push_back({member.sequence, band, std::move(missing)});
  }
  member.readings[band].slots = member.sequence->kv->slots(band, set);
  member.readings[band].positions = std::move(set);
  member.readings[band].owner = owner;
  member.readings[band].ready = true;
}

void DecodeStep::await_rows() {
  if (!pending_) return;
  c_.backend.ops->submit();  // the device need not wait for the store as well
  fail_all(c_.mover.finish(*pending_));
  pending_.reset();
}

/// Rows that a device checks itself: what a layer read of bad ones is thrown away with the step.
void DecodeStep::take_landed(bool wait) { fail_all(c_.mover.landed(wait)); }

void DecodeStep::fail_all(const std::vector<KvMover::Failure>& failed) {
  for (const auto& [sequence, why] : failed) {
    for (Member& member : members_) {
      if (member.sequence == sequence) fail(member, why);
    }
  }
}

/// The slots of a released band that a layer attends to. Only policies whose sets follow the bands
/// and have scope layer are released.
std::span<const uint32_t> DecodeStep::read_released(Member& member, uint32_t layer) {
  const uint32_t band = c_.layout.band_of(layer);
  Reading& reading = member.readings[band];
  const bool all = member.plan.reads == LayerPlan::Reads::kAll;
  const uint32_t owner = all ? kEverything : member.plan.owner;
  if (!reading.ready || reading.owner != owner) {
    // A set that was not prepared where it was chosen: everything, out of a hot pool that is large
    // enough for it.
    std::vector<Position> set;
    if (all) {
      set.resize(member.length());
      std::iota(set.begin(), set.end(), Position{0});
    } else {
      const TokenSet& chosen = member.set_of(member.plan.owner);
      EBB_CHECK(chosen.scope == SetScope::kLayer);
      set = chosen.lists[0];
      if (member.plan.adds_self && set.back() != member.length() - 1) {
        set.push_back(member.length() - 1);
      }
    }
    std::vector<RestoreWant> wants;
    clock_ = ++*c_.step_clock;
    want_rows(member, band, owner, std::move(set), wants);
    if (!wants.empty()) {
      await_rows();
      pending_ = c_.mover.begin(std::move(wants));
    }
  }
  await_rows();
  const auto seen = std::lower_bound(reading.positions.begin(), reading.positions.end(),
                                     c_.first_seen(layer, member.length()));
  // Never empty: the newest token is in every set and in every window.
  return std::span(reading.slots).subspan(static_cast<size_t>(seen - reading.positions.begin()));
}

/// True when the first of the band's layers from `owner` on reads the set of `owner`.
bool DecodeStep::next_set_is(const Member& member, uint32_t band, uint32_t owner) const {
  const LayerRange layers = c_.layout.bands[band];
  const uint32_t first = std::max<uint32_t>(layers.begin, owner);
  if (first >= layers.end) return false;
  const LayerPlan plan = member.sequence->policy->plan(first, member.step);
  return plan.reads == LayerPlan::Reads::kSet && plan.owner == owner;
}

/// Asks for every row that the layers which read the set of `owner` will want and the device has
/// not; one request for all of them. What a band read before, for a set of a layer below, may give
/// way: the layers that read it have run.
void DecodeStep::prepare(uint32_t owner, std::span<Member* const> chosen) {
  clock_ = ++*c_.step_clock;
  std::vector<RestoreWant> wants;
  for (Member* member : chosen) {
    for (uint32_t band = 0; band < member->readings.size() && !member->failed; ++band) {
      if (!member->sequence->kv->residency(band).hot()) continue;
      if (!next_set_is(*member, band, owner)) continue;
      want_rows(*member, band, owner, member->set_of(owner).lists[0], wants);
    }
  }
  if (wants.empty()) return;
  await_rows();
  pending_ = c_.mover.begin(std::move(wants));
}

}  // namespace ebb::worker
