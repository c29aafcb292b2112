// A small model, its profile and its arena, as the engine's tests see them: 8 layers, of which 0
// and 3 are anchors (bands 0 | 1,2 | 3 | 4..7), 3 KV heads of 8, granules of 8 tokens.
#pragma once

#include "coordinator/request_check.h"

namespace ebb::coordinator::test {

inline models::ModelShape small_shape() {
  models::ModelShape shape;
  shape.architecture = "llama";
  shape.name = "small";
  shape.layers = 8;
  shape.width = 64;
  shape.heads_q = 9;
  shape.heads_kv = 3;
  shape.head_size = 8;
  shape.ffn_width = 128;
  shape.vocabulary = 1000;
  shape.context_length = 4096;
  shape.digest.bytes[0] = 0x5a;
  return shape;
}

inline models::SelectionProfile small_profile() {
  models::SelectionProfile profile;
  profile.name = "small";
  profile.model_name = "small";
  profile.layers = 8;
  profile.anchors = {0, 3};
  profile.budget_min = 32;
  profile.sinks = 2;
  profile.window = 8;
  return profile;
}

inline models::KvLayout small_layout(uint32_t ranks = 2) {
  auto layout = models::make_layout(small_shape(), small_profile().bands(), ranks, 8);
  EBB_CHECK(layout.has_value());
  return *layout;
}

inline uint64_t small_block_bytes() { return uint64_t{8} * small_layout().row_bytes_all(); }

inline ArenaModel small_arena(uint64_t blocks) {
  auto arena = make_arena_model(small_layout(), small_profile(), blocks * small_block_bytes(),
                                small_shape().width);
  EBB_CHECK(arena.has_value());
  return *arena;
}

inline RequestRules small_rules(ReleaseWhen release = ReleaseWhen::kPressure) {
  RequestRules rules;
  rules.shape = small_shape();
  rules.profile = small_profile();
  rules.max_model_len = 4096;
  rules.policy.name = "dense";
  rules.release = release;
  return rules;
}

inline GenerateRequest request_of(uint32_t prompt_tokens, uint32_t max_tokens,
                                  control::PolicyKind policy = control::PolicyKind::kDense) {
  GenerateRequest request;
  request.prompt.assign(prompt_tokens, 7);
  request.max_tokens = max_tokens;
  request.policy = policy;
  return request;
}

}  // namespace ebb::coordinator::test
