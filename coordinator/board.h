// The selection board: ranks publish their best candidates, everybody gets the one merged set, and
// the last sets stay to be looked at. Must not know what a score means.
//
// Score of a token = max over heads. A rank sends the best of its own heads, at least as many as
// the merged set takes; so a token of the merged set is among the candidates of the rank that
// scores it highest, and merging by max is exact.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "transport/control/messages.h"

namespace ebb::coordinator {

/// The `take` best of all candidates: a position's score is its largest; higher scores first, the
/// lower position wins ties. Returns positions ascending; fewer when there are fewer. Pure. Scores
/// must not be NaN.
std::vector<Position> merge_candidates(const std::vector<const control::Candidates*>& of_ranks,
                                       uint32_t take);

/// A merged set with its stamp.
struct StampedSet {
  Epoch epoch;
  UnitId unit;
  uint32_t anchor = 0;
  control::MergedSet set;
};

/// All methods any thread. Answers are called without a lock held, on the thread of whatever made
/// them due.
class SelectionBoard {
 public:
  using Answer = std::function<void(Result<control::PublishReply>)>;
  static constexpr size_t kKeptSets = 256;
  static constexpr size_t kAnchorsMax = 1024;        ///< open at once, of one unit
  static constexpr size_t kCandidatesMax = 1 << 20;  ///< of one rank, sequence and anchor

  /// A new incarnation: publishes of `epoch` are taken, of `ranks` ranks.
  void begin(Epoch epoch, uint32_t ranks);
  /// The unit that runs now in `epoch`: publishes of other units are refused; those that wait are
  /// cancelled.
  void expect(Epoch epoch, UnitId unit);
  /// Publishes that wait, and later ones, are answered kCancelled with `why`.
  void end(Epoch epoch, const std::string& why);

  /// Answered when every rank has published the same (epoch, unit, anchor). Refusals: kCancelled
  /// (another epoch; a unit that is over), kInvalid (a unit that has not begun, the same rank
  /// twice, ranks that disagree on sequences or on `take`, scores that are no numbers).
  void publish(control::PublishRequest request, Answer answer);

  /// The last sets of one sequence, newest last.
  std::vector<StampedSet> recent(SeqId seq) const;
  uint64_t merged_total() const;

 private:
  struct Waiting {
    control::PublishRequest request;
    Answer answer;
  };
  struct Incarnation {
    uint32_t ranks = 0;
    UnitId unit;
    std::map<uint32_t, std::map<uint32_t, Waiting>> anchors;  ///< by anchor, by rank
  };
  /// Answers that are due, to be called when the lock is gone.
  using Due = std::vector<std::pair<Answer, Result<control::PublishReply>>>;

  Result<void> check(const control::PublishRequest& request) const;
  Result<control::PublishReply> merge(const std::map<uint32_t, Waiting>& of_ranks);
  static void cancel_waiting(Incarnation& incarnation, const std::string& why, Due& due);

  mutable std::mutex mutex_;
  std::map<Epoch, Incarnation> incarnations_;
  std::deque<StampedSet> kept_;
  uint64_t merged_total_ = 0;
};

}  // namespace ebb::coordinator
