// Results, maps, selection and store status. The rest is in codec.cpp.
#include <kj/debug.h>

#include "transport/control/codec.h"

namespace ebb::control {
// Static rather than in an unnamed namespace: fill_structs() finds write() by its argument types,
// and such a lookup does not see into unnamed namespaces.
template <class T>
static capnp::uint count(const std::vector<T>& list) {
  return static_cast<capnp::uint>(list.size());
}

static void write(const TokenLogprob& from, wire::TokenLogprob::Builder to) {
  to.setToken(from.token);
  to.setLogprob(from.logprob);
  auto top = to.initTop(count(from.top));
  for (capnp::uint i = 0; i < top.size(); ++i) {
    top[i].setToken(from.top[i].first);
    top[i].setLogprob(from.top[i].second);
  }
  to.setRank(from.rank);
}

static TokenLogprob read(wire::TokenLogprob::Reader from) {
  TokenLogprob to;
  to.token = from.getToken();
  to.logprob = from.getLogprob();
  to.top.reserve(from.getTop().size());
  for (const auto best : from.getTop()) to.top.emplace_back(best.getToken(), best.getLogprob());
  to.rank = from.getRank();
  return to;
}

static void write(const SelectionTrace& from, wire::SelectionTrace::Builder to) {
  to.setAnchor(from.anchor);
  fill(to.initPositions(count(from.positions)), from.positions);
  to.setScope(static_cast<wire::SetScope>(from.scope));
  to.setHead(from.head);
}

static SelectionTrace read(wire::SelectionTrace::Reader from) {
  return {from.getAnchor(), numbers<Position>(from.getPositions()),
          scope_from_wire(from.getScope()), from.getHead()};
}

static void write(const SequenceCounters& from, wire::SequenceCounters::Builder to) {
  to.setReleasedRecords(from.released_records);
  to.setRestoredHostRecords(from.restored_host_records);
  to.setRestoredSsdRecords(from.restored_ssd_records);
  to.setRestoredBytes(from.restored_bytes);
  to.setSelectedTokens(from.selected_tokens);
  to.setHotHits(from.hot_hits);
  to.setDeviceBlocks(from.device_blocks);
  to.setDeviceBlocksMax(from.device_blocks_max);
  to.setRebuiltTokens(from.rebuilt_tokens);
}

static SequenceCounters read(wire::SequenceCounters::Reader from) {
  SequenceCounters to;
  to.released_records = from.getReleasedRecords();
  to.restored_host_records = from.getRestoredHostRecords();
  to.restored_ssd_records = from.getRestoredSsdRecords();
  to.restored_bytes = from.getRestoredBytes();
  to.selected_tokens = from.getSelectedTokens();
  to.hot_hits = from.getHotHits();
  to.device_blocks = from.getDeviceBlocks();
  to.device_blocks_max = from.getDeviceBlocksMax();
  to.rebuilt_tokens = from.getRebuiltTokens();
  return to;
}

static void write(const SequenceResult& from, wire::SequenceResult::Builder to) {
  to.setSeq(from.seq.value);
  to.setHasToken(from.has_token);
  to.setFinished(from.finished);
  write(from.token, to.initToken());
  fill_structs(to.initPrompt(count(from.prompt)), from.prompt);
  fill_structs(to.initTrace(count(from.trace)), from.trace);
  write(from.counters, to.initCounters());
  to.setComplete(from.complete);
  to.setProblem(from.problem);
}

static SequenceResult read(wire::SequenceResult::Reader from) {
  SequenceResult to;
  to.seq = {from.getSeq()};
  to.has_token = from.getHasToken();
  to.finished = from.getFinished();
  to.token = read(from.getToken());
  to.prompt.reserve(from.getPrompt().size());
  for (const auto scored : from.getPrompt()) to.prompt.push_back(read(scored));
  for (const auto trace : from.getTrace()) to.trace.push_back(read(trace));
  to.counters = read(from.getCounters());
  to.complete = from.getComplete();
  to.problem = to_string(from.getProblem());
  return to;
}

static void write(const UnitFailure& from, wire::UnitFailure::Builder to) {
  to.setSeq(from.seq.value);
  write(from.error, to.initError());
}

static wire::Place place_on_wire(Place place) {
  switch (place) {
    case Place::kDevice:
      return wire::Place::DEVICE;
    case Place::kHost:
      return wire::Place::HOST;
    case Place::kSsd:
      return wire::Place::SSD;
    case Place::kMissing:
      return wire::Place::MISSING;
    case Place::kForgotten:
      return wire::Place::FORGOTTEN;
  }
  return wire::Place::MISSING;
}

static Place place_from_wire(wire::Place place) {
  switch (place) {
    case wire::Place::DEVICE:
      return Place::kDevice;
    case wire::Place::HOST:
      return Place::kHost;
    case wire::Place::SSD:
      return Place::kSsd;
    case wire::Place::MISSING:
      return Place::kMissing;
    case wire::Place::FORGOTTEN:
      return Place::kForgotten;
  }
  KJ_FAIL_REQUIRE("unknown place", static_cast<uint16_t>(place));
}

static void write(const BandMap& from, wire::BandMap::Builder to) {
  to.setBand(from.band);
  write(from.layers, to.initLayers());
  to.setHot(from.hot);
  to.setRecordBytes(from.record_bytes);
  auto runs = to.initRuns(count(from.runs));
  for (capnp::uint i = 0; i < runs.size(); ++i) {
    runs[i].setBegin(from.runs[i].begin);
    runs[i].setCount(from.runs[i].count);
    runs[i].setPlace(place_on_wire(from.runs[i].place));
    runs[i].setExact(from.runs[i].exact);
  }
}

static BandMap read(wire::BandMap::Reader from) {
  BandMap to;
  to.band = from.getBand();
  to.layers = read(from.getLayers());
  to.hot = from.getHot();
  to.record_bytes = from.getRecordBytes();
  to.runs.reserve(from.getRuns().size());
  for (const auto run : from.getRuns()) {
    to.runs.push_back(
        {run.getBegin(), run.getCount(), place_from_wire(run.getPlace()), run.getExact()});
  }
  return to;
}

static void write(const Candidates& from, wire::Candidates::Builder to) {
  to.setSeq(from.seq.value);
  to.setTake(from.take);
  fill(to.initPositions(count(from.positions)), from.positions);
  fill(to.initScores(count(from.scores)), from.scores);
}

static Candidates read(wire::Candidates::Reader from) {
  KJ_REQUIRE(from.getPositions().size() == from.getScores().size(),
             "candidates: as many positions as scores");
  return {{from.getSeq()},
          from.getTake(),
          numbers<Position>(from.getPositions()),
          numbers<float>(from.getScores())};
}

static void write(const TierStatus& from, wire::TierStatus::Builder to) {
  to.setTier(from.tier);
  to.setCapacityBytes(from.capacity_bytes);
  to.setUsedBytes(from.used_bytes);
  to.setGranules(from.granules);
  to.setHeldGranules(from.held_granules);
  to.setEvictions(from.evictions);
  to.setWritable(from.writable);
  to.setNote(from.note);
}

static TierStatus read(wire::TierStatus::Reader from) {
  TierStatus to;
  to.tier = to_string(from.getTier());
  to.capacity_bytes = from.getCapacityBytes();
  to.used_bytes = from.getUsedBytes();
  to.granules = from.getGranules();
  to.held_granules = from.getHeldGranules();
  to.evictions = from.getEvictions();
  to.writable = from.getWritable();
  to.note = to_string(from.getNote());
  return to;
}

static void write(const MergedSet& from, wire::MergedSet::Builder to) {
  to.setSeq(from.seq.value);
  fill(to.initPositions(count(from.positions)), from.positions);
}

void write(const SequenceMap& from, wire::SequenceMap::Builder to) {
  to.setSeq(from.seq.value);
  to.setLength(from.length);
  write(from.policy, to.initPolicy());
  fill_structs(to.initBands(count(from.bands)), from.bands);
  write(from.counters, to.initCounters());
}

SequenceMap read(wire::SequenceMap::Reader from) {
  SequenceMap to;
  to.seq = {from.getSeq()};
  to.length = from.getLength();
  to.policy = read(from.getPolicy());
  for (const auto band : from.getBands()) to.bands.push_back(read(band));
  to.counters = read(from.getCounters());
  return to;
}

void write(const UnitResult& from, wire::UnitResult::Builder to) {
  to.setId(from.id.value);
  to.setRank(from.rank);
  fill_structs(to.initSequences(count(from.sequences)), from.sequences);
  fill_structs(to.initFailures(count(from.failures)), from.failures);
  fill_structs(to.initMaps(count(from.maps)), from.maps);
  to.setArenaBlocksUsed(from.arena_blocks_used);
  to.setArenaBlocksMax(from.arena_blocks_max);
}

UnitResult read(wire::UnitResult::Reader from) {
  UnitResult to;
  to.id = {from.getId()};
  to.rank = from.getRank();
  for (const auto sequence : from.getSequences()) to.sequences.push_back(read(sequence));
  for (const auto failure : from.getFailures()) {
    to.failures.push_back({{failure.getSeq()}, read(failure.getError())});
  }
  for (const auto map : from.getMaps()) to.maps.push_back(read(map));
  to.arena_blocks_used = from.getArenaBlocksUsed();
  to.arena_blocks_max = from.getArenaBlocksMax();
  return to;
}

void write(const PublishRequest& from, wire::PublishRequest::Builder to) {
  to.setEpoch(from.epoch.value);
  to.setUnit(from.unit.value);
  to.setRank(from.rank);
  to.setAnchor(from.anchor);
  fill_structs(to.initSequences(count(from.sequences)), from.sequences);
}

PublishRequest read(wire::PublishRequest::Reader from) {
  PublishRequest to;
  to.epoch = {from.getEpoch()};
  to.unit = {from.getUnit()};
  to.rank = from.getRank();
  to.anchor = from.getAnchor();
  for (const auto sequence : from.getSequences()) to.sequences.push_back(read(sequence));
  return to;
}

void write(const PublishReply& from, wire::PublishReply::Builder to) {
  fill_structs(to.initSequences(count(from.sequences)), from.sequences);
}

PublishReply read(wire::PublishReply::Reader from) {
  PublishReply to;
  for (const auto set : from.getSequences()) {
    to.sequences.push_back({{set.getSeq()}, numbers<Position>(set.getPositions())});
  }
  return to;
}

void write(const StoreStatus& from, wire::StoreStatus::Builder to) {
  to.setName(from.name);
  to.setPid(from.pid);
  fill_structs(to.initTiers(count(from.tiers)), from.tiers);
  to.setPuts(from.puts);
  to.setGets(from.gets);
  to.setMisses(from.misses);
  to.setCorrupt(from.corrupt);
}

StoreStatus read(wire::StoreStatus::Reader from) {
  StoreStatus to;
  to.name = to_string(from.getName());
  to.pid = from.getPid();
  for (const auto tier : from.getTiers()) to.tiers.push_back(read(tier));
  to.puts = from.getPuts();
  to.gets = from.getGets();
  to.misses = from.getMisses();
  to.corrupt = from.getCorrupt();
  return to;
}

void write(const GranuleQuery& from, wire::GranuleQuery::Builder to) {
  to.setHasSeq(from.seq.has_value());
  to.setSeq(from.seq.value_or(SeqId{}).value);
  to.setLimit(from.limit);
  to.setCursor(from.cursor);
}

GranuleQuery read(wire::GranuleQuery::Reader from) {
  GranuleQuery to;
  if (from.getHasSeq()) to.seq = SeqId{from.getSeq()};
  to.limit = from.getLimit();
  to.cursor = to_string(from.getCursor());
  return to;
}

static void write(const GranuleState& from, wire::GranuleState::Builder to) {
  to.setDigest(from.digest);
  to.setBand(from.band);
  to.setHeadBegin(from.head_begin);
  to.setHeadEnd(from.head_end);
  to.setIsPrivate(from.is_private);
  to.setFirst(from.first);
  to.setRecords(from.records);
  to.setBytes(from.bytes);
  to.setOnHost(from.on_host);
  to.setOnSsd(from.on_ssd);
  to.setDurable(from.durable);
  to.setHolders(from.holders);
}

static GranuleState read(wire::GranuleState::Reader from) {
  GranuleState to;
  to.digest = to_string(from.getDigest());
  to.band = from.getBand();
  to.head_begin = from.getHeadBegin();
  to.head_end = from.getHeadEnd();
  to.is_private = from.getIsPrivate();
  to.first = from.getFirst();
  to.records = from.getRecords();
  to.bytes = from.getBytes();
  to.on_host = from.getOnHost();
  to.on_ssd = from.getOnSsd();
  to.durable = from.getDurable();
  to.holders = from.getHolders();
  return to;
}

void write(const GranulePage& from, wire::GranulePage::Builder to) {
  fill_structs(to.initGranules(count(from.granules)), from.granules);
  to.setNext(from.next);
}

GranulePage read(wire::GranulePage::Reader from) {
  GranulePage to;
  for (const auto granule : from.getGranules()) to.granules.push_back(read(granule));
  to.next = to_string(from.getNext());
  return to;
}

}  // namespace ebb::control
