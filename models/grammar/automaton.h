// A grammar as a deterministic automaton over bytes, built as far as it is walked: a state is the
// set of all places in the network, with their stacks of returns, that the bytes so far may have
// led to. Must not know tokens.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "models/grammar/grammar.h"

namespace ebb::models::grammar {

/// One thread. Every state but kDead can be continued to the end of the language: a place from
/// which the end is out of reach (or only beyond kNestingMax) is never entered.
class Automaton {
 public:
  using StateId = uint32_t;
  static constexpr StateId kDead = 0;

  explicit Automaton(std::shared_ptr<const Grammar> grammar);

  StateId start() const { return start_; }
  /// Work is paid from the budget; kDead when there is no way on, or when the budget is used up.
  StateId next(StateId state, uint8_t byte);
  /// The bytes so far are in the language.
  bool accepts(StateId state) const { return nodes_[state].accepts; }
  /// They are, and no longer text that begins with them is.
  bool ends(StateId state) const { return accepts(state) && nodes_[state].places.empty(); }

  /// Places that new states may still examine: bounds time and memory, whatever the grammar.
  void set_budget(uint64_t places) { budget_ = places; }
  bool over_budget() const { return budget_ == 0; }

  /// Bytes of all states so far, about.
  uint64_t bytes() const { return bytes_; }
  /// Forgets every state but the start and those of `kept`, which get their new names.
  void forget(std::span<StateId* const> kept);

 private:
  using StackId = uint32_t;
  static constexpr StackId kBottom = 0;
  static constexpr StateId kUnknown = UINT32_MAX;
  struct StackNode {
    StackId below = kBottom;
    State to = 0;  ///< where this return leads
    uint8_t nesting = 0;
    uint16_t height = 0;
  };
  struct Place {
    State state = 0;
    StackId stack = kBottom;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  /// Where each byte leads: bytes that no edge tells apart share a target.
  struct Row {
    std::array<uint8_t, 256> group{};
    std::vector<uint8_t> sample;   ///< by group: one of its bytes
    std::vector<StateId> targets;  ///< by group; kUnknown: not followed yet
  };
  struct Node {
    std::vector<Place> places;  ///< those with byte edges, ascending
    bool accepts = false;
    std::unique_ptr<Row> row;  ///< null: never left yet
  };

  /// Places that one close() has seen: open addressing, emptied by forgetting its own entries.
  class PlaceSet {
   public:
    bool insert(Place place);  ///< false: it was there
    void clear();

   private:
    void grow();
    std::vector<uint64_t> slots_ = std::vector<uint64_t>(64, kEmpty);
    std::vector<uint64_t> members_;
    static constexpr uint64_t kEmpty = UINT64_MAX;
  };

  StateId close(std::vector<Place>& due);
  void follow_edges(Place place, std::vector<Place>& due);
  void follow_call(Place place, const CallEdge& call, std::vector<Place>& due);
  StackId push(StackId below, State to, Nesting nesting);
  bool reaches_end(Place place) const;
  StateId intern(std::vector<Place> places, bool accepts);
  std::unique_ptr<Row> make_row(const Node& node) const;
  StackId copy_stack(const std::vector<StackNode>& from, StackId stack);
  void pay(uint64_t places) { budget_ -= std::min(budget_, places); }
  void clear();

  std::shared_ptr<const Grammar> grammar_;
  std::vector<StackNode> stacks_;
  std::unordered_map<uint64_t, StackId> stack_ids_;  ///< by below, to and nesting
  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, std::vector<StateId>> state_ids_;  ///< by hash of the places
  PlaceSet seen_;
  std::vector<Place> due_;  ///< of close(); kept for its memory
  StateId start_ = kDead;
  uint64_t budget_ = UINT64_MAX;
  uint64_t bytes_ = 0;
};

}  // namespace ebb::models::grammar
