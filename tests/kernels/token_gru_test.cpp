// A controller's sequences on the backend under test: scores against the equations in double, and
// the same bits whatever the batch, the cutting into calls and the way in which they are started.
#include "kernels/token_gru.h"

#include "tests/kernels/token_gru_fixture.h"

namespace ebb::kernels {
namespace {

TEST_P(TokenGruTest, ScoresAreThoseOfTheEquations) {
  const Text t = text(200);
  const auto sequence = gru_->begin();
  ASSERT_TRUE(sequence->reserve(200));
  append(*sequence, t, 200);
  for (const uint32_t n : {1u, 16u, 17u, 200u}) {
    expect_close("token_gru", score(*sequence, n), expected(t, n), std::to_string(n));
  }
}

TEST_P(TokenGruTest, GoingOnTokenByTokenHasTheBitsOfAllAtOnce) {
  constexpr uint32_t kGrows = TokenGru::kStep + 1;
  const Text t = text(kGrows + 5);
  const auto sequence = gru_->begin(), whole = gru_->begin();
  ASSERT_TRUE(whole->reserve(kGrows + 5));
  append(*whole, t, kGrows + 5);
  ASSERT_TRUE(sequence->reserve(kGrows - 5));
  append(*sequence, t, kGrows - 5);
  score(*sequence, kGrows - 5);
  for (uint32_t n = kGrows - 4; n <= kGrows + 5; ++n) {
    ASSERT_TRUE(sequence->reserve(n));
    append(*sequence, t, 1);
    ASSERT_EQ(sequence->length(), n);
    const Floats scores = score(*sequence, n);
    score(*whole, 3);  // from another place altogether
    expect_same_bits(scores, score(*whole, n), std::to_string(n));
    expect_same_bits(score(*sequence, n), scores, "again");
  }
  score(*whole, 3);
  expect_same_bits(score(*sequence, 101), score(*whole, 101), "back");
}

TEST_P(TokenGruTest, SequencesOfOneCallHaveTheBitsOfTheirOwn) {
  std::vector<Text> texts;
  std::vector<std::unique_ptr<TokenGruSequence>> sequences;
  std::vector<TokenGru::Rows> appended;
  std::vector<TokenGru::At> wanted;
  const std::vector<uint32_t> tokens = {1, 20, 0, 9};
  for (const uint32_t count : tokens) {
    texts.push_back(text(count + 1));
    sequences.push_back(gru_->begin());
    ASSERT_TRUE(sequences.back()->reserve(count + 1));
    appended.push_back({sequences.back().get(), texts.back().d_embeddings, count});
    wanted.push_back({sequences.back().get(), count});
  }
  gru_->append(appended);
  gru_->score(wanted);
  // One goes on by a token, one begins anew, the others are where they are.
  append(*sequences[1], texts[1], 1);
  wanted[1].position = 21;
  wanted[3].position = 5;
  gru_->score(wanted);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const uint32_t n = wanted[i].position;
    expect_same_bits(sequences[i]->scores(), anew(texts[i], std::max(tokens[i], n), n),
                     std::to_string(i));
  }
}

TEST_P(TokenGruTest, ReplayedStepsHaveTheBitsOfPlainOnes) {
  const Text t = text(50);
  const auto sequence = gru_->begin(), plain = gru_->begin();
  ASSERT_TRUE(sequence->reserve(50));
  ASSERT_TRUE(plain->reserve(50));
  append(*sequence, t, 30);
  append(*plain, t, 50);
  score(*sequence, 30);
  for (uint32_t n = 31; n <= 50; ++n) {
    Floats scores;
    machine_->ops().replayable(1, [&] {
      append(*sequence, t, 1);
      scores = score(*sequence, n);
    });
    expect_same_bits(scores, score(*plain, n), std::to_string(n));
  }
}

TEST_P(TokenGruTest, NumbersThatOverflowAreNeverNan) {
  for (float& value : values_[6]) value *= 1e38f;  // head
  for (float& value : values_[9]) value *= 1e30f;  // score_weight
  gru_ = std::move(*machine_->ops().make_token_gru(weights_));
  const Text t = text(20);
  for (const float s : anew(t, 20, 20)) EXPECT_TRUE(s == s);
}

TEST_P(TokenGruTest, MemoryGrowsInStepsAndIsGivenBack) {
  const uint64_t of_weights = gru_->device_bytes();
  EXPECT_GE(of_weights, 4u * (kWidth * kHidden + 7 * kWidth * kWidth + kBuckets * kWidth));
  auto sequence = gru_->begin();
  EXPECT_EQ(gru_->device_bytes(), of_weights);
  constexpr uint32_t kStep = TokenGru::kStep;
  for (const uint32_t tokens : {1u, kStep}) {
    ASSERT_TRUE(sequence->reserve(tokens));
    EXPECT_EQ(gru_->device_bytes(), of_weights + kStateBytes + kStep * kTokenBytes);
  }
  ASSERT_TRUE(sequence->reserve(2 * kStep + 1));
  EXPECT_EQ(gru_->device_bytes(), of_weights + kStateBytes + 3 * kStep * kTokenBytes);
  sequence.reset();
  EXPECT_EQ(gru_->device_bytes(), of_weights);
}

EBB_ON_EVERY_SUBJECT(TokenGruTest);

}  // namespace
}  // namespace ebb::kernels
