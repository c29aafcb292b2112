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
    read_tokens_of(member, layer, member.length() - 1, args);
  } else if (hot) {
    read_released(member, layer, args);
  } else if (member.plan.reads == LayerPlan::Reads::kSinksWindow) {
    read_pattern_of(member, layer, args);
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
  const uint64_t rows = args.listed() ? args.count : std::min(args.count, seen);
  const bool by_query_head = args.scope == kernels::ListScope::kQueryHead;
  count_bytes(member, rows * row * (by_query_head ? c_.shape.heads_q / c_.shape.heads_kv : 1));
  if (member.plan.left_out && args.listed()) {
    const uint64_t runs = member.length() / kernels::kSumTokens;
    count_bytes(member, runs * kernels::SumRows::run_bytes(c_.shape));
  }
  member.bytes_dense += uint64_t{seen} * row;
}

void DecodeStep::read_pattern_of(Member& member, uint32_t layer, kernels::AttendArgs& args) {
  if (!member.pattern) {
    const BandResidency& ring = member.sequence->kv->residency(0);
    member.pattern =
        read_pattern(*member.sequence->policy->sinks_window(), ring, member.length() - 1);
    auto listed = c_.lists.add_slots(std::span<const uint32_t>(member.pattern->slots));
    if (!listed) return fail(member, std::move(listed).error());
    member.d_pattern = *listed;
  }
  const kernels::AttendArgs cut = cut_pattern(*member.pattern, c_.model.shape().window(layer));
  args.d_list = member.d_pattern + (member.pattern->slots.size() - cut.count);
  args.count = cut.count;
  args.alt_count = cut.alt_count;
}

/// All that layers read of a set, windows aside; the newest token is added where it is wanted.
DecodeStep::SetEntries DecodeStep::set_entries(const Member& member) const {
  const TokenSet& set = member.set_of(member.plan.owner);
  const Position newest = member.length() - 1;
  const bool add = member.plan.adds_self && set.lists[0].back() != newest;
  SetEntries read;
  if (set.scope == SetScope::kLayer && !add) {
    read.entries = set.lists[0];
  } else {
    for (const auto& list : set.lists) {
      read.own.insert(read.own.end(), list.begin(), list.end());
      if (add) read.own.push_back(newest);
    }
    read.entries = read.own;
  }
  read.count = static_cast<uint32_t>(read.entries.size() / set.lists.size());
  read.scope = set.scope == SetScope::kLayer    ? kernels::ListScope::kLayer
               : set.scope == SetScope::kKvHead ? kernels::ListScope::kKvHead
                                                : kernels::ListScope::kQueryHead;
  return read;
}

/// How many of its first entries lie before a layer's window. make_policy allows sets of heads only
/// where no window cuts a list.
uint32_t DecodeStep::unseen_of_set(const Member& member, uint32_t layer) const {
  const TokenSet& set = member.set_of(member.plan.owner);
  if (set.scope != SetScope::kLayer) return 0;
  const auto& list = set.lists[0];
  const auto seen =
      std::lower_bound(list.begin(), list.end(), c_.first_seen(layer, member.length()));
  return static_cast<uint32_t>(seen - list.begin());
}

/// A set of a band that is wholly on the device: slots are positions. Listed once for all layers
/// that read it.
void DecodeStep::read_set(Member& member, uint32_t layer, kernels::AttendArgs& args) {
  const LayerPlan& plan = member.plan;
  auto made = std::find_if(member.set_lists.begin(), member.set_lists.end(), [&](const auto& list) {
    return list.owner == plan.owner && list.adds_self == plan.adds_self;
  });
  if (made == member.set_lists.end()) {
    SetEntries read = set_entries(member);
    auto listed = read.own.empty() ? c_.lists.add_slots(read.entries)
                                   : c_.lists.add_slots(std::move(read.own));
    if (!listed) return fail(member, std::move(listed).error());
    member.set_lists.push_back({plan.owner, plan.adds_self, *listed, read.count, read.scope});
    made = member.set_lists.end() - 1;
  }
  const uint32_t unseen = unseen_of_set(member, layer);
  args.d_list = made->d_slots + unseen;
  args.count = made->count - unseen;
  args.scope = made->scope;
  if (plan.adds_self) return;
  member.read = std::span(member.set_of(plan.owner).lists[0]).subspan(unseen);
  member.d_read = args.d_list;
}

/// Of `set`, what no layer of the band can see is not read, and so not brought back either.
void DecodeStep::want_rows(Member& member, uint32_t band, uint32_t owner, SharedSet set,
                           std::vector<RestoreWant>& wants) {
  const Position first = c_.first_seen_in_band(band, member.length());
  const auto seen = std::lower_bound(set->begin(), set->end(), first);
  if (seen != set->begin()) set = std::make_shared<std::vector<Position>>(seen, set->end());
  BandResidency& residency = member.sequence->kv->residency(band);
  std::vector<Position> missing = residency.touch(*set, clock_);
  member.sequence->counters.hot_hits += set->size() - missing.size();
  if (!missing.empty()) {
    auto admitted = residency.admit(missing, clock_);
    if (!admitted) return fail(member, std::move(admitted).error());
    wants.push_back({member.sequence, band, std::move(missing)});
  }
  member.readings[band].positions = std::move(set);
  member.readings[band].owner = owner;
  list_slots(member, band);
}

void DecodeStep::list_slots(Member& member, uint32_t band) {
  Reading& reading = member.readings[band];
  auto listed = c_.lists.add(*member.sequence->kv, band, *reading.positions);
  if (!listed) return fail(member, std::move(listed).error());
  reading.d_slots = *listed;
  if (member.sequence->aids) {
    auto positions = c_.lists.add_slots(std::span<const uint32_t>(*reading.positions));
    if (!positions) return fail(member, std::move(positions).error());
    reading.d_positions = *positions;
  }
  reading.ready = true;
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

/// What a layer of a released band attends to. Only policies whose sets follow the bands and have
/// scope layer are released.
void DecodeStep::read_released(Member& member, uint32_t layer, kernels::AttendArgs& args) {
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
    want_rows(member, band, owner, std::make_shared<std::vector<Position>>(std::move(set)), wants);
    c_.lists.make();
    if (!wants.empty()) {
      await_rows();
      pending_ = c_.mover.begin(std::move(wants));
    }
  }
  await_rows();
  if (member.failed) return;
  const std::vector<Position>& positions = *reading.positions;
  const auto seen =
      std::lower_bound(positions.begin(), positions.end(), c_.first_seen(layer, member.length()));
  // Never empty: the newest token is in every set and in every window.
  args.d_list = reading.d_slots + (seen - positions.begin());
  args.count = static_cast<uint32_t>(positions.end() - seen);
  member.read = {seen, positions.end()};
  member.d_read =
      reading.d_positions == nullptr ? nullptr : reading.d_positions + (seen - positions.begin());
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
    SharedSet set;  // one for all bands
    for (uint32_t band = 0; band < member->readings.size() && !member->failed; ++band) {
      if (!member->sequence->kv->residency(band).hot()) continue;
      if (!next_set_is(*member, band, owner)) continue;
      if (!set) set = std::make_shared<std::vector<Position>>(member->set_of(owner).lists[0]);
      want_rows(*member, band, owner, set, wants);
    }
  }
  c_.lists.make();
  if (wants.empty()) return;
  await_rows();
  pending_ = c_.mover.begin(std::move(wants));
}

}  // namespace ebb::worker
