// The merge against brute force, and what the board refuses.
#include "coordinator/board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <random>

#include "coordinator/rendezvous.h"

namespace ebb::coordinator {
namespace {

using control::Candidates;
using control::PublishReply;
using control::PublishRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The `take` best of one rank's scores over all positions, best first.
Candidates best_of(const std::vector<float>& scores, uint32_t take) {
  std::vector<Position> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<Position>(i);
  std::sort(order.begin(), order.end(), [&](Position a, Position b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  order.resize(std::min<size_t>(take, order.size()));
  Candidates candidates{{1}, take, order, {}};
  for (const Position position : order) candidates.scores.push_back(scores[position]);
  return candidates;
}

TEST(BoardMerge, EqualsTheBestOfAllScoresForAnyRanksAndTies) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 500; ++round) {
    const uint32_t tokens = 1 + random() % 200;
    const uint32_t ranks = 1 + random() % 4;
    const uint32_t take = random() % 60;
    const bool many_ties = round % 2 == 0;
    std::vector<float> largest(tokens, -1);
    std::vector<Candidates> of_ranks;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      std::vector<float> scores(tokens);
      for (uint32_t i = 0; i < tokens; ++i) {
        scores[i] = many_ties ? static_cast<float>(random() % 4) : static_cast<float>(random());
        largest[i] = std::max(largest[i], scores[i]);
      }
      of_ranks.push_back(best_of(scores, take));
    }
    std::vector<Position> expected = best_of(largest, take).positions;
    std::sort(expected.begin(), expected.end());
    std::vector<const Candidates*> pointers;
    for (const auto& of_rank : of_ranks) pointers.push_back(&of_rank);
    EXPECT_EQ(merge_candidates(pointers, take), expected) << "round " << round;
  }
}

struct Published {
  std::optional<Result<PublishReply>> reply;
};

class Board : public ::testing::Test {
 protected:
  Board() {
    board.begin({7}, 2);
    board.expect({7}, {3});
  }
  PublishRequest request(uint32_t rank, uint64_t epoch = 7, uint64_t unit = 3) {
    return {{epoch},
            {unit},
            rank,
            14,
            {{{5}, 2, {10 + rank, 20 + rank}, {0.5f, 0.25f + 0.125f * static_cast<float>(rank)}}}};
  }
  std::shared_ptr<Published> publish(PublishRequest what) {
    auto published = std::make_shared<Published>();
    board.publish(std::move(what),
                  [published](Result<PublishReply> r) { published->reply = std::move(r); });
    return published;
  }
  SelectionBoard board;
};

TEST_F(Board, WaitsForAllRanksAndGivesTheSameToEach) {
  const auto first = publish(request(0));
  EXPECT_FALSE(first->reply);
  const auto second = publish(request(1));
  ASSERT_TRUE(first->reply && second->reply);
  EXPECT_EQ(first->reply->value(), second->reply->value());
  EXPECT_THAT(first->reply->value().sequences[0].positions, ElementsAre(10, 11));
}

TEST_F(Board, StampsAndKeepsTheLastSets) {
  publish(request(0));
  publish(request(1));
  const auto kept = board.recent({5});
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].epoch, Epoch{7});
  EXPECT_EQ(kept[0].unit, UnitId{3});
  EXPECT_EQ(kept[0].anchor, 14u);
  EXPECT_THAT(kept[0].set.positions, ElementsAre(10, 11));
  EXPECT_TRUE(board.recent({6}).empty());
  for (uint64_t unit = 4; unit < 4 + 2 * SelectionBoard::kKeptSets; ++unit) {
    board.expect({7}, {unit});
    publish(request(0, 7, unit));
    publish(request(1, 7, unit));
  }
  EXPECT_EQ(board.recent({5}).size(), SelectionBoard::kKeptSets);
}

TEST_F(Board, RefusesTheSameRankTwice) {
  const auto first = publish(request(0));
  const auto again = publish(request(0));
  ASSERT_TRUE(again->reply);
  EXPECT_EQ(again->reply->error().code, Code::kInvalid);
  EXPECT_FALSE(first->reply);
}

TEST_F(Board, RefusesAnotherEpochAndUnitsThatAreNotNow) {
  EXPECT_EQ(publish(request(0, 6))->reply->error().code, Code::kCancelled);
  EXPECT_EQ(publish(request(0, 7, 2))->reply->error().code, Code::kCancelled);
  EXPECT_EQ(publish(request(0, 7, 4))->reply->error().code, Code::kInvalid);
  EXPECT_EQ(publish(request(2))->reply->error().code, Code::kInvalid);
}

TEST_F(Board, RefusesScoresThatAreNoNumbers) {
  PublishRequest bad = request(0);
  bad.sequences[0].scores[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(publish(bad)->reply->error().message, HasSubstr("not a number"));
  bad = request(0);
  bad.sequences[0].scores.pop_back();
  EXPECT_EQ(publish(bad)->reply->error().code, Code::kInvalid);
}

TEST_F(Board, FailsAllRanksWhenTheyDisagree) {
  PublishRequest other = request(1);
  other.sequences[0].take = 1;
  const auto first = publish(request(0));
  const auto second = publish(other);
  ASSERT_TRUE(first->reply && second->reply);
  EXPECT_EQ(first->reply->error().code, Code::kInvalid);
  EXPECT_EQ(second->reply->error().code, Code::kInvalid);
}

TEST_F(Board, CancelsWhoWaitsWhenTheUnitOrTheEpochEnds) {
  const auto waits = publish(request(0));
  board.expect({7}, {4});
  EXPECT_EQ(waits->reply->error().code, Code::kCancelled);
  const auto waits_again = publish(request(0, 7, 4));
  board.end({7}, "group g0 lost: rank 1 is gone");
  EXPECT_THAT(waits_again->reply->error().message, HasSubstr("rank 1 is gone"));
  EXPECT_EQ(publish(request(1, 7, 4))->reply->error().code, Code::kCancelled);
}

TEST(Rendezvous, AnswersAtOnceOrWhenTheKeyComes) {
  RendezvousBoard board;
  std::optional<std::string> early;
  board.get("7/0", [&](Result<std::string> value) { early = *value; });
  EXPECT_FALSE(early);
  board.put("7/0", "address");
  EXPECT_EQ(early, "address");
  std::optional<std::string> late;
  board.get("7/0", [&](Result<std::string> value) { late = *value; });
  EXPECT_EQ(late, "address");
}

TEST(Rendezvous, KeepsOnlyTheNewestKeys) {
  RendezvousBoard board;
  for (size_t i = 0; i <= RendezvousBoard::kKeysMax; ++i) board.put(std::to_string(i), "x");
  bool answered = false;
  board.get("0", [&](Result<std::string>) { answered = true; });
  EXPECT_FALSE(answered);
  board.get("1", [&](Result<std::string>) { answered = true; });
  EXPECT_TRUE(answered);
}

TEST(Rendezvous, ForgetsAnEpochAndTellsWhoWaited) {
  RendezvousBoard board;
  std::optional<Code> code;
  bool other = false;
  board.put("epoch7/0", "address");
  board.get("epoch7/1", [&](Result<std::string> value) { code = value.error().code; });
  board.get("epoch71/1", [&](Result<std::string>) { other = true; });
  board.end({7}, "rank 1 is gone");
  EXPECT_EQ(code, Code::kCancelled);
  EXPECT_FALSE(other);
  bool answered = false;
  board.get("epoch7/0", [&](Result<std::string>) { answered = true; });
  EXPECT_FALSE(answered);
}

}  // namespace
}  // namespace ebb::coordinator
