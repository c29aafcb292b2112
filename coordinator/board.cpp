#include "coordinator/board.h"

#include <algorithm>
#include <cmath>

namespace ebb::coordinator {
namespace {

struct Scored {
  Position position;
  float score;
};

Result<void> check_scores(const control::PublishRequest& request) {
  for (const auto& candidates : request.sequences) {
    const std::string where = "sequence " + std::to_string(candidates.seq.value) + ": ";
    if (candidates.positions.size() != candidates.scores.size()) {
      return invalid(where + std::to_string(candidates.positions.size()) + " positions but " +
                     std::to_string(candidates.scores.size()) + " scores");
    }
    if (candidates.positions.size() > SelectionBoard::kCandidatesMax) {
      return invalid(where + std::to_string(candidates.positions.size()) +
                     " candidates, more than " + std::to_string(SelectionBoard::kCandidatesMax));
    }
    const auto not_a_number = [](float score) { return std::isnan(score); };
    if (std::any_of(candidates.scores.begin(), candidates.scores.end(), not_a_number)) {
      return invalid(where + "a score is not a number");
    }
  }
  return {};
}

bool same_question(const control::PublishRequest& a, const control::PublishRequest& b) {
  const auto same = [](const control::Candidates& x, const control::Candidates& y) {
    return x.seq == y.seq && x.take == y.take;
  };
  return std::equal(a.sequences.begin(), a.sequences.end(), b.sequences.begin(), b.sequences.end(),
                    same);
}

}  // namespace

std::vector<Position> merge_candidates(const std::vector<const control::Candidates*>& of_ranks,
                                       uint32_t take) {
  std::vector<Scored> all;
  for (const auto* candidates : of_ranks) {
    for (size_t i = 0; i < candidates->positions.size(); ++i) {
      all.push_back({candidates->positions[i], candidates->scores[i]});
    }
  }
  // One entry a position, its largest score.
  std::sort(all.begin(), all.end(), [](const Scored& a, const Scored& b) {
    return a.position != b.position ? a.position < b.position : a.score > b.score;
  });
  const auto same_position = [](const Scored& a, const Scored& b) {
    return a.position == b.position;
  };
  all.erase(std::unique(all.begin(), all.end(), same_position), all.end());
  if (all.size() > take) {
    std::nth_element(all.begin(), all.begin() + take, all.end(),
                     [](const Scored& a, const Scored& b) {
                       return a.score != b.score ? a.score > b.score : a.position < b.position;
                     });
    all.resize(take);
  }
  std::vector<Position> positions;
  positions.reserve(all.size());
  for (const Scored& scored : all) positions.push_back(scored.position);
  std::sort(positions.begin(), positions.end());
  return positions;
}

void SelectionBoard::begin(Epoch epoch, uint32_t ranks) {
  const std::lock_guard lock(mutex_);
  incarnations_[epoch].ranks = ranks;
}

void SelectionBoard::expect(Epoch epoch, UnitId unit) {
  Due due;
  {
    const std::lock_guard lock(mutex_);
    const auto found = incarnations_.find(epoch);
    if (found == incarnations_.end()) return;
    cancel_waiting(found->second, "the unit is over", due);
    found->second.unit = unit;
  }
  for (auto& [answer, reply] : due) answer(std::move(reply));
}

void SelectionBoard::end(Epoch epoch, const std::string& why) {
  Due due;
  {
    const std::lock_guard lock(mutex_);
    const auto found = incarnations_.find(epoch);
    if (found == incarnations_.end()) return;
    cancel_waiting(found->second, why, due);
    incarnations_.erase(found);
  }
  for (auto& [answer, reply] : due) answer(std::move(reply));
}

void SelectionBoard::cancel_waiting(Incarnation& incarnation, const std::string& why, Due& due) {
  for (auto& [anchor, of_ranks] : incarnation.anchors) {
    for (auto& [rank, waiting] : of_ranks)
      due.emplace_back(std::move(waiting.answer), cancelled(why));
  }
  incarnation.anchors.clear();
}

void SelectionBoard::publish(control::PublishRequest request, Answer answer) {
  Due due;
  {
    const std::lock_guard lock(mutex_);
    if (auto accepted = check(request); !accepted) {
      due.emplace_back(std::move(answer), accepted.error());
    } else {
      Incarnation& incarnation = incarnations_.at(request.epoch);
      const uint32_t anchor = request.anchor;
      auto& of_ranks = incarnation.anchors[anchor];
      const uint32_t rank = request.rank;
      of_ranks.emplace(rank, Waiting{std::move(request), std::move(answer)});
      if (of_ranks.size() == incarnation.ranks) {
        auto reply = merge(of_ranks);
        for (auto& [of_rank, waiting] : of_ranks)
          due.emplace_back(std::move(waiting.answer), reply);
        incarnation.anchors.erase(anchor);
      }
    }
  }
  for (auto& [due_answer, reply] : due) due_answer(std::move(reply));
}

Result<void> SelectionBoard::check(const control::PublishRequest& request) const {
  const auto found = incarnations_.find(request.epoch);
  if (found == incarnations_.end()) {
    return cancelled("epoch " + std::to_string(request.epoch.value) + " is over");
  }
  const Incarnation& incarnation = found->second;
  const std::string unit = "unit " + std::to_string(request.unit.value);
  if (request.unit < incarnation.unit) return cancelled(unit + " is over");
  if (request.unit > incarnation.unit) return invalid(unit + " has not begun");
  if (request.rank >= incarnation.ranks) {
    return invalid("rank: " + std::to_string(request.rank) + " is not in [0, " +
                   std::to_string(incarnation.ranks) + ")");
  }
  const auto anchor = incarnation.anchors.find(request.anchor);
  if (anchor == incarnation.anchors.end()) {
    if (incarnation.anchors.size() >= kAnchorsMax) return exhausted("too many anchors at once");
    return check_scores(request);
  }
  if (anchor->second.contains(request.rank)) {
    return invalid("rank " + std::to_string(request.rank) + " has published anchor " +
                   std::to_string(request.anchor) + " of " + unit + " before");
  }
  return check_scores(request);
}

Result<control::PublishReply> SelectionBoard::merge(const std::map<uint32_t, Waiting>& of_ranks) {
  const control::PublishRequest& first = of_ranks.begin()->second.request;
  for (const auto& [rank, waiting] : of_ranks) {
    if (same_question(first, waiting.request)) continue;
    return invalid("rank " + std::to_string(rank) + " disagrees with rank " +
                   std::to_string(of_ranks.begin()->first) + " on the sequences of anchor " +
                   std::to_string(first.anchor) + ", or on how many to take");
  }
  control::PublishReply reply;
  for (size_t i = 0; i < first.sequences.size(); ++i) {
    std::vector<const control::Candidates*> candidates;
    for (const auto& [rank, waiting] : of_ranks)
      candidates.push_back(&waiting.request.sequences[i]);
    reply.sequences.push_back(
        {first.sequences[i].seq, merge_candidates(candidates, first.sequences[i].take)});
    kept_.push_back({first.epoch, first.unit, first.anchor, reply.sequences.back()});
    if (kept_.size() > kKeptSets) kept_.pop_front();
    ++merged_total_;
  }
  return reply;
}

std::vector<StampedSet> SelectionBoard::recent(SeqId seq) const {
  const std::lock_guard lock(mutex_);
  std::vector<StampedSet> sets;
  for (const auto& kept : kept_) {
    if (kept.set.seq == seq) sets.push_back(kept);
  }
  return sets;
}

uint64_t SelectionBoard::merged_total() const {
  const std::lock_guard lock(mutex_);
  return merged_total_;
}

}  // namespace ebb::coordinator
