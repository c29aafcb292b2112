// One value of every message of the control protocol, no field of it at its default, so that a
// field that is lost on the way makes a test fail.
#pragma once

#include "transport/control/messages.h"

namespace ebb::control::test {

inline Digest sample_digest(uint8_t first) {
  Digest digest;
  for (size_t i = 0; i < digest.bytes.size(); ++i) {
    digest.bytes[i] = static_cast<uint8_t>(first + 3 * i);
  }
  return digest;
}

inline WorkerHello sample_hello(uint32_t rank = 1) {
  WorkerHello hello;
  hello.cluster_token = "a secret";
  hello.node = "g7/rank" + std::to_string(rank);
  hello.group = "g7";
  hello.rank = rank;
  hello.pid = 4711;
  hello.model_digest = sample_digest(9);
  hello.backend = "cpu: avx512";
  return hello;
}

inline FormGroup sample_form() {
  FormGroup form;
  form.epoch = {7};
  form.rank = 1;
  form.ranks = 2;
  form.profile_yaml = "version: 1\nname: x\n";
  form.granule_tokens = 32;
  form.device_kv_bytes = uint64_t{5} << 33;
  form.max_model_len = 8192;
  form.vocabulary_digest = sample_digest(3);
  form.vocabulary = std::string("\2\0\1x", 4);
  form.stores = {{"s0", {"127.0.0.1", 7500}}, {"s1", {"::1", 7510}}};
  return form;
}

inline FormReply sample_form_reply() { return {sample_digest(77), 1234, true}; }

inline PolicyParams sample_policy() {
  return {PolicyKind::kRecycled,
          960,
          5,
          255,
          SetScope::kQueryHead,
          true,
          {2, 14},
          64,
          700,
          5,
          10,
          0.75f,
          9,
          true,
          true,
          false,
          DigestKind::kH3,
          true,
          1.5f,
          8,
          true,
          {960, 700, 1220},
          12,
          true};
}

inline Unit sample_unit(UnitKind kind) {
  Unit unit;
  unit.epoch = {uint64_t{1} << 40};
  unit.id = {uint64_t{1} << 41};
  unit.kind = kind;
  switch (kind) {
    case UnitKind::kOpen:
      unit.open.seq = {uint64_t{1} << 42};
      unit.open.prompt = {1, 2, 49151, -1};
      unit.open.max_tokens = 17;
      unit.open.decode_from = 3;
      unit.open.policy = sample_policy();
      unit.open.sampling = {
          0.5f, 40,   0.9f,  uint64_t{1} << 63,         5, true, {2, 0}, 0.05f, 0.9f,
          1.1f, 0.5f, -0.5f, {{7, -100.0f}, {9, 2.5f}}, 3, 4};
      unit.open.constraint = {ConstraintKind::kRegex, std::string("a\0b", 3)};
      unit.open.salt = std::string("ten\0ant", 7);
      unit.open.trace_selection = true;
      return unit;
    case UnitKind::kBulk:
      unit.bulk = {{5}, {512, 1024}, {3, 7}};
      return unit;
    case UnitKind::kRelease:
      unit.release = {{6}, {3, 5}, 2000};
      return unit;
    case UnitKind::kDecode:
      unit.decode = {{{7}, {uint64_t{1} << 50}}};
      return unit;
    case UnitKind::kClose:
      unit.close = {{8}};
      return unit;
  }
  return unit;
}

inline SequenceCounters sample_counters() { return {1, 2, 3, uint64_t{1} << 35, 5, 6, 7, 8, 9}; }

inline SequenceMap sample_map() {
  SequenceMap map;
  map.seq = {9};
  map.length = 700;
  map.policy = sample_policy();
  map.bands = {{1,
                {2, 5},
                true,
                4096,
                {{0, 1, Place::kDevice},
                 {1, 100, Place::kHost},
                 {101, 500, Place::kSsd},
                 {601, 98, Place::kMissing},
                 {699, 1, Place::kForgotten, false}}},
               {2, {5, 6}, false, 512, {}}};
  map.counters = sample_counters();
  return map;
}

inline UnitResult sample_result() {
  SequenceResult sequence;
  sequence.seq = {11};
  sequence.has_token = true;
  sequence.finished = true;
  sequence.token = {42, -0.25f, {{42, -0.25f}, {43, -2.5f}}, 1};
  sequence.prompt = {{1, -1.5f, {}, 7}, {2, -2.5f, {{3, -0.125f}}, 2}};
  sequence.complete = true;
  sequence.problem = "nothing fits";
  sequence.trace = {{14, {0, 1, 5, 600}}, {2, {7}, SetScope::kKvHead, 3}};
  sequence.counters = sample_counters();
  UnitResult result;
  result.id = {12};
  result.rank = 1;
  result.sequences = {sequence};
  result.failures = {{{13}, corrupt("record 5 of band 3")}, {{0}, timed_out("collective")}};
  result.maps = {sample_map()};
  result.arena_blocks_used = 14;
  result.arena_blocks_max = 15;
  return result;
}

inline PublishRequest sample_publish(uint32_t rank) {
  return {{7},
          {20},
          rank,
          14,
          {{{11}, 3, {500, 3, 40}, {0.5f, 0.25f, 0.125f}}, {{12}, 1, {9}, {1.0f}}}};
}

inline StoreStatus sample_status() {
  StoreStatus status;
  status.name = "s0";
  status.pid = 99;
  status.tiers = {{"host", 1, 2, 3, 4, 5, true, "fine"},
                  {"ssd", 6, 7, 8, 9, 10, false, "disk is full"}};
  status.puts = 11;
  status.gets = 12;
  status.misses = 13;
  status.corrupt = 14;
  return status;
}

inline GranulePage sample_granules() {
  GranulePage page;
  page.granules = {{"c3f9", 1, 2, 3, true, 4, 5, 6, true, false, true, 7},
                   {"d000", 8, 9, 10, false, 11, 12, 13, false, true, false, 14}};
  page.next = "place";
  return page;
}

}  // namespace ebb::control::test
