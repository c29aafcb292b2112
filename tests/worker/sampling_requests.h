// Groups and requests of every kind of sampling: what the tests of whole groups share.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/tiny_llama.h"
#include "tests/worker/rank_group.h"

namespace ebb::worker::testing {

inline constexpr uint32_t kVocabulary = 288;
inline constexpr TokenId kFirstByte = 3;
inline constexpr TokenId kEnd = 2;

inline GroupSetup sampling_setup(const std::string& model, uint32_t ranks) {
  ebb::testing::TinyLlamaOptions options;
  options.layers = 4;
  options.vocabulary = kVocabulary;
  GroupSetup s;
  s.model_path = model;
  ebb::testing::write_tiny_llama(s.model_path, options);
  s.ranks = ranks;
  s.device_kv_bytes = 8 << 20;
  s.profile = models::dense_profile(options.layers, "tiny llama");
  s.rows_max = 64;
  models::grammar::TokenTable table;
  table.tokens.resize(kVocabulary);
  for (size_t byte = 0; byte < 256; ++byte) {
    table.tokens[kFirstByte + byte] = std::string(1, static_cast<char>(byte));
  }
  s.vocabulary = models::grammar::pack_token_table(table);
  return s;
}
inline control::OpenUnit sampling_request(uint64_t seq) {
  ebb::testing::TinyRandom random(seq);
  control::OpenUnit open;
  open.seq = SeqId{seq};
  for (uint32_t i = 0; i < 20 + 7 * seq; ++i) {
    open.prompt.push_back(static_cast<TokenId>(3 + random.next() % 256));
  }
  open.max_tokens = 60;
  open.sampling.seed = 100 + seq;
  open.sampling.stop_tokens = {kEnd};
  return open;
}
/// Sequences that are as different as requests can be.
inline std::vector<control::OpenUnit> various_requests() {
  std::vector<control::OpenUnit> all;
  for (uint64_t seq = 1; seq <= 6; ++seq) all.push_back(sampling_request(seq));
  all[0].sampling.top_p = 0.9f;
  all[0].sampling.repetition_penalty = 1.3f;
  all[1].sampling.temperature = 0;
  all[1].sampling.frequency_penalty = 0.7f;
  all[2].sampling.top_k = 20;
  all[2].sampling.typical_p = 0.9f;
  all[2].sampling.logit_bias = {{7, 5}, {9, -100}};
  all[3].constraint = {control::ConstraintKind::kJsonObject, ""};
  all[4].constraint = {control::ConstraintKind::kRegex, "[a-f]{50,60}"};
  all[4].sampling.min_p = 0.05f;
  all[5].sampling.temperature = 1.7f;
  all[5].sampling.min_tokens = 60;
  return all;
}
inline TokenId token_of(const control::SequenceResult& result) {
  EXPECT_TRUE(result.has_token) << result.problem;
  return result.token.token;
}
/// Its tokens: the one behind the prompt, and one for each of `steps`.
inline std::vector<TokenId> alone(RankGroup& group, const control::OpenUnit& open, int steps) {
  group.open(open);
  const auto size = static_cast<uint32_t>(open.prompt.size());
  std::vector<TokenId> out = {token_of(group.prefill(open.seq, size, 48)[0].sequences[0])};
  for (int i = 0; i < steps; ++i) {
    out.push_back(token_of(group.decode({open.seq})[0].sequences[0]));
  }
  group.close(open.seq);
  return out;
}
/// The tokens of all of them in one batch, by sequence.
inline std::vector<std::vector<TokenId>> together(RankGroup& group,
                                                  const std::vector<control::OpenUnit>& all,
                                                  int steps) {
  std::vector<std::vector<TokenId>> out(all.size());
  std::vector<SeqId> seqs;
  for (size_t i = 0; i < all.size(); ++i) {
    group.open(all[i]);
    const auto size = static_cast<uint32_t>(all[i].prompt.size());
    out[i].push_back(token_of(group.prefill(all[i].seq, size, 48)[0].sequences[0]));
    seqs.push_back(all[i].seq);
  }
  for (int step = 0; step < steps; ++step) {
    const auto results = group.decode(seqs);
    for (size_t i = 0; i < all.size(); ++i) {
      out[i].push_back(token_of(results[0].sequences[i]));
    }
  }
  return out;
}
/// What becomes of a sequence whose constraint the group's vocabulary, "a" alone, cannot spell.
inline control::SequenceResult unspellable(GroupSetup s) {
  models::grammar::TokenTable table;
  table.tokens.resize(kVocabulary);
  table.tokens[50] = "a";
  s.vocabulary = models::grammar::pack_token_table(table);
  RankGroup group(s);
  control::OpenUnit open = sampling_request(1);
  open.constraint = {control::ConstraintKind::kRegex, "ab"};
  group.open(open);
  group.prefill(SeqId{1}, static_cast<uint32_t>(open.prompt.size()), 48);
  const auto results = group.decode({SeqId{1}});
  EXPECT_TRUE(results[0].failures.empty());
  return results[0].sequences.at(0);
}

}  // namespace ebb::worker::testing
