// Who decides which past tokens are read. Pure deciders: no I/O, no clock, no device, and no state
// that outlives a step: the engine keeps sets and histories, and hands them in. One instance serves
// one sequence, so a batch may hold any mixture of policies and budgets.
//
// The engine asks, within a decode step:
//   before the step  plan()        for each layer: what it reads, whether it chooses
//   at a query       at_query()    where the plan said `checks`: keep the plan, or another one
//   at scores        selection()   where the plan says `selects`: which scores, cut how
//                    compose()     what was chosen becomes the set
//   after the step   after_step()  what of it is remembered; only of steps that succeeded
// A policy that scores tokens before the step is asked for one plan of them all, plan_tokens().
// A bulk pass reads everything, but for sinks_window(), and chooses where selects_after_bulk().
//
// Sliding windows are the model's, not the policy's: a layer never reads past its window, whatever
// it is told; the engine cuts sets and dense reads there. A policy knows them to choose among what
// can be read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "models/selection_profile.h"
#include "transport/control/messages.h"

namespace ebb::worker {

using control::DigestKind;
using control::SetScope;

/// A chosen set: one list (kLayer), or one for each KV head or query head of this rank. The lists
/// are equally long.
struct TokenSet {
  SetScope scope = SetScope::kLayer;
  std::vector<std::vector<Position>> lists;  ///< ascending
  /// By list, where the policy evicts in an order of its own: the next one to go first.
  std::vector<std::vector<Position>> order;

  size_t size() const {
    size_t tokens = 0;
    for (const auto& list : lists) tokens += list.size();
    return tokens;
  }
};

/// Sets and mean queries by layer: those of one step, or those that outlive it.
struct SelectionHistory {
  std::map<uint32_t, TokenSet> sets;
  /// By position: 1 + the last step whose set had the token; 0: none had. Where hysteresis is
  /// wanted.
  std::map<uint32_t, std::vector<uint32_t>> chosen_at;
  std::map<uint32_t, std::vector<float>> queries;  ///< [head_size], where the layer last chose
  std::vector<Position> retained;                  ///< ascending; of policies that score tokens
};

/// Which step is planned.
struct StepInfo {
  uint32_t length = 0;  ///< tokens, the newest one included
  uint32_t step = 0;    ///< decode steps since the bulk pass, this one included: from 1
};

/// What one layer reads in one step.
struct LayerPlan {
  enum class Reads : uint8_t {
    kAll,          ///< every token
    kSet,          ///< the set of layer `owner`
    kSinksWindow,  ///< sinks_window(), in slot positions
    kTokens,       ///< what plan_tokens() said
  };
  Reads reads = Reads::kAll;
  bool selects = false;  ///< chooses a set from the scores over all tokens
  bool checks = false;   ///< at_query() has the last word
  /// For kSet. The layer itself with `selects`: scores first, then attends to the new set; without:
  /// to the set that it had after the last step.
  uint32_t owner = 0;
  bool adds_self = false;  ///< kSet: the newest token is read too, where the set has not got it
  /// Not empty, with `selects`: the scores come from the digests of these layers, each against its
  /// own queries, and not from attention. The first one is the layer itself; the queries of the
  /// others are predicted from the residual stream that enters it.
  LayerRange scans{};
  bool left_out = false;  ///< kSet: pseudo-tokens stand for the tokens that are not in the set
};

/// How a layer's logits become a choice: tokens [begin, end) are candidates, the best `take` of
/// each list are chosen (all, when there are fewer).
struct Selection {
  enum class Score : uint8_t {
    kProbability,  ///< after softmax, the maximum over the heads that share a list
    kLogit,        ///< before softmax (kQueryHead only: logits of several heads do not compare)
    kRankUnion,    ///< kLayer: rank-major union of every query head's own `take` best
  };
  Score score = Score::kProbability;
  SetScope scope = SetScope::kLayer;
  uint32_t pool = 1;  ///< width of a max pool over neighbouring scores, odd
  float boost = 1;    ///< kLayer: a token of one of the last `boost_steps` sets counts so often
  uint32_t boost_steps = 0;
  Position begin = 0;
  Position end = 0;
  uint32_t take = 0;
};

/// A fixed pattern: the first `sinks` tokens and the `window` tokens before the newest.
struct SinksWindow {
  uint32_t sinks = 0;
  uint32_t window = 0;
  /// The place of the token at `position` among those that it reads (StreamingLLM's position).
  Position slot(Position position) const {
    return position < sinks + window ? position : sinks + window;
  }
};

/// One step's tokens, the same for all layers and heads; ascending.
struct TokenPlan {
  std::vector<Position> rebuilt;  ///< released tokens that come back
  std::vector<Position> reads;    ///< retained and rebuilt ones, and the newest
  std::vector<Position> keeps;    ///< what is retained after the step
};

/// Chosen positions by list, best first (kLayer: ascending, merged over all ranks).
using Chosen = std::vector<std::vector<Position>>;

class AttentionPolicy {
 public:
  virtual ~AttentionPolicy() = default;

  virtual LayerPlan plan(uint32_t layer, const StepInfo& step) const = 0;

  /// Where a second copy of the queries is rotated to in a step whose newest token is at
  /// `position`; none: nobody wants one. Constant over a sequence whether there is one.
  virtual std::optional<Position> second_query(Position) const { return std::nullopt; }
  /// Which of the two copies at_query() gets the mean of.
  virtual bool checks_second_query() const { return false; }
  /// True when mean queries are remembered (`checks` may come).
  virtual bool remembers_queries() const { return false; }
  /// `mean` [head_size]: over all query heads of all ranks; `last`: at this layer's last choice.
  virtual LayerPlan at_query(uint32_t layer, const StepInfo& step, std::span<const float> /*mean*/,
                             std::span<const float> /*last*/) const {
    return plan(layer, step);
  }

  virtual Selection selection(uint32_t /*layer*/, uint32_t /*length*/) const { return {}; }
  /// The set of `chosen` and whatever is forced.
  virtual TokenSet compose(uint32_t layer, uint32_t length, Chosen chosen) const;

  /// Moves what the step made into what is remembered. Default: sets replace older ones.
  virtual void after_step(const StepInfo& step, SelectionHistory made,
                          SelectionHistory& kept) const;
  /// The same for the set that the last row of a bulk pass over `length` tokens chose in `layer`.
  virtual void after_bulk(uint32_t layer, uint32_t length, TokenSet set,
                          SelectionHistory& kept) const;

  /// True when sets outlive their step: the bulk pass must leave the first ones behind.
  virtual bool keeps_sets() const { return false; }
  /// The last row of a bulk pass over `length` tokens chooses in these layers: sets to begin with,
  /// or what released bands keep.
  virtual bool selects_after_bulk(uint32_t /*layer*/, uint32_t /*length*/) const { return false; }
  /// Rows outside of it are never read again, in bulk passes neither.
  virtual std::optional<SinksWindow> sinks_window() const { return std::nullopt; }
  /// False when some layer may want any row at any step, or sets do not follow the layout's bands:
  /// then every row stays on the device.
  virtual bool may_be_released() const { return true; }
  /// What layers keep beside their rows for selections and left-out estimates.
  virtual DigestKind digest() const { return DigestKind::kNone; }
  virtual bool wants_digests(uint32_t /*layer*/) const { return false; }
  virtual bool wants_sums(uint32_t /*layer*/) const { return false; }
  /// True when plan_tokens() is to be asked before each step, and first_kept() after the bulk pass.
  virtual bool scores_tokens() const { return false; }
  /// `scores` [n]: of the tokens before the newest, n. `retained`: after the last step.
  virtual TokenPlan plan_tokens(std::span<const float> /*scores*/,
                                std::span<const Position> /*retained*/) const {
    return {};
  }
  /// What is retained of a bulk pass over scores.size() tokens; the scores are for the token
  /// behind.
  virtual std::vector<Position> first_kept(std::span<const float> /*scores*/) const { return {}; }
  /// Rows of a pool that holds what is retained, rebuilt and new; what leaves it is gone, and comes
  /// back computed again. 0: every row stays, and comes back as it was.
  virtual uint32_t token_pool() const { return 0; }

  /// Polluted tokens after which they are computed again, densely; 0: never.
  virtual uint32_t correct_every() const { return 0; }
};

/// Attends to every token in every layer.
std::unique_ptr<AttentionPolicy> make_dense_policy();

/// StreamingLLM (arXiv:2309.17453): in every layer the first `sinks` tokens, the `window` tokens
/// before the newest, and the newest, at positions that count places among those tokens. Keys stay
/// rotated at their absolute positions: logits depend on differences only, so the window is scored
/// with the query at its absolute position and the sinks with a second copy at its slot.
std::unique_ptr<AttentionPolicy> make_streaming_policy(const control::PolicyParams& params);

/// TidalDecode (arXiv:2410.05076): the profile's anchors attend to every token and select; each
/// follower attends to the set of the nearest anchor below; full layers attend to every token. The
/// set is chosen anew at every step. With K >= length every layer reads all tokens. Sinks and a
/// recent window are forced into the set and counted in K; either may be 0.
///
/// Scope query_head without sinks and window is the paper's method; scope layer takes the best of
/// the probabilities' maximum over all heads, or LessIsMore's union (arXiv:2508.07101).
///
/// Sliding windows. An anchor chooses among the tokens that it sees itself and that at least one of
/// its followers sees; sinks are forced only while a follower sees them. Followers that together
/// see at most K tokens read all of those, and their anchor chooses nothing.
///
/// `sparse_anchors`: an anchor attends to the set that it chooses, as its followers do.
std::unique_ptr<AttentionPolicy> make_tidal_policy(const models::SelectionProfile& profile,
                                                   const control::PolicyParams& params,
                                                   std::span<const uint32_t> windows,
                                                   bool sparse_anchors = false);

/// Recycled Attention, now RefreshKV (arXiv:2411.05787v2): each layer attends to K tokens for each
/// KV head, chosen at the layer's last full step by that step's attention probabilities (maximum
/// over the group, max pool 7); the token with the lowest score at that step goes when one is
/// added.
std::unique_ptr<AttentionPolicy> make_recycled_policy(const control::PolicyParams& params);

/// TidalDecode's reuse across layers with Recycled Attention's across steps: an anchor attends to
/// every token and selects at refresh steps only; in between it attends, as its followers do, to
/// the set that it chose last, whose window slides along. Refresh steps come at a fixed stride, or
/// where the anchor's mean query has turned away from the one at its last choice.
std::unique_ptr<AttentionPolicy> make_composed_policy(const models::SelectionProfile& profile,
                                                      const control::PolicyParams& params,
                                                      std::span<const uint32_t> windows);

/// Ebb's own: TidalDecode's reuse across layers, where anchors choose by a digest of all keys
/// instead of reading them (so that no layer above the first full ones has to be on the device), a
/// token of a recent set is preferred (hysteresis), and pseudo-tokens stand for what is not read
/// (left-out estimate). With digest `none`, no boost and no estimate it is `tidal`.
/// docs/policies.md has the parameters, docs/quality.md what each of them is worth.
std::unique_ptr<AttentionPolicy> make_anchored_policy(const models::SelectionProfile& profile,
                                                      const control::PolicyParams& params,
                                                      std::span<const uint32_t> windows);
/// ADORE (arXiv:2407.02328): a controller scores every earlier token before the step. All layers
/// and heads read the tokens that are retained, the best `rebuild` of those that were released, and
/// the newest; of these the best `budget` are retained, the newest, sinks and window always. Of
/// equal scores the later token's counts.
std::unique_ptr<AttentionPolicy> make_adore_policy(const control::PolicyParams& params);

/// The profile with `select_layers` for anchors, every layer below the first of them full.
models::SelectionProfile with_anchors(models::SelectionProfile profile,
                                      std::vector<uint32_t> select_layers);

/// `windows` by layer, as ModelShape has them. Errors: kInvalid when `params` name a policy that
/// `profile` cannot serve, or numbers out of range (names both).
Result<std::unique_ptr<AttentionPolicy>> make_policy(const models::SelectionProfile& profile,
                                                     const control::PolicyParams& params,
                                                     std::span<const uint32_t> windows);

}  // namespace ebb::worker
